"""Thresholds with their false match rates, from the comparisons of benchmarks, and a likelihood ratio.

The threshold for a false match rate is the lowest score, of either kind, such that the share of impostor comparisons at
or above it is no greater than the rate. A comparison of a photo that was not enrolled has no score: it is a non-match
at every threshold. The interval of the rate is that of the bootstrap over people at this threshold.

By the rule of three no rate below 3/n can be measured with n independent impostor comparisons. Those that share people
are not independent, so n is the number of independent ones that would vary as much: n = p(1 − p)/v, v being the
variance of the rate p over the bootstrap resamples (Kish's effective sample size). Where no two comparisons share a
photo or a person, n is their number.

Sources: Mansfield and Wayman, "Best practices in testing and reporting performance of biometric devices" (2002), and
ISO/IEC 19795-1, for the rule of three; Kish, "Survey sampling" (1965); Bolle, Ratha and Pankanti (2004), see
:mod:`elasticface.metrics.resampling`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.samples import DRAWS, MOST_DRAWN, SEED, draw, interval_of
from elasticface.benchmarks.units import NOUNS
from elasticface.metrics import binomial_interval
from elasticface.metrics.checks import most_within
from elasticface.metrics.resampling import CannotDraw, Counts
from elasticface.model.calibration import (
    LONGEST_TEXT,
    MOST_POINTS,
    UNKNOWN_DETECTOR,
    Calibration,
    LikelihoodRatio,
    OperatingPoint,
)
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition import likelihood
from elasticface.recognition.comparable import Comparable, People, most_impostors
from elasticface.recognition.comparisons import (
    MOST_KEPT,
    Compared,
    bin_centres,
    compare,
    first_half,
    histogram_of,
)
from elasticface.recognition.conditions import conditions_of
from elasticface.recognition.groups import Differential, differentials
from elasticface.recognition.pool import Pool

FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""What is calibrated unless said otherwise, as far as the data allow."""

LOWEST_FMR = 1e-12
"""No set of faces allows a lower one."""

RULE_OF_THREE = 3
_ROUNDED = 1e-9  # of the three: what rates lose as they are written, such as 0.0033333333
_FEWEST_PEOPLE = 10  # in each half, for a likelihood ratio
_FEWEST_RESAMPLES = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A calibration, and what was found beside it."""

    calibration: Calibration
    differentials: tuple[Differential, ...]  #: by group, where metadata.csv names some
    notes: tuple[str, ...]  #: what was left out or is missing, and why


def calibrate(
    encoder: FaceEncoder,
    benchmarks: Sequence[Comparable],
    fmrs: Sequence[float] | None = None,
    *,
    detector: str = UNKNOWN_DETECTOR,
    flip: bool = True,
) -> Calibration:
    """The calibration alone of what :func:`measure` gives; it takes the same arguments."""
    return measure(encoder, benchmarks, fmrs, detector=detector, flip=flip).calibration


def measure(
    encoder: FaceEncoder,
    benchmarks: Sequence[Comparable],
    fmrs: Sequence[float] | None = None,
    *,
    detector: str = UNKNOWN_DETECTOR,
    flip: bool = True,
) -> Measured:
    """Calibrate a model on the comparisons of all benchmarks together.

    Args:
        encoder: the model.
        benchmarks: of :func:`elasticface.recognition.open_comparable`; without a person in common, and of
            people that the model was not trained on.
        fmrs: false match rates in [1e-12, 1); None: those of ``FMRS`` that the data allow.
        detector: the name of what found the faces.
        flip: add the embedding of the mirror image.

    Raises:
        InputError: photos that cannot be used, a rate out of its range or below what the data allow, or too few people
            to calibrate at all.
    """
    if not benchmarks:
        raise InputError("nothing to calibrate on; give a benchmark of pairs or a folder of people")
    there = sum(map(most_impostors, benchmarks))
    asked, highest = _rates(fmrs, there)
    wanted = int(np.ceil(highest * there)) + 1
    pool = Pool(tuple(compare(encoder, benchmark, wanted, flip) for benchmark in benchmarks))
    counts = resamples(pool)
    points = operating_points(pool, asked, counts, fmrs is not None)
    ratio, note = likelihood_ratio(pool)
    thresholds = [point.threshold for point in points]
    return Measured(
        Calibration(
            conditions=conditions_of(encoder, detector, flip),
            points=points,
            likelihood=ratio,
            benchmarks=tuple(map(_described, benchmarks)),
            units=pool.kind,
            unit_count=pool.units,
            genuine=pool.genuine_count,
            impostors=pool.impostor_count,
        ),
        tuple(differentials(pool.of_parts(counts), [point.fmr for point in points], thresholds)),
        tuple(filter(None, [*map(_failures, pool.parts), *map(_left_out, benchmarks), note])),
    )


def _rates(fmrs: Sequence[float] | None, there: int) -> tuple[list[float], float]:
    """The rates to calibrate, falling, and the highest one for which impostor comparisons are to be kept.

    Args:
        fmrs: as :func:`measure` takes them.
        there: impostor comparisons.

    Raises:
        InputError: a rate out of its range, or below what so many comparisons allow.
    """
    usual = [fmr for fmr in FMRS if fmr * there < MOST_KEPT]  # of a billion a tenth cannot be kept, and need not be
    if fmrs is None:
        asked = usual or [*FMRS[-1:]]
    elif not (len(fmrs) and all(LOWEST_FMR <= fmr < 1 for fmr in fmrs)):
        told = ", ".join(f"{fmr:g}" for fmr in fmrs)
        raise InputError(f"false match rates must lie between {LOWEST_FMR:g} and 1, not {told}")
    elif len(fmrs) > MOST_POINTS:
        raise InputError(f"{len(fmrs)} false match rates; give {MOST_POINTS} at most")
    else:
        asked = sorted({*fmrs}, reverse=True)
        if not _suffices(there, asked[-1]):  # known before the work
            raise InputError(
                f"a false match rate of {asked[-1]:g} takes {_needed(asked[-1]):,} independent impostor comparisons "
                f"(rule of three), and there are {there:,}; give more people, or a higher rate"
            )
    # For the usual rates they are kept in any case: a refusal says which of these could be had.
    return asked, max([*asked, *usual])


def _described(benchmark: Comparable) -> str:
    """The name of a benchmark, and how many of its photos were compared where some were left out."""
    share = f" ({benchmark.share})" if isinstance(benchmark, People) and benchmark.share else ""
    return benchmark.name[: LONGEST_TEXT - len(share)] + share


def _left_out(benchmark: Comparable) -> str:
    """How many photos were compared, in words; "" where all were."""
    if not isinstance(benchmark, People) or not benchmark.share:
        return ""
    return f"{benchmark.name}: {benchmark.share} were compared, some of each person; --most-photos 0 compares all"


def _failures(part: Compared) -> str:
    """What became of photos that could not be enrolled, in words; "" where all were."""
    told = part.enrolment.sentence("count as non-matches", trials="comparisons") if part.enrolment else ""
    return f"{part.name}: {told}" if told else ""


def resamples(pool: Pool) -> Counts:
    """How often each of a pool's units is in each bootstrap resample, [R, units]: the more units, the fewer resamples.

    Raises:
        InputError: too few units to resample, or too many.
    """
    if pool.units * _FEWEST_RESAMPLES > MOST_DRAWN:
        raise InputError(
            f"cannot be calibrated: {pool.units:,} {NOUNS[pool.kind]} are more than the "
            f"{MOST_DRAWN // _FEWEST_RESAMPLES:,} that can be resampled {_FEWEST_RESAMPLES} times; give a part of them"
        )
    try:
        return draw(pool.units, min(DRAWS, MOST_DRAWN // pool.units), SEED)
    except CannotDraw as error:
        raise InputError(f"cannot be calibrated: {error}; give a benchmark of more people") from error


def operating_points(
    pool: Pool, fmrs: Sequence[float], counts: Counts, strict: bool = True
) -> tuple[OperatingPoint, ...]:
    """The threshold for each false match rate, by falling rate.

    Args:
        pool: the comparisons.
        fmrs: rates in (0, 1), falling.
        counts: [R, units], of :func:`resamples`.
        strict: refuse rates that the data do not allow; else they are left out, unless none remains.

    Raises:
        InputError: such a rate; it names the lowest of ``FMRS`` that they allow.
        ValueError: a rate for which too few impostor comparisons were kept.
    """
    with progress.status(f"resampling {NOUNS[pool.kind]} {len(counts):,} times"):
        found = dict(zip(fmrs, _points(pool, fmrs, counts), strict=True))
        points = [point for point in found.values() if _allowed(point)]
        refused = next((fmr for fmr, point in found.items() if not _allowed(point)), None)
        if refused is not None and (strict or not points):
            usual = _points(pool, list(filter(pool.kept_for, FMRS)), counts)
            lowest = min((point.fmr for point in usual if point is not None and _allowed(point)), default=None)
            raise InputError(_too_low(pool, refused, found[refused], lowest))
    return tuple(point for point in points if point is not None)


def _allowed(point: OperatingPoint | None) -> bool:
    """Whether there are as many independent comparisons as the rule of three asks for."""
    return point is not None and _suffices(point.independent, point.fmr)


def _suffices(comparisons: int, fmr: float) -> bool:
    """Whether so many independent impostor comparisons allow a false match rate: the rule of three."""
    return comparisons * fmr >= RULE_OF_THREE * (1 - _ROUNDED)


def _needed(fmr: float) -> int:
    """Independent impostor comparisons that a false match rate takes."""
    nearest = round(RULE_OF_THREE / fmr)
    return nearest if _suffices(nearest, fmr) else nearest + 1


def _too_low(pool: Pool, fmr: float, point: OperatingPoint | None, lowest: float | None) -> str:
    """The message; ``lowest`` of the usual rates is allowed."""
    advice = f"ask for {lowest:g}, or give" if lowest is not None else "give"
    worth = "are too few for one false match" if point is None else f"are worth {point.independent:,}"
    return (
        f"a false match rate of {fmr:g} takes {_needed(fmr):,} independent impostor comparisons (rule of three), and "
        f"the {pool.impostor_count:,} of {pool.units:,} {NOUNS[pool.kind]} {worth}; {advice} more people"
    )


def _points(pool: Pool, fmrs: Sequence[float], counts: Counts) -> list[OperatingPoint | None]:
    """The operating point of each rate; None for one that the single highest impostor comparison already exceeds."""
    impostors = -np.sort(-np.concatenate([part.impostors for part in pool.parts]))
    impostors = impostors[impostors > -np.inf]  # those that were not enrolled are in ``total`` alone
    genuine = np.sort(np.concatenate([part.genuine for part in pool.parts]))
    total, all_kept = pool.impostor_count, all(part.all_kept for part in pool.parts)
    thresholds = [threshold_for(fmr, impostors, genuine, total, all_kept) for fmr in fmrs]
    there = [threshold for threshold in thresholds if threshold is not None]
    if not there:
        return [None] * len(fmrs)
    try:
        rates = pool.match_rates(there, counts)
        acceptances = pool.acceptances(there, counts)
    except CannotDraw as error:
        raise InputError(f"cannot be calibrated: {error}; give a benchmark of more people") from error
    mated = sum(len(np.unique(part.genuine_units)) for part in pool.parts)
    found: list[OperatingPoint | None] = []
    columns = iter(zip(rates.T, acceptances.T, strict=True))
    for fmr, threshold in zip(fmrs, thresholds, strict=True):
        if threshold is None:
            found.append(None)
            continue
        rate, accepted = next(columns)
        matches = int(np.searchsorted(-impostors, -threshold, side="right"))
        acceptance = (len(genuine) - int(np.searchsorted(genuine, threshold))) / len(genuine)
        alone = pool.kind == "pairs"
        found.append(
            OperatingPoint(
                fmr=fmr,
                threshold=threshold,
                observed_fmr=matches / total,
                fmr_interval=binomial_interval(matches, total) if alone else interval_of(rate, matches, total),
                acceptance=acceptance,
                acceptance_interval=interval_of(accepted, round(acceptance * mated), mated),
                independent=total if alone else independent_comparisons(matches / total, rate, total),
            )
        )
    return found


def threshold_for(
    fmr: float, impostors: NDArray[np.float32], genuine: NDArray[np.float32], total: int, all_kept: bool = False
) -> float | None:
    """The lowest score at or above which the share of impostor comparisons is ``fmr`` at most.

    Args:
        fmr: in (0, 1).
        impostors: scores [K] falling, the highest of all: one more than the rate lets through, or as many as there are.
        genuine: scores [G] rising; -inf of those that were not enrolled.
        total: impostor comparisons in all, with those that were not enrolled.
        all_kept: whether ``impostors`` are all that were enrolled; the others are non-matches at every threshold.

    Returns:
        A score of either kind that at least one impostor comparison reaches; None where there is no such.

    Raises:
        ValueError: too few impostors were kept to find it.
    """
    room = int(most_within(np.asarray([fmr]), total)[0])
    if room >= len(impostors) and not all_kept:
        raise ValueError(f"the {len(impostors):,} highest impostor comparisons are too few for a rate of {fmr:g}")
    rejected = impostors[room] if room < len(impostors) else -np.inf  # the highest score that is too low
    above = int(np.searchsorted(-impostors, -rejected))  # who ties with it is rejected, too
    if not above:
        return None
    mates = int(np.searchsorted(genuine, rejected, side="right"))
    lowest = impostors[above - 1] if mates == len(genuine) else min(impostors[above - 1], genuine[mates])
    return float(lowest)


def independent_comparisons(rate: float, samples: Floats, total: int) -> int:
    """How many independent comparisons would vary as much: p(1 − p)/v, at most ``total``.

    Args:
        rate: p, in [0, 1].
        samples: [R], the rate in each resample, whose variance is v.
        total: comparisons there are.
    """
    variance = float(np.var(samples))
    return min(total, int(rate * (1 - rate) / variance)) if variance > 0 else 0


def likelihood_ratio(pool: Pool, prior: float = likelihood.PRIOR) -> tuple[LikelihoodRatio | None, str]:
    """The likelihood ratio, fitted on one half of the units and judged on the other; and why there is none, if so.

    Args:
        pool: the comparisons.
        prior: as :func:`elasticface.recognition.likelihood.fit` takes it.
    """
    genuine = np.zeros((2, len(bin_centres())), np.int64)
    impostors = np.zeros_like(genuine)
    people = np.zeros(2, np.int64)
    for part in pool.parts:
        halves = first_half(part.units)
        own = halves[part.genuine_units[:, 0]]
        for row, half in enumerate((True, False)):
            genuine[row] += histogram_of(part.genuine[own == half])
            people[row] += np.count_nonzero(halves == half)
        impostors += part.histogram
    if people.min() < _FEWEST_PEOPLE or not (genuine.any(axis=1) & impostors.any(axis=1)).all():
        return None, "no likelihood ratio: there are too few people to fit it on one half and to judge it on the other"
    centres = bin_centres()
    slope, offset = likelihood.fit(centres, centres, genuine[0], impostors[0], int(people[0]), prior)
    ratios = slope * centres + offset
    cost = likelihood.cllr(ratios, ratios, genuine[1], impostors[1])
    return LikelihoodRatio(slope, offset, cost, int(people[0]), int(people[1])), ""
