"""Stored results beside each other: which model is ahead on the same trials, by how much, and is it more than chance.

What differs between two models on the same pairs or searches is judged by the bootstrap over people: both are taken on
the same draws, so what makes both better or worse cancels. On pairs the threshold of a TAR is found anew in each draw;
on the large benchmarks thresholds stay as all impostors have set them. And over several benchmarks of pairs, the Borda
count of accuracies, by which the ElasticFace paper chooses its parameters.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
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
ON_PAIRS = ""
_MOST_DRAWN = 1 << 27  # numbers at a time: half a GiB
_AT_A_TIME = 1 << 22  # weights of pairs

Floats = NDArray[np.float64]
Key = tuple[str, str]  # Difference.rate and .figure
Result = PairResult | LargeResult


@dataclass(frozen=True)
class Difference:
    """How far one model is ahead of another in one figure. Rates are fractions in 0..1."""

    figure: str  # ACCURACY, or the target that a rate is at: a FAR, an FPIR or a rank, "0.001"
    first: float
    second: float
    value: float  # first − second
    interval: tuple[float, float] | None  # of the difference; None where nothing could be drawn
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
    units: str | None  # what was drawn, a key of benchmarks.units.UNITS; None: the outcomes were not stored
    trials: int
    what: str  # the trials are: "pairs", or TRIALS of a class of benchmarks.results
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
    """Every two models on every benchmark that both have, and the Borda count over all of those of pairs.

    Args:
        results: of different models, or on different benchmarks; those on pairs with their units, the others with their
            outcomes, or without intervals.
        draws: bootstrap samples, 1 or more.
        seed: of the draws.

    Raises:
        InputError: fewer than two models, no benchmark that two of them have, models that were not measured on the same
            trials, or more people than can be drawn so often.
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
        if _comparable(listed, notes):
            contrasts += _on_pairs(listed, draws, seed, notes)
    for searched in large.values():
        if _comparable(searched, notes):
            contrasts += _on_trials(searched, draws, seed, notes)
    if not contrasts:
        raise InputError("no benchmark that two of the models were measured on; evaluate them on the same")
    common = [rows for rows in pairs.values() if {row.model for row in rows} == {*models}]
    borda: dict[str, float] = {}
    if common:
        figures = [[next(r.accuracy for r in rows if r.model == model) for rows in common] for model in models]
        borda = dict(zip(models, metrics.borda_count(figures).tolist(), strict=True))
    over = tuple(rows[0].benchmark for rows in common)
    return Comparison(models, tuple(contrasts), borda, over, draws, seed, tuple(notes))


def _comparable(rows: Sequence[Result], notes: list[str]) -> bool:
    """Whether several models were measured on one benchmark; what is to be said of it is added to ``notes``."""
    name = rows[0].benchmark
    if len(rows) < 2:
        notes.append(f"{name}: {rows[0].model} alone was measured on it")
    elif len({row.protocol for row in rows}) > 1:
        notes.append(f"{name}: the models were not measured in one way; see the protocols in their results")
    return len(rows) > 1


@dataclass(frozen=True)
class _Measured:
    """One model on one benchmark, as it is compared."""

    model: str
    figures: dict[Key, float]
    samples: dict[Key, Floats] | None  # each figure in each bootstrap sample, [R]
    right: NDArray[np.bool_] | None = None  # which pairs were judged right, where they are independent


def _differences(a: _Measured, b: _Measured) -> tuple[Difference, ...]:
    """In every figure that both have a number for."""
    found = []
    for key in [key for key, rate in a.figures.items() if math.isfinite(rate - b.figures.get(key, math.nan))]:
        first, second = a.figures[key], b.figures[key]
        judged = None
        if a.samples is not None and b.samples is not None:
            judged = resampling.compare(first, second, a.samples[key], b.samples[key], LEVEL)
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
    return f"{benchmark}: too few people to draw from, so there are no intervals"


def _draw(benchmark: str, number: int, draws: int, seed: int) -> resampling.Counts:
    if draws * number > _MOST_DRAWN:
        raise InputError(f"{benchmark}: {number:,} units, too many to draw {draws:,} times; give fewer --draws")
    return resampling.draw_people(number, draws, seed)


# ---------------------------------------------------------------------------------------------- pairs


def _on_pairs(rows: Sequence[PairResult], draws: int, seed: int, notes: list[str]) -> list[Contrast]:
    """Every two of the models on one benchmark of pairs."""
    _check_same_pairs(rows)
    name, units, same = rows[0].benchmark, _units(rows[0]), rows[0].same
    fars = [far for far in rows[0].tar_at_far.get("at-most", {}) if all(far in _tars(row) for row in rows)]
    fars.sort(key=float)
    samples: Sequence[dict[Key, Floats] | None] = [None] * len(rows)
    try:
        samples = [_pair_samples(row, units, fars, draws, seed) for row in rows]
    except InputError:
        raise
    except ValueError:  # a draw without a pair of one kind
        notes.append(_too_few(name))
    measured = [
        _Measured(
            row.model,
            {(ON_PAIRS, ACCURACY): row.accuracy, **{(ON_PAIRS, far): _tars(row)[far] for far in fars}},
            of_row,
            row.accepted == same if units.kind == "pairs" else None,
        )
        for row, of_row in zip(rows, samples, strict=True)
    ]
    return [
        Contrast(name, a.model, b.model, units.kind, len(same), "pairs", _differences(a, b))
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
            models = f"{printable(first.model)} and {printable(other.model)}"
            counts = f"{len(first.same):,} and {len(other.same):,}"
            raise InputError(
                f"{printable(first.benchmark)}: {models} were not measured on the same pairs "
                f"({counts}, in their folds); evaluate both on the same files"
            )


def _tars(result: PairResult) -> dict[str, float]:
    return result.tar_at_far.get("at-most", {})


def _pair_samples(result: PairResult, units: Units, fars: Sequence[str], draws: int, seed: int) -> dict[Key, Floats]:
    """Each figure in each bootstrap sample, [R]."""
    same = result.same
    number = int(max(units.first.max(), units.second.max())) + 1
    # An impostor pair within one unit, as all are where pairs are the units, comes as often as that unit. A unit more,
    # that is in each sample once, on its other side says so.
    first, second = units.first, np.where(~same & (units.first == units.second), number, units.second)
    counts = np.pad(_draw(result.benchmark, number, draws, seed), ((0, 0), (0, 1)), constant_values=1)
    genuine = float(same.mean())
    right = result.accepted == same
    accuracies = []
    for some in np.array_split(counts, -(-draws * len(same) // _AT_A_TIME)):
        if len(some):
            weights = resampling.pair_weights(some, first, second)
            kinds = [resampling.shares(right[of], weights[:, of]) for of in (same, ~same)]
            accuracies.append(genuine * kinds[0] + (1 - genuine) * kinds[1])
    rates = resampling.tars_at_fars(result.scores, first, second, [float(far) for far in fars], counts)
    columns = [np.concatenate(accuracies), *rates.T]
    return {(ON_PAIRS, figure): column for figure, column in zip((ACCURACY, *fars), columns, strict=True)}


# ---------------------------------------------------------------------------------------------- large benchmarks


def _on_trials(rows: Sequence[LargeResult], draws: int, seed: int, notes: list[str]) -> list[Contrast]:
    """Every two of the models on one large benchmark; no intervals for who has no outcomes stored."""
    name, what = rows[0].benchmark, rows[0].TRIALS
    _check_same_trials(rows)
    stored = [row.outcomes for row in rows if row.outcomes is not None]
    missing = [row.model for row in rows if row.outcomes is None]
    if missing:
        notes.append(
            f"{name}: outcomes are not stored for {', '.join(missing)}, so differences have no intervals there; "
            "evaluate anew"
        )
    samples: list[dict[Key, Floats] | None] = [None] * len(rows)
    if len(stored) > 1:
        number = int(stored[0].units.max()) + 1
        counts = _draw(name, number, draws, seed)
        try:
            if number < 2:
                raise ValueError("too few people: each sample is the same one")
            samples = [_trial_samples(row, counts) for row in rows]
        except ValueError:  # a draw without any trial in a gallery
            notes.append(_too_few(name))
    measured = [_Measured(row.model, _figures(row), of_row) for row, of_row in zip(rows, samples, strict=True)]
    kinds = [row.outcomes.kind if row.outcomes else None for row in rows]
    trials = sum(part.trials for part in rows[0].counted())
    return [
        Contrast(name, a.model, b.model, kind if other else None, trials, what, _differences(a, b))
        for (a, kind), (b, other) in itertools.combinations(zip(measured, kinds, strict=True), 2)
    ]


def _figures(result: LargeResult) -> dict[Key, float]:
    return {(group.name, target): rate for group in result.groups() for target, rate in group.rates.items()}


def _check_same_trials(rows: Sequence[LargeResult]) -> None:
    """As far as it is known: results without outcomes tell how many trials there were alone."""
    first = next((row for row in rows if row.outcomes is not None), rows[0])
    for other in rows:
        a, b = first.outcomes, other.outcomes
        counts = [[part.trials for part in row.counted()] for row in (first, other)]
        equal = counts[0] == counts[1]
        if a is not None and b is not None:
            equal = equal and (a.digest, a.kind) == (b.digest, b.kind)
            equal = equal and np.array_equal(a.units, b.units) and np.array_equal(a.groups, b.groups)
        if not equal:
            models = f"{printable(first.model)} and {printable(other.model)}"
            told = " and ".join(" + ".join(f"{trials:,}" for trials in of) for of in counts)
            raise InputError(
                f"{printable(first.benchmark)}: {models} were not measured on the same {first.TRIALS} ({told}, by the "
                "lists of the benchmark); evaluate both on the same files"
            )


def _trial_samples(result: LargeResult, counts: resampling.Counts) -> dict[Key, Floats] | None:
    """Each figure in each bootstrap sample, [R]: the mean over the galleries, thresholds as they were."""
    outcomes = result.outcomes
    if outcomes is None:
        return None
    galleries = [outcomes.groups == number for number in np.unique(outcomes.groups)]
    shares = [resampling.unit_shares(outcomes.hits[:, of], outcomes.units[of], counts) for of in galleries]
    return dict(zip(_figures(result), np.mean(shares, axis=0).T, strict=True))
