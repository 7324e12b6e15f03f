"""How much a figure would vary with other people: the bootstrap over people.

Pairs that share a person are not independent, so people are resampled, not pairs: n of the n people, with replacement.
A genuine pair then counts as often as its person was drawn; an impostor pair counts as often as its first person was
drawn, times as often as its second was. Models that are measured on the same resamples can be compared.

Source: Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap" (2004); for
impostor pairs Owen, "The pigeonhole bootstrap" (2007), who shows that it errs towards wide intervals.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elasticface.base import keyed

Counts = NDArray[np.int32]


ROUNDED = 1e-12
"""Differences below it are of rounding: far less than one pair makes."""

_AT_A_TIME = 1 << 22  # counts, as float64: 32 MiB
_DRAWN_AT_A_TIME = 1 << 17  # people: what stays in a core's cache


class CannotDraw(ValueError):
    """There are too few people for the bootstrap: a resample has no trial that a figure could count."""


class EqualNowhere(CannotDraw):
    """So many pairs were not enrolled that in a resample there is no equal error rate."""


def draw_people(people: int, draws: int = 2000, seed: int = 0) -> Counts:
    """How often each person is in each bootstrap resample, int32 [R, N]; every row sums to N.

    Args:
        people: N, ≥ 1.
        draws: R, ≥ 1.
        seed: of the draws, ≥ 0.

    Raises:
        ValueError: a number out of its range.
    """
    if people < 1 or draws < 1:
        raise ValueError(f"people and draws must be at least 1, got {people} and {draws}")
    generator = keyed.generator(seed, "bootstrap over people")
    counts = np.empty((people, draws), np.int32).T  # a person's counts side by side, as they are taken
    step = max(_DRAWN_AT_A_TIME // people, 1)
    for start in range(0, draws, step):  # in one stream: a row depends on those before it, not on how many follow
        rows = counts[start : start + step]
        drawn = generator.integers(0, people, rows.shape) + people * np.arange(len(rows))[:, None]
        rows[:] = np.bincount(drawn.ravel(), minlength=rows.size).reshape(rows.shape)
    return counts


def pair_weights(counts: Counts, first: ArrayLike, second: ArrayLike) -> Counts:
    """How often each pair is in each bootstrap resample, int32 [R, P].

    Args:
        counts: [R, N], of :func:`draw_people`.
        first: [P] ints 0..N-1, the person on the first photo of each pair.
        second: [P] ints, on the second photo; the same person makes a genuine pair.

    Raises:
        ValueError: shapes that disagree, or a person outside 0..N-1.
    """
    a, b = checked_people(first, second, counts)
    return counts[:, a] * np.where(a == b, 1, counts[:, b])


def accuracies(correct: ArrayLike, same: ArrayLike, weights: Counts) -> NDArray[np.float64]:
    """The accuracy in each bootstrap resample, [R]: (share of genuine pairs right + share of impostor pairs right) / 2.

    That is the accuracy itself where there are as many pairs of one kind as of the other. Each pair keeps its decision:
    thresholds are not recomputed.

    Args:
        correct: [P] in 0..1, whether each pair was judged right, or how often of several runs.
        same: [P] bool, whether the pair is genuine.
        weights: [R, P], of :func:`pair_weights`.

    Raises:
        ValueError: shapes that disagree, or a resample without pairs of a kind: there are too few people.
    """
    right, genuine = np.asarray(correct, np.float64), np.asarray(same, np.bool_)
    if right.shape != genuine.shape or right.shape != weights.shape[1:]:
        raise ValueError(f"shapes disagree: {right.shape}, {genuine.shape} and {weights.shape}")
    shares = []
    for kind in (genuine, ~genuine):
        of_kind = weights[:, kind].astype(np.float64)
        counted = of_kind.sum(axis=1)
        if not counted.all():
            raise CannotDraw("too few people: a resample has no pair of one kind")
        shares.append(of_kind @ right[kind] / counted)
    return np.asarray((shares[0] + shares[1]) / 2)


def unit_shares(hits: ArrayLike, units: ArrayLike, counts: Counts) -> NDArray[np.float64]:
    """The share of trials that succeed in each bootstrap resample, of several figures at once, [R, F].

    Each trial belongs to one unit, as the search of a probe to its subject. All trials of a unit count as often as the
    unit was drawn, so they are summed first, and memory grows with units, not trials: exact, and cheap at MegaFace's
    153,634 mate pairs of 80 people.

    Args:
        hits: [F, P] bool, which trials succeed in each figure.
        units: [P] ints 0..N-1, the unit of each trial, such as its subject.
        counts: [R, N], of :func:`draw_people`.

    Raises:
        ValueError: shapes that disagree, a unit outside 0..N-1, or too few units: a resample without trials.
    """
    succeeded, unit = np.asarray(hits, np.bool_), np.asarray(units)
    if succeeded.ndim != 2 or unit.shape != succeeded.shape[1:]:
        raise ValueError(f"shapes disagree: {succeeded.shape} and {unit.shape}")
    number = counts.shape[1]
    if unit.size and not (unit.min() >= 0 and unit.max() < number):
        raise ValueError(f"units must be 0 to {number - 1}")
    # Successes of each unit in each figure, and in the last column its trials: [N, F + 1]. Whole numbers far below
    # 2^53: float64 counts them exactly.
    trials = [np.bincount(unit[which], minlength=number) for which in (*succeeded, slice(None))]
    sums = np.stack(trials, axis=1).astype(float)
    counted = np.empty((len(counts), len(succeeded) + 1))
    step = max(_AT_A_TIME // number, 1)
    for start in range(0, len(counts), step):
        counted[start : start + step] = counts[start : start + step].astype(np.float64) @ sums
    if not counted[:, -1].all():
        raise CannotDraw("too few people: a resample has nothing to count")
    return np.asarray(counted[:, :-1] / counted[:, -1:])


@dataclass(frozen=True)
class Difference:
    """How far one system is ahead of another, on the same samples."""

    value: float  # the first's figure less the second's
    interval: tuple[float, float]
    p_value: float  # two-sided, of there being no difference


def compare(
    first: float, second: float, first_samples: ArrayLike, second_samples: ArrayLike, level: float = 0.95
) -> Difference:
    """The paired difference of two systems' figures, with its interval and p-value over the bootstrap resamples.

    What makes both systems better or worse in a sample cancels, so the interval is narrower than two of their own
    suggest. The p-value is twice the share of samples in which the difference is not of the sign that most have,
    counting one sample more of that kind than there are: at least 2/(R + 1), 1 at most. Differences below 1e-12 are of
    rounding, and count as none.

    Args:
        first: a figure of the first system on all pairs.
        second: that of the second.
        first_samples: [R], the figure in each sample.
        second_samples: [R], of the same draws.
        level: confidence, in (0, 1).

    Raises:
        ValueError: shapes that disagree, no sample, NaN in them, or a level outside (0, 1).

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 15.
    """
    a, b = np.asarray(first_samples, np.float64), np.asarray(second_samples, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"samples must both be [R] with R >= 1, got shapes {a.shape} and {b.shape}")
    differences = a - b
    differences[np.abs(differences) < ROUNDED] = 0
    ends = interval(differences, level)
    against = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return Difference(first - second, ends, min(1.0, 2 * (int(against) + 1) / (len(a) + 1)))


def interval(figures: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a figure from its values in the bootstrap resamples [R].

    Raises:
        ValueError: a level outside (0, 1), or values with NaN.
    """
    values = np.asarray(figures, np.float64)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if np.isnan(values).any():
        raise ValueError("the figure is NaN in some samples")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def checked_people(first: ArrayLike, second: ArrayLike, counts: Counts) -> tuple[NDArray[Any], NDArray[Any]]:
    """The people of pairs [P], as rows of ``counts``."""
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"first and second must both be [P], got shapes {a.shape} and {b.shape}")
    people = counts.shape[1]
    if a.size and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < people):
        raise ValueError(f"people must be 0 to {people - 1}")
    return a, b
