"""Thresholds with their false match rates, from the comparisons of benchmarks, and a likelihood ratio.

The threshold for a false match rate is the lowest score, of either kind, at or above which no greater share of the
impostor comparisons lies. Its interval is that of the bootstrap over people at this threshold.

How low a rate can be measured: by the rule of three, no lower than 3/n for n independent impostor comparisons. Those
that share people are not independent, so n is the number of independent ones that would vary as much:
n = p(1 − p)/v, v being the variance of the rate p over the bootstrap resamples (Kish's effective sample size). Where no
two comparisons share a photo or a person, n is their number.

Sources: Mansfield and Wayman, "Best practices in testing and reporting performance of biometric devices" (2002), and
ISO/IEC 19795-1, for the rule of three; Kish, "Survey sampling" (1965); Bolle, Ratha and Pankanti (2004), see
:mod:`elasticface.metrics.resampling`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.samples import DRAWS, MOST_DRAWN, SEED, draw, interval_of
from elasticface.benchmarks.units import NOUNS
from elasticface.metrics import binomial_interval
from elasticface.metrics.checks import most_within
from elasticface.metrics.resampling import CannotDraw, Counts
from elasticface.model.calibration import UNKNOWN_DETECTOR, Calibration, LikelihoodRatio, OperatingPoint
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition import likelihood
from elasticface.recognition.comparisons import (
    MOST_KEPT,
    Comparable,
    Compared,
    all_weights,
    bin_centres,
    compare,
    first_half,
    histogram_of,
    most_impostors,
    weights_at,
)
from elasticface.recognition.conditions import conditions_of
from elasticface.recognition.groups import Differential, differentials

FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""What is calibrated unless said otherwise, as far as the data allow."""

RULE_OF_THREE = 3
_FEWEST_PEOPLE = 10  # in each half, for a likelihood ratio
_FEWEST_DRAWS = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A calibration, and what was found beside it."""

    calibration: Calibration
    differentials: tuple[Differential, ...]  # by group, where metadata.csv names some
    notes: tuple[str, ...]  # what is missing, and why


@dataclass(frozen=True, eq=False)
class Pool:
    """The comparisons of several benchmarks as one set. Their people are taken for different ones."""

    parts: tuple[Compared, ...]

    @property
    def units(self) -> int:
        """How many there are to resample."""
        return sum(part.units for part in self.parts)

    @property
    def kind(self) -> str:
        """What they are: "people" where they are in all parts, else what stands for them in the first other part."""
        return next((part.kind for part in self.parts if part.kind != "people"), "people")

    @property
    def impostors(self) -> int:
        """How many impostor comparisons there are."""
        return sum(part.impostor_count for part in self.parts)

    @property
    def genuine(self) -> int:
        """How many genuine comparisons there are."""
        return sum(len(part.genuine) for part in self.parts)

    def of_parts(self, counts: Counts) -> list[tuple[Compared, Counts]]:
        """Each part and how often its units are in each resample; ``counts`` [R, units]."""
        edges = np.cumsum([part.units for part in self.parts])[:-1]
        return list(zip(self.parts, np.split(counts, edges, axis=1), strict=True))

    def match_rates(self, thresholds: Sequence[float], counts: Counts) -> Floats:
        """The false match rate at each threshold in each resample, [R, T].

        Raises:
            CannotDraw: a resample has no impostor comparison.
        """
        parts = self.of_parts(counts)
        found = [weights_at(part.impostors, part.impostor_units, thresholds, own) for part, own in parts]
        return _shares(sum(found), sum(part.impostor_weights(own) for part, own in parts))

    def acceptances(self, thresholds: Sequence[float], counts: Counts) -> Floats:
        """The share of genuine comparisons accepted at each threshold in each resample, [R, T].

        Raises:
            CannotDraw: a resample has no genuine comparison.
        """
        parts = self.of_parts(counts)
        found = [weights_at(part.genuine, part.genuine_units, thresholds, own) for part, own in parts]
        return _shares(sum(found), sum(all_weights(part.genuine_units, own) for part, own in parts))


def calibrate(
    encoder: FaceEncoder,
    benchmarks: Sequence[Comparable],
    fmrs: Sequence[float] | None = None,
    *,
    detector: str = UNKNOWN_DETECTOR,
    flip: bool = True,
) -> Calibration:
    """Thresholds of a model for false match rates, and its likelihood ratio; see :func:`measure`."""
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
        benchmarks: of :func:`elasticface.recognition.comparisons.open_comparable`; without a person in common, and of
            people that the model was not trained on.
        fmrs: false match rates in (0, 1); None: those of ``FMRS`` that the data allow.
        detector: the name of what found the faces.
        flip: add the embedding of the mirror image.

    Raises:
        InputError: photos that cannot be used, a rate out of its range or below what the data allow, or too few people
            to calibrate at all.
    """
    if not benchmarks:
        raise InputError("nothing to calibrate on; give a benchmark of pairs or a folder of people")
    if fmrs is not None and not (len(fmrs) and all(0 < fmr < 1 for fmr in fmrs)):
        raise InputError(f"false match rates must lie between 0 and 1, not {', '.join(f'{fmr:g}' for fmr in fmrs)}")
    there = sum(map(most_impostors, benchmarks))
    asked = sorted({*(fmrs or FMRS)}, reverse=True)
    if fmrs is not None and asked[-1] * there < RULE_OF_THREE * (1 - 1e-9):  # known before the work
        raise InputError(
            f"a false match rate of {asked[-1]:g} takes {_needed(asked[-1]):,} independent impostor comparisons (rule "
            f"of three), and there are {there:,}; give more people, or a higher rate"
        )
    if fmrs is None:  # of a billion comparisons a tenth cannot be kept, and need not be
        asked = [fmr for fmr in asked if fmr * there < MOST_KEPT]
    # Those of the usual rates are kept too, for the message to say which of these could be had.
    highest = max([asked[0], *(fmr for fmr in FMRS if fmr * there < MOST_KEPT)])
    wanted = int(np.ceil(highest * there)) + 1
    pool = Pool(tuple(compare(encoder, benchmark, wanted, flip) for benchmark in benchmarks))
    counts = draws(pool)
    points = operating_points(pool, asked, counts, fmrs is not None, highest)
    ratio, note = likelihood_ratio(pool)
    thresholds = [point.threshold for point in points]
    return Measured(
        Calibration(
            conditions=conditions_of(encoder, detector, flip),
            points=points,
            likelihood=ratio,
            benchmarks=tuple(part.name[:500] for part in pool.parts),
            units=pool.kind,
            people=pool.units,
            genuine=pool.genuine,
            impostors=pool.impostors,
        ),
        tuple(differentials(pool.of_parts(counts), [point.fmr for point in points], thresholds)),
        tuple(filter(None, [*map(_failures, pool.parts), note])),
    )


def _failures(part: Compared) -> str:
    """What became of photos that could not be enrolled, in words; "" where all were."""
    told = part.enrolment.sentence("count as non-matches", trials="comparisons") if part.enrolment else ""
    return f"{part.name}: {told}" if told else ""


def draws(pool: Pool) -> Counts:
    """The bootstrap resamples of a pool's units, [R, units]: fewer of very many.

    Raises:
        InputError: too few units to resample, or too many.
    """
    try:
        return draw(pool.units, min(DRAWS, max(_FEWEST_DRAWS, MOST_DRAWN // pool.units)), SEED)
    except CannotDraw as error:
        raise InputError(f"cannot be calibrated: {error}; give a benchmark of more people") from error


def operating_points(
    pool: Pool, fmrs: Sequence[float], counts: Counts, strict: bool = True, highest: float = 1.0
) -> tuple[OperatingPoint, ...]:
    """The threshold for each false match rate, by falling rate.

    Args:
        pool: the comparisons.
        fmrs: rates in (0, 1), falling.
        counts: [R, units], of :func:`draws`.
        strict: refuse rates that the data do not allow; else they are left out, unless none remains.
        highest: rate for which the comparisons were kept.

    Raises:
        InputError: such a rate; it names the lowest of ``FMRS`` that they allow.
    """
    with progress.status(f"resampling {NOUNS[pool.kind]} {len(counts):,} times"):
        found = dict(zip(fmrs, _points(pool, fmrs, counts), strict=True))
        points = [point for point in found.values() if _allowed(point)]
        refused = next((fmr for fmr, point in found.items() if not _allowed(point)), None)
        if refused is not None and (strict or not points):
            usual = _points(pool, [fmr for fmr in FMRS if fmr <= highest], counts)
            lowest = min((point.fmr for point in usual if point is not None and _allowed(point)), default=None)
            raise InputError(_too_low(pool, refused, found[refused], lowest))
    return tuple(point for point in points if point is not None)


def _allowed(point: OperatingPoint | None) -> bool:
    """Whether there are as many independent comparisons as the rule of three asks for."""
    return point is not None and point.independent * point.fmr >= RULE_OF_THREE * (1 - 1e-9)


def _too_low(pool: Pool, fmr: float, point: OperatingPoint | None, lowest: float | None) -> str:
    """The message; ``lowest`` of the usual rates is allowed."""
    advice = f"ask for {lowest:g}, or give" if lowest is not None else "give"
    worth = "are too few for one false match" if point is None else f"are worth {point.independent:,}"
    return (
        f"a false match rate of {fmr:g} takes {_needed(fmr):,} independent impostor comparisons (rule of three), and "
        f"the {pool.impostors:,} of {pool.units:,} {NOUNS[pool.kind]} {worth}; {advice} more people"
    )


def _needed(fmr: float) -> int:
    """Independent impostor comparisons that a false match rate takes."""
    return int(np.ceil(RULE_OF_THREE / fmr - 1e-6))


def _points(pool: Pool, fmrs: Sequence[float], counts: Counts) -> list[OperatingPoint | None]:
    """The operating point of each rate; None where no threshold has one so low but what accepts no impostor at all."""
    impostors = -np.sort(-np.concatenate([part.impostors for part in pool.parts]))
    genuine = np.sort(np.concatenate([part.genuine for part in pool.parts]))
    total = pool.impostors
    thresholds = [threshold_for(fmr, impostors, genuine, total) for fmr in fmrs]
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


def threshold_for(fmr: float, impostors: NDArray[np.float32], genuine: NDArray[np.float32], total: int) -> float | None:
    """The lowest score at or above which the share of impostor comparisons is ``fmr`` at most.

    Args:
        fmr: in (0, 1).
        impostors: scores [K] falling: the highest, of at least one more than the rate lets through.
        genuine: scores [G] rising.
        total: impostor comparisons in all.

    Returns:
        A score of either kind that at least one impostor comparison reaches; None where there is no such.
    """
    room = int(most_within(np.asarray([fmr]), total)[0])
    if room >= len(impostors):
        return float(min(impostors[-1], genuine[0])) if room == total else None
    above = int(np.searchsorted(-impostors, -impostors[room]))  # who ties with the first rejected one is rejected
    if not above:
        return None
    mates = int(np.searchsorted(genuine, impostors[room], side="right"))
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


def _shares(found: Any, totals: Any) -> Floats:
    if not totals.all():
        raise CannotDraw("too few people: a resample has no comparison of one kind")
    return np.asarray(found / totals[:, None])
