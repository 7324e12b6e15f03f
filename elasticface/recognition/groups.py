"""How a common threshold serves different groups of people: false match and false non-match rates by group.

The groups are those of columns such as sex, age or ancestry in a benchmark's `metadata.csv`. A comparison belongs to a
group if both of its photos do. The rate of the worst group over the geometric mean of all is 1 where all fare alike.

Source: Grother, "Face recognition technology evaluation part 8: Summarizing demographic differentials", NISTIR 8429
(2022), after NISTIR 8280 (FRVT part 3, 2019); ISO/IEC 19795-10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elasticface.benchmarks.pairwise.slices import DEMOGRAPHIC, MOST_GROUPS, group_order
from elasticface.metrics.resampled_roc import all_pairs_weights
from elasticface.metrics.resampling import Counts, interval
from elasticface.recognition.comparisons import Compared, all_weights, weights_at

Floats = NDArray[np.float64]
Parts = Sequence[tuple[Compared, Counts]]


@dataclass(frozen=True)
class Rate:
    """A share of comparisons, in 0..1, with its 95 % interval; None where there is none to say."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Group:
    """One group at one threshold."""

    name: str
    genuine: int  #: comparisons
    impostors: int
    fmr: Rate
    fnmr: Rate


@dataclass(frozen=True)
class Differential:
    """All groups of one column at the threshold for one false match rate."""

    column: str
    fmr: float  #: that the common threshold is for
    threshold: float
    groups: tuple[Group, ...]
    fmr_worst_over_mean: Rate  #: geometric mean; None where a group has no false match
    fnmr_worst_over_mean: Rate


def differentials(parts: Parts, fmrs: Sequence[float], thresholds: Sequence[float]) -> list[Differential]:
    """The groups of every column of which there are two or more, at every threshold.

    Args:
        parts: benchmarks, and how often each one's units are in each resample [R, units].
        fmrs: what the thresholds are for.
        thresholds: similarities.
    """
    found = []
    for column in DEMOGRAPHIC:
        described = [(part, own, np.array(_names(column, part))) for part, own in parts if column in part.metadata]
        names = sorted({name for _, _, of_photo in described for name in of_photo.tolist() if name}, key=group_order)
        if 2 <= len(names) <= MOST_GROUPS:
            found += _of_column(column, described, names, fmrs, thresholds)
    return found


def _of_column(
    column: str,
    described: Sequence[tuple[Compared, Counts, NDArray[np.str_]]],
    names: Sequence[str],
    fmrs: Sequence[float],
    thresholds: Sequence[float],
) -> list[Differential]:
    draws = len(described[0][1])
    # The first row is the comparisons as they are, the others are the resamples.
    shape = (len(names), 1 + draws, len(thresholds))
    matches, misses = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    impostors, genuine = np.zeros(shape[:2], np.int64), np.zeros(shape[:2], np.int64)
    for part, own, of_photo in described:
        counts = np.concatenate([np.ones((1, part.units), np.int32), own])
        for row, name in enumerate(names):
            inside = of_photo == name
            both = inside[part.impostor_photos].all(axis=1)
            units = part.impostor_units[both]
            matches[row] += weights_at(part.impostors[both], units, thresholds, counts)
            if part.unit_of is None:
                impostors[row] += all_weights(units, counts)
            else:
                photos = np.bincount(part.unit_of[inside], minlength=part.units)
                impostors[row] += all_pairs_weights(photos, counts)
            both = inside[part.genuine_photos].all(axis=1)
            everybody = all_weights(part.genuine_units[both], counts)
            accepted = weights_at(part.genuine[both], part.genuine_units[both], thresholds, counts)
            misses[row] += everybody[:, None] - accepted
            genuine[row] += everybody
    with np.errstate(divide="ignore", invalid="ignore"):
        match_rates, miss_rates = matches / impostors[..., None], misses / genuine[..., None]
    return [
        Differential(
            column,
            fmr,
            thresholds[place],
            tuple(
                Group(
                    name,
                    int(genuine[row, 0]),
                    int(impostors[row, 0]),
                    _rate(match_rates[row, :, place]),
                    _rate(miss_rates[row, :, place]),
                )
                for row, name in enumerate(names)
            ),
            _rate(worst_over_mean(match_rates[..., place])),
            _rate(worst_over_mean(miss_rates[..., place])),
        )
        for place, fmr in enumerate(fmrs)
    ]


def worst_over_mean(rates: Floats) -> Floats:
    """The largest rate over the geometric mean of all groups, [R] of rates [G, R]; NaN where a rate is 0 or NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = rates.max(axis=0) / np.exp(np.log(rates).mean(axis=0))
    return np.where((rates > 0).all(axis=0), ratio, np.nan)


def _rate(column: Floats) -> Rate:
    """Of the rate itself and its resamples, [1 + R]."""
    value, samples = float(column[0]), column[1:]
    if not np.isfinite(value):
        return Rate(None, None)
    # Resamples that lack a group, or its errors, say nothing of how far the figure may be off.
    return Rate(value, interval(samples) if np.isfinite(samples).all() and np.ptp(samples) > 0 else None)


def _names(column: str, part: Compared) -> list[str]:
    """The group of each photo [photos], "" of none."""
    values = part.metadata[column]
    return [str(values.get(photo, "")) for photo in part.photos]
