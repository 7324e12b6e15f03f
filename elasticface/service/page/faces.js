// The faces that somebody was enrolled with, in a dialog, page by page; of collections that keep them.

import { $, crop, element, nameOf, tell } from "./dom.js";
import { ask } from "./service.js";
import { turns } from "./turns.js";
import { count, plural, sentence, since } from "./words.js";

const PAGE = 20; // faces at a time: each comes with its picture

/** Returns a function that shows the faces of a person, whose path it is given. */
export function makeFaces() {
  const dialog = $("#faces");
  const [title, view, list, told, problem, more] = ["h2", ".all", "ul", "[role=status]", ".problem", ".more"].map(
    (selector) => $(selector, dialog),
  );
  const turn = turns();
  let [person, path, next] = [null, null, null];

  more.addEventListener("click", load);
  dialog.addEventListener("close", () => turn()); // what was asked is wanted no more

  async function load() {
    const newest = turn();
    problem.textContent = "";
    tell(told, ["The faces are being read …"]);
    try {
      const page = await ask("GET", `${path}/faces?${new URLSearchParams({ most: PAGE, after: next ?? 0 })}`);
      if (!newest()) return;
      const shown = list.children.length;
      list.append(...page.faces.map((face, at) => row(face, `face ${count(shown + at + 1)} of ${person.name}`)));
      next = page.next;
    } catch (error) {
      if (!newest()) return;
      problem.textContent = sentence(String(error));
    }
    const failed = problem.textContent !== "";
    if (next === null && !failed && document.activeElement === more) view.focus();
    more.hidden = next === null && !failed;
    more.textContent = failed ? "Try again" : "Show more";
    const shown = plural(list.children.length, "face");
    tell(told, failed ? [] : [more.hidden ? `${shown}.` : `${shown} shown; there are more.`]);
  }

  return (whom, where) => {
    [person, path, next] = [whom, where, null];
    title.replaceChildren("Faces of ", nameOf(person.name));
    list.replaceChildren();
    more.hidden = true;
    dialog.showModal();
    load();
  };
}

function row(face, alt) {
  const picture = crop(face, alt) ?? element("span", { className: "crop none" }, "not kept");
  const enrolled = element("time", { dateTime: face.enrolled }, since(face.enrolled));
  return element("li", {}, picture, element("p", {}, nameOf(face.photo)), element("p", {}, enrolled));
}
