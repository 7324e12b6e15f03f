// Two photos: one person or two?

import { answerIn, decision, scale } from "./answer.js";
import { $, crop, element } from "./dom.js";
import { photoField } from "./photos.js";
import { ask } from "./service.js";
import { compared, oneIn, remarks } from "./words.js";

const USUAL = 1e-3; // false match rate, as elsewhere in elasticface

export function makeCompare(part, state) {
  const form = $("form", part);
  const photos = [...part.querySelectorAll(".field")].map((place) => photoField(place, () => state.limits));
  const answer = answerIn(part, "The answer appears here, beside the two faces that were compared.");
  const { fmr, faces } = form.elements;
  const { fmrs } = state.service;
  const usual = nearest(fmrs);
  const option = (rate) => element("option", { value: rate, selected: rate === usual }, `about ${oneIn(rate)}`);
  fmr.append(...fmrs.map(option));
  fmr.parentElement.hidden = fmrs.length === 0; // a model that is not calibrated

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const photo of photos) if (!(await photo.ready())) return;
    const [first, second] = photos.map((photo) => photo.photos[0]);
    const fields = { first, second, faces: faces.value, crops: "yes" };
    if (fmr.value) fields.fmr = fmr.value;
    const choice = faces.value;
    answer.wait("Comparing …", ask("POST", "v1/verify", fields), (found) => tell(found, [first, second], choice));
  });

  function tell(found, sent, choice) {
    const names = ["The first photo", "The second photo"];
    photos.forEach((photo, at) => photo.mark(sent[at], found.faces[at].box));
    const crops = found.faces.map((face, at) => crop(face, `the face in ${names[at].toLowerCase()}`));
    const said = found.faces.flatMap((face, at) => remarks(face, choice, names[at]));
    answer.show([decision(compared(found), crops, said)], scale([found.similarity], found.threshold));
  }
}

function nearest(rates) {
  const distance = (rate) => Math.abs(Math.log(rate / USUAL));
  return rates.toSorted((one, other) => distance(one) - distance(other))[0];
}
