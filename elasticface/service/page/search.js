// Who is this, or nobody of these?

import { answerIn, decision, scale } from "./answer.js";
import { $, crop, element, nameOf } from "./dom.js";
import { photoField } from "./photos.js";
import { ask } from "./service.js";
import { figure, oneIn, remarks, searched } from "./words.js";

export function makeSearch(part, state) {
  const form = $("form", part);
  const photo = photoField($(".field", part), () => state.limits);
  const answer = answerIn(part, "The answer appears here, beside the face that was searched for.");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!(await photo.ready())) return;
    const { fpir, faces } = form.elements;
    const fields = { photo: photo.photos[0], fpir: fpir.value, faces: faces.value, crops: "yes" };
    answer.wait("Searching …", ask("POST", state.path("search"), fields), (found) => tell(found, fields));
  });

  function tell(found, { photo: sent, faces }) {
    photo.mark(sent, found.face.box);
    const told = decision(searched(found), crop(found.face, "the face that was searched for"), remarks(found.face, faces));
    if (found.candidates.length === 0) return answer.show([told]);
    answer.show([told], scale(found.candidates.map((one) => one.similarity), found.threshold), candidates(found), how(found));
  }
}

function candidates(found) {
  const rows = found.candidates.map((one) =>
    element(
      "tr",
      { className: one.person === found.person ? "taken" : "" },
      element("th", { scope: "row" }, nameOf(one.person)),
      element("td", {}, figure(one.similarity)),
      one.false_positive_rate === null
        ? element("td", { className: "nothing" }, "not measured")
        : element("td", {}, `at most ${oneIn(one.false_positive_rate)}`),
    ),
  );
  const heads = ["Most similar", "Similarity", "Strangers who reach it"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows));
}

function how(found) {
  const exact = found.search === "exact" ? "The search is exact" : `The search is approximate: it finds the most similar in ${Math.round(1000 * found.recall.rate) / 10} % of the cases, measured here`;
  const of = found.aggregation === "best" ? "the most similar of the person’s faces" : "the mean of the person’s faces";
  return element("p", { className: "hint" }, `${exact}. A person is as similar as ${of}.`);
}
