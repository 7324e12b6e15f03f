// A still from the camera, as the camera gives it.

import { $ } from "./dom.js";

/** Show the camera until a photo is taken. Returns the photo, or null. */
export async function takePhoto() {
  const dialog = $("#camera");
  const [video, problem, take, cancel] = ["video", ".problem", ".take", ".cancel"].map((one) => $(one, dialog));
  problem.textContent = "";
  take.hidden = video.hidden = false;
  take.ariaDisabled = "true"; // until there is a picture; it keeps the focus meanwhile
  video.onloadeddata = () => (take.ariaDisabled = null);
  const closed = new Promise((resolve) => dialog.addEventListener("close", () => resolve(null), { once: true }));
  dialog.showModal();
  const opened = open();
  const release = () => {
    opened.then((stream) => stream.getTracks().forEach((track) => track.stop())).catch(() => {}); // it may come late
    video.srcObject = null;
  };
  try {
    video.srcObject = await Promise.race([opened, closed]);
    return await Promise.race([taken(video, take), closed]);
  } catch (error) {
    release();
    problem.textContent = reason(error);
    take.hidden = video.hidden = true;
    cancel.focus();
    return await closed;
  } finally {
    release();
    dialog.close();
  }
}

async function open() {
  // Browsers give a camera to pages from https and from this machine alone.
  if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
  return navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: "user" } });
}

function reason({ name }) {
  const known = {
    SecurityError: "Browsers give the camera only to pages from https or localhost. Open this page so",
    NotAllowedError: "The camera was not allowed. Allow it for this page in the browser’s settings",
    NotFoundError: "There is no camera here. Connect one",
  };
  return `${known[name] ?? "The camera cannot be used; another program may have it. End that"}, or choose a photo.`;
}

/** A still, once `take` is pressed. */
function taken(video, take) {
  return new Promise((resolve, reject) => {
    take.onclick = () => take.ariaDisabled === "true" || still(video).then(resolve, reject);
  });
}

async function still(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const data = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([data], "from the camera", { type: data.type });
}
