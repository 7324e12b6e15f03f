// Who is this, or nobody of these?

import { answerIn, decision, scale } from "./answer.js";
import { $, crop, element, nameOf } from "./dom.js";
import { photoField } from "./photos.js";
import { ask } from "./service.js";
import { figure, how, oneIn, remarks, searched } from "./words.js";

export function makeSearch(part, state) {
  const form = $("form", part);
  const photo = photoField($(".field", part), () => state.limits);
  const answer = answerIn(part, "The answer appears here, beside the face that was searched for.");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!(await photo.ready()) || state.collection === null) return;
    const { fpir, faces } = form.elements;
    const fields = { photo: photo.photos[0], fpir: fpir.value, faces: faces.value, crops: "yes" };
    answer.wait("Searching …", ask("POST", state.path("search"), fields), (found) => tell(found, fields));
  });

  function tell(found, { photo: sent, faces }) {
    photo.mark(sent, found.face.box);
    const searchedFor = crop(found.face, "the face that was searched for");
    const best = found.person === null ? null : enrolledFace(found.candidates[0]);
    const fpirs = [...form.elements.fpir.options].map((option) => Number(option.value));
    const told = decision(searched(found, fpirs), [searchedFor, best], remarks(found.face, faces));
    if (found.candidates.length === 0) return answer.show([told]);
    const similarities = found.candidates.map((one) => one.similarity);
    const hint = element("p", { className: "hint" }, how(found));
    answer.show([told], scale(similarities, found.threshold), candidates(found), hint);
  }

  return answer;
}

/** The face that a candidate was found by; nothing where the collection keeps none. */
const enrolledFace = (one) => crop(one, `the most similar enrolled face of ${one.person}`);

function candidates(found) {
  const rows = found.candidates.map((one) =>
    element(
      "tr",
      { className: one.person === found.person ? "taken" : "" },
      element("th", { scope: "row" }, element("div", {}, enrolledFace(one), nameOf(one.person))),
      element("td", {}, figure(one.similarity)),
      one.false_positive_rate === null
        ? element("td", { className: "nothing" }, "not measured")
        : element("td", {}, `at most ${oneIn(one.false_positive_rate)}`),
    ),
  );
  const heads = ["Most similar", "Similarity", "Strangers who reach it"];
  const head = element("tr", {}, heads.map((text) => element("th", { scope: "col" }, text)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, rows));
}
