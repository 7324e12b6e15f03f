// Elements. Text goes in as text alone, so that a name that looks like HTML is shown as it is spelt.

export const $ = (selector, within = document) => within.querySelector(selector);

/** An element with properties, or attributes where there is no such property, and children: elements, text, nothing. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Say text and names where screen readers listen, unless it is said there already. */
export function tell(place, parts) {
  const said = element("p", {}, parts);
  if (said.textContent !== place.textContent) place.replaceChildren(...said.childNodes);
}

/**
 * Say in `problem`, which describes the input, what is wrong with it: text or an error; "": nothing is. What is said again
 * is heard again.
 */
export function complain(input, problem, wrong) {
  problem.replaceChildren(...(wrong === "" ? [] : [String(wrong)]));
  const { status = 400 } = Object(wrong);
  input.ariaInvalid = wrong !== "" && status >= 400 && status < 500 ? "true" : null; // else it is the service's fault
}

/** A name, whichever way its script runs. */
export const nameOf = (name) => element("bdi", {}, name);

/** The aligned face of an answer; nothing where it has none. */
export function crop(face, alt) {
  if (!face?.crop) return null;
  return element("img", { className: "crop", src: `data:image/png;base64,${face.crop}`, alt, width: 112, height: 112 });
}
