"""Probes searched in a gallery: rank-k where everybody is enrolled, TPIR at FPIR where not everybody is.

Both are read off the same few numbers per probe, so that a whole matrix of scores need not be kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elasticface.metrics.checks import checked_ids, checked_rates, checked_rows, floats, most_within

_Floats = npt.NDArray[np.float64]
NEVER = int(np.iinfo(np.int64).max)
"""The rank of a mate that no search finds: it, or the probe, was not enrolled."""

_CELLS = 1 << 22  # scores that are looked at together


@dataclass(frozen=True, eq=False)
class Searches:
    """What came of each probe's search, [Q] each. Probes whose subject is in the gallery are mated."""

    mate: npt.NDArray[np.floating[Any]]  #: score of the best gallery entry of the probe's subject, -inf for none
    other: npt.NDArray[np.floating[Any]]  #: score of the best entry of anybody else, -inf for none
    #: 1 + others that score at least as much as the mate: ties count against; 0 unmated, NEVER where not enrolled
    rank: npt.NDArray[np.int64]

    @property
    def mated(self) -> npt.NDArray[np.bool_]:
        return self.rank > 0


def searches(
    scores: npt.ArrayLike,
    probe_subjects: npt.ArrayLike,
    gallery_subjects: npt.ArrayLike,
    enrolled_probes: npt.ArrayLike | None = None,
    enrolled_gallery: npt.ArrayLike | None = None,
) -> Searches:
    """The outcome of each search, from all scores.

    Who was not enrolled, since no face was found, is not found: such a probe finds nobody, at whatever threshold, and
    an entry of the gallery is found by no probe. Their subjects still are listed, so their searches count.

    Args:
        scores: [Q, G] similarities, higher is more alike.
        probe_subjects: [Q] ints, who is on each probe.
        gallery_subjects: [G] ints, G >= 1; a subject may have several entries, of which the best counts.
        enrolled_probes: [Q] bool; None: all were.
        enrolled_gallery: [G] bool; likewise.

    Raises:
        ValueError: shapes that disagree, an empty gallery, subjects that are not ints, or scores with NaN or inf.
    """
    values = floats(scores)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"scores must be [Q, G] with G >= 1, got shape {values.shape}")
    probes = checked_ids(probe_subjects, len(values), "probe_subjects", "scores")
    gallery = checked_ids(gallery_subjects, values.shape[1], "gallery_subjects", "the gallery")
    asked = _checked_enrolled(enrolled_probes, len(probes), "enrolled_probes")
    there = _checked_enrolled(enrolled_gallery, len(gallery), "enrolled_gallery")
    result = _empty(len(values), values.dtype)
    for rows in _blocks(*values.shape):
        _search(values[rows], probes[rows], gallery, result, rows, asked[rows], there)
    return result


def search_templates(
    probes: npt.ArrayLike, gallery: npt.ArrayLike, probe_subjects: npt.ArrayLike, gallery_subjects: npt.ArrayLike
) -> Searches:
    """The outcome of each search, from templates: scores are dot products, of some probes at a time.

    Args:
        probes: [Q, D], of unit length for cosines.
        gallery: [G, D], G >= 1.
        probe_subjects: [Q] ints.
        gallery_subjects: [G] ints.

    Raises:
        ValueError: shapes that disagree, an empty gallery, subjects that are not ints, or templates with NaN or inf.
    """
    queries, entries = checked_rows(probes, "probes"), checked_rows(gallery, "gallery")
    if queries.shape[1] != entries.shape[1] or not len(entries):
        raise ValueError(
            f"probes and gallery must be [Q, D] and [G, D] with G >= 1, got {queries.shape} and {entries.shape}"
        )
    who = checked_ids(probe_subjects, len(queries), "probe_subjects", "probes")
    enrolled = checked_ids(gallery_subjects, len(entries), "gallery_subjects", "gallery")
    result = _empty(len(queries), np.result_type(queries, entries))
    asked, there = np.ones(len(queries), np.bool_), np.ones(len(entries), np.bool_)
    for rows in _blocks(len(queries), len(entries)):
        _search(queries[rows] @ entries.T, who[rows], enrolled, result, rows, asked[rows], there)
    return result


def rank_rates(outcome: Searches, ranks: Sequence[int] = (1, 5, 10)) -> _Floats:
    """The CMC curve at some ranks: the share of probes whose mate is among the first k of the gallery.

    Args:
        outcome: of searches that all have a mate.
        ranks: k, >= 1.

    Returns:
        float64 like ``ranks``, fractions in [0, 1].

    Raises:
        ValueError: no probe, probes without a mate, or a rank below 1.
    """
    wanted = np.asarray(ranks)
    if wanted.size and (not np.issubdtype(wanted.dtype, np.integer) or wanted.min() < 1):
        raise ValueError(f"ranks must be ints >= 1, got {wanted.tolist()}")
    found, probes = outcome.rank, len(outcome.rank)
    strangers = probes - int(np.count_nonzero(outcome.mated))
    if not probes or strangers:
        raise ValueError(f"{strangers} of {probes} probes have no mate in the gallery: closed-set ranks need one each")
    return np.asarray(np.searchsorted(np.sort(found), wanted, side="right") / probes)


def closed_set_rank(
    scores: npt.ArrayLike,
    probe_subjects: npt.ArrayLike,
    gallery_subjects: npt.ArrayLike,
    ranks: Sequence[int] = (1, 5, 10),
) -> _Floats:
    """Rank-k identification rates, all of them on the CMC curve: everybody searched for is in the gallery.

    A probe's rank is 1 + the number of entries of other subjects that score at least as much as its best mate: ties
    count against the system. For many probes see ``search_templates`` and ``rank_rates``.

    Args:
        scores: [Q, G] similarities, higher is more alike.
        probe_subjects: [Q] ints, each of them in the gallery.
        gallery_subjects: [G] ints.
        ranks: k, >= 1.

    Returns:
        float64 like ``ranks``, fractions in [0, 1].

    Raises:
        ValueError: what ``searches`` and ``rank_rates`` refuse.

    Source: Grother and Phillips, "Models of large population recognition performance" (2004).
    """
    return rank_rates(searches(scores, probe_subjects, gallery_subjects), ranks)


def open_set_rates(outcome: Searches, fpirs: npt.ArrayLike, rank: int | None = None) -> _Floats:
    """TPIR at FPIR from the outcome of searches, mated and not; see ``tpir_at_fpir``.

    Raises:
        ValueError: no mated or no unmated probe, a target outside [0, 1], or a rank below 1.
    """
    targets = checked_rates(fpirs, "fpirs")
    if rank is not None and rank < 1:
        raise ValueError(f"rank must be at least 1, or None; got {rank}")
    mated = outcome.mated
    alarms = np.sort(outcome.other[~mated])
    if not mated.any() or not len(alarms):
        kind = "mated" if len(alarms) or not len(mated) else "unmated"
        raise ValueError(f"no {kind} probe among {len(mated)}: open-set rates need both kinds")
    returned = mated if rank is None else mated & (outcome.rank <= rank)
    hits = np.sort(outcome.mate[returned])
    room = most_within(targets, len(alarms))  # how many false alarms each target may raise
    # The strongest of the false alarms that there is no room for stays below the threshold, and so does who ties.
    silenced = alarms[np.maximum(len(alarms) - 1 - room, 0)]
    silenced = np.where(room == len(alarms), -np.inf, silenced)  # who was not enrolled stays below any threshold
    found = len(hits) - np.searchsorted(hits, silenced, side="right")
    return np.asarray(found / int(np.count_nonzero(mated)))


def tpir_at_fpir(
    scores: npt.ArrayLike,
    probe_subjects: npt.ArrayLike,
    gallery_subjects: npt.ArrayLike,
    fpirs: npt.ArrayLike,
    rank: int | None = None,
) -> _Floats:
    """Open-set identification: how many of those enrolled are found where few of the others raise a false alarm.

    FPIR(t) is the share of unmated probes whose largest score is >= t; TPIR(t) the share of mated probes whose mate's
    score is >= t. The figure is the largest TPIR of any threshold with FPIR <= the target; a threshold above all scores
    is one of them. IJB-C's figure is the mean over its two galleries, see ``mean_over_galleries``.

    Args:
        scores: [Q, G] similarities, higher is more alike.
        probe_subjects: [Q] ints; who is not in the gallery is unmated.
        gallery_subjects: [G] ints.
        fpirs: target rates in [0, 1], any shape.
        rank: the mate must also be among the first ``rank`` entries, ties counted against it; None asks for the score
            alone.

    Returns:
        float64 of the shape of ``fpirs``, fractions in [0, 1].

    Raises:
        ValueError: what ``searches`` and ``open_set_rates`` refuse.

    Source: Maze et al., "IARPA Janus Benchmark - C" (2018).
    """
    return open_set_rates(searches(scores, probe_subjects, gallery_subjects), fpirs, rank)


def mean_over_galleries(outcomes: Sequence[Searches], fpirs: npt.ArrayLike, rank: int | None = None) -> _Floats:
    """TPIR at FPIR, each gallery with a threshold of its own, averaged: IJB's open-set figure.

    Args:
        outcomes: of the same probes in each gallery, one at least.
        fpirs: target rates in [0, 1], any shape.
        rank: as for ``tpir_at_fpir``.

    Raises:
        ValueError: no gallery, or what ``open_set_rates`` refuses.
    """
    if not outcomes:
        raise ValueError("need the searches of one gallery at least")
    return np.asarray(np.mean([open_set_rates(outcome, fpirs, rank) for outcome in outcomes], axis=0))


def _empty(probes: int, dtype: npt.DTypeLike) -> Searches:
    return Searches(np.empty(probes, dtype), np.empty(probes, dtype), np.empty(probes, np.int64))


def _blocks(probes: int, entries: int) -> list[slice]:
    step = max(_CELLS // entries, 1)
    return [slice(start, min(start + step, probes)) for start in range(0, probes, step)]


def _search(
    scores: npt.NDArray[np.floating[Any]],
    probes: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    result: Searches,
    rows: slice,
    asked: npt.NDArray[np.bool_],
    there: npt.NDArray[np.bool_],
) -> None:
    """The outcome of some probes' searches, scores [q, G], into their ``rows`` of the result.

    ``asked`` [q] and ``there`` [G] are the probes and the entries that were enrolled.
    """
    if not np.isfinite(scores).all():
        broken = int(np.count_nonzero(~np.isfinite(scores).all(axis=1)))
        raise ValueError(f"{broken} of probes {rows.start} to {rows.stop - 1} have scores that are NaN or inf")
    mates, compared = probes[:, None] == gallery, asked[:, None] & there  # [q, G]
    best = np.where(mates & compared, scores, -np.inf).max(axis=1)
    others = np.where(mates | ~compared, -np.inf, scores)
    result.mate[rows] = best
    result.other[rows] = others.max(axis=1)
    rank = np.where(best > -np.inf, 1 + np.count_nonzero(others >= best[:, None], axis=1), NEVER)
    result.rank[rows] = np.where(mates.any(axis=1), rank, 0)


def _checked_enrolled(enrolled: npt.ArrayLike | None, count: int, name: str) -> npt.NDArray[np.bool_]:
    there = np.ones(count, np.bool_) if enrolled is None else np.asarray(enrolled, np.bool_)
    if there.shape != (count,):
        raise ValueError(f"{name} must be [{count}], got shape {there.shape}")
    return there
