// Who is enrolled, page by page; and removal, for good.

import { $, element, nameOf, tell } from "./dom.js";
import { ask } from "./service.js";
import { turns } from "./turns.js";
import { count, plural, sentence } from "./words.js";

const PAGE = 100; // people at a time

export function makePeople(part, state) {
  const [told, problem, table, more] = [".about", ".problem", "table", ".more"].map((selector) => $(selector, part));
  const rows = $("tbody", part);
  const turn = turns();
  const nothing = () => [];
  let listed = null; // the collection whose people these are: its name, and the path of them
  let next = null; // where the next page begins
  let loading = false;
  let removing = 0; // people, at this time
  let news = nothing; // what became of the last removal

  more.addEventListener("click", load);

  /** Read the list anew, if it is looked at. */
  function show() {
    turn(); // what was asked before is wanted no more
    if (rows.contains(document.activeElement)) part.focus();
    rows.replaceChildren();
    next = null;
    table.hidden = more.hidden = true;
    listed = state.collection && { name: state.collection.name, path: state.path("people") };
    loading = !part.hidden && listed !== null;
    if (part.hidden && removing === 0) saidEnough();
    if (loading) load();
    else say();
  }

  function saidEnough() {
    news = nothing;
    problem.textContent = "";
  }

  async function load() {
    const newest = turn();
    const query = new URLSearchParams(next === null ? { most: PAGE } : { most: PAGE, after: next });
    const { name, path } = listed;
    const shown = rows.children.length;
    try {
      const page = await ask("GET", `${path}?${query}`);
      if (!newest()) return;
      rows.append(...page.people.map((person) => row(person, name, `${path}/${person.id}`)));
      next = page.next;
    } catch (error) {
      if (!newest()) return;
      problem.textContent = String(error);
    }
    loading = false;
    table.hidden = rows.children.length === 0;
    if (next === null && document.activeElement === more) focusOn(rows.children[shown]);
    more.hidden = next === null;
    say();
  }

  /** Focus a row, where there is one, in place of a button that goes away. */
  function focusOn(row) {
    (row ? $("button", row) : part).focus();
  }

  /** Say what was removed, and how many there are once the list and the counts are there. */
  function say() {
    if (listed === null || loading || state.reading) return tell(told, news());
    const { people, faces } = state.collection;
    const shown = rows.children.length < people ? `; ${count(rows.children.length)} are shown` : "";
    const all = `${plural(people, "person", "people")}, ${plural(faces, "face")}${shown}.`;
    tell(told, [...news(), people ? all : "Nobody is enrolled here yet."]);
  }

  function row(person, collection, path) {
    const made = element("tr");
    const label = `Remove ${person.name}`;
    const button = element("button", { type: "button", className: "quiet", ariaLabel: label }, "Remove");
    button.addEventListener("click", () => remove(person, collection, path, made));
    const since = new Date(person.enrolled).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
    made.append(
      element("th", { scope: "row" }, nameOf(person.name)),
      element("td", {}, count(person.faces)),
      element("td", {}, element("time", { dateTime: person.enrolled }, since)),
      element("td", {}, button),
    );
    return made;
  }

  /** Remove somebody of a collection, which need not be the chosen one any more when that is done. */
  async function remove(person, collection, path, row) {
    if (row.ariaBusy === "true" || !(await confirmed(person))) return;
    saidEnough();
    news = () => ["Removing ", nameOf(person.name), " and erasing the embeddings … "];
    say();
    row.ariaBusy = "true";
    removing += 1;
    try {
      const { erased, reason } = await ask("DELETE", path, null, { once: true });
      const done = `; the embeddings are ${erased ? "erased" : "not erased yet"} from the files. `;
      const more = reason ? `${sentence(reason)} ` : "";
      news = () => [nameOf(person.name), " is removed from ", nameOf(collection), done, more];
      if (row.contains(document.activeElement)) focusOn(row.nextElementSibling ?? row.previousElementSibling);
      row.remove();
      table.hidden = rows.children.length === 0;
    } catch (error) {
      news = nothing;
      show(); // whether it has happened, the list says
      problem.replaceChildren("Removing ", nameOf(person.name), " from ", nameOf(collection), `: ${error}`);
    }
    removing -= 1;
    state.refresh();
  }

  return {
    show,
    /** The list of collections was read; perhaps another one is chosen. */
    follow(another) {
      if (!another) return say();
      problem.textContent = "";
      show();
    },
  };
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
