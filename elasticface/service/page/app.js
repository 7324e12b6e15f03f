// The page's start: the key, what the service can do, the collection, and the four parts.

import { makeCompare } from "./compare.js";
import { $, element, nameOf } from "./dom.js";
import { makeEnrol } from "./enrol.js";
import { forgetKey, keepKey, readKey } from "./key.js";
import { makePeople } from "./people.js";
import { makeSearch } from "./search.js";
import { ask } from "./service.js";
import { makeTabs } from "./tabs.js";
import { plural, sentence } from "./words.js";

const CHOSEN = "elasticface collection"; // its name, in the tab's session

/** What the parts share. */
const state = {
  service: null, // the answer of /v1/service
  collection: null, // the one that is chosen; null where there is none
  get limits() {
    return state.service.limits;
  },
  path: (tail) => `v1/collections/${encodeURIComponent(state.collection.name)}/${tail}`,
  /** Read anew how many people there are. */
  refresh: () => showCollections().catch(trouble),
};

const trouble = (error) => ($("#notice").textContent = sentence(String(error)));

let people = null; // once the parts are made
let open = null;

async function start() {
  if (readKey() === null) return enter();
  try {
    state.service = await ask("GET", "v1/service");
  } catch (error) {
    return enter(error);
  }
  if (open === null) {
    makeSearch($("#search"), state);
    makeCompare($("#compare"), state);
    makeEnrol($("#enrol"), state);
    people = makePeople($("#people"), state);
    open = makeTabs($('[role="tablist"]'), (id) => id === "people" && people.show());
  }
  const gallery = await hasGallery();
  for (const id of ["tab-search", "tab-enrol", "tab-people", "collections"]) $(`#${id}`).hidden = !gallery;
  $("#entry").hidden = true;
  $("#session").hidden = $("#parts").hidden = false;
  open(gallery ? "search" : "compare");
}

function enter(error = "") {
  $("#entry").hidden = false;
  $("#session").hidden = $("#parts").hidden = true;
  $("#entry .problem").textContent = String(error);
  $("#key").focus();
}

/** Whether people can be enrolled here; says why not. */
async function hasGallery() {
  $("#notice").textContent = "";
  if (!state.service.gallery) return false;
  try {
    await showCollections();
    return true;
  } catch (error) {
    trouble(error);
    return false;
  }
}

async function showCollections(name = state.collection?.name ?? sessionStorage.getItem(CHOSEN)) {
  const { collections } = await ask("GET", "v1/collections");
  const named = collections.find((one) => one.name === name);
  const chosen = named ?? collections.find((one) => one.usable) ?? collections[0] ?? null;
  state.collection = chosen;
  const options = collections.map((one) => element("option", { selected: one === chosen }, one.name));
  $("#collection").replaceChildren(...(options.length ? options : [element("option", {}, "none yet")]));
  $("#collection").disabled = collections.length === 0;
  if (chosen) sessionStorage.setItem(CHOSEN, chosen.name);
  $("#search .about").replaceChildren(...(chosen ? among(chosen) : []));
  const why = chosen === null ? "There is no collection yet: make one with New collection, above" : chosen.reason;
  for (const said of document.querySelectorAll(".unusable")) {
    said.textContent = why === null ? "" : sentence(why);
    said.hidden = why === null;
    const form = said.parentElement.querySelector("form");
    if (form) form.inert = why !== null;
  }
}

function among({ name, people }) {
  return ["One of the ", plural(people, "person", "people"), " in ", nameOf(name), ", or nobody."];
}

async function choose(name) {
  await showCollections(name);
  if (!$("#people").hidden) await people.show();
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
  sessionStorage.clear();
  location.reload(); // and with it everything that was shown
});
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault()); // a photo dropped beside a field opens nothing
}
window.addEventListener("hashchange", () => readKey() && start());

$("#collection").addEventListener("change", ({ target }) => choose(target.value).catch(trouble));
$("#make").addEventListener("click", () => $("#new").showModal());
for (const button of document.querySelectorAll("dialog .cancel")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
$("#new form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, aggregation } = event.target.elements;
  $("#new .problem").textContent = "";
  try {
    const made = await ask("POST", "v1/collections", { name: name.value, aggregation: aggregation.value });
    await choose(made.name);
    $("#new").close();
  } catch (error) {
    $("#new .problem").textContent = String(error);
  }
});

start();
