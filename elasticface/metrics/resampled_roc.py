"""Figures of pairs in each bootstrap resample over people, with the thresholds of the ROC recomputed in each.

At a low FAR few impostors set the threshold, so its variation matters as much as that of the accepted pairs. Resamples
are those of :mod:`elasticface.metrics.resampling`, figures those of :mod:`elasticface.metrics.roc`. It is made for
lists like IJB-C's: the weights of pairs are summed in blocks, a few resamples at a time.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elasticface.metrics.checks import checked_rates, checked_trials, most_within
from elasticface.metrics.resampling import CannotDraw, Counts, EqualNowhere, checked_people

Rule = Literal["at-most", "nearest"]

_BLOCK = 1024  # pairs at most between two sums that are kept
_MOST = (1 << 16) - 1  # how often a person may be in a sample
_MOST_WEIGHT = (1 << 32) - 1  # of a block
_FEW = 1 << 16  # pairs that are not worth a thread
_TOO_FEW = "too few people: a resample has no pair of one kind"


def tars_at_fars(
    scores: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    fars: ArrayLike,
    counts: Counts,
    *,
    impostors: ArrayLike | None = None,
    enrolled: ArrayLike | None = None,
) -> dict[Rule, NDArray[np.float64]]:
    """TAR at FAR in each bootstrap resample, by both rules of ``tar_at_far``.

    "nearest" reads all points of the ROC, also those that ``tar_at_far`` passes over as halfway between others. The
    scores are sorted once; ten million pairs in two thousand samples take some seconds.

    Args:
        scores: [P] similarities, higher is more alike.
        first: [P] ints 0..N-1, the person on the first side of each pair.
        second: [P] ints, on the second side; the same person makes a genuine pair.
        fars: [F] target rates in [0, 1].
        counts: [R, N], of ``draw_people``.
        impostors: [R] how many impostor pairs each sample has, where only those of the highest scores are given; None:
            all are given.
        enrolled: [P] bool, False for a pair that no threshold accepts, whatever its score. None: all are.

    Returns:
        For each rule [R, F], fractions in [0, 1].

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, a target outside [0, 1], a person outside 0..N-1, a sample
            without pairs of one kind (there are too few people), or a FAR that needs more impostors than are given.
    """
    from elasticface.metrics.roc_kernels import find_cuts

    a, b = checked_people(first, second, counts)
    same = a == b
    values = _with_never(scores, same, enrolled)
    targets = checked_rates(fars, "fars")
    if targets.ndim != 1:
        raise ValueError(f"fars must be [F], got shape {targets.shape}")
    totals = None if impostors is None else np.asarray(impostors, np.int64)
    if totals is not None and totals.shape != (len(counts),):
        raise ValueError(f"impostors must be [{len(counts)}], one number a sample, got shape {totals.shape}")
    rising = -values[~same]
    falling = np.argsort(rising)
    rising = rising[falling]
    one, other = (side[~same][falling].astype(np.int32) for side in (a, b))
    order = np.argsort(values[same])
    genuine, person = values[same][order], a[same][order]
    at_most, nearest = np.empty((2, len(counts), len(targets)))
    for some, times, block, weights in _weighed(one, other, counts):
        ends = np.cumsum(weights, axis=0).T.copy()
        listed = ends[:, -1] if len(rising) else np.zeros(len(ends), np.int64)
        found = listed if totals is None else totals[some]
        below = np.zeros((len(ends), len(genuine) + 1), np.int64)  # genuine pairs of a sample before each place
        np.cumsum(counts[some][:, person], axis=1, out=below[:, 1:])
        mates = below[:, -1:]
        if not found.all() or not mates.all():
            raise CannotDraw(_TOO_FEW)
        rooms = np.stack([most_within(targets, int(total)) for total in found])
        cuts = np.empty((2, *rooms.shape), np.int64)
        find_cuts(rising, one, other, times, block, ends, found, targets, rooms, cuts[0], cuts[1])
        if totals is not None and (cuts.max(axis=0) == len(rising))[rooms < found[:, None]].any():
            raise CannotDraw(f"the {len(rising):,} highest impostor pairs are too few for a FAR in some sample")
        for tars, cut in zip((at_most, nearest), cuts, strict=True):
            # Who scores no more than the cut is rejected with it; without one, who was not enrolled.
            level = np.where(cut < len(rising), -rising[np.minimum(cut, len(rising) - 1)], -np.inf)
            lost = np.searchsorted(genuine, level, side="right")
            tars[some] = (mates - np.take_along_axis(below, lost, axis=1)) / mates
    return {"at-most": at_most, "nearest": nearest}


def accepted_shares(hits: ArrayLike, first: ArrayLike, second: ArrayLike, counts: Counts) -> NDArray[np.float64]:
    """The share of pairs that succeed in each bootstrap resample, [R]: those accepted, or judged right.

    Args:
        hits: [P] bool.
        first: [P] ints 0..N-1, the person on the first side of each pair.
        second: [P] ints, on the second side; the same person makes a genuine pair.
        counts: [R, N], of ``draw_people``.

    Raises:
        ValueError: shapes that disagree, a person outside 0..N-1, or too few people: a resample without pairs.
    """
    a, b = (side.astype(np.int32) for side in checked_people(first, second, counts))
    found = np.asarray(hits, np.bool_)
    if found.shape != a.shape:
        raise ValueError(f"hits must be [P], got shape {found.shape} for {len(a)} pairs")
    more = with_one_more(counts)
    right, all_pairs = _totals(a[found], b[found], more), _totals(a, b, more)
    if not all_pairs.all():
        raise CannotDraw(_TOO_FEW)
    return np.asarray(right / all_pairs)


def with_one_more(counts: Counts) -> Counts:
    """A person more, N, who is in each sample once: the other side of pairs that come as often as one of their own."""
    return np.pad(counts, ((0, 0), (0, 1)), constant_values=1)


def _totals(first: NDArray[np.int32], second: NDArray[np.int32], more: Counts) -> NDArray[np.int64]:
    """How many of the pairs [P] are in each sample, [R]; a genuine one comes as often as its person.

    ``more`` is of :func:`with_one_more`.
    """
    other = np.where(first == second, np.int32(more.shape[1] - 1), second)
    return np.concatenate([weights.sum(axis=0) for *_, weights in _weighed(first, other, more)])


def _weighed(
    first: NDArray[np.int32], second: NDArray[np.int32], counts: Counts
) -> Iterator[tuple[slice, NDArray[np.uint16], int, NDArray[np.int64]]]:
    """What each block of pairs weighs, a few samples [n] at a time.

    Yields:
        Which samples; how often each person is in them [N, SAMPLES]; pairs a block; and int64 [K, n].
    """
    from elasticface.metrics import kernels, roc_kernels

    most = int(counts.max(initial=1))
    if most > _MOST:
        raise ValueError(f"a person is in a sample {most:,} times, more often than {_MOST:,}")
    block = max(1, min(_BLOCK, _MOST_WEIGHT // most**2))
    weights = np.empty((-(-len(first) // block), roc_kernels.SAMPLES), np.int64)
    shares = kernels.threads() if len(first) > _FEW else 1
    edges = np.linspace(0, len(weights), shares + 1).astype(np.int64)
    for some, times in _some_at_a_time(counts):

        def weigh(begin: int, end: int, times: NDArray[np.uint16] = times) -> None:
            roc_kernels.weigh(first, second, times, block, weights, begin, end)

        kernels.in_threads(weigh, edges)
        yield some, times, block, weights[:, : some.stop - some.start]


def _some_at_a_time(counts: Counts) -> Iterator[tuple[slice, NDArray[np.uint16]]]:
    """As many samples as the kernels take: which, and how often each person is in them [N, SAMPLES], the rest zeros."""
    from elasticface.metrics.roc_kernels import SAMPLES

    for start in range(0, len(counts), SAMPLES):
        some = slice(start, min(start + SAMPLES, len(counts)))
        times = np.zeros((counts.shape[1], SAMPLES), np.uint16)
        times[:, : some.stop - start] = counts[some].T
        yield some, times


def _with_never(scores: ArrayLike, same: NDArray[np.bool_], enrolled: ArrayLike | None) -> NDArray[Any]:
    """Scores [P], -inf for a pair that was not enrolled."""
    values, _, there = checked_trials(scores, same, enrolled, "scores")
    return values if there is None else np.where(there, values, -np.inf)


def equal_error_rates(
    scores: ArrayLike, first: ArrayLike, second: ArrayLike, counts: Counts, enrolled: ArrayLike | None = None
) -> NDArray[np.float64]:
    """The equal error rate in each bootstrap resample, [R].

    Args:
        scores: [P] similarities, higher is more alike.
        first: [P] ints 0..N-1, the person on the first side of each pair.
        second: [P] ints, on the second side; the same person makes a genuine pair.
        counts: [R, N], of ``draw_people``.
        enrolled: [P] bool, False for a pair that no threshold accepts, whatever its score. None: all are.

    Raises:
        CannotDraw: a resample without pairs of one kind: there are too few people.
        EqualNowhere: one in which the two rates are equal nowhere, since too many pairs were not enrolled.
        ValueError: shapes that disagree, NaN or inf scores, or a person outside 0..N-1.
    """
    from elasticface.metrics.roc_kernels import SAMPLES, find_crossings

    a, b = (side.astype(np.int32) for side in checked_people(first, second, counts))
    same = a == b
    values = _with_never(scores, same, enrolled)
    more = with_one_more(counts)
    totals = np.stack([_totals(a[of], b[of], more) for of in (~same, same)])
    if not totals.all():
        raise CannotDraw(_TOO_FEW)
    order = np.argsort(-values)[: np.count_nonzero(values > -np.inf)]
    falling, same, a, b = values[order], same[order], a[order], b[order]
    ends = np.append(falling[1:] != falling[:-1], True)[: len(falling)]
    before, after = np.empty((2, 2, SAMPLES), np.int64)
    found = np.empty(len(counts))
    for some, times in _some_at_a_time(counts):
        pairs = totals[:, some]
        samples = pairs.shape[1]
        find_crossings(ends, a, b, same, times, np.pad(pairs, ((0, 0), (0, SAMPLES - samples))), before, after)
        (far, tar), (next_far, next_tar) = (accepted[:, :samples] / pairs for accepted in (before, after))
        gap, next_gap = 1 - tar - far, 1 - next_tar - next_far
        if (gap == next_gap).any():
            raise EqualNowhere("so many pairs were not enrolled that in a resample the error rates are equal nowhere")
        share = gap / (gap - next_gap)  # of the way to the point after
        found[some] = (1 - share) * far + share * next_far
    return found


def accepted_weights(
    scores: ArrayLike, first: ArrayLike, second: ArrayLike, thresholds: ArrayLike, counts: Counts
) -> NDArray[np.int64]:
    """How many pairs score a threshold or more in each bootstrap resample, [R, T].

    Args:
        scores: [P] similarities, of impostor pairs or of genuine ones.
        first: [P] ints 0..N-1, the person on the first side of each pair.
        second: [P] ints, on the second side; a pair of one person comes as often as the person.
        thresholds: [T], the same in all resamples.
        counts: [R, N], of ``draw_people``.

    Raises:
        ValueError: shapes that disagree, NaN scores or thresholds, or a person outside 0..N-1.
    """
    a, b = (side.astype(np.int32) for side in checked_people(first, second, counts))
    values, levels = np.asarray(scores), np.asarray(thresholds)
    if values.shape != a.shape or levels.ndim != 1 or np.isnan(values).any() or np.isnan(levels).any():
        raise ValueError(f"scores must be [P] and thresholds [T], got shapes {values.shape} and {levels.shape}, or NaN")
    falling = np.argsort(-levels)
    # Each pair is counted once, at the highest threshold that it reaches: [P], T where it reaches none.
    reached = np.searchsorted(-levels[falling], -values)
    more = with_one_more(counts)
    steps = [_totals(a[of], b[of], more) for of in (reached == place for place in range(len(levels)))]
    weights = np.empty((len(counts), len(levels)), np.int64)
    if steps:
        weights[:, falling] = np.cumsum(np.stack(steps, axis=1), axis=1)
    return weights


def all_pairs_weights(photos: ArrayLike, counts: Counts) -> NDArray[np.int64]:
    """How many pairs of photos of different people there are in each bootstrap resample, [R].

    Args:
        photos: [N] ints, how many photos each person has.
        counts: [R, N], of ``draw_people``.
    """
    drawn = counts.astype(np.int64) * np.asarray(photos, np.int64)
    return np.asarray((drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) // 2)
