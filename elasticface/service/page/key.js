// The API key: in this tab's session, which copies of the tab have too, and the tab itself when it is closed and opened
// again. It may come in the address's fragment, which browsers never send.

import { session } from "./session.js";

const ITEM = "elasticface key";

/** The key; null where there is none. One in the fragment is taken, out of the address bar and the tab's history. */
export function readKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    keepKey(given);
  }
  return session.getItem(ITEM);
}

export const keepKey = (key) => session.setItem(ITEM, key.trim());

export const forgetKey = () => session.removeItem(ITEM);
