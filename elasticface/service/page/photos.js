// A field for a photo, or for many: a file, dropped, pasted, or from the camera; never changed on its way.

import { takePhoto } from "./camera.js";
import { complain, element } from "./dom.js";
import { turns } from "./turns.js";
import { count, plural } from "./words.js";

const TYPES = "image/jpeg,image/png,image/webp,image/heic,.heic,.heif";

let made = 0; // fields so far

/** What the service would refuse, in its words; null where it is none of that. */
export async function tooLarge(photo, limits) {
  if (photo.size > limits.photo_bytes) return `photo: more than ${count(limits.photo_bytes)} bytes; shrink the photo`;
  const sides = await sidesOf(photo);
  if (sides && sides[0] * sides[1] > limits.pixels) {
    return `photo: ${sides[0]}x${sides[1]} pixels, more than ${count(limits.pixels)} in all; shrink it`;
  }
  return null;
}

/** Make `place`, a fieldset, such a field. `photos` of what is returned are those chosen; disabled it keeps them. */
export function photoField(place, limits) {
  const many = "many" in place.dataset;
  const problem = element("p", { className: "problem", role: "alert", id: `photo-problem-${++made}` });
  const chosen = element("span", { role: "status", id: `photo-chosen-${made}` });
  const described = { "aria-describedby": `${problem.id} ${chosen.id}` }; // the input itself is empty: it says of no photo
  const input = element("input", { type: "file", accept: TYPES, multiple: many, ...described });
  const name = element("span", { className: "name" }, place.ariaLabel);
  const choose = element("b", {}, many ? "Choose photos" : "Choose a photo");
  const drop = element("label", { className: "drop" }, name, input, element("span", {}, choose, ", drop or paste"));
  const camera = element("button", { type: "button", className: "quiet" }, "Use the camera");
  const clear = element("button", { type: "button", className: "quiet", hidden: true }, "Clear");
  place.append(drop, element("div", { className: "row" }, camera, clear, chosen), problem);

  const turn = turns();
  let looking = Promise.resolve();

  /** Take these in place of what is there, or, of many, beside it. */
  function take(files) {
    if (files.length > 0 && !place.disabled) looking = look([...files]);
  }

  async function look(photos) {
    complain(input, problem, "");
    if (many) return field.show([...field.photos, ...photos]);
    const newest = turn();
    const refused = await tooLarge(photos[0], limits());
    if (!newest()) return;
    field.show(refused ? [] : [photos[0]]);
    complain(input, problem, refused ?? "");
    if (photos.length > 1) chosen.append(` (of ${count(photos.length)} photos the first alone is used)`);
  }

  const field = {
    photos: [],
    /** Whether there is one, once those that were chosen are looked at; says so where there is none. */
    async ready() {
      for (let seen = null; seen !== looking; ) await (seen = looking);
      if (field.photos.length > 0) return true;
      complain(input, problem, problem.textContent || `${place.ariaLabel}: missing; choose one`);
      input.focus();
      return false;
    },
    show(photos) {
      field.photos = photos;
      input.value = "";
      drop.querySelectorAll(".view").forEach(release);
      if (!many && photos.length) drop.append(viewOf(photos[0]));
      drop.classList.toggle("filled", photos.length > 0);
      clear.hidden = photos.length === 0;
      const said = many ? `${plural(photos.length, "photo")} chosen` : photos[0]?.name;
      chosen.textContent = photos.length ? said : "";
    },
    /** Draw a frame around the face that was taken of a photo, if that still is the one here. */
    mark(photo, box) {
      const image = drop.querySelector("img");
      drop.querySelector("svg")?.remove();
      if (photo === field.photos[0] && image?.naturalWidth) image.after(frame(box, image));
    },
  };

  input.addEventListener("change", () => take(input.files));
  camera.addEventListener("click", async () => {
    const photo = await takePhoto();
    if (photo) take([photo]);
  });
  clear.addEventListener("click", () => {
    turn(); // a photo that is looked at is not wanted either
    field.show([]);
    complain(input, problem, "");
    input.focus();
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.toggle("over", !place.disabled);
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    // Of two fields that are shown the first without a photo.
    const shown = [...document.querySelectorAll(".field")].filter((one) => one.offsetParent);
    const free = shown.find((one) => !one.querySelector(".filled")) ?? shown[0];
    if (free === place) take(event.clipboardData.files);
  });
  return field;
}

function viewOf(photo) {
  const image = element("img", { src: URL.createObjectURL(photo), alt: "" });
  image.addEventListener("error", () => image.remove()); // HEIC, which most browsers do not show
  return element("span", { className: "view" }, image);
}

function release(view) {
  URL.revokeObjectURL(view.querySelector("img")?.src ?? "");
  view.remove();
}

function frame([left, top, right, bottom], image) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${image.naturalWidth} ${image.naturalHeight}`);
  const rectangle = document.createElementNS(svg.namespaceURI, "rect");
  const sides = { x: left, y: top, width: right - left, height: bottom - top };
  for (const [name, value] of Object.entries(sides)) rectangle.setAttribute(name, value);
  svg.append(rectangle);
  return svg;
}

/** Width and height; null where the browser cannot tell. */
async function sidesOf(photo) {
  const image = new Image();
  image.src = URL.createObjectURL(photo);
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    return [image.naturalWidth, image.naturalHeight];
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}
