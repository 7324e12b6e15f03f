"""Templates, a face in several images: how IJB pools their features, and how listed pairs of them are scored.

Source of both: Whitelam et al., "IARPA Janus Benchmark-B Face Dataset" (2017), as in the IJB evaluation of InsightFace.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from elasticface.metrics.checks import checked_ids, checked_rows, floats

_BLOCK_BYTES = 1 << 20  # of second templates that are worked on together: what stays in a core's cache


def pool_templates(
    features: npt.ArrayLike,
    templates: npt.ArrayLike,
    media: npt.ArrayLike,
    *,
    mirrored_features: npt.ArrayLike | None = None,
    detector_scores: npt.ArrayLike | None = None,
    keep_norms: bool = True,
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.floating[Any]]]:
    """One unit vector per IJB template: mean over each (template, medium), sum over the media, L2-normalise.

    So a video counts as much as a still, however many frames it has. What the field's scripts name N1D1F1 (norm kept,
    detector score used, mirror image added) is::

        pool_templates(features, templates, media, mirrored_features=mirrored, detector_scores=scores)

    N0 is ``keep_norms=False``; D0 and F0 leave their argument out. An image's feature is (feature + mirrored feature),
    scaled to unit length unless norms are kept, times detector score. Without keywords features are taken as they come:
    sums of image and mirror image can be made beforehand. A template whose features cancel to zero stays zero.

    Sums are float64. Beside input and result it holds some numbers per row, not features.

    Args:
        features: [N, D], N >= 1.
        templates: [N] ints, the template of each row.
        media: [N] ints, the medium (still or video) of each row; the same medium in two templates is pooled in each.
        mirrored_features: [N, D], those of the mirror images, which are added first.
        detector_scores: [N], >= 0, how sure the detector was of each face.
        keep_norms: whether longer features count for more; else each image's is scaled to unit length (zero stays).

    Returns:
        The distinct template ids in ascending order, [T], and their vectors, [T, D]: float32 for float32 features, else
        float64.

    Raises:
        ValueError: shapes that disagree, no rows, ids that are not ints, features with NaN or inf, or detector scores
            that are negative, NaN or inf.
    """
    from elasticface.metrics import kernels

    rows = floats(features)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"features must be [N, D] with N >= 1, got shape {rows.shape}")
    mirrored = np.empty((0, rows.shape[1]), rows.dtype) if mirrored_features is None else floats(mirrored_features)
    if mirrored_features is not None and mirrored.shape != rows.shape:
        raise ValueError(f"mirrored_features must be of the features' shape {rows.shape}, got {mirrored.shape}")
    template_ids = checked_ids(templates, len(rows), "templates", "features")
    media_ids = checked_ids(media, len(rows), "media", "features")
    weights = np.empty(0) if detector_scores is None else np.asarray(detector_scores, np.float64)
    if detector_scores is not None:
        if weights.shape != rows.shape[:1]:
            raise ValueError(f"detector_scores must hold one per row of features, [{len(rows)}], got {weights.shape}")
        broken = len(weights) - int(np.count_nonzero(np.isfinite(weights) & (weights >= 0)))
        if broken:
            raise ValueError(f"{broken} of {len(weights)} detector_scores are negative, NaN or inf")

    order = np.lexsort((media_ids, template_ids))
    ordered = template_ids[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # [T]
    bounds = np.append(starts, len(rows))
    pooled = np.empty((len(starts), rows.shape[1]), np.float32 if rows.dtype == np.float32 else np.float64)
    in_order = media_ids[order].astype(np.int64)

    def pool(begin: int, end: int) -> None:
        kernels.pool_rows(rows, mirrored, weights, keep_norms, order, in_order, bounds, pooled, begin, end)

    shares = np.linspace(0, len(rows), kernels.threads() + 1)  # as many images a thread, in whole templates
    kernels.in_threads(pool, np.unique(np.searchsorted(bounds, shares)))
    if not np.isfinite(pooled).all():
        checked_rows(rows, "features")
        checked_rows(mirrored, "mirrored_features")
        raise ValueError("features are too large: their sums are beyond float64")
    return ordered[starts], pooled


def template_rows(template_ids: npt.ArrayLike, wanted: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where templates stand in what ``pool_templates`` returns: row numbers for ids as protocols list them.

    Args:
        template_ids: [T] distinct ints, ascending.
        wanted: ints of any shape.

    Returns:
        int64 of the shape of ``wanted``, with ``template_ids[result] == wanted``.

    Raises:
        ValueError: ids that are not ints, or not ascending, or a wanted one that is not among them.
    """
    ids, asked = np.asarray(template_ids), np.asarray(wanted)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or np.any(ids[1:] <= ids[:-1]):
        raise ValueError("template_ids must be distinct ints [T] in ascending order")
    if asked.size and not np.issubdtype(asked.dtype, np.integer):
        raise ValueError(f"wanted must be ints, got {asked.dtype}")
    if not asked.size:
        return np.empty(asked.shape, np.int64)
    rows: npt.NDArray[np.int64]
    lowest, span = (int(ids[0]), int(ids[-1]) - int(ids[0]) + 1) if len(ids) else (0, 0)
    if span <= asked.size and lowest <= int(asked.min()) and int(asked.max()) < lowest + span:
        table = np.full(span, -1)  # for millions of pairs, one look at a table instead of a search each
        whole = ids.astype(np.int64, copy=False)  # differences of smaller ints may be beyond them
        table[whole - whole[0]] = np.arange(len(ids))
        rows = table[asked.astype(np.int64, copy=False) - whole[0]]
        there = rows >= 0
    else:
        rows = np.searchsorted(ids, asked)
        there = rows < len(ids)
        there[there] = ids[rows[there]] == asked[there]
    if not there.all():
        absent = np.unique(asked[~there])
        raise ValueError(f"{len(absent)} wanted ids are no templates, the first of them {absent[0]}")
    return rows


def pair_scores(templates: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.floating[Any]]:
    """Dot products of listed pairs of templates: their cosine, where templates are of unit length.

    A score depends on its two vectors alone: not on their order, other pairs, the number of threads, or BLAS. So equal
    templates tie exactly. Pairs are worked on in an order that keeps templates in the cache, whatever their list's is;
    beside input and result that takes some 24 bytes a pair.

    Args:
        templates: [T, D].
        first: [P] ints 0..T-1, rows of templates; see ``template_rows`` for ids.
        second: [P] ints 0..T-1.

    Returns:
        [P], float32 for float32 templates, else float64, and summed in that.

    Raises:
        ValueError: shapes that disagree, templates with NaN or inf, or rows that are not ints or not there.
    """
    from elasticface.metrics import kernels

    rows = np.ascontiguousarray(checked_rows(templates, "templates"))
    count, size = rows.shape
    sides = []
    for name, given in (("first", first), ("second", second)):
        side = np.asarray(given)
        if side.size and not np.issubdtype(side.dtype, np.integer):
            raise ValueError(f"{name} must be ints, got {side.dtype}")
        if side.size and not (side.min() >= 0 and side.max() < count):
            raise ValueError(f"{name} must be rows 0 to {count - 1} of templates, got {side.min()} to {side.max()}")
        sides.append(side.astype(np.int32 if count < 2**31 else np.int64, copy=False))
    a, b = sides
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"first and second must both be [P], got shapes {a.shape} and {b.shape}")
    scores = np.empty(len(a), rows.dtype)
    if not len(a):
        return scores
    # As many cells of (block, first) as pairs at most, for the counting of them to be cheap.
    block = max(_BLOCK_BYTES // max(size * rows.itemsize, 1), -(-count * count // max(len(a), count)), 1)
    order = kernels.order_by_blocks(a, b, count, block)

    def score(begin: int, end: int) -> None:
        kernels.dot_pairs(rows, a, b, order, scores, begin, end)

    kernels.in_threads(score, np.linspace(0, len(a), kernels.threads() + 1).astype(np.int64))
    if not np.isfinite(scores).all():
        raise ValueError(f"templates are too large: their products are beyond {rows.dtype}")
    return scores
