// The service: requests with the key, answers as JSON, and what was wrong as a Problem.

import { readKey } from "./key.js";

const TRIES = 5; // where the service is busy
const NO_ANSWER = "the service does not answer; see whether it runs, and whether you are connected";
const NOT_BEGUN = "queue-full"; // the kind of problem of a request that was not even read

/** What is wrong, in the service's words (RFC 9457). */
export class Problem extends Error {
  constructor(detail, kind = "", status = 0, requestId = null) {
    super(detail);
    Object.assign(this, { kind, status, requestId });
  }

  toString() {
    return this.requestId ? `${this.message} (request id ${this.requestId})` : this.message;
  }
}

/**
 * Ask for `path`; `fields` are those of a form, a list of values as a part each. Returns the answer.
 *
 * Where the service is busy it is asked again, and `waits` told of each such Problem. What must not happen twice
 * (`once`) is sent again only where the service did not begin with it: where the database did not answer it may be done.
 */
export async function ask(method, path, fields = null, { once = false, waits = () => {} } = {}) {
  for (let tries = 1; ; tries++) {
    const key = readKey();
    const response = await send(method, path, fields, key);
    if (response.ok) return answerOf(response);
    const problem = await problemOf(response);
    const seconds = Number(response.headers.get("Retry-After"));
    const again = response.status === 503 && seconds > 0 && (!once || problem.kind === NOT_BEGUN);
    if (!again || tries === TRIES) {
      const current = key !== null && key === readKey(); // not one that another has replaced meanwhile
      const refused = new CustomEvent("key-refused", { detail: problem });
      if (response.status === 401 && current) document.dispatchEvent(refused);
      throw problem;
    }
    waits(problem);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

async function send(method, path, fields, key) {
  const headers = new Headers();
  try {
    headers.set("X-API-Key", key ?? "");
  } catch {
    throw new Problem("a key has only letters, digits, - and _; this has something else", "wrong-key", 401);
  }
  try {
    return await fetch(path, { method, headers, body: fields && form(fields), cache: "no-store" });
  } catch {
    throw new Problem(NO_ANSWER);
  }
}

async function answerOf(response) {
  try {
    return await response.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw new Problem(NO_ANSWER); // it broke off
    throw new Problem("the answer is not the service's: a proxy may ask you to log in; load the page anew");
  }
}

function form(fields) {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) made.append(name, one);
  }
  return made;
}

async function problemOf(response) {
  const said = Object(await response.json().catch(() => null)); // of a proxy it may be anything
  const text = (value) => (typeof value === "string" ? value : null);
  const detail = text(said.detail) || `the service answered with status ${response.status}`;
  return new Problem(detail, text(said.type)?.split(":").pop(), response.status, text(said.request_id));
}
