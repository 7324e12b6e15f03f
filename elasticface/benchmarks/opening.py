"""What a benchmark on the command line is: a pack, CFP's own folder, or photos with a list of pairs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from elasticface.benchmarks.cfp import open_cfp, protocol_folder
from elasticface.benchmarks.pairs import PAIRS_FILE, PairBenchmark, is_pack, open_pairs
from elasticface.errors import InputError
from elasticface.files import printable


def open_benchmark(
    path: str | Path, pairs: str | Path | None = None, landmarks: str | Path | None = None
) -> list[PairBenchmark]:
    """The benchmarks at ``path``: one, or the two of CFP.

    Args:
        path: what :func:`elasticface.benchmarks.pairs.open_pairs` or :func:`elasticface.benchmarks.cfp.open_cfp` opens.
            A folder with `pairs.txt` is the former's.
        pairs: the list of pairs, or CFP's `Protocol` folder, where it is not in there.
        landmarks: five points a photo, likewise.

    Raises:
        InputError: nothing there, or something that is wrong.
    """
    root = Path(path)
    if not is_pack(root) and (pairs or not (root / PAIRS_FILE).exists()) and protocol_folder(root, pairs):
        return open_cfp(root, pairs, landmarks)
    return [open_pairs(root, pairs, landmarks)]


def open_benchmarks(
    paths: Sequence[str | Path], pairs: str | Path | None = None, landmarks: str | Path | None = None
) -> list[PairBenchmark]:
    """The benchmarks at all ``paths``, of different names: where two have one, their paths are put before it.

    Raises:
        InputError: as :func:`open_benchmark`; a path that is given twice.
    """
    found: list[tuple[str, PairBenchmark]] = []
    for path in paths:
        if str(path) in (given for given, _ in found):
            raise InputError(f"{printable(path)}: is given twice")
        found += [(str(path), benchmark) for benchmark in open_benchmark(path, pairs, landmarks)]
    names = [benchmark.name for _, benchmark in found]
    alone = {given for given, _ in found if sum(given == other for other, _ in found) == 1}
    return [
        benchmark
        if names.count(benchmark.name) == 1
        else dataclasses.replace(benchmark, name=given if given in alone else f"{given}: {benchmark.name}")
        for given, benchmark in found
    ]
