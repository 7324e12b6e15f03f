// The page's start: the key, what the service can do, the collection, and the four parts.

import { makeCollections } from "./collections.js";
import { makeCompare } from "./compare.js";
import { $, complain } from "./dom.js";
import { makeEnrol } from "./enrol.js";
import { forgetKey, keepKey, readKey } from "./key.js";
import { makePeople } from "./people.js";
import { makeSearch } from "./search.js";
import { ask } from "./service.js";
import { lasts, session } from "./session.js";
import { makeTabs } from "./tabs.js";
import { turns } from "./turns.js";

const collections = makeCollections((another) => {
  if (another) search.forget();
  people.follow(another);
});

/** What the parts share. */
const state = {
  service: null, // the answer of /v1/service
  get limits() {
    return state.service.limits;
  },
  get collection() {
    return collections.chosen(); // null where there is none
  },
  path: (tail) => `v1/collections/${encodeURIComponent(state.collection.name)}/${tail}`,
  /** Read anew how many people there are; `reading` tells whether that is under way. */
  refresh: collections.read,
  get reading() {
    return collections.reading();
  },
};

const turn = turns();
let [search, people, open] = [null, null, null]; // once the parts are made

async function start() {
  const newest = turn();
  if (readKey() === null) return enter();
  try {
    const service = await ask("GET", "v1/service");
    if (!newest()) return;
    state.service = service;
  } catch (error) {
    if (newest()) enter(error);
    return;
  }
  if (open === null) {
    search = makeSearch($("#search"), state);
    makeCompare($("#compare"), state);
    makeEnrol($("#enrol"), state);
    people = makePeople($("#people"), state);
    open = makeTabs($('[role="tablist"]'), (id) => {
      people.show();
      if (id === "people") state.refresh();
    });
  }
  const { gallery } = state.service;
  for (const id of ["tab-search", "tab-enrol", "tab-people", "collections"]) $(`#${id}`).hidden = !gallery;
  $("#entry").hidden = true;
  $("#session").hidden = $("#parts").hidden = false;
  open(gallery ? "search" : "compare");
  if (gallery) state.refresh(); // not waited for: the database may not answer, and photos are compared without it
}

/** Ask for the key, before all else. */
function enter(error = "") {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("#entry").hidden = false;
  $("#session").hidden = $("#parts").hidden = true;
  complain($("#key"), $("#entry .problem"), error);
  $("#key").focus();
}

$("#entry form").addEventListener("submit", async (event) => {
  event.preventDefault();
  keepKey($("#key").value);
  $("#key").value = "";
  await start();
  if ($("#entry").hidden) $('[role="tab"][aria-selected="true"]').focus();
});
document.addEventListener("key-refused", ({ detail }) => {
  forgetKey();
  enter(detail);
});
$("#forget").addEventListener("click", () => {
  window.addEventListener("pagehide", () => session.clear()); // the last that is done: answers may come until then
  location.reload(); // and with it goes everything that was shown
});
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault()); // a photo dropped beside a field opens nothing
}
window.addEventListener("hashchange", () => readKey() && start());
for (const button of document.querySelectorAll("dialog .cancel")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

if (!lasts) $("#keeps").textContent = "This browser lets pages keep nothing: loaded anew, this one asks for it again.";
start();
