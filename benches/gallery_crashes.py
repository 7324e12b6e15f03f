"""What `python tests/crashes.py` has kept with ``--out``, as a table: ``python benches/gallery_crashes.py`` prints it.

crashes.json is of ``kills``, full_disk.json of ``full``.
"""

from typing import Any

from common import RESULTS, machine, markdown, run, stored

KILLS, FULL = RESULTS / "crashes.json", RESULTS / "full_disk.json"


def main() -> None:
    """Print the table."""
    print(table(stored(KILLS), stored(FULL)))


def table(kills: dict[str, Any], full: dict[str, Any]) -> str:
    """Markdown: a row for what was killed, and one for the full disk; the programs end where anything is missing."""
    names = {"writers": f"the {kills['writers']} writers", "server": "the server", "both": "all of them"}
    rows = []
    for what, name in names.items():
        met = [one for one in kills["kills"] if one["killed"] == what]
        counts = (len(met), *(sum(one[key] for one in met) for key in ("acknowledged", "begun", "done")))
        rows.append([f"{name} killed", *(f"{count:,}" for count in counts)])
    begun = full["there"] - full["acknowledged"]
    rows.append([f"a disk of {full['bytes'] / 1e6:.0f} MB full", "1", f"{full['acknowledged']:,}", "1", f"{begun:,}"])
    columns = ["what happened", "times", "acknowledged, and there", "on their way", "of these done, whole"]
    return f"{markdown(columns, rows)}\n\n{machine(kills['environment'])}."


if __name__ == "__main__":
    run(main)
