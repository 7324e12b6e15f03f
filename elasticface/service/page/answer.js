// An answer beside its faces: the decision, what it rests on, and where the similarities lie on a scale.

import { $, element, nameOf } from "./dom.js";
import { turns } from "./turns.js";
import { figure } from "./words.js";

const LOWEST = -0.2; // of the scale; similarities of strangers are about 0

/** Where a part's answers are shown: made once, so that screen readers are told of every new one. */
export function answerIn(part, hint) {
  const said = element("div", { role: "status" });
  const problem = element("p", { className: "problem", role: "alert" });
  const rest = element("div");
  $(".answer", part).append(said, problem, rest);
  const show = (status, ...details) => {
    problem.textContent = "";
    said.replaceChildren(...status);
    rest.replaceChildren(...details);
  };
  const trouble = (error) => (problem.textContent = String(error));
  const turn = turns();
  const forget = () => {
    turn();
    if (said.textContent !== hint) show([element("p", { className: "hint" }, hint)]);
  };
  forget();
  return {
    show,
    /** Show nothing of what was asked so far, nor what is answered to it later. */
    forget,
    /** Say what went wrong, beside what is shown. */
    trouble,
    /** Wait for what was asked and tell it, unless something else was asked meanwhile. */
    async wait(text, asked, tell) {
      const newest = turn();
      show([element("p", { className: "hint busy" }, text)]);
      try {
        const found = await asked;
        if (newest()) tell(found);
      } catch (error) {
        if (!newest()) return;
        show([]);
        trouble(error);
      }
    },
  };
}

/** The decision as elements. */
export function decision({ kind, sentence, more }, crops, remarks) {
  const lines = [...more.filter(Boolean), ...remarks.map((remark) => [remark])];
  return element(
    "div",
    { className: `decision ${kind}` },
    element("div", { className: "crops" }, crops),
    element(
      "div",
      {},
      element("p", { className: "sentence" }, spelt(sentence)),
      lines.map((line) => element("p", {}, spelt(line))),
    ),
  );
}

/** Similarities from left to right, the threshold among them. For the eye alone: the numbers stand beside it. */
export function scale(similarities, threshold) {
  const place = (mark, similarity) => {
    const at = (Math.min(Math.max(similarity, LOWEST), 1) - LOWEST) / (1 - LOWEST);
    mark.style.setProperty("--at", `${100 * at}%`);
    return mark;
  };
  const ticks = [0, 0.5, 1].map((tick) => place(element("span", { className: "tick" }, String(tick)), tick));
  const dots = similarities.map((similarity) => place(element("span", { className: "dot" }), similarity));
  const line = element("span", { className: "threshold" }, `threshold ${threshold === null ? "" : figure(threshold)}`);
  return element(
    "div",
    { className: "scale", ariaHidden: "true" },
    ticks,
    threshold === null ? null : place(line, threshold),
    dots,
  );
}

function spelt(sentence) {
  return sentence.map((part) => (part.name === undefined ? part : nameOf(part.name)));
}
