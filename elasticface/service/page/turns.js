// Of what is under way at one time the newest counts: an answer that comes late changes nothing any more.

/** Returns a function that begins a turn, and of each turn one that says whether it is still the newest. */
export function turns() {
  let newest = 0;
  return () => {
    const mine = ++newest;
    return () => mine === newest;
  };
}
