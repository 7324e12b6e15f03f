// Who is enrolled, page by page; and removal, for good.

import { $, element, nameOf } from "./dom.js";
import { ask } from "./service.js";
import { count, plural, sentence } from "./words.js";

const PAGE = 100; // people at a time

export function makePeople(part, state) {
  const [told, problem, table, more] = [".about", ".problem", "table", ".more"].map((selector) => $(selector, part));
  const rows = $("tbody", part);
  let next = null;

  more.addEventListener("click", load);

  /** Read the list anew. */
  async function show() {
    rows.replaceChildren();
    next = null;
    problem.textContent = "";
    table.hidden = more.hidden = true;
    if (state.collection === null) return void (told.textContent = "There is no collection yet.");
    await load();
  }

  async function load() {
    const of = state.collection;
    try {
      const query = new URLSearchParams(next === null ? { most: PAGE } : { most: PAGE, after: next });
      const page = await ask("GET", `${state.path("people")}?${query}`);
      if (of !== state.collection) return; // another was chosen meanwhile
      rows.append(...page.people.map(row));
      next = page.next;
    } catch (error) {
      problem.textContent = String(error);
    }
    table.hidden = rows.children.length === 0;
    more.hidden = next === null;
    tell();
  }

  function tell(before = "") {
    const { people, faces } = state.collection;
    const shown = rows.children.length < people ? `; ${count(rows.children.length)} are shown` : "";
    told.textContent = `${before}${people ? `${plural(people, "person", "people")}, ${plural(faces, "face")}${shown}.` : "Nobody is enrolled here yet."}`;
  }

  function row(person) {
    const enrolled = new Date(person.enrolled);
    const made = element("tr");
    const button = element("button", { type: "button", className: "quiet", ariaLabel: `Remove ${person.name}` }, "Remove");
    button.addEventListener("click", () => remove(person, made));
    const day = enrolled.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
    made.append(
      element("th", { scope: "row" }, nameOf(person.name)),
      element("td", {}, count(person.faces)),
      element("td", {}, element("time", { dateTime: person.enrolled, title: enrolled.toLocaleString("en-GB") }, day)),
      element("td", {}, button),
    );
    return made;
  }

  async function remove(person, row) {
    if (!(await confirmed(person))) return;
    problem.textContent = "";
    told.replaceChildren("Removing ", nameOf(person.name), " …");
    try {
      const removed = await ask("DELETE", state.path(`people/${person.id}`));
      (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button").focus();
      row.remove();
      await state.refresh();
      table.hidden = rows.children.length === 0;
      const reason = removed.reason ? ` ${sentence(removed.reason)}` : "";
      tell(`${removed.erased ? "Removed; the embeddings are erased from the files." : "Removed; the embeddings are not erased from the files yet."}${reason} `);
    } catch (error) {
      tell();
      problem.textContent = String(error);
    }
  }

  return { show };
}

function confirmed({ name, faces }) {
  const dialog = $("#remove");
  $("h2", dialog).replaceChildren("Remove ", nameOf(name), "?");
  const what = faces === 1 ? "The face and its embedding are" : `All ${count(faces)} faces and their embeddings are`;
  $("p", dialog).textContent = `${what} erased for good. This cannot be undone.`;
  return new Promise((resolve) => {
    $(".danger", dialog).onclick = () => dialog.close("remove");
    $(".cancel", dialog).onclick = () => dialog.close("");
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "remove"), { once: true });
    dialog.showModal();
  });
}
