"""The ROC of scored pairs and what is read off it: TAR at a FAR under both rules, operating points, equal error rate.

A pair that was not ``enrolled``, since no face was found in a photo of it, is accepted by no threshold, as NIST's FRTE
counts a failure to enrol: a genuine one is a false non-match everywhere, an impostor a true non-match, and so neither
rate need reach 1.

Made for lists like IJB-C's 15,658,489 pairs: beside the scores it holds one sorted copy of them, or of the impostors
above the lowest threshold that is asked for, and walks along the curve in blocks.
"""

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from elasticface.metrics.checks import checked_rates, checked_trials, most_within

_Floats = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]
_Scores = npt.NDArray[Any]  # of any float dtype; ascending where it says so

_BLOCK = 1 << 20  # pairs of the curve that are walked along at once


@dataclass(frozen=True, eq=False)
class Roc:
    """Points of an ROC curve, [K] each. A pair is accepted if its score is >= the threshold."""

    far: _Floats  #: share of impostors accepted
    tar: _Floats  #: share of genuine pairs accepted
    thresholds: _Floats  #: +inf accepts nobody

    @property
    def frr(self) -> _Floats:
        """Share of genuine pairs rejected, 1 − TAR: with ``far``, the DET curve."""
        return 1 - self.tar


@dataclass(frozen=True)
class Eer:
    """Equal error rate, a fraction in [0, 1], and the score at which it is met."""

    rate: float
    threshold: float


def roc(scores: npt.ArrayLike, same: npt.ArrayLike, enrolled: npt.ArrayLike | None = None) -> Roc:
    """The whole ROC curve: what share of impostors and of genuine pairs each threshold accepts.

    A threshold t accepts every score >= t: pairs that tie are accepted together. The first point is (0, 0) at threshold
    +inf, then there is one per distinct score, descending; ``operating_points`` gives as many as wanted.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.
        enrolled: [P] bool, False for a pair that no threshold accepts, whatever its score. None: all are.

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, or no impostor pair.
    """
    values, genuine, listed_mates, listed_impostors = _checked(scores, same, enrolled)
    ascending, mates = np.sort(values), np.sort(values[genuine])
    points = 2 + int(np.count_nonzero(ascending[1:] != ascending[:-1]))
    far, tar, thresholds = np.zeros(points), np.zeros(points), np.full(points, np.inf)
    end = 1
    for false_accepts, true_accepts, levels in _curve(ascending, mates):
        begin, end = end, end + len(levels)
        far[begin:end] = false_accepts / listed_impostors
        tar[begin:end] = true_accepts / listed_mates
        thresholds[begin:end] = levels
    return Roc(far, tar, thresholds)


def operating_points(
    scores: npt.ArrayLike, same: npt.ArrayLike, fars: npt.ArrayLike, enrolled: npt.ArrayLike | None = None
) -> Roc:
    """The last point of the ROC curve within each FAR: the largest TAR whose FAR is <= the target, and its threshold.

    For a threshold to put into use, and for ROC and DET plots of as many points as one likes.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.
        fars: target rates in [0, 1], any shape.
        enrolled: [P] bool, False for a pair that no threshold accepts, whatever its score. None: all are.

    Returns:
        Points of the shape of ``fars``: the observed FAR (<= target), its TAR, and the lowest score that is accepted,
        +inf for none.

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, no impostor pair, or a target outside
            [0, 1].
    """
    targets = checked_rates(fars, "fars")
    values, genuine, listed_mates, listed_impostors = _checked(scores, same, enrolled)
    mates = np.sort(values[genuine])
    impostors = values[~genuine]
    total = len(impostors)
    room = np.minimum(most_within(targets.ravel(), listed_impostors), total)  # how many each target may accept
    # The best impostor that there is no room for is rejected, and so is who ties with it. None above the lowest of
    # those is needed in order, and none below it at all.
    cut = total - 1 - int(min(room.max(initial=0), total - 1))
    impostors.partition(cut)
    top = np.sort(impostors[cut:])
    everybody = room == total
    rejected = top[np.maximum(len(top) - 1 - room, 0)]
    above = np.where(everybody, 0, np.searchsorted(top, rejected, side="right"))
    mates_above = np.where(everybody, 0, np.searchsorted(mates, rejected, side="right"))
    # With everybody accepted top begins with the lowest impostor: its cut is 0.
    lowest = np.minimum(_at(top, above), _at(mates, mates_above))
    shape = targets.shape
    return Roc(
        ((len(top) - above) / listed_impostors).reshape(shape),
        ((len(mates) - mates_above) / listed_mates).reshape(shape),
        lowest.reshape(shape),
    )


def tar_at_far(
    scores: npt.ArrayLike,
    same: npt.ArrayLike,
    fars: npt.ArrayLike,
    rule: Literal["at-most", "nearest"] = "at-most",
    enrolled: npt.ArrayLike | None = None,
) -> _Floats:
    """True accept rate at given false accept rates.

    Two readings are in use, and at few impostors they differ:

    - ``"at-most"``: the largest TAR of any threshold whose FAR is <= the target. A threshold above all scores is one of
      them, so the answer is 0 where even the best impostor beats every genuine pair.
    - ``"nearest"``: the TAR at the ROC point whose FAR is nearest the target, be it above or below, as the IJB scripts
      of the field read it; of equally near points the one with the highest FAR, and of those the highest TAR. The
      points are those that the scripts get from ``sklearn.metrics.roc_curve`` by default, which leaves out each
      point that lies exactly halfway between its neighbours. In a long run of impostors without a genuine pair only the
      ends are left, so the nearest point may be farther off than the nearest threshold.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.
        fars: target rates in [0, 1], any shape.
        rule: which reading.
        enrolled: [P] bool, False for a pair that no threshold accepts, whatever its score. None: all are.

    Returns:
        float64 of the shape of ``fars``, fractions in [0, 1].

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, no impostor pair, a target outside [0, 1],
            or another rule.

    Source: Maze et al., "IARPA Janus Benchmark - C" (2018); "nearest" as in the IJB evaluation of InsightFace.
    """
    if rule == "at-most":
        return operating_points(scores, same, fars, enrolled).tar
    if rule != "nearest":
        raise ValueError(f'rule must be "at-most" or "nearest", got {rule!r}')
    targets = checked_rates(fars, "fars")
    values, genuine, listed_mates, listed_impostors = _checked(scores, same, enrolled)
    nearest = _Nearest(targets.ravel(), listed_impostors)
    for false_accepts, true_accepts in _without_halfway_points(np.sort(values), np.sort(values[genuine])):
        nearest.see(false_accepts, true_accepts)
        if nearest.passed(false_accepts[-1]):
            break
    tars = nearest.true_accepts / listed_mates
    return np.asarray(tars.reshape(targets.shape))


def spread_fars(impostors: int, points: int, enrolled: int | None = None) -> _Floats:
    """FARs to draw an ROC at: evenly spread on a log axis, each a number of accepted impostors over all of them.

    Args:
        impostors: how many there are, >= 1.
        points: how many FARs at most.
        enrolled: how many of them a threshold may accept, >= 1; None: all.

    Returns:
        float64, ascending from 0 (no impostor accepted) to 1, or to where all who were enrolled are accepted.
    """
    most = impostors if enrolled is None else enrolled
    return np.append(0, np.unique(np.geomspace(1, most, points - 1).round())) / impostors


def equal_error_rate(scores: npt.ArrayLike, same: npt.ArrayLike, enrolled: npt.ArrayLike | None = None) -> Eer:
    """Where FAR and FRR (1 − TAR) are equal.

    Rate and threshold are interpolated linearly between the last ROC point with FAR < FRR and the next one. If the
    former is (0, 0), whose threshold is infinite, the threshold is that of the latter. Both are NaN where so many pairs
    were not enrolled that FAR stays below FRR at every threshold.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.
        enrolled: [P] bool, False for a pair that no threshold accepts, whatever its score. None: all are.

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, or no impostor pair.
    """
    values, genuine, listed_mates, listed_impostors = _checked(scores, same, enrolled)
    kinds = impostors, mates = np.sort(values[~genuine]), np.sort(values[genuine])
    lost = listed_mates - len(mates)

    def rates(threshold: Any) -> tuple[float, float]:
        """FAR and FRR."""
        false_accepts = len(impostors) - int(np.searchsorted(impostors, threshold))
        return false_accepts / listed_impostors, (lost + int(np.searchsorted(mates, threshold))) / listed_mates

    def undecided(threshold: Any) -> bool:
        far, frr = rates(threshold)
        return far - frr < 0

    # The gap FAR − FRR grows from −1 to 1 with falling thresholds: each point accepts somebody new.
    met = [kind[place - 1] for kind in kinds if (place := bisect.bisect_left(kind, True, key=undecided))]
    if not met:
        return Eer(rate=math.nan, threshold=math.nan)
    after = max(met)
    higher = [kind[place] for kind in kinds if (place := np.searchsorted(kind, after, side="right")) < len(kind)]
    far, frr = rates(after)
    far_before, frr_before = rates(min(higher)) if higher else (0.0, 1.0)
    rise = (far - frr) - (far_before - frr_before)
    share = (frr_before - far_before) / rise  # of the way to `after`, in (0, 1]
    threshold = (1 - share) * float(min(higher)) + share * float(after) if higher else float(after)
    return Eer(rate=(1 - share) * far_before + share * far, threshold=threshold)


def _checked(
    scores: npt.ArrayLike, same: npt.ArrayLike, enrolled: npt.ArrayLike | None
) -> tuple[_Scores, npt.NDArray[np.bool_], int, int]:
    """Scores of the pairs that were enrolled, which of them are genuine, and how many of either kind are listed."""
    values, genuine, there = checked_trials(scores, same, enrolled, "scores")
    pairs, mates = len(genuine), int(np.count_nonzero(genuine))
    if not mates:
        raise ValueError(f"no genuine pair among {pairs}: TAR is undefined")
    if mates == pairs:
        raise ValueError(f"no impostor pair among {pairs}: FAR is undefined")
    if there is not None:
        values, genuine = values[there], genuine[there]
        if genuine.all() or not genuine.any():
            raise ValueError(f"of {pairs} pairs none of one kind was enrolled")
    return values, genuine, mates, pairs - mates


def _at(ascending: _Scores, places: npt.NDArray[Any]) -> _Floats:
    """The scores at these places, +inf beyond the last."""
    found = ascending[np.minimum(places, len(ascending) - 1)].astype(np.float64)
    return np.where(places < len(ascending), found, np.inf)


def _curve(ascending: _Scores, mates: _Scores) -> Iterator[tuple[_Counts, _Counts, _Scores]]:
    """The curve but its first point, block by block: impostors and genuine pairs accepted, and the thresholds.

    Args:
        ascending: all scores.
        mates: those of genuine pairs, ascending too.
    """
    end = len(ascending)
    while end:
        # Whole runs of ties: a run longer than a block makes a longer block.
        begin = int(np.searchsorted(ascending, ascending[max(end - _BLOCK, 0)]))
        block = ascending[begin:end]
        first_of_ties = np.flatnonzero(np.append(True, block[1:] != block[:-1]))[::-1]
        levels = block[first_of_ties]
        true_accepts = len(mates) - np.searchsorted(mates, levels)
        yield len(ascending) - begin - first_of_ties - true_accepts, true_accepts, levels
        end = begin


def _without_halfway_points(ascending: _Scores, mates: _Scores) -> Iterator[tuple[_Counts, _Counts]]:
    """The ROC points that ``sklearn.metrics.roc_curve`` keeps by default (``drop_intermediate``), block by block.

    It drops the points whose second differences are both 0, and adds (0, 0) only afterwards: so the first point after
    (0, 0) always stays.
    """
    yield np.zeros(1, np.int64), np.zeros(1, np.int64)
    before: tuple[_Counts, _Counts] | None = None  # the last two points of the block before: not judged, and its judge
    for block_false, block_true, _ in _curve(ascending, mates):
        if before is None:
            yield block_false[:1], block_true[:1]
            before = block_false[:0], block_true[:0]
        false_accepts, true_accepts = np.append(before[0], block_false), np.append(before[1], block_true)
        kept = 1 + np.flatnonzero((np.diff(false_accepts, 2) != 0) | (np.diff(true_accepts, 2) != 0))
        if len(kept):
            yield false_accepts[kept], true_accepts[kept]
        before = false_accepts[-2:], true_accepts[-2:]
    if before is not None:
        yield before[0][-1:], before[1][-1:]


class _Nearest:
    """For each target, the last of the points seen so far whose FAR is nearest; points come along the curve."""

    def __init__(self, targets: _Floats, impostors: int) -> None:
        self.targets, self.impostors = targets, impostors
        self.distance = np.full(len(targets), np.inf)
        self.true_accepts = np.zeros(len(targets), np.int64)

    def see(self, false_accepts: _Counts, true_accepts: _Counts) -> None:
        far = false_accepts / self.impostors
        above = np.searchsorted(far, self.targets, side="right")
        end = len(far) - 1
        # Only two can be: the last within the target, and the last of those with the first FAR beyond it.
        last_beyond = np.searchsorted(far, far[np.minimum(above, end)], side="right") - 1
        for place, there in ((above - 1, above > 0), (last_beyond, above <= end)):
            distance = np.abs(far[place] - self.targets)
            nearer = there & (distance <= self.distance)
            self.distance = np.where(nearer, distance, self.distance)
            self.true_accepts = np.where(nearer, true_accepts[place], self.true_accepts)

    def passed(self, false_accepts: int) -> bool:
        """Whether points with this many false accepts or more are all too far from every target."""
        return bool(np.all(false_accepts / self.impostors - self.targets > self.distance))
