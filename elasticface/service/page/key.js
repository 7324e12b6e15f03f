// The API key: in this tab's session alone. It may come in the address's fragment, which browsers never send.

const ITEM = "elasticface key";

/** The key; null where there is none. One in the fragment is taken, and gone from the address bar and the history. */
export function readKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    keepKey(given);
  }
  return sessionStorage.getItem(ITEM);
}

export const keepKey = (key) => sessionStorage.setItem(ITEM, key.trim());

export const forgetKey = () => sessionStorage.removeItem(ITEM);
