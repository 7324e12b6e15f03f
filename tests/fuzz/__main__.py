"""Fuzz the readers of files from outside: ``python tests/fuzz --inputs 100000``; ``--help`` lists the options.

It ends with 1 where a reader raises anything but an InputError, takes too long or too much memory, or does what no
reader does; the inputs are then in ``--keep``, and ``--readers NAME --first NUMBER --inputs 1`` makes each again.
"""

import faulthandler
import os
import sys
import tempfile
import warnings
from pathlib import Path

from harness import Watch, bound_memory, fuzz
from jsonargparse import auto_cli
from readers import READERS
from rich.console import Console
from rich.table import Table

from elasticface.base.errors import InputError


def main(
    inputs: int = 10_000,
    seconds: float = 3600.0,
    readers: list[str] | None = None,
    seed: int = 0,
    first: int = 0,
    limit: float = 5.0,
    keep: Path | None = None,
) -> None:
    """Mutated files for every reader.

    Args:
        inputs: in all, the same number for each reader.
        seconds: for all, the same share for each reader.
        readers: some of them, e.g. [packs,pairs].
        seed: of the mutations.
        first: number of the first input of each reader.
        limit: seconds that one input may take.
        keep: folder for the inputs that make a finding.
    """
    chosen = readers or list(READERS)
    for name in chosen:
        if name not in READERS:
            raise InputError(f"--readers: there is no {name!r}; there are {', '.join(READERS)}")
    if min(inputs, limit) <= 0 or seconds <= 0 or seed < 0 or first < 0:
        raise InputError("--inputs, --limit and --seconds must be above 0, --seed and --first at least 0")
    warnings.simplefilter("ignore")
    # The libraries that decode images complain of each damaged one on file descriptor 2.
    terminal = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.enable(terminal)
    console = Console(file=terminal)
    table = Table("reader", *("inputs", "taken", "refused", "kinds", "slowest", "findings"))
    total, findings = 0, []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(os.path.realpath(temporary))
        watch = Watch(root)
        bound_memory()
        for name in chosen:
            with console.status(f"{name}"):
                outcome = fuzz(
                    name,
                    READERS[name],
                    root / name,
                    watch,
                    inputs=-(-inputs // len(chosen)),
                    seconds=seconds / len(chosen),
                    seed=seed,
                    first=first,
                    limit=limit,
                    keep=keep,
                    terminal=terminal,
                )
            total += outcome.inputs
            findings += outcome.findings
            counts = (outcome.inputs, outcome.read, outcome.refused, len(outcome.messages))
            slowest = f"{1000 * outcome.slowest:.0f} ms"
            table.add_row(name, *(f"{count:,}" for count in counts), slowest, str(len(outcome.findings)))
    Console().print(table)
    for finding in findings[:20]:
        print(f"{finding.reader} {finding.number}: {finding.what}")
    print(f"{total:,} inputs, {len(findings):,} findings")
    if findings:
        sys.exit(1)


if __name__ == "__main__":
    try:
        auto_cli(main)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
