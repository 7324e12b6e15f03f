// What the tab's session keeps; where the browser refuses that, the page keeps it until it is left.

const storage = usable();
const values = new Map();

/** Whether it is there still when the page is loaded anew. */
export const lasts = storage !== null;

export const session = storage ?? {
  getItem: (name) => values.get(name) ?? null,
  setItem: (name, value) => values.set(name, value),
  removeItem: (name) => values.delete(name),
  clear: () => values.clear(),
};

function usable() {
  try {
    sessionStorage.setItem("elasticface", "");
    sessionStorage.removeItem("elasticface");
    return sessionStorage;
  } catch {
    return null; // storage is blocked, or full
  }
}
