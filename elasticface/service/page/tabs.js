// Tabs as WAI-ARIA has them: arrow keys, Home and End move among them, and the panel follows.

/** Make a tab list work; `opened` is told the id of each panel that opens. Returns a function that opens one. */
export function makeTabs(list, opened) {
  const tabs = [...list.querySelectorAll('[role="tab"]')];
  const usable = () => tabs.filter((tab) => !tab.hidden);

  function open(id) {
    for (const tab of tabs) {
      const chosen = tab.getAttribute("aria-controls") === id;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
    opened(id);
  }

  list.addEventListener("click", ({ target }) => target.role === "tab" && open(target.getAttribute("aria-controls")));
  list.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser's, such as Alt+Left: back
    const shown = usable();
    const at = shown.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = shown[(next + shown.length) % shown.length];
    tab.focus();
    open(tab.getAttribute("aria-controls"));
  });
  return open;
}
