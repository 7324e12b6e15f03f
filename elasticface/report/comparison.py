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
from collections.abc import Iterator, Mapping, Sequence
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
from elasticface.benchmarks.results import RESULTS, LargeResult
from elasticface.benchmarks.samples import ACCURACY, DRAWS, EER, MOST_DRAWN
from elasticface.benchmarks.stored import read_results
from elasticface.benchmarks.units import Units
from elasticface.metrics import resampling
from elasticface.report.figures import apart, by_benchmark, grouped, left_out

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
    # What is at the target: ON_PAIRS, TAR by "at-most"; else the name of a benchmarks.results.Group.
    rate: str = ON_PAIRS


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
    spelling: dict[str, str] = {}  # canonical name -> the one that came first
    for name, folder in stored.items():
        own = dict.fromkeys(result.benchmark for result in folder.results)
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
    of_pairs, of_large = apart(results)
    pairs = by_benchmark(of_pairs)
    large = grouped(of_large, lambda result: (result.KIND, result.benchmark))
    contrasts: list[Contrast] = []
    notes: list[str] = []
    groups: list[Sequence[Result]] = [*pairs.values(), *large.values()]
    for rows in groups:
        _check_same_rule(rows)
    for listed in pairs.values():
        if _are_several(listed, notes):
            with progress.status(f"{listed[0].benchmark}: drawing {draws:,} times"):
                contrasts += _on_pairs(listed, draws, seed, notes)
    for searched in large.values():
        if _are_several(searched, notes):
            contrasts += _on_trials(searched, notes)
    for rows in groups:
        if len({left_out(row) for row in rows}) > 1:
            notes += [f"{row.benchmark}, {row.model}: {', '.join(said)}" for row in rows if (said := left_out(row))]
    if unlike := [rows[0].benchmark for rows in groups if len({row.protocol for row in rows}) > 1]:
        notes.append(
            f"{', '.join(unlike)}: the models were not measured in one way; see the protocols in their results"
        )
    if not contrasts:
        raise InputError("no benchmark that two of the models were measured on; evaluate them on the same")
    borda, over = _borda(models, pairs, notes)
    return Comparison(models, tuple(contrasts), borda, over, draws, seed, tuple(notes))


def _check_same_rule(rows: Sequence[Result]) -> None:
    """That images which could not be enrolled were counted in one way; without any, the way does not matter."""
    rules: dict[str, Result] = {}
    for row in rows:
        if row.enrolment is not None and row.enrolment.failures:
            rules.setdefault(row.enrolment.undetected, row)
    if len(rules) > 1:
        (one, first), (two, other) = list(rules.items())[:2]
        raise InputError(
            f"{printable(first.benchmark)}: images could not be enrolled, and {printable(first.model)} was measured "
            f"with --undetected {one}, {printable(other.model)} with --undetected {two}; evaluate both with one of them"
        )


def _are_several(rows: Sequence[Result], notes: list[str]) -> bool:
    """Whether several models were measured on one benchmark; that it is one alone is added to ``notes``."""
    if len(rows) < 2:
        notes.append(f"{rows[0].benchmark}: {rows[0].model} alone was measured on it")
    return len(rows) > 1


def _borda(
    models: Sequence[str], pairs: Mapping[str, Sequence[PairResult]], notes: list[str]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The points of all models that have results on pairs, and the benchmarks that gave them: the paper's five."""
    accuracies = {name: {row.model: row.accuracy for row in rows} for name, rows in pairs.items()}
    ranked = [model for model in models if any(model in of_models for of_models in accuracies.values())]
    common: dict[int, str] = {}  # column -> benchmark that all of them were measured on
    for name, of_models in accuracies.items():
        common |= {i: name for i in columns_of(name) if not COLUMNS[i].rate and of_models.keys() == {*ranked}}
    if len(ranked) == 1:
        notes.append(f"no Borda count: {ranked[0]} alone has results on pairs")
    elif ranked and not common:
        titles = ", ".join(column.title for column in COLUMNS if not column.rate)
        notes.append(f"no Borda count: none of {titles} was measured with each of {', '.join(ranked)}")
    if len(ranked) < 2 or not common:
        return {}, ()
    if others := [model for model in models if model not in ranked]:
        notes.append(f"Borda count: without {', '.join(others)}, of whom there is no result on pairs")
    figures = [[accuracies[name][model] for name in common.values()] for model in ranked]
    return dict(zip(ranked, metrics.borda_count(figures).tolist(), strict=True)), tuple(common.values())


@dataclass(frozen=True)
class _Measured:
    """One model on one benchmark, as it is compared."""

    model: str
    figures: dict[Key, float]
    resampled: dict[Key, Floats] | None  # each figure in each bootstrap resample, [R]
    units: str | None  # what was resampled, a key of benchmarks.units.UNITS; None: it is unknown
    draws: int  # R, or 0
    right: NDArray[np.bool_] | None = None  # which pairs were judged right, where they are independent


def _contrasts(benchmark: str, trials: int, what: str, measured: Sequence[_Measured]) -> list[Contrast]:
    """Every two of the models on one benchmark."""
    return [
        Contrast(
            benchmark=benchmark,
            first=a.model,
            second=b.model,
            units=a.units if b.units else None,
            draws=min(a.draws, b.draws),
            trials=trials,
            what=what,
            differences=tuple(_differences(a, b)),
        )
        for a, b in itertools.combinations(measured, 2)
    ]


def _differences(a: _Measured, b: _Measured) -> Iterator[Difference]:
    """In every figure that both have a number for."""
    for (rate, figure), first in a.figures.items():
        key, second = (rate, figure), b.figures.get((rate, figure), math.nan)
        if not math.isfinite(first - second):
            continue
        judged = mcnemar = None
        if a.resampled is not None and b.resampled is not None:
            ours, theirs = a.resampled[key], b.resampled[key]
            # The spread of a difference that is the same in every resample is unknown.
            if np.ptp(ours - theirs) > resampling.ROUNDED:
                judged = resampling.compare(first, second, ours, theirs, LEVEL)
        if figure == ACCURACY and a.right is not None and b.right is not None:
            mcnemar = metrics.mcnemar(int((a.right & ~b.right).sum()), int((b.right & ~a.right).sum()))
        yield Difference(
            figure=figure,
            first=first,
            second=second,
            value=first - second,
            interval=judged.interval if judged else None,
            p_value=judged.p_value if judged else None,
            mcnemar=mcnemar,
            rate=rate,
        )


def _not_the_same(first: Result, other: Result, what: str) -> InputError:
    """That two models were not measured on the same ``what``."""
    one, two = (
        f"{printable(row.model)} ({', '.join([f'{_trials(row):,}', *left_out(row)])})" for row in (first, other)
    )
    return InputError(
        f"{printable(first.benchmark)}: {one} and {two} were not measured on the same {what}; evaluate both on the "
        "same files"
    )


def _trials(result: Result) -> int:
    return len(result.same) if isinstance(result, PairResult) else result.trials()


# ---------------------------------------------------------------------------------------------- pairs


def _on_pairs(rows: Sequence[PairResult], draws: int, seed: int, notes: list[str]) -> list[Contrast]:
    """Every two of the models on one benchmark of pairs."""
    _check_same_pairs(rows)
    name, units, same = rows[0].benchmark, _units(rows[0]), rows[0].same
    rates = [row.tar_at_far.get("at-most", {}) for row in rows]
    fars = sorted((far for far in rates[0] if all(far in of_row for of_row in rates)), key=float)
    figures = [
        {(ON_PAIRS, ACCURACY): row.accuracy, **{(ON_PAIRS, far): of_row[far] for far in fars}, (ON_PAIRS, EER): row.eer}
        for row, of_row in zip(rows, rates, strict=True)
    ]
    resampled: Sequence[dict[Key, Floats] | None]
    try:
        if draws * units.number > MOST_DRAWN:
            raise InputError(
                f"{name}: {units.number:,} units, too many to resample {draws:,} times; give fewer --draws"
            )
        counts = samples.draw(units.number, draws, seed)
        targets = [float(far) for far in fars]
        resampled = [  # without the TARs by the rule "nearest", which are the last
            dict(
                zip(
                    figures[0], samples.of_pairs(row.scores, same, row.accepted, units, targets, counts).T, strict=False
                )
            )
            for row in rows
        ]
    except resampling.CannotDraw as error:
        resampled, draws = [None] * len(rows), 0
        notes.append(f"{name}: {error}; so there are no intervals")
    if nowhere := [
        row.model
        for row, drawn in zip(rows, resampled, strict=True)
        if drawn is not None and math.isfinite(row.eer) and np.isnan(drawn[ON_PAIRS, EER]).any()
    ]:
        told = "so many pairs were not enrolled that in a resample the error rates are equal nowhere"
        notes.append(f"{name}, {', '.join(nowhere)}: {told}; so the equal error rate has no intervals")
    measured = [
        _Measured(
            model=row.model,
            figures=of_row,
            resampled=drawn,
            units=units.kind,
            draws=draws,
            right=row.accepted == same if units.kind == "pairs" else None,
        )
        for row, of_row, drawn in zip(rows, figures, resampled, strict=True)
    ]
    return _contrasts(name, len(same), "pairs", measured)


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
            raise _not_the_same(first, other, "pairs")


# ---------------------------------------------------------------------------------------------- large benchmarks


def _on_trials(rows: Sequence[LargeResult], notes: list[str]) -> list[Contrast]:
    """Every two of the models on one large benchmark; no intervals for a model without stored resamples."""
    name = rows[0].benchmark
    _check_same_trials(rows)
    if missing := [row.model for row in rows if row.samples is None]:
        notes.append(
            f"{name}: no resamples are stored for {', '.join(missing)}, so their differences have no intervals"
        )
    measured = []
    for row in rows:
        figures = {(group.name, target): rate for group in row.groups() for target, rate in group.rates.items()}
        if row.samples is None:
            measured.append(_Measured(row.model, figures, None, None, 0))
        else:
            resampled = dict(zip(figures, row.samples.rates.T, strict=True))
            measured.append(_Measured(row.model, figures, resampled, row.samples.kind, len(row.samples.rates)))
    return _contrasts(name, rows[0].trials(), rows[0].TRIALS, measured)


def _check_same_trials(rows: Sequence[LargeResult]) -> None:
    """As far as it is known: results without samples tell how many trials there were alone."""
    first = next((row for row in rows if row.samples is not None), rows[0])
    for other in rows:
        a, b = first.samples, other.samples
        equal = first.trials() == other.trials()
        if a is not None and b is not None:
            equal = equal and (a.digest, a.kind, len(a.rates)) == (b.digest, b.kind, len(b.rates))
        if not equal:
            raise _not_the_same(first, other, first.TRIALS)
