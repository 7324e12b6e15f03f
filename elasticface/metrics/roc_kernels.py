"""The bootstrap's walk along an ROC of millions of pairs, many samples at once: compiled.

Whole numbers alone are added up: nothing depends on threads or blocks. Imported where it is first needed.
"""

from typing import Any

import numba
import numpy as np

SAMPLES = 64
"""Samples that are taken at once. With half as many the compiler makes single steps of the loop, not vectors."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh(
    first: Any, second: Any, times: Any, block: int, weights: Any, begin: int, end: int
) -> None:  # pragma: no cover - compiled
    """What each block of pairs weighs in each sample, into ``weights[begin:end]``.

    A pair weighs the product of how often its two units are in the sample. A block must weigh less than 2^32.

    Args:
        first: int32 [P], a unit of each pair.
        second: int32 [P], the other one.
        times: uint16 [N, SAMPLES], how often each unit is in each sample.
        block: pairs a block; block k is pairs k * block to (k + 1) * block.
        weights: int64 [K, SAMPLES] out.
        begin: first block.
        end: the one after the last.
    """
    sums = np.empty(SAMPLES, np.uint32)
    for k in range(begin, end):
        sums[:] = 0
        for p in range(k * block, min((k + 1) * block, len(first))):
            a, b = times[first[p]], times[second[p]]
            for sample in range(SAMPLES):
                sums[sample] += np.uint32(a[sample]) * np.uint32(b[sample])
        weights[k] = sums


@numba.njit(cache=True, nogil=True, error_model="numpy")
def find_cuts(
    rising: Any,
    first: Any,
    second: Any,
    times: Any,
    block: int,
    ends: Any,
    totals: Any,
    targets: Any,
    rooms: Any,
    at_most: Any,
    nearest: Any,
) -> None:  # pragma: no cover - compiled
    """The impostor pair whose score is the first to be rejected at each FAR in each sample; P where none is.

    Args:
        rising: [P] scores of impostor pairs, negated: the highest come first; inf is never accepted.
        first: int32 [P], a unit of each.
        second: int32 [P], the other.
        times: uint16 [N, SAMPLES].
        block: pairs a block of ``ends``.
        ends: int64 [SAMPLES, K], what all pairs up to the end of each block weigh.
        totals: int64 [SAMPLES], what all impostor pairs weigh, listed or not.
        targets: [F] FARs.
        rooms: int64 [SAMPLES, F], the most that may be accepted within each FAR.
        at_most: int64 [SAMPLES, F] out: for the last point of the ROC within the FAR.
        nearest: int64 [SAMPLES, F] out: for the point whose FAR is nearest, of two as near the one beyond.
    """
    for sample in range(len(totals)):
        of, of_ends, total = times[:, sample], ends[sample], totals[sample]
        for f in range(len(targets)):
            cut = _first_beyond(rooms[sample, f], first, second, of, block, of_ends)
            at_most[sample, f] = nearest[sample, f] = cut
            if cut == len(first):
                continue
            if rising[cut] == np.inf:  # of a pair that was not enrolled: there is no point beyond
                continue
            # The two points of the ROC about the target: before and after all that tie with the cut.
            tie, after = np.searchsorted(rising, rising[cut]), np.searchsorted(rising, rising[cut], side="right")
            within = _weight_before(tie, first, second, of, block, of_ends)
            beyond = _weight_before(after, first, second, of, block, of_ends)
            if abs(beyond / total - targets[f]) <= abs(within / total - targets[f]):
                nearest[sample, f] = _first_beyond(beyond, first, second, of, block, of_ends)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def find_crossings(
    ends: Any, first: Any, second: Any, same: Any, times: Any, totals: Any, before: Any, after: Any
) -> None:  # pragma: no cover - compiled
    """Where the ROC of each sample crosses FAR = FRR: what its points just before and at that are.

    Args:
        ends: bool [P], the last pair of those that tie, of pairs whose scores fall.
        first: int32 [P], a unit of each pair.
        second: int32 [P], the other.
        same: bool [P], whether the pair is genuine; it comes as often as its first unit.
        times: uint16 [N, SAMPLES].
        totals: int64 [2, SAMPLES], impostor and genuine pairs of each sample; 0 of one that is not wanted.
        before: int64 [2, SAMPLES] out, impostor and genuine pairs accepted at the last point with FAR < FRR.
        after: int64 [2, SAMPLES] out, at the one after it.
    """
    before[:], after[:] = 0, 0
    open_ = np.ones(SAMPLES, np.bool_)
    for p in range(len(first)):
        a, b = times[first[p]], times[second[p]]
        if same[p]:
            for sample in range(SAMPLES):
                after[1, sample] += np.int64(a[sample]) * open_[sample]
        else:
            for sample in range(SAMPLES):
                after[0, sample] += np.int64(a[sample]) * np.int64(b[sample]) * open_[sample]
        if ends[p]:
            left = False
            for sample in range(SAMPLES):
                # FAR < 1 − TAR, in whole numbers
                lost = totals[1, sample] - after[1, sample]
                open_[sample] &= after[0, sample] * totals[1, sample] < lost * totals[0, sample]
                left |= open_[sample]
                if open_[sample]:
                    before[0, sample], before[1, sample] = after[0, sample], after[1, sample]
            if not left:
                return


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_beyond(
    room: int, first: Any, second: Any, times: Any, block: int, ends: Any
) -> Any:  # pragma: no cover - compiled
    """The first pair with which all up to it weigh more than ``room``, P if they never do; of one sample."""
    k = int(np.searchsorted(ends, room, side="right"))
    weight = ends[k - 1] if k else 0
    for p in range(k * block, min((k + 1) * block, len(first))):
        weight += np.int64(times[first[p]]) * np.int64(times[second[p]])
        if weight > room:
            return p
    return len(first)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weight_before(
    place: int, first: Any, second: Any, times: Any, block: int, ends: Any
) -> Any:  # pragma: no cover - compiled
    """What the pairs before ``place`` weigh in one sample."""
    k = place // block
    weight = ends[k - 1] if k else 0
    for p in range(k * block, place):
        weight += np.int64(times[first[p]]) * np.int64(times[second[p]])
    return weight
