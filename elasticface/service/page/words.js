// What answers mean, in plain sentences. A sentence is a list of text and names ({ name }).

const SMALL = 40; // pixels, the least width that is enrolled (elasticface/gallery/rules.py)
const UNSURE = 0.7; // the detector's score, likewise

export const count = (number) => number.toLocaleString("en");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const figure = (similarity) => similarity.toFixed(3).replace("-", "−");

/** A rate as people count: 0.0061 -> "1 in 160", on one line. */
export function oneIn(rate) {
  if (rate <= 0) return "none";
  if (rate > 0.15) return share(rate);
  return `1\u00a0in\u00a0${count(Number((1 / rate).toPrecision(2)))}`;
}

/** What a search has found: its kind, the sentence, and what there is to say about it. */
export function searched(answer) {
  const best = answer.candidates[0];
  const nearest = best && ["The most similar is ", { name: best.person }, `, with ${figure(best.similarity)}`];
  if (answer.people === 0) return { kind: "undecided", sentence: ["Nobody is enrolled here yet."], more: [] };
  if (answer.reason !== null) {
    return { kind: "undecided", sentence: ["No decision."], more: [nearest && [...nearest, "."], [sentence(answer.reason)]] };
  }
  const strangers = [`Of strangers who are searched for, about ${oneIn(answer.false_positive_rate)} would be taken for somebody here${between(answer.false_positive_interval)}.`];
  if (answer.person !== null) {
    const similar = [`Similarity ${figure(best.similarity)}; the threshold is ${figure(answer.threshold)}.`];
    return { kind: "found", sentence: ["This is probably ", { name: answer.person }, "."], more: [similar, strangers] };
  }
  const here = answer.people === 1 ? "Not the one person here" : `Nobody of the ${count(answer.people)} people here`;
  const below = nearest && [...nearest, `; the threshold is ${figure(answer.threshold)}.`];
  return { kind: "unknown", sentence: [`${here}, as far as photos tell.`], more: [below, strangers, missed(answer)] };
}

/** What a comparison has found. */
export function compared(answer) {
  if (answer.same === null) {
    const more = [[`Similarity ${figure(answer.similarity)}.`], [sentence(answer.reason)]];
    return { kind: "undecided", sentence: ["No decision."], more };
  }
  const similar = [`Similarity ${figure(answer.similarity)}; the threshold is ${figure(answer.threshold)}.`];
  const strangers = [`Of pairs of different people, about ${oneIn(answer.fmr)} would be taken for one person${between(answer.fmr_interval)}.`];
  const more = [similar, likelihood(answer.llr), strangers];
  if (answer.same) return { kind: "found", sentence: ["This is probably one person."], more };
  const unlike = answer.llr > 0 ? "Not similar enough to say that it is one person." : "These are probably two people.";
  return { kind: "unknown", sentence: [unlike], more: [...more, missed(answer)] };
}

/** What is to be said of the face that was taken from a photo. */
export function remarks(face, choice, photo = "The photo") {
  const [left, , right] = face.box;
  const width = Math.round(right - left);
  const said = [];
  if (face.found > 1) said.push(`${photo} has ${count(face.found)} faces; the ${choice === "central" ? "most central" : choice} one was taken.`);
  if (width < SMALL) said.push(`${photo}: the face is only ${plural(width, "pixel")} wide. What is said of a face below ${SMALL} is less certain.`);
  if (face.score < UNSURE) said.push(`${photo}: the detector is not sure that this is a face (score ${face.score.toFixed(2)}).`);
  return said;
}

/** A clause of the service as a sentence. */
export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const share = (rate) => `${Math.round(100 * rate)}\u00a0in\u00a0100`;

function between(interval) {
  return interval ? ` (95\u00a0% interval: ${oneIn(interval[0])} to ${oneIn(interval[1])})` : "";
}

function missed(answer) {
  if (answer.acceptance === null) return null;
  return [`Of pairs of photos of one person, ${share(answer.acceptance)} reach this threshold: it can miss somebody who is here.`];
}

function likelihood(llr) {
  if (llr === null) return null;
  const times = count(Number(Math.exp(Math.abs(llr)).toPrecision(2)));
  return llr >= 0
    ? [`Such a similarity is ${times} times as likely for one person as for two.`]
    : [`Such a similarity is ${times} times as likely for two people as for one.`];
}
