// Who is enrolled, page by page, or those of a name; and removal, for good.

import { $, element, nameOf, tell } from "./dom.js";
import { makeFaces } from "./faces.js";
import { ask } from "./service.js";
import { turns } from "./turns.js";
import { count, plural, sentence, since } from "./words.js";

const PAGE = 100; // people at a time
const MOST = 1000; // of a request, while a name is sought (MOST_PEOPLE in elasticface/service/limits.py)
const PAUSE = 200; // ms without a key, after which a name is sought

export function makePeople(part, state) {
  const [told, problem, find, table, unread, more] = [".about", ".problem", ".find", "table", ".unread", ".more"].map(
    (selector) => $(selector, part),
  );
  const [rows, sought] = [$("tbody", part), $("input", find)];
  const showFaces = makeFaces();
  const turn = turns();
  const nothing = () => [];
  let listed = null; // the collection whose people these are: its name, whether it keeps faces, and the path of them
  let next = null; // where the next page begins
  let loading = false;
  let removing = 0; // people, at this time
  let news = nothing; // what became of the last removal
  let typing = null;

  more.addEventListener("click", load);
  sought.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(show, PAUSE);
  });

  /** Read the list anew, if it is looked at. */
  function show() {
    turn(); // what was asked before is wanted no more
    if (rows.contains(document.activeElement)) part.focus();
    rows.replaceChildren();
    next = null;
    unread.textContent = "";
    table.hidden = more.hidden = true;
    const { collection } = state;
    listed = collection && { name: collection.name, keeps: collection.keeps_faces, path: state.path("people") };
    find.hidden = listed === null;
    loading = false;
    if (part.hidden && removing === 0) saidEnough();
    if (!part.hidden && listed !== null) load();
    else say();
  }

  function saidEnough() {
    news = nothing;
    problem.textContent = "";
  }

  /**
   * Show a page more. Names are in no address, which proxies log: where one is sought all are read until there are as many
   * people of that name.
   */
  async function load() {
    const newest = turn();
    const { path } = listed;
    const shown = rows.children.length;
    const wanted = spelling(sought.value.trim());
    loading = true;
    unread.textContent = "";
    say();
    try {
      do {
        const query = new URLSearchParams({ most: wanted ? MOST : PAGE, after: next ?? 0 });
        const page = await ask("GET", `${path}?${query}`);
        if (!newest()) return;
        const people = page.people.filter((person) => spelling(person.name).includes(wanted));
        rows.append(...people.map((person) => row(person, listed)));
        table.hidden = rows.children.length === 0;
        next = page.next;
      } while (wanted && next !== null && rows.children.length < shown + PAGE);
    } catch (error) {
      if (!newest()) return;
      unread.textContent = sentence(String(error));
    }
    loading = false;
    const failed = unread.textContent !== "";
    if (next === null && !failed && document.activeElement === more) focusOn(rows.children[shown]);
    more.hidden = next === null && !failed;
    more.textContent = failed ? "Try again" : "Show more";
    say();
  }

  /** Focus a row, where there is one, in place of a button that goes away. */
  function focusOn(row) {
    (row ? $("button", row) : part).focus();
  }

  /** Say what was removed, and how many there are once the list and the counts are there. */
  function say() {
    if (listed === null) return tell(told, news());
    if (loading || state.reading) return tell(told, [...news(), "The list is being read …"]);
    const { people, faces } = state.collection;
    const shown = rows.children.length;
    const all = `${plural(people, "person", "people")}, ${plural(faces, "face")}`;
    const found = `${count(shown)} found${more.hidden ? "" : " so far"}`;
    if (sought.value.trim()) tell(told, [...news(), `${all}; ${found}.`]);
    else if (people) tell(told, [...news(), shown < people ? `${all}; ${count(shown)} are shown.` : `${all}.`]);
    else tell(told, [...news(), "Nobody is enrolled here yet."]);
  }

  function row(person, collection) {
    const made = element("tr");
    const path = `${collection.path}/${person.id}`;
    const label = `Remove ${person.name}`;
    const button = element("button", { type: "button", className: "quiet", ariaLabel: label }, "Remove");
    button.addEventListener("click", () => remove(person, collection, path, made));
    made.append(
      element("th", { scope: "row" }, nameOf(person.name)),
      element("td", {}, collection.keeps ? facesOf(person, path) : count(person.faces)),
      element("td", {}, element("time", { dateTime: person.enrolled }, since(person.enrolled))),
      element("td", {}, button),
    );
    return made;
  }

  /** How many there are, to press. */
  function facesOf(person, path) {
    const label = `${plural(person.faces, "face")} of ${person.name}`;
    const properties = { type: "button", className: "quiet", ariaLabel: label, ariaHasPopup: "dialog" };
    const button = element("button", properties, count(person.faces));
    button.addEventListener("click", () => showFaces(person, path));
    return button;
  }

  /** Remove somebody of a collection, which need not be the chosen one any more when that is done. */
  async function remove(person, collection, path, row) {
    if (row.ariaBusy === "true" || !(await confirmed(person))) return;
    saidEnough();
    const what = collection.keeps ? "embeddings and faces" : "embeddings";
    news = () => ["Removing ", nameOf(person.name), ` and erasing the ${what} … `];
    say();
    row.ariaBusy = "true";
    removing += 1;
    try {
      const { erased, reason } = await ask("DELETE", path, null, { once: true });
      const done = `; the ${what} are ${erased ? "erased" : "not erased yet"} from the files. `;
      const more = reason ? `${sentence(reason)} ` : "";
      news = () => [nameOf(person.name), " is removed from ", nameOf(collection.name), done, more];
      if (row.contains(document.activeElement)) focusOn(row.nextElementSibling ?? row.previousElementSibling);
      row.remove();
      table.hidden = rows.children.length === 0;
    } catch (error) {
      news = nothing;
      show(); // whether it has happened, the list says
      problem.replaceChildren("Removing ", nameOf(person.name), " from ", nameOf(collection.name), `: ${error}`);
    }
    removing -= 1;
    state.refresh();
  }

  return {
    show,
    /** The list of collections was read; perhaps another one is chosen. */
    follow(another) {
      if (!another) return say();
      problem.textContent = sought.value = "";
      show();
    },
  };
}

/** A name as it is sought: without case and accents. */
const spelling = (name) => name.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();

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
