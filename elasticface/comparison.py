"""Stored results beside each other: which model is ahead on the same pairs, by how much, and is it more than chance.

What differs between two models on the same pairs is judged by the bootstrap over people: both are taken on the same
draws, so what makes both better or worse cancels. And over several benchmarks, the Borda count, by which the
ElasticFace paper chooses its parameters.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.benchmarks.pairs import PairResult
from elasticface.benchmarks.published import canonical
from elasticface.benchmarks.results import LargeResult
from elasticface.benchmarks.stored import RESULTS, read_results
from elasticface.benchmarks.units import Units
from elasticface.errors import InputError
from elasticface.files import printable
from elasticface.metrics import resampling

DRAWS, LEVEL = 2000, 0.95
ACCURACY = "accuracy"
_MOST_DRAWN = 1 << 27  # numbers at a time: half a GiB
_AT_A_TIME = 1 << 22  # weights of pairs

Floats = NDArray[np.float64]
Result = PairResult | LargeResult


@dataclass(frozen=True)
class Difference:
    """How far one model is ahead of another in one figure. Rates are fractions in 0..1."""

    figure: str  # ACCURACY, or the FAR that a TAR is at, "0.001"
    first: float
    second: float
    value: float  # first − second
    interval: tuple[float, float] | None  # of the difference; None where there are too few people to draw from
    p_value: float | None  # two-sided, by the bootstrap; likewise
    mcnemar: float | None  # exact p-value, of accuracies where the pairs themselves are the units


@dataclass(frozen=True)
class Contrast:
    """Two models on one benchmark."""

    benchmark: str
    first: str  # model
    second: str
    units: str  # what was drawn, a key of benchmarks.units.UNITS
    pairs: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """All models in pairs, on the benchmarks that both have; and all of them over the benchmarks that all have."""

    models: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    borda: dict[str, float]  # model -> points; empty where no benchmark is common to all
    borda_benchmarks: tuple[str, ...]
    draws: int
    seed: int
    notes: tuple[str, ...]


def read_folders(paths: Sequence[str | Path]) -> tuple[list[Result], dict[str, dict[str, str]]]:
    """All results in several folders; a model name that two of them have gets its folder before it.

    Benchmarks are matched by name, regardless of case and punctuation, and get the name that comes first.

    Returns:
        The results, and for each folder the versions that made them.

    Raises:
        InputError: as :func:`elasticface.benchmarks.stored.read_results`; a folder that is given twice.
    """
    resolved = [(Path(path) / RESULTS if Path(path).is_dir() else Path(path)).resolve() for path in paths]
    for path, place in zip(paths, resolved, strict=True):
        if resolved.count(place) > 1:
            raise InputError(f"{printable(path)}: is given twice")
    stored = {printable(path): read_results(path) for path in paths}
    found: list[Result] = []
    spelling: dict[str, str] = {}
    for name, folder in stored.items():
        own = {result.benchmark: None for result in folder.results}
        called = {benchmark: spelling.get(canonical(benchmark), benchmark) for benchmark in own}
        called = {old: old if new in own else new for old, new in called.items()}
        spelling = {canonical(new): new for new in called.values()} | spelling
        elsewhere = {result.model for other, each in stored.items() if other != name for result in each.results}
        found += [
            dataclasses.replace(
                result,
                model=f"{name}: {result.model}" if result.model in elsewhere else result.model,
                benchmark=called[result.benchmark],
            )
            for result in folder.results
        ]
    return found, {name: folder.versions for name, folder in stored.items()}


def compare(results: Sequence[Result], draws: int = DRAWS, seed: int = 0) -> Comparison:
    """Every two models on every benchmark of pairs that both have, and the Borda count over all.

    Args:
        results: of different models, or on different benchmarks; those on pairs with their units.
        draws: bootstrap samples, 1 or more.
        seed: of the draws.

    Raises:
        InputError: fewer than two models, no benchmark of pairs that two of them have, models that were not measured on
            the same pairs, or more people than can be drawn so often.
    """
    models = tuple(dict.fromkeys(result.model for result in results))
    if len(models) < 2:
        raise InputError(f"a comparison needs two models or more, not {len(models)}; give another folder of results")
    benchmarks: dict[str, list[PairResult]] = {}
    for result in results:
        if isinstance(result, PairResult):
            benchmarks.setdefault(result.benchmark, []).append(result)
    contrasts: list[Contrast] = []
    notes: list[str] = []
    for name, rows in benchmarks.items():
        if len(rows) < 2:
            notes.append(f"{name}: {rows[0].model} alone was measured on it")
            continue
        _check_same_pairs(rows)
        if len({row.protocol for row in rows}) > 1:
            notes.append(f"{name}: the models were not measured in one way; see the protocols in their results")
        found, note = _contrasts(rows, draws, seed)
        contrasts += found
        notes += [note] if note else []
    if not contrasts:
        raise InputError("no benchmark of pairs that two of the models were measured on; evaluate them on the same")
    common = [rows for rows in benchmarks.values() if {row.model for row in rows} == {*models}]
    borda: dict[str, float] = {}
    if common:
        figures = [[next(r.accuracy for r in rows if r.model == model) for rows in common] for model in models]
        borda = dict(zip(models, metrics.borda_count(figures).tolist(), strict=True))
    over = tuple(rows[0].benchmark for rows in common)
    return Comparison(models, tuple(contrasts), borda, over, draws, seed, tuple(notes))


def _units(result: PairResult) -> Units:
    if result.units is None:
        raise ValueError(f"{result.model} on {result.benchmark} has no units")
    return result.units


def _check_same_pairs(rows: Sequence[PairResult]) -> None:
    first = rows[0]
    for other in rows[1:]:
        a, b = _units(first), _units(other)
        # The digest says it all of results of ours; the arrays are what is reckoned with.
        equal = (a.digest, a.kind) == (b.digest, b.kind) and all(
            np.array_equal(x, y) for x, y in ((first.same, other.same), (a.first, b.first), (a.second, b.second))
        )
        if not equal:
            models = f"{printable(first.model)} and {printable(other.model)}"
            counts = f"{len(first.same):,} and {len(other.same):,}"
            raise InputError(
                f"{printable(first.benchmark)}: {models} were not measured on the same pairs "
                f"({counts}, in their folds); evaluate both on the same files"
            )


def _contrasts(rows: Sequence[PairResult], draws: int, seed: int) -> tuple[list[Contrast], str | None]:
    """Every two of the models on one benchmark; and what is to be said of it."""
    units, same = _units(rows[0]), rows[0].same
    fars = [far for far in rows[0].tar_at_far.get("at-most", {}) if all(far in _tars(row) for row in rows)]
    fars.sort(key=float)
    samples: list[Mapping[str, Floats]] | None = None
    note = None
    try:
        samples = [_samples(row, units, fars, draws, seed) for row in rows]
    except InputError:
        raise
    except ValueError:  # a draw without a pair of one kind
        note = f"{rows[0].benchmark}: too few people to draw from, so there are no intervals"
    found = []
    for (i, a), (j, b) in itertools.combinations(enumerate(rows), 2):
        differences = []
        for figure in (ACCURACY, *fars):
            first, second = ((r.accuracy if figure == ACCURACY else _tars(r)[figure]) for r in (a, b))
            judged = (
                resampling.compare(first, second, samples[i][figure], samples[j][figure], LEVEL) if samples else None
            )
            right, other = a.accepted == same, b.accepted == same
            differences.append(
                Difference(
                    figure=figure,
                    first=first,
                    second=second,
                    value=first - second,
                    interval=judged.interval if judged else None,
                    p_value=judged.p_value if judged else None,
                    mcnemar=metrics.mcnemar(int((right & ~other).sum()), int((other & ~right).sum()))
                    if figure == ACCURACY and units.kind == "pairs"
                    else None,
                )
            )
        found.append(Contrast(a.benchmark, a.model, b.model, units.kind, len(same), tuple(differences)))
    return found, note


def _tars(result: PairResult) -> dict[str, float]:
    return result.tar_at_far.get("at-most", {})


def _samples(result: PairResult, units: Units, fars: Sequence[str], draws: int, seed: int) -> dict[str, Floats]:
    """Each figure in each bootstrap sample, [R]."""
    same = result.same
    number = int(max(units.first.max(), units.second.max())) + 1
    if draws * number > _MOST_DRAWN:
        raise InputError(f"{result.benchmark}: {number:,} units, too many to draw {draws:,} times; give fewer --draws")
    # An impostor pair within one unit, as all are where pairs are the units, comes as often as that unit. A unit more,
    # that is in each sample once, on its other side says so.
    first, second = units.first, np.where(~same & (units.first == units.second), number, units.second)
    counts = np.pad(resampling.draw_people(number, draws, seed), ((0, 0), (0, 1)), constant_values=1)
    genuine = float(same.mean())
    right = result.accepted == same
    accuracies = []
    for some in np.array_split(counts, -(-draws * len(same) // _AT_A_TIME)):
        if len(some):
            weights = resampling.pair_weights(some, first, second)
            kinds = [resampling.shares(right[of], weights[:, of]) for of in (same, ~same)]
            accuracies.append(genuine * kinds[0] + (1 - genuine) * kinds[1])
    rates = resampling.tars_at_fars(result.scores, first, second, [float(far) for far in fars], counts)
    return {ACCURACY: np.concatenate(accuracies), **dict(zip(fars, rates.T, strict=True))}
