"""What `python tests/faults --log FILE` has written, as a table: ``python benches/faults.py`` prints that of the docs.

The logs are benches/results/faults-1.jsonl, of runs in one process, and faults-2.jsonl, of runs in two.
"""

import json
from typing import Any

from common import RESULTS, markdown, run

LOGS = {number: RESULTS / f"faults-{number}.jsonl" for number in (1, 2)}
COLUMNS = [
    "processes",
    "what happened to a run",
    "times",
    "amid a save",
    "newest checkpoint then damaged",
    "too early for any",
    "runs ended",
    "with other bits",
]


def main() -> None:
    """Print the table of the logs that are there."""
    print(table())


def rows(processes: int, lines: list[dict[str, Any]]) -> list[list[str]]:
    """One a signal; how runs ended stands in the first of them, as a run has had several."""
    ended = [line for line in lines if "ended" in line]
    events = [line for line in lines if "ended" not in line]
    names = list(dict.fromkeys(_name(line) for line in events))
    found = []
    for name in names:
        of_name = [line for line in events if _name(line) == name]
        counts = (
            len(of_name),
            sum(bool(line["on_disk"]["temporaries"]) for line in of_name),
            sum(line["damaged"] is not None for line in of_name),
            sum(not line["on_disk"]["checkpoints"] for line in of_name),
        )
        of_all = (len(ended), sum(bool(line["differences"]) for line in ended)) if name == names[0] else ("", "")
        found.append([str(processes), name, *map(str, (*counts, *of_all))])
    return found


def _name(line: dict[str, Any]) -> str:
    return str(line["signal"] or "ended before the signal")


def table() -> str:
    """Markdown of the logs that are there."""
    found = []
    for processes, log in LOGS.items():
        if log.exists():
            found += rows(processes, [json.loads(line) for line in log.read_text("utf-8").splitlines()])
    return markdown(COLUMNS, found, texts=2)


if __name__ == "__main__":
    run(main)
