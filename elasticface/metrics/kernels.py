"""The loops of the figures that run over more than memory should hold twice: compiled, and shared out to threads.

No kernel has its sums reordered by the compiler: a result depends on the numbers alone, not on threads or blocks.
Imported where it is first needed, so that small figures don't wait for the compiler to load.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_LANES = 64  # partial sums of a dot product: more than a processor adds at once, so that none waits for another
_TOGETHER = 256  # pairs looked up at once: one after the other, each would wait for memory


def in_threads(work: Callable[[int, int], None], edges: NDArray[np.int64]) -> None:
    """``work(edges[i], edges[i + 1])`` for every i, each in a thread of its own; it must not hold the GIL."""
    if len(edges) == 2:
        work(int(edges[0]), int(edges[1]))
        return
    with ThreadPoolExecutor(max(len(edges) - 1, 1)) as pool:
        list(pool.map(work, edges[:-1].tolist(), edges[1:].tolist()))


def threads() -> int:
    """As many as numba would use: NUMBA_NUM_THREADS, or the processor's."""
    return int(numba.get_num_threads())


@numba.njit(cache=True, nogil=True, error_model="numpy")
def order_by_blocks(first: Any, second: Any, templates: int, block: int) -> Any:  # pragma: no cover - compiled
    """The pairs [P] ordered by block of ``second``, in it by ``first``, in it as they come: int64 [P], by counting."""
    starts = np.zeros(((templates - 1) // block + 1) * templates + 1, np.int64)
    for p in range(len(first)):
        starts[(second[p] // block) * templates + first[p] + 1] += 1
    for k in range(1, len(starts)):
        starts[k] += starts[k - 1]
    order = np.empty(len(first), np.int64)
    for p in range(len(first)):
        k = (second[p] // block) * templates + first[p]
        order[starts[k]] = p
        starts[k] += 1
    return order


@numba.njit(cache=True, nogil=True, error_model="numpy")
def dot_pairs(
    rows: Any, first: Any, second: Any, order: Any, scores: Any, begin: int, end: int
) -> None:  # pragma: no cover - compiled
    """``scores[p] = rows[first[p]] · rows[second[p]]`` for p in ``order[begin:end]``.

    In the rows' own precision: products go round the lanes, whose sums are added by halves. So the same two vectors
    have the same score in either order and in any list.
    """
    size = rows.shape[1]
    whole = size // (2 * _LANES) * (2 * _LANES)
    sums = np.empty(_LANES, rows.dtype)
    a_of, b_of = np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER, np.int64)
    found = np.empty(_TOGETHER, rows.dtype)
    for start in range(begin, end, _TOGETHER):
        count = min(_TOGETHER, end - start)
        for n in range(count):
            p = order[start + n]
            a_of[n], b_of[n] = first[p], second[p]
        for n in range(count):
            a, b = rows[a_of[n]], rows[b_of[n]]
            for k in range(_LANES):
                sums[k] = 0
            for d in range(0, whole, 2 * _LANES):
                x, y = a[d : d + 2 * _LANES], b[d : d + 2 * _LANES]
                for k in range(_LANES):
                    sums[k] += x[k] * y[k] + x[k + _LANES] * y[k + _LANES]
            for d in range(whole, size, _LANES):
                for k in range(min(_LANES, size - d)):
                    sums[k] += a[d + k] * b[d + k]
            # Halves of known length, one loop each: the compiler makes vectors of them.
            for k in range(32):
                sums[k] += sums[k + 32]
            for k in range(16):
                sums[k] += sums[k + 16]
            for k in range(8):
                sums[k] += sums[k + 8]
            found[n] = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
        for n in range(count):
            scores[order[start + n]] = found[n]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pool_rows(
    features: Any,
    mirrored: Any,
    weights: Any,
    keep_norms: bool,
    order: Any,
    media: Any,
    bounds: Any,
    pooled: Any,
    begin: int,
    end: int,
) -> None:  # pragma: no cover - compiled
    """Templates ``begin`` to ``end`` of :func:`elasticface.metrics.templates.pool_templates`, into ``pooled``.

    Args:
        features: [N, D].
        mirrored: [N, D], or [0, D] for none.
        weights: float64 [N], or [0] for none.
        keep_norms: False scales each row to unit length before its weight.
        order: [N] rows of features by template, then by medium.
        media: [N] the medium of each, in that order.
        bounds: [T + 1], template t is places bounds[t]:bounds[t + 1] of the order.
        pooled: [T, D] out.
    """
    size = features.shape[1]
    row, mean, total = np.empty(size), np.empty(size), np.empty(size)
    for t in range(begin, end):
        total[:] = 0
        i = bounds[t]
        while i < bounds[t + 1]:
            medium, start = media[i], i
            mean[:] = 0
            while i < bounds[t + 1] and media[i] == medium:
                n = order[i]
                for d in range(size):
                    row[d] = features[n, d]
                if len(mirrored):
                    for d in range(size):
                        row[d] += mirrored[n, d]
                factor = 1.0
                if not keep_norms:
                    squares = 0.0
                    for d in range(size):
                        squares += row[d] * row[d]
                    factor = 1 / np.sqrt(squares) if squares > 0 else 0.0
                if len(weights):
                    factor *= weights[n]
                for d in range(size):
                    mean[d] += factor * row[d]
                i += 1
            for d in range(size):
                total[d] += mean[d] / (i - start)
        squares = 0.0
        for d in range(size):
            squares += total[d] * total[d]
        length = np.sqrt(squares) if squares > 0 else 1.0
        # NaN stays NaN: the comparison above would hide it.
        if squares != squares:
            length = squares
        for d in range(size):
            pooled[t, d] = total[d] / length
