// Who is enrolled, page by page; and removal, for good.

import { $, element, nameOf } from "./dom.js";
import { ask } from "./service.js";
import { count, plural, sentence } from "./words.js";

const PAGE = 100; // people at a time

export function makePeople(part, state) {
  const [told, problem, table, more] = [".about", ".problem", "table", ".more"].map((selector) => $(selector, part));
  const rows = $("tbody", part);
  let next = null; // where the next page begins
  let latest = null; // of several readings at one time the last one counts

  more.addEventListener("click", load);

  /** Read the list anew. */
  async function show() {
    rows.replaceChildren();
    next = null;
    problem.textContent = "";
    table.hidden = more.hidden = true;
    if (state.collection === null) told.textContent = "";
    else await load();
  }

  async function load() {
    const query = new URLSearchParams(next === null ? { most: PAGE } : { most: PAGE, after: next });
    const asked = (latest = ask("GET", `${state.path("people")}?${query}`));
    try {
      const page = await asked;
      if (asked !== latest) return;
      rows.append(...page.people.map(row));
      next = page.next;
    } catch (error) {
      if (asked !== latest) return;
      problem.textContent = String(error);
    }
    table.hidden = rows.children.length === 0;
    more.hidden = next === null;
    tell();
  }

  function tell(before = "") {
    const { people, faces } = state.collection;
    const shown = rows.children.length < people ? `; ${count(rows.children.length)} are shown` : "";
    const all = `${plural(people, "person", "people")}, ${plural(faces, "face")}${shown}.`;
    told.textContent = before + (people ? all : "Nobody is enrolled here yet.");
  }

  function row(person) {
    const enrolled = new Date(person.enrolled);
    const made = element("tr");
    const label = `Remove ${person.name}`;
    const button = element("button", { type: "button", className: "quiet", ariaLabel: label }, "Remove");
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
    if (row.ariaBusy === "true" || !(await confirmed(person))) return;
    problem.textContent = "";
    told.replaceChildren("Removing ", nameOf(person.name), " and erasing the embeddings …");
    row.ariaBusy = "true";
    try {
      const { erased, reason } = await ask("DELETE", state.path(`people/${person.id}`));
      const beside = row.nextElementSibling ?? row.previousElementSibling;
      if (row.contains(document.activeElement)) $("button", beside ?? part)?.focus();
      row.remove();
      await state.refresh();
      table.hidden = rows.children.length === 0;
      const done = `Removed; the embeddings are ${erased ? "erased" : "not erased yet"} from the files.`;
      tell(`${done} ${reason ? `${sentence(reason)} ` : ""}`);
    } catch (error) {
      row.ariaBusy = "false";
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
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "remove"), { once: true });
    dialog.showModal();
  });
}
