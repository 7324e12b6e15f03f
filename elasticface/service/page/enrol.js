// A person and photos of the person: a request each, so that each is told of at once and one can stop.

import { answerIn } from "./answer.js";
import { $, crop, element, nameOf } from "./dom.js";
import { photoField, tooLarge } from "./photos.js";
import { ask } from "./service.js";
import { count, plural, sentence } from "./words.js";

const WORDS = { enrolled: "Enrolled", already: "Is here already", refused: "Not enrolled" };

export function makeEnrol(part, state) {
  const form = $("form", part);
  const place = $(".field", part);
  const field = photoField(place, () => state.limits);
  const answer = answerIn(part, "Each photo is listed here: enrolled, or why not.");
  const [button, stop] = form.querySelectorAll(":scope > .row > button");
  let [running, stopped] = [false, false];
  stop.addEventListener("click", () => (stopped = true));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!(await field.ready()) || running || state.collection === null) return;
    const { person, faces } = form.elements;
    run(true);
    await enrol(state.collection, { person: person.value, faces: faces.value, crops: "yes" }, field.photos);
    run(false);
    state.refresh();
  });

  /** Begin or end: meanwhile no photos are chosen, and the buttons keep the focus. */
  function run(begins) {
    [running, stopped] = [begins, false];
    place.disabled = begins;
    button.ariaDisabled = begins ? "true" : null;
    if (document.activeElement === stop) button.focus();
    stop.hidden = !begins;
  }

  /** Send each photo to a collection, which stays the same though another may be chosen meanwhile. */
  async function enrol(collection, fields, photos) {
    const where = state.path("faces");
    const about = ["Photos of ", nameOf(fields.person), ", for ", nameOf(collection.name), "."];
    const line = element("p", { className: "sentence" });
    const bar = element("progress", { max: photos.length, value: 0, ariaLabel: "photos done" });
    const list = element("ul", { className: "outcomes" });
    const counts = { enrolled: 0, already: 0, refused: 0 };
    let failure = null;
    answer.show([element("p", { className: "hint" }, about), line], bar, element("div", { role: "log" }, list));
    for (const [at, photo] of photos.entries()) {
      if (stopped) break;
      line.replaceChildren(`Photo ${count(at + 1)} of ${count(photos.length)} …`);
      try {
        const one = await enrolOne(where, fields, photo);
        counts[one.outcome] += 1;
        list.append(outcome(photo, one));
      } catch (error) {
        failure = error; // not of the photo: the next would fail as well
        break;
      }
      bar.value = at + 1;
    }
    field.show(photos.slice(bar.value));
    const left = photos.length - bar.value;
    const somebody = counts.enrolled + counts.already > 0;
    const said = [somebody ? nameOf(fields.person) : "Nobody", `: ${plural(counts.enrolled, "new face")}`];
    if (counts.already) said.push(`, ${count(counts.already)} here already`);
    if (counts.refused) said.push(`, ${plural(counts.refused, "photo")} not enrolled`);
    if (left) said.push(`, ${count(left)} left`);
    line.replaceChildren(...said, ".");
    if (failure) answer.trouble(failure);
  }

  async function enrolOne(where, fields, photo) {
    const refused = await tooLarge(photo, state.limits);
    if (refused) return { outcome: "refused", reason: refused };
    return (await ask("POST", where, { ...fields, photos: photo })).photos[0];
  }
}

function outcome(photo, { outcome, reason, face }) {
  const picture = crop(face, "") ?? element("span", { className: "crop none" });
  const told = sentence(reason ? `${WORDS[outcome]}: ${reason}` : WORDS[outcome]);
  const text = element("div", {}, element("p", {}, photo.name), element("p", {}, told));
  return element("li", { className: outcome }, picture, text);
}
