"""Stored results beside each other: which model is ahead on the same trials, by how much, and is it more than chance.

What differs between two models on the same pairs or searches is judged by the bootstrap over people: both are measured
on the same resamples, so an effect on both cancels. Pairs are resampled here, from their scores; on the large
benchmarks the evaluation has stored the figures of its resamples. There is also the Borda count of accuracies, over the
benchmarks by which the ElasticFace paper chooses its parameters, LFW and its kin.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks import samples
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.benchmarks.published import COLUMNS, canonical, columns_of
from elasticface.benchmarks.results import LargeResult
from elasticface.benchmarks.samples import ACCURACY, DRAWS, EER, MOST_DRAWN
from elasticface.benchmarks.stored import RESULTS, read_results
from elasticface.benchmarks.units import Units
from elasticface.metrics import resampling
from elasticface.report.figures import left_out

LEVEL = 0.95
ON_PAIRS = ""

Floats = NDArray[np.float64]
Key = tuple[str, str]  # Difference.rate and .figure
Result = PairResult | LargeResult


@dataclass(frozen=True)
class Difference:
    """How far one model is ahead of another in one figure. Rates are fractions in 0..1."""

    figure: str  # ACCURACY, EER, or the target that a rate is at: a FAR, an FPIR or a rank, "0.001"
    first: float
    second: float
    value: float  # first − second
    interval: tuple[float, float] | None  # of the difference; None without resamples, or where it never varies
    p_value: float | None  # two-sided, by the bootstrap; likewise
    mcnemar: float | None  # exact p-value, of accuracies where the pairs themselves are the units
    rate: str = (
        ON_PAIRS  # what is at the target: ON_PAIRS, TAR by "at-most"; else the name of a benchmarks.results.Group
    )


@dataclass(frozen=True)
class Contrast:
    """Two models on one benchmark."""

    benchmark: str
    first: str  # model
    second: str
    units: str | None  # what was resampled, a key of benchmarks.units.UNITS; None: it is unknown
    draws: int  # bootstrap resamples; 0: there are none
    trials: int
    what: str  # the trials are: "pairs", or TRIALS of a class of benchmarks.results
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """All models in pairs, on the benchmarks that both have; and all of them over those that the paper chooses by."""

    models: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    borda: dict[str, float]  # model with results on pairs -> points; empty where they have no benchmark in common
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
    resolved = [os.path.realpath(Path(path) / RESULTS if Path(path).is_dir() else path) for path in paths]
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
    """Every two models on every benchmark that both have, and the Borda count over the paper's benchmarks of pairs.

    Args:
        results: of different models, or on different benchmarks; those on pairs with their units, the others with their
            samples, or without intervals.
        draws: bootstrap samples of pairs, 1 or more; the large benchmarks have theirs.
        seed: of the draws.

    Raises:
        InputError: fewer than two models, no benchmark that two of them have, models that were not measured on the same
            trials, or more people than can be resampled so often.
    """
    models = tuple(dict.fromkeys(result.model for result in results))
    if len(models) < 2:
        raise InputError(f"a comparison needs two models or more, not {len(models)}; give another folder of results")
    pairs: dict[str, list[PairResult]] = {}
    large: dict[tuple[str, str], list[LargeResult]] = {}
    for result in results:
        if isinstance(result, PairResult):
            pairs.setdefault(result.benchmark, []).append(result)
        else:
            large.setdefault((result.KIND, result.benchmark), []).append(result)
    contrasts: list[Contrast] = []
    notes: list[str] = []
    for listed in pairs.values():
        if _several(listed, notes):
            with progress.status(f"{listed[0].benchmark}: drawing {draws:,} times"):
                contrasts += _on_pairs(listed, draws, seed, notes)
    for searched in large.values():
        if _several(searched, notes):
            contrasts += _on_trials(searched, notes)
    groups: list[Sequence[Result]] = [*pairs.values(), *large.values()]
    for rows in groups:
        if len({_without(row) for row in rows}) > 1:
            notes += [f"{row.benchmark}, {row.model}: {without}" for row in rows if (without := _without(row))]
    if unlike := [rows[0].benchmark for rows in groups if len({row.protocol for row in rows}) > 1]:
        notes.append(
            f"{', '.join(unlike)}: the models were not measured in one way; see the protocols in their results"
        )
    if not contrasts:
        raise InputError("no benchmark that two of the models were measured on; evaluate them on the same")
    borda, over = _borda(models, pairs, notes)
    return Comparison(models, tuple(contrasts), borda, over, draws, seed, tuple(notes))


def _without(result: Result) -> str:
    return ", ".join(left_out(result))


def _unequal(first: Result, other: Result, what: str) -> InputError:
    """That two models were not measured on the same ``what``."""
    told = []
    for row in (first, other):
        without = f", {_without(row)}" if _without(row) else ""
        told.append(f"{printable(row.model)} ({_trials(row):,}{without})")
    return InputError(
        f"{printable(first.benchmark)}: {told[0]} and {told[1]} were not measured on the same {what}; evaluate both on "
        "the same files"
    )


def _trials(result: Result) -> int:
    return len(result.same) if isinstance(result, PairResult) else result.trials()


def _borda(
    models: Sequence[str], pairs: Mapping[str, Sequence[PairResult]], notes: list[str]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The points of all models that have results on pairs, and the benchmarks that gave them: the paper's five."""
    accuracies = {name: {row.model: row.accuracy for row in rows} for name, rows in pairs.items()}
    counted = [model for model in models if any(model in of for of in accuracies.values())]
    if not counted:
        return {}, ()
    common: dict[int, str] = {}  # column -> benchmark
    for name, of in accuracies.items():
        common |= {i: name for i in columns_of(name) if not COLUMNS[i].rate and of.keys() == {*counted}}
    others = [model for model in models if model not in counted]
    if len(counted) < 2:
        notes.append(f"no Borda count: {counted[0]} alone has results on pairs")
        return {}, ()
    if not common:
        titles = ", ".join(column.title for column in COLUMNS if not column.rate)
        notes.append(f"no Borda count: none of {titles} was measured with each of {', '.join(counted)}")
        return {}, ()
    if others:
        notes.append(f"Borda count: without {', '.join(others)}, of whom there is no result on pairs")
    figures = [[accuracies[name][model] for name in common.values()] for model in counted]
    return dict(zip(counted, metrics.borda_count(figures).tolist(), strict=True)), tuple(common.values())


def _several(rows: Sequence[Result], notes: list[str]) -> bool:
    """Whether several models were measured on one benchmark; that it is one alone is added to ``notes``."""
    if len(rows) < 2:
        notes.append(f"{rows[0].benchmark}: {rows[0].model} alone was measured on it")
    return len(rows) > 1


@dataclass(frozen=True)
class _Measured:
    """One model on one benchmark, as it is compared."""

    model: str
    figures: dict[Key, float]
    drawn: dict[Key, Floats] | None  # each figure in each bootstrap resample, [R]
    right: NDArray[np.bool_] | None = None  # which pairs were judged right, where they are independent


def _differences(a: _Measured, b: _Measured) -> tuple[Difference, ...]:
    """In every figure that both have a number for."""
    found = []
    for key in [key for key, rate in a.figures.items() if math.isfinite(rate - b.figures.get(key, math.nan))]:
        first, second = a.figures[key], b.figures[key]
        judged = None
        # The spread of a difference that is the same in every resample is unknown.
        if a.drawn is not None and b.drawn is not None and np.ptp(a.drawn[key] - b.drawn[key]) > resampling.ROUNDED:
            judged = resampling.compare(first, second, a.drawn[key], b.drawn[key], LEVEL)
        mcnemar = None
        if key[1] == ACCURACY and a.right is not None and b.right is not None:
            mcnemar = metrics.mcnemar(int((a.right & ~b.right).sum()), int((b.right & ~a.right).sum()))
        found.append(
            Difference(
                figure=key[1],
                first=first,
                second=second,
                value=first - second,
                interval=judged.interval if judged else None,
                p_value=judged.p_value if judged else None,
                mcnemar=mcnemar,
                rate=key[0],
            )
        )
    return tuple(found)


def _too_few(benchmark: str) -> str:
    return f"{benchmark}: too few people to resample, so there are no intervals"


def _draw(benchmark: str, number: int, draws: int, seed: int) -> resampling.Counts:
    if draws * number > MOST_DRAWN:
        raise InputError(f"{benchmark}: {number:,} units, too many to resample {draws:,} times; give fewer --draws")
    return samples.draw(number, draws, seed)


# ---------------------------------------------------------------------------------------------- pairs


def _on_pairs(rows: Sequence[PairResult], draws: int, seed: int, notes: list[str]) -> list[Contrast]:
    """Every two of the models on one benchmark of pairs."""
    _check_same_pairs(rows)
    name, units, same = rows[0].benchmark, _units(rows[0]), rows[0].same
    fars = [far for far in rows[0].tar_at_far.get("at-most", {}) if all(far in _tars(row) for row in rows)]
    fars.sort(key=float)
    targets = [float(far) for far in fars]
    figures = [{ACCURACY: row.accuracy, **{far: _tars(row)[far] for far in fars}, EER: row.eer} for row in rows]
    drawn: Sequence[dict[Key, Floats] | None] = [None] * len(rows)
    try:
        counts = _draw(name, units.number, draws, seed)
        columns = [
            samples.of_pairs(row.scores, same, row.accepted, units, targets, counts).T[: len(figures[0])]
            for row in rows
        ]
        drawn = [{(ON_PAIRS, figure): column for figure, column in zip(figures[0], of, strict=True)} for of in columns]
    except resampling.CannotDraw:
        draws = 0
        notes.append(_too_few(name))
    measured = [
        _Measured(
            row.model,
            {(ON_PAIRS, figure): rate for figure, rate in of_row.items()},
            samples_of_row,
            row.accepted == same if units.kind == "pairs" else None,
        )
        for row, of_row, samples_of_row in zip(rows, figures, drawn, strict=True)
    ]
    return [
        Contrast(name, a.model, b.model, units.kind, draws, len(same), "pairs", _differences(a, b))
        for a, b in itertools.combinations(measured, 2)
    ]


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
            raise _unequal(first, other, "pairs")


def _tars(result: PairResult) -> dict[str, float]:
    return result.tar_at_far.get("at-most", {})


# ---------------------------------------------------------------------------------------------- large benchmarks


def _on_trials(rows: Sequence[LargeResult], notes: list[str]) -> list[Contrast]:
    """Every two of the models on one large benchmark; no intervals for a model without stored resamples."""
    name, what = rows[0].benchmark, rows[0].TRIALS
    _check_same_trials(rows)
    missing = [row.model for row in rows if row.samples is None]
    if missing:
        notes.append(
            f"{name}: no resamples are stored for {', '.join(missing)}, so their differences have no intervals"
        )
    measured = [_Measured(row.model, _figures(row), _drawn(row)) for row in rows]
    contrasts = []
    for i, j in itertools.combinations(range(len(rows)), 2):
        drawn = rows[i].samples if rows[j].samples is not None else None
        kind, draws = (drawn.kind, len(drawn.rates)) if drawn is not None else (None, 0)
        differences = _differences(measured[i], measured[j])
        contrasts.append(Contrast(name, rows[i].model, rows[j].model, kind, draws, rows[0].trials(), what, differences))
    return contrasts


def _figures(result: LargeResult) -> dict[Key, float]:
    return {(group.name, target): rate for group in result.groups() for target, rate in group.rates.items()}


def _drawn(result: LargeResult) -> dict[Key, Floats] | None:
    """Each figure in each sample, [R]."""
    if result.samples is None:
        return None
    return dict(zip(_figures(result), result.samples.rates.T, strict=True))


def _check_same_trials(rows: Sequence[LargeResult]) -> None:
    """As far as it is known: results without samples tell how many trials there were alone."""
    first = next((row for row in rows if row.samples is not None), rows[0])
    for other in rows:
        a, b = first.samples, other.samples
        equal = first.trials() == other.trials()
        if a is not None and b is not None:
            equal = equal and (a.digest, a.kind, len(a.rates)) == (b.digest, b.kind, len(b.rates))
        if not equal:
            raise _unequal(first, other, first.TRIALS)
