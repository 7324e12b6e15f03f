// What answers mean, in plain sentences. A sentence is a list of text and names ({ name }).

const SMALL = 40; // pixels, the least width that is enrolled (elasticface/gallery/rules.py)
const UNSURE = 0.7; // the detector's score, likewise

export const count = (number) => number.toLocaleString("en");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A time of the service, to the minute. */
export const since = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

export const figure = (similarity) => similarity.toFixed(3).replace("-", "−");

/** A rate as people count: 0.0061 -> "1 in 160", on one line. */
export function oneIn(rate) {
  if (rate <= 0) return "none";
  if (rate > 0.15) return share(rate);
  return `1\u00a0in\u00a0${count(Number((1 / rate).toPrecision(2)))}`;
}

/** What a search has found: its kind, the sentence, and what there is to say about it; `fpirs` are those of the page. */
export function searched(answer, fpirs) {
  const best = answer.candidates[0];
  if (answer.people === 0) return { kind: "undecided", sentence: ["Nobody is enrolled here yet."], more: [] };
  const nearest = best && ["The most similar is ", { name: best.person }, `, with ${figure(best.similarity)}`];
  if (answer.reason !== null) return undecided(reasonOf(answer, fpirs), nearest && [...nearest, "."]);
  const rate = oneIn(answer.false_positive_rate);
  const range = between(answer.false_positive_interval);
  const strangers = [`Of strangers who are searched for, about ${rate} would be taken for somebody here${range}.`];
  const threshold = `the threshold is ${figure(answer.threshold)}.`;
  if (answer.person !== null) {
    const more = [[`Similarity ${figure(best.similarity)}; ${threshold}`], strangers];
    return { kind: "found", sentence: ["This is probably ", { name: answer.person }, "."], more };
  }
  const here = answer.people === 1 ? "Not the one person here" : `Nobody of the ${count(answer.people)} people here`;
  const more = [nearest && [...nearest, `; ${threshold}`], strangers, missed(answer)];
  return { kind: "unknown", sentence: [`${here}, as far as photos tell.`], more };
}

/** What a comparison has found. */
export function compared(answer) {
  const similarity = `Similarity ${figure(answer.similarity)}`;
  if (answer.same === null) return undecided(sentence(answer.reason), [`${similarity}.`]);
  const rate = oneIn(answer.fmr);
  const more = [
    [`${similarity}; the threshold is ${figure(answer.threshold)}.`],
    likelihood(answer.llr),
    [`Of pairs of different people, about ${rate} would be taken for one person${between(answer.fmr_interval)}.`],
  ];
  // Thresholds are of a false match rate: the likelihood ratio may speak for the other answer.
  if (answer.same) {
    const unlike = answer.llr !== null && answer.llr < 0;
    const like = unlike ? "Similar enough for this setting, but more like two people." : "This is probably one person.";
    return { kind: "found", sentence: [like], more };
  }
  const similar = answer.llr > 0;
  const unlike = similar ? "Not similar enough to say that it is one person." : "These are probably two people.";
  return { kind: "unknown", sentence: [unlike], more: [...more, missed(answer)] };
}

/** How a search was done. */
export function how({ search, recall, aggregation }) {
  const of = aggregation === "best" ? "the most similar of the person’s faces" : "the mean of the person’s faces";
  const similar = `A person is as similar as ${of}.`;
  if (search === "exact") return `The search is exact. ${similar}`;
  const [rate, low, high] = [recall.rate, ...recall.interval].map((one) => `${Math.round(1000 * one) / 10}\u00a0%`);
  const found = `found the most similar in ${rate} of ${plural(recall.searches, "search", "searches")}`;
  return `The search is approximate: it ${found} that measured it (95\u00a0% interval: ${low} to ${high}). ${similar}`;
}

/** What is to be said of the face that was taken from a photo. */
export function remarks(face, choice, photo = "The photo") {
  const [left, , right] = face.box;
  const width = Math.round(right - left);
  const taken = choice === "central" ? "most central" : choice;
  return [
    face.found > 1 && `${photo} has ${count(face.found)} faces; the ${taken} one was taken.`,
    width < SMALL &&
      `${photo}: the face is ${plural(width, "pixel")} wide; what is said of one below ${SMALL} is less certain.`,
    face.score < UNSURE &&
      `${photo}: the detector is not sure that this is a face (score ${face.score.toFixed(2)}).`,
  ].filter(Boolean);
}

/** A clause of the service as a sentence. */
export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** A rate that is no small one, with as many digits as tell it from all. */
function share(rate) {
  const rest = 100 * (1 - rate);
  const digits = rest > 1e-4 && rest < 1 ? Math.ceil(-Math.log10(rest)) : 0;
  return `${(100 * rate).toFixed(digits)}\u00a0in\u00a0100`;
}

function between(interval) {
  return interval ? ` (95\u00a0% interval: ${oneIn(interval[0])} to ${oneIn(interval[1])})` : "";
}

function undecided(reason, similar) {
  return { kind: "undecided", sentence: ["No decision."], more: [similar, [reason]] };
}

/** Why a search has no decision: in words of the page where another of its choices helps, else in the service's. */
function reasonOf({ reason, fpir, lowest_fpir: lowest, comparisons }, fpirs) {
  if (lowest === null || lowest <= fpir) return sentence(reason);
  const enough = Math.min(...fpirs.filter((one) => one >= lowest));
  const choose = enough < 1 ? `choose at most ${oneIn(enough)}, or ` : "";
  const named = `the model’s strictest threshold names somebody for about ${oneIn(lowest)} strangers`;
  return `Among ${plural(comparisons, "face")} ${named}: ${choose}calibrate the model with more people.`;
}

function missed({ acceptance }) {
  if (acceptance === null || acceptance === 0 || acceptance === 1) return null; // measured with too few pairs
  return [`This threshold misses about ${oneIn(1 - acceptance)} pairs of photos of one person.`];
}

function likelihood(llr) {
  if (llr === null) return null;
  const times = count(Number(Math.exp(Math.abs(llr)).toPrecision(2)));
  return llr >= 0
    ? [`Such a similarity is ${times} times as likely for one person as for two.`]
    : [`Such a similarity is ${times} times as likely for two people as for one.`];
}
