"""Probes and their mates among a million strangers, in one pass over the strangers: MegaFace.

Scores are float32 (or float64) dot products that are never all there at once: of each chunk of distractors they are
made in blocks, of which the best per probe and the few highest of all are kept. That is all the figures need, exactly.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elasticface.metrics.checks import checked_ids, checked_rates, checked_rows, most_within

_Floats = npt.NDArray[np.float64]
_Scores = npt.NDArray[np.floating[Any]]

_BLOCK_CELLS = 1 << 22  # scores at a time: enough for a fast product, few enough for the cache
_SOME_CELLS = 1 << 20  # of them that are copied at a time, where any are of interest
_SPARE = 1 << 16  # scores beyond the kept ones that may gather before they are sorted out


@dataclass(frozen=True, eq=False)
class DistractorSearch:
    """The figures of probes against distractors. Rates are fractions in [0, 1]."""

    rank_rates: _Floats  #: like the ranks asked for
    tars: _Floats  #: like the FARs asked for, by the "at-most" rule
    hits: npt.NDArray[np.int64]  #: [M] of each ordered mate pair, the best rank among those asked for; 0: beyond them
    pairs: npt.NDArray[np.int64]  #: [M, 2], probe and mate, rows of probes
    mate_scores: _Scores  #: [M]; -inf of a pair that was not enrolled
    best_distractor: _Scores  #: [N], of each probe; -inf of one that was not enrolled
    best_at: npt.NDArray[np.int64]  #: [N], which it is, the first of several as good, by its place among all
    highest: _Scores  #: the highest scores of all pairs of probe and distractor, descending
    highest_of: npt.NDArray[np.int64]  #: whose they are, rows of probes
    distractors: int
    compared: int  #: pairs of probe and distractor that were both enrolled


def distractor_search(
    probes: npt.ArrayLike,
    subjects: npt.ArrayLike,
    distractors: Iterable[npt.ArrayLike],
    count: int,
    *,
    ranks: Sequence[int] = (1,),
    fars: npt.ArrayLike = (1e-6,),
    keep: int = 0,
) -> DistractorSearch:
    """Identification and verification of probes against distractors: MegaFace's protocol.

    Identification: each probe is searched for each of its mates alone among all distractors, once for every ordered
    pair of images of a person. The rank of a mate is 1 + the number of distractors that score more: as the protocol has
    it, a mate that ties with a distractor wins; scores tie within the rounding of their products, whose last bits
    differ between matrices of different shapes. Verification: genuine are all pairs of images of a person, impostors
    all pairs of probe and distractor; TAR at FAR is read as by ``tar_at_far`` with the rule "at-most".

    Beside one chunk it holds some five million scores, and those that the largest FAR asks for.

    Args:
        probes: [N, D], of unit length for cosines.
        subjects: [N] ints, who is on each probe.
        distractors: chunks [n, D] of any n; taken one after the other, once.
        count: how many distractors there are in all, >= 1.
        ranks: 1..count.
        fars: target rates in [0, 1], any shape.
        keep: how many of the highest scores to give at least, as far as there are as many; >= 0.

    Raises:
        ValueError: shapes that disagree, vectors with NaN or inf, no two probes of one subject, another number of
            distractors than ``count``, a rank outside 1..count, a target outside [0, 1], or ``keep`` below 0.

    Source: Kemelmacher-Shlizerman et al., "The MegaFace Benchmark" (2016).
    """
    tally = DistractorTally(probes, subjects, count, ranks=ranks, fars=fars, keep=keep)
    for chunk in distractors:
        tally.see(chunk)
    return tally.figures()


class DistractorTally:
    """:func:`distractor_search` for who has the distractors one chunk after the other: several searches, one reading.

    Probes and distractors that were not enrolled, since no face was found on them, count and are never found: a mate
    pair with one is a miss at every rank and is accepted at no threshold, and no false alarm comes of them.

    Args and raises: those of :func:`distractor_search`, and

    Args:
        enrolled: [N] bool, False for a probe whose vector counts for nothing; None: all were enrolled.
        missing: how many of the ``count`` distractors were not, and so are not seen.
    """

    def __init__(
        self,
        probes: npt.ArrayLike,
        subjects: npt.ArrayLike,
        count: int,
        *,
        ranks: Sequence[int] = (1,),
        fars: npt.ArrayLike = (1e-6,),
        keep: int = 0,
        enrolled: npt.ArrayLike | None = None,
        missing: int = 0,
    ) -> None:
        listed = checked_rows(probes, "probes")
        people = checked_ids(subjects, len(listed), "subjects", "probes")
        there = np.ones(len(listed), np.bool_) if enrolled is None else np.asarray(enrolled, np.bool_)
        if there.shape != people.shape or not 0 <= missing <= count:
            raise ValueError(
                f"enrolled must be [{len(people)}] and missing 0..{count}, got shape {there.shape} and {missing}"
            )
        self._ranks, targets = np.asarray(ranks), checked_rates(fars, "fars")
        if count < 1 or keep < 0:
            raise ValueError(f"count must be at least 1 and keep at least 0, got {count} and {keep}")
        wanted = self._ranks
        if wanted.size and not (
            np.issubdtype(wanted.dtype, np.integer) and wanted.min() >= 1 and wanted.max() <= count
        ):
            raise ValueError(f"ranks must be ints in 1..{count}, the number of distractors; got {wanted.tolist()}")
        self._pairs, self._mate_scores = _mates(listed, people)
        lengths = np.linalg.norm(listed.astype(np.float64), axis=1)  # [N]
        rounding = float(np.finfo(listed.dtype).eps) * math.sqrt(listed.shape[1])
        self._rounding = rounding * lengths[self._pairs].prod(axis=1)  # [M]
        failed = ~there[self._pairs].all(axis=1)
        self._mate_scores[failed] = -np.inf
        if failed.all() or missing == count:
            raise ValueError("no two probes of one subject were enrolled, or no distractor was")
        self._probes, self._searched = len(listed), np.flatnonzero(there)  # rows of probes
        self._images = listed if there.all() else listed[there]
        self._count, self._missing, self._seen = count, missing, 0
        self._compared = len(self._images) * (count - missing)
        self._room = most_within(targets, len(listed) * count)  # how many impostors each target may accept
        # One more than there is room for decides; with room for all of them none does.
        self._best = _Best(len(self._images), int(wanted.max(initial=1)), self._images.dtype)
        kept = min(max(keep, int(self._room.max(initial=0)) + 1), self._compared)
        self._highest = _Highest(kept, self._images.dtype)
        self._step = max(_BLOCK_CELLS // len(self._images), 1)
        self._memory = np.empty(len(self._images) * self._step, self._images.dtype)

    def see(self, chunk: npt.ArrayLike) -> None:
        """Search the next distractors, [n, D] of any n."""
        images, before = self._images, self._seen
        rows = checked_rows(chunk, f"distractors from {before} on")
        if rows.shape[1] != images.shape[1]:
            raise ValueError(f"probes and distractors must be [N, D] and [n, D], got {images.shape} and {rows.shape}")
        self._seen += len(rows)
        if self._seen > self._count - self._missing:
            raise ValueError(f"there are more distractors than the {self._count - self._missing} that count says")
        for start in range(0, len(rows), self._step):
            block = rows[start : start + self._step].astype(images.dtype, copy=False)
            scores = self._memory[: len(images) * len(block)].reshape(len(images), len(block))
            np.matmul(images, block.T, out=scores)
            tops = scores.max(axis=1)  # [N]
            if not np.isfinite(tops).all():
                raise ValueError(f"scores of distractors from {before + start} on are beyond {images.dtype}")
            self._best.see(scores, tops, before + start)
            self._highest.see(scores, tops)

    def figures(self) -> DistractorSearch:
        """What came of it, once all distractors were seen."""
        if self._seen != self._count - self._missing:
            raise ValueError(f"there are {self._seen} distractors where count says {self._count - self._missing}")
        pairs, mate_scores, wanted = self._pairs, self._mate_scores, self._ranks
        compared = mate_scores > -np.inf
        # Rank k: at least the k-th best distractor's score, in ascending order at place -k.
        best, best_at = self._of_all(self._best.scores, -np.inf), self._of_all(self._best.at, 0)
        reached = [compared & (mate_scores + self._rounding >= best[pairs[:, 0], -k]) for k in wanted.ravel()]
        within = np.stack(reached or [[]])  # [ranks, M]
        hits = np.zeros(len(pairs), np.int64)
        for k, row in sorted(zip(wanted.ravel().tolist(), within, strict=False), key=lambda of: -of[0]):
            hits[row] = k
        highest, highest_of = self._highest.descending()
        rejected = np.where(self._room < self._compared, highest[np.minimum(self._room, self._compared - 1)], -np.inf)
        tars = np.count_nonzero(mate_scores > rejected[..., None], axis=-1) / len(pairs)
        rates = np.count_nonzero(within, axis=1).reshape(wanted.shape) / len(pairs) if wanted.size else np.empty(0)
        return DistractorSearch(
            rank_rates=rates,
            tars=np.asarray(tars),
            hits=hits,
            pairs=pairs,
            mate_scores=mate_scores,
            best_distractor=best[:, -1].copy(),
            best_at=best_at,
            highest=highest,
            highest_of=self._searched[highest_of],
            distractors=self._count,
            compared=self._compared,
        )

    def _of_all(self, rows: npt.NDArray[Any], otherwise: float) -> npt.NDArray[Any]:
        """``rows`` of the probes that were searched, among those of all probes [N, …]."""
        made = np.full((self._probes, *rows.shape[1:]), otherwise, rows.dtype)
        made[self._searched] = rows
        return made


def _mates(images: _Scores, people: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], _Scores]:
    """All ordered pairs of two images of a person, [M, 2] by probe, and their scores [M]."""
    order = np.argsort(people, kind="stable")
    pairs, scores = [], []
    for rows in np.split(order, 1 + np.flatnonzero(np.diff(people[order]))):
        first, second = np.nonzero(~np.eye(len(rows), dtype=np.bool_))
        pairs.append(np.stack([rows[first], rows[second]], axis=1))
        scores.append((images[rows] @ images[rows].T)[first, second])
    found = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    if not len(found):
        raise ValueError(f"no two of the {len(images)} probes have the same subject")
    by_probe = np.lexsort((found[:, 1], found[:, 0]))
    return found[by_probe], np.concatenate(scores)[by_probe]


def _pieces(rows: npt.NDArray[np.int64], width: int) -> list[npt.NDArray[np.int64]]:
    """Rows of so many cells, some at a time."""
    step = max(_SOME_CELLS // width, 1)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


class _Best:
    """The ``depth`` best scores of each probe, [N, depth] ascending, and where the very best one is."""

    def __init__(self, probes: int, depth: int, dtype: npt.DTypeLike) -> None:
        self.scores = np.full((probes, depth), -np.inf, dtype)
        self.at = np.zeros(probes, np.int64)

    def see(self, scores: _Scores, tops: _Scores, before: int) -> None:
        """Scores [N, n], the best of each row [N], and how many distractors there were before these."""
        depth = self.scores.shape[1]
        for better in _pieces(np.flatnonzero(tops > self.scores[:, -1]), scores.shape[1]):
            self.at[better] = before + np.argmax(scores[better], axis=1)
        if depth == 1:
            np.maximum(self.scores[:, 0], tops, out=self.scores[:, 0])
            return
        for better in _pieces(np.flatnonzero(tops > self.scores[:, 0]), scores.shape[1]):
            both = np.concatenate([self.scores[better], scores[better]], axis=1)
            both.partition(both.shape[1] - depth, axis=1)
            self.scores[better] = np.sort(both[:, -depth:], axis=1)


class _Highest:
    """The ``keep`` highest of all scores, and whose they are."""

    def __init__(self, keep: int, dtype: npt.DTypeLike) -> None:
        self.keep = keep
        self.parts = [(np.empty(0, dtype), np.empty(0, np.int32))]
        self.size = 0
        self.lowest = -np.inf  # of those kept, once there are enough: nothing up to it is needed any more

    def see(self, scores: _Scores, tops: _Scores) -> None:
        """Scores [N, n], and the best of each row [N]."""
        for rows in _pieces(np.flatnonzero(tops > self.lowest), scores.shape[1]):
            some = scores[rows]
            higher = some > self.lowest
            probes = np.repeat(rows.astype(np.int32), np.count_nonzero(higher, axis=1))
            self.parts.append((some[higher], probes))
            self.size += len(probes)
            if self.size > self.keep + max(self.keep, _SPARE):
                self._sort_out()

    def descending(self) -> tuple[_Scores, npt.NDArray[np.int64]]:
        """[keep] each, or as many as there were."""
        self._sort_out()
        scores, probes = self.parts[0]
        order = np.argsort(-scores, kind="stable")
        return scores[order], probes[order].astype(np.int64)

    def _sort_out(self) -> None:
        scores, probes = (np.concatenate(of) for of in zip(*self.parts, strict=True))
        if len(scores) > self.keep:
            chosen = np.argpartition(scores, len(scores) - self.keep)[-self.keep :]
            scores, probes = scores[chosen], probes[chosen]
        if len(scores) == self.keep:
            self.lowest = float(scores.min())
        self.parts, self.size = [(scores, probes)], len(scores)
