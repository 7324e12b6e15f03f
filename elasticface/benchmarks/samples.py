"""Figures in each bootstrap resample over people: their intervals, and what a comparison of two models needs.

Thresholds are recomputed in each resample from its own impostors. The accuracy of pairs is the exception: it keeps the
decisions of its folds. The resamples depend on the trials and a seed alone: two models on the same trials have the same
ones, so an effect on both models cancels in their difference.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import progress
from elasticface.benchmarks.units import NOUNS, Units
from elasticface.metrics.resampled_roc import accepted_shares, equal_error_rates, tars_at_fars, with_one_more
from elasticface.metrics.resampling import CannotDraw, Counts, EqualNowhere, draw_people, interval

DRAWS, SEED = 2000, 0
ACCURACY, EER = "accuracy", "eer"
MOST_DRAWN = 1 << 27
"""Units times resamples, at most: the counts then take half a GiB."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rates = dict[str, float]  # target, e.g. "0.0001" or "5" -> fraction in 0..1
Intervals = dict[str, tuple[float, float]]  # likewise; 95 %


@dataclass(frozen=True, eq=False)
class Samples:
    """The F figures of a large benchmark, those of ``result.groups()`` in their order, in each of R resamples."""

    rates: Floats  # [R, F], fractions in 0..1
    kind: str  # what was resampled, one of benchmarks.units.OF_TRIALS
    digest: str  # SHA-256 of the protocol's lists and of the seed, hexadecimal: the same for the same draws alone


@dataclass(frozen=True, eq=False)
class Drawn:
    """What :func:`bootstrap` gave."""

    rates: Floats | None  # [R, F], or None where nothing could be resampled
    units: int  # how many there are to resample
    kind: str  # what they are, a key of benchmarks.units.UNITS
    said: str  # how the intervals were found, in words

    def intervals(self, rates: Rates, counted: int, start: int = 0) -> Intervals:
        """The 95 % intervals of figures that are numbers, also in every resample; none if nothing could be resampled.

        The spread of a figure that is the same in every resample, such as one without any error, is unknown: it gets
        the exact binomial interval of as many trials as there are units that count in it.

        Args:
            rates: the figures.
            counted: units with a trial of theirs.
            start: the column of the first one.
        """
        if self.rates is None:
            return {}
        columns = self.rates[:, start:].T
        return {
            target: interval_of(column, round(rate * counted), counted)
            for (target, rate), column in zip(rates.items(), columns, strict=False)
            if not math.isnan(rate) and not np.isnan(column).any()
        }

    def samples(self, digest: str) -> Samples | None:
        """For a comparison; ``digest`` is that of the protocol's lists."""
        return Samples(self.rates, self.kind, digest) if self.rates is not None else None


def interval_of(column: Floats | None, successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a figure by its samples [R]; exact binomial where those are none, NaN, or never vary."""
    if column is not None and np.ptp(column) > 0:
        return interval(column)
    return metrics.binomial_interval(successes, trials)


def draw(units: int, draws: int = DRAWS, seed: int = SEED) -> Counts:
    """How often each unit is in each resample, [R, units].

    Raises:
        CannotDraw: there is one alone.
    """
    if units < 2:
        raise CannotDraw("too few people: every resample is the same")
    return draw_people(units, draws, seed)


def bootstrap(figures: Callable[[Counts], Floats], units: int, kind: str) -> Drawn:
    """Figures in each bootstrap resample.

    Args:
        figures: how often each unit is in each resample [R, units] -> F figures in each [R, F]; may raise CannotDraw.
        units: how many there are to resample.
        kind: what they are, a key of benchmarks.units.UNITS.
    """
    try:
        if units > MOST_DRAWN // DRAWS:
            raise CannotDraw(f"{units:,} {NOUNS[kind]} are too many to resample {DRAWS:,} times")
        with progress.status(f"resampling {NOUNS[kind]} {DRAWS:,} times"):
            rates = figures(draw(units, DRAWS, SEED))
    except CannotDraw as error:
        return Drawn(None, units, kind, f"none, {error}")
    return Drawn(rates, units, kind, f"bootstrap over {units:,} {NOUNS[kind]}, {DRAWS:,} draws")


def other_sides(first: NDArray[np.int32], second: NDArray[np.int32], same: Bools, units: int) -> NDArray[np.int32]:
    """``second``, but of impostor pairs within one unit the one more of ``with_one_more``: they come as their unit."""
    return np.where(~same & (first == second), np.int32(units), second)


def of_pairs(
    scores: NDArray[Any], same: Bools, accepted: Bools, units: Units, fars: Sequence[float], counts: Counts
) -> Floats:
    """Figures of pairs in each resample, [R, 2 + 2 F].

    Accuracy, TAR at each FAR by the rule "at-most", equal error rate, and TAR at each FAR by the rule "nearest". The
    equal error rate is NaN in all if there is none in one of them, since too many pairs were not enrolled.

    Args:
        scores: [P] similarities; -inf of a pair that was not enrolled.
        same: [P], whether the pairs are genuine.
        accepted: [P], by the threshold of each pair's fold.
        units: of the pairs.
        fars: [F].
        counts: [R, units], of ``draw_people``.

    Raises:
        CannotDraw: a resample without pairs of one kind.
    """
    more = with_one_more(counts)
    first, second = units.first, other_sides(units.first, units.second, same, counts.shape[1])
    right, enrolled = accepted == same, scores > -np.inf
    kinds = [accepted_shares(right[of], first[of], second[of], more) for of in (same, ~same)]
    share = float(same.mean())
    accuracy = share * kinds[0] + (1 - share) * kinds[1]
    try:
        eer = equal_error_rates(scores, first, second, more, enrolled)
    except EqualNowhere:
        eer = np.full(len(counts), np.nan)
    tars = tars_at_fars(scores, first, second, fars, more, enrolled=enrolled)
    return np.column_stack([accuracy, tars["at-most"], eer, tars["nearest"]])


def of_groups(groups: Sequence[Bools], right: Bools, same: Bools, units: Units, counts: Counts) -> Floats:
    """The share of right decisions in each of G groups of pairs in each resample, [R, G]; NaN without pairs.

    Args:
        groups: which pairs [P] are in each.
        right: [P], whether each pair was judged right.
        same: [P], whether it is genuine.
        units: of the pairs.
        counts: [R, units], of ``draw_people``.
    """
    more = with_one_more(counts)
    second = other_sides(units.first, units.second, same, counts.shape[1])
    columns = []
    for of in groups:
        try:
            columns.append(accepted_shares(right[of], units.first[of], second[of], more))
        except CannotDraw:
            columns.append(np.full(len(counts), np.nan))
    return np.column_stack(columns)


def numbered(ids: NDArray[Any]) -> NDArray[np.int32]:
    """Ids [n] of units as numbers from 0."""
    return np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int32)


def digest_of(*lists: Sequence[str] | NDArray[Any]) -> str:
    """SHA-256 of lists of names, flags and numbers below 2^31, of any lengths: the same for the same lists alone."""
    sha = hashlib.sha256(f"{DRAWS} draws of seed {SEED}\n".encode())
    for one in lists:
        if isinstance(one, np.ndarray):
            flat = np.ascontiguousarray(one, "?" if one.dtype == np.bool_ else "<i4")
            sha.update(f"{flat.dtype.str} {len(flat)}\n".encode())
            sha.update(flat.view(np.uint8).data)
        else:
            told = json.dumps(list(one)).encode()
            sha.update(f"names {len(told)}\n".encode())
            sha.update(told)
    return sha.hexdigest()
