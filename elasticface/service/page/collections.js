// The collections, and which one is chosen: what the page shows and where requests go are both read from here.

import { $, complain, element, nameOf, tell } from "./dom.js";
import { ask } from "./service.js";
import { session } from "./session.js";
import { turns } from "./turns.js";
import { plural, sentence } from "./words.js";

const CHOSEN = "elasticface collection"; // its name, in the tab's session

/**
 * The choice of a collection in the page's head. `changed` is called whenever the list was read or the choice changed,
 * with whether another collection is chosen now.
 */
export function makeCollections(changed) {
  const [box, notice, again] = ["#collection", "#notice p", "#notice button"].map((selector) => $(selector));
  const dialog = $("#new");
  const [readings, makings] = [turns(), turns()];
  let all = null; // as the service lists them; null until it has
  let name = session.getItem(CHOSEN); // of the chosen one
  let reading = false;
  let offered = "";

  const chosen = () => all?.find((one) => one.name === name) ?? null;

  /** Take over a list and a choice, and have everything that is shown follow. No choice: one that can be used. */
  function become(list, choice) {
    const before = chosen()?.name;
    all = list;
    name = choice ?? (all?.find((one) => one.usable) ?? all?.[0])?.name ?? null;
    if (chosen()) session.setItem(CHOSEN, name);
    show();
    changed(chosen()?.name !== before);
  }

  /** Read the list anew. What is chosen stays chosen, and is missed where it is gone. */
  async function read() {
    const newest = readings();
    let [list, wrong] = [null, []];
    const waits = (error) => newest() && tell(notice, [sentence(String(error)), " It is tried again."]);
    reading = true;
    show();
    try {
      list = (await ask("GET", "v1/collections", null, { waits })).collections;
    } catch (error) {
      if (error.status !== 401) wrong = [sentence(String(error))]; // else the key is asked for
    }
    if (!newest()) return;
    reading = false;
    become(list ?? all, name);
    tell(notice, wrong);
    if (!wrong.length && document.activeElement === again) $(box.disabled ? "#make" : "#collection").focus();
    again.hidden = !wrong.length;
  }

  function show() {
    const one = chosen();
    const names = (all ?? []).map((each) => each.name);
    const none = all === null ? "…" : all.length ? "choose one" : "none yet";
    const choices = [...(one ? [] : [["", none]]), ...names.map((each) => [each, each])];
    if (JSON.stringify(choices) !== offered) {
      offered = JSON.stringify(choices); // made anew only where it is another list: somebody may have it open
      const option = ([value, text]) => element("option", { value, disabled: value === "" }, text);
      box.replaceChildren(...choices.map(option));
    }
    box.value = one?.name ?? "";
    box.disabled = !all?.length;
    $("#search .about").replaceChildren(...(one ? among(one) : []));
    const kept = `. They themselves are not kept${one?.keeps_faces ? ", but the aligned faces are" : ""}.`;
    $("#enrol .about").replaceChildren("Photos of one person", ...(one ? [", for ", nameOf(name)] : []), kept);
    const usable = obstacle() === null;
    for (const said of document.querySelectorAll(".unusable")) {
      const [part, form] = [said.parentElement, $("form", said.parentElement)];
      said.replaceChildren(...(obstacle() ?? []));
      said.hidden = usable;
      if (form === null) continue;
      if (!usable && form.contains(document.activeElement)) part.focus();
      form.inert = !usable;
    }
    tell($("#news"), [...(one ? ["Collection ", nameOf(name), ". "] : []), ...(obstacle() ?? [])]);
  }

  /** Why the collection cannot be used, as text and names; null: it can. */
  function obstacle() {
    if (all === null) return [reading ? "The collections are being read …" : "The collections could not be read."];
    if (all.length === 0) return ["There is no collection yet: make one with New collection, above."];
    if (chosen() === null) return ["The collection ", nameOf(name), " is gone: choose another one, above."];
    return chosen().usable ? null : [sentence(chosen().reason)];
  }

  async function make({ name: called, aggregation, keep }) {
    const wanted = makings(); // until the dialog is closed
    const problem = $(".problem", dialog);
    complain(called, problem, "");
    try {
      const keep_faces = keep.checked ? "yes" : "no";
      const fields = { name: called.value, aggregation: aggregation.value, keep_faces };
      const made = await ask("POST", "v1/collections", fields, { once: true });
      if (!wanted()) return;
      become([...(all ?? []).filter((one) => one.name !== made.name), made], made.name);
      dialog.close();
    } catch (error) {
      if (wanted()) complain(called, problem, error);
    } finally {
      read(); // it may be there, whatever the answer
    }
  }

  box.addEventListener("change", () => {
    become(all, box.value);
    read();
  });
  again.addEventListener("click", read);
  $("#make").addEventListener("click", () => {
    $("form", dialog).reset();
    complain($("#name"), $(".problem", dialog), "");
    dialog.showModal();
  });
  dialog.addEventListener("close", () => makings());
  $("form", dialog).addEventListener("submit", (event) => {
    event.preventDefault();
    make(event.target.elements);
  });
  return { chosen, read, reading: () => reading };
}

function among({ name, people, keeps_faces }) {
  const kept = keeps_faces ? " Their faces are kept, and shown." : "";
  if (people === 0) return ["Nobody is enrolled in ", nameOf(name), " yet."];
  return ["One of the ", plural(people, "person", "people"), " in ", nameOf(name), `, or nobody.${kept}`];
}
