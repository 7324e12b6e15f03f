"""What the programs of this folder share: how they start, name the machine, show tables and keep their figures."""

import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionYesNo, ArgumentParser, auto_cli
from rich.console import Console
from rich.table import Table

from elasticface.base import environment
from elasticface.base.errors import InputError
from elasticface.base.files import write_json

RESULTS = Path(__file__).parent / "results"
console = Console()


class _Parser(ArgumentParser):
    """A bool is a flag: --markdown, not --markdown true."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("type") is bool:
            del kwargs["type"]
            kwargs |= {"action": ActionYesNo(no_prefix="no-"), "nargs": "?"}
        return super().add_argument(*args, **kwargs)


def run(bench: Callable[..., None]) -> None:
    """Run ``bench`` with the options of the command line; wrong ones end it with one line and exit code 2."""
    try:
        auto_cli(bench, parser_class=_Parser)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def save(out: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """``figures`` with what they were measured on, as they now stand in ``out``."""
    stored = {"environment": environment.describe(), **figures}
    write_json(out, stored)
    console.print(f"every round: {out}", soft_wrap=True)
    return stored


def stored(out: Path) -> dict[str, Any]:
    """What :func:`save` has kept in ``out``.

    Raises:
        InputError: nothing yet.
    """
    if not out.exists():
        raise InputError(f"--out: there is no {out} yet; measure first, without --markdown")
    figures: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return figures


def status_bytes(name: str, process: int | str = "self") -> int:
    """What Linux says of a process's memory: ``VmRSS``, resident now, or ``VmHWM``, at most; 0 where nothing tells."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def start_peak() -> int:
    """Bytes that are resident now, from where the peak (VmHWM) starts again; where Linux lets it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def machine(described: dict[str, Any]) -> str:
    """One line for the head of a table, from what :func:`save` has stored or ``environment.describe`` says."""
    threads = described["threads"]
    return f"{described['processor']}, {threads} thread{'s'[: threads != 1]}, torch {described['versions']['torch']}"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, and from where to where: ``1.74 (1.70–1.81)``."""
    return "{} ({}–{})".format(*(rounded(v, digits) for v in (statistics.median(values), min(values), max(values))))


def rounded(value: float, digits: int = 3) -> str:
    """``digits`` that count, never as a power of ten: 0.0123, 1.23, 12,345."""
    if value == 0:
        return "0"
    places = digits - 1 - int(f"{value:e}".partition("e")[2])
    return f"{value:,.{max(places, 0)}f}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table for a page of the docs; all but the first ``texts`` columns are numbers."""
    rules = [":--" if number < texts else "--:" for number in range(len(columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rules, *rows))


def printed(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1, title: str | None = None) -> Table:
    """The same table for the terminal, where the range of a :func:`spread` goes below its median."""
    view = Table(title=title)
    for number, column in enumerate(columns):
        view.add_column(column, justify="left" if number < texts else "right", no_wrap=number < texts, overflow="fold")
    for row in rows:
        view.add_row(*(cell.replace(" (", "\n(") for cell in row))
    return view
