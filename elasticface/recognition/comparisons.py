"""Genuine and impostor comparisons to calibrate on: of a list of pairs, or all those of a folder of people.

A folder of N photos has some N²/2 impostor comparisons, LFW 87 million. Their scores are never all in memory: a first
pass counts them in a fine histogram, and a second one keeps the highest, as many as the highest false match rate lets
through.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.enrolment import Enrolment
from elasticface.benchmarks.pairwise.lists import PairBenchmark
from elasticface.benchmarks.pairwise.pairs import embed_enrolled, evaluate_pairs
from elasticface.benchmarks.pairwise.slices import Metadata
from elasticface.data.images.photos import identity_of
from elasticface.metrics.resampled_roc import accepted_weights, all_pairs_weights
from elasticface.metrics.resampling import Counts
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.comparable import Comparable, People

MOST_KEPT = 1 << 24
"""Comparisons whose scores are kept at most."""

BINS = 1 << 15
"""Of a histogram of similarities, from -1 to 1."""

_BETWEEN, _IN_SECOND, _IN_FIRST = range(3)  # impostor comparisons by the halves of the people that they are of
_BLOCK_CELLS = 1 << 22  # scores that are made at a time: 16 MiB
_FEW_PHOTOS = 64  # of a person: fewer are compared faster pair by pair than by a product of matrices
_NO_FACE = -1.001  # below it is what stands for a comparison without a face, and no similarity
_HALVES_SEED = 0

Scores = NDArray[np.float32]
Places = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Compared:
    """The comparisons of one benchmark. Units are people, or what stands for them; photos are by number."""

    name: str
    kind: str  # what the units are, a key of benchmarks.units.UNITS
    photos: tuple[str, ...]  # names
    genuine: Scores  # [G], -inf of those with a photo that could not be enrolled
    genuine_photos: Places  # [G, 2]
    genuine_units: Places  # [G, 2], the same twice
    impostors: Scores
    """[K]: of a list all, -inf of those with a photo that could not be enrolled; of a folder of people the highest of
    the others, those with such a photo being absent."""
    impostor_photos: Places  # [K, 2]
    impostor_units: Places  # [K, 2]
    units: int
    unit_of: Places | None  # of a folder of people, whose photos are all compared: [photos]
    histogram: NDArray[np.int64]  # [2, BINS], of all impostors within either half of the units
    metadata: Metadata = field(default_factory=dict)
    enrolment: Enrolment | None = None  # photos without a face, and damaged ones
    all_kept: bool = True  # whether each impostor comparison of enrolled photos is among ``impostors``

    @cached_property
    def impostor_count(self) -> int:
        """How many impostor comparisons there are, kept or not."""
        if self.unit_of is None:
            return len(self.impostors)
        return int(all_pairs_weights(np.bincount(self.unit_of), np.ones((1, self.units), np.int32))[0])

    def impostor_weights(self, counts: Counts) -> NDArray[np.int64]:
        """How many impostor comparisons there are in each resample, [R]; ``counts`` [R, units]."""
        if self.unit_of is None:
            return all_weights(self.impostor_units, counts)
        return all_pairs_weights(np.bincount(self.unit_of, minlength=self.units), counts)


def compare(encoder: FaceEncoder, benchmark: Comparable, wanted: int, flip: bool = True) -> Compared:
    """The comparisons of one benchmark; every photo is embedded once.

    Args:
        encoder: the model.
        benchmark: of pairs, or people.
        wanted: how many impostor comparisons, the highest, are wanted at least, as far as there are as many.
        flip: add the embedding of the mirror image.

    Raises:
        InputError: photos that cannot be used, a model whose embeddings are no numbers, or fewer than two people.
    """
    if isinstance(benchmark, People):
        return _compare_people(encoder, benchmark, wanted, flip)
    return _compare_pairs(encoder, benchmark, flip)


def weights_at(scores: NDArray[Any], units: Places, thresholds: Sequence[float], counts: Counts) -> NDArray[np.int64]:
    """How many comparisons [K] of these units [K, 2] reach each threshold in each resample, [R, T]."""
    return accepted_weights(scores, units[:, 0], units[:, 1], thresholds, counts)


def all_weights(units: Places, counts: Counts) -> NDArray[np.int64]:
    """How many of all comparisons of these units [K, 2] there are in each resample, [R]."""
    return weights_at(np.zeros(len(units)), units, [0.0], counts)[:, 0]


def first_half(units: int) -> Bools:
    """Which of so many units a likelihood ratio is fitted on, [units]: a random half."""
    chosen = np.zeros(units, np.bool_)
    chosen[keyed.generator(_HALVES_SEED, "halves of the people").permutation(units)[: units // 2]] = True
    return chosen


def histogram_of(scores: NDArray[Any]) -> NDArray[np.int64]:
    """How many similarities are in each bin, [BINS]; what stands for "no face" is in none."""
    return np.bincount(_bins(scores[scores >= _NO_FACE]), minlength=BINS)


def bin_centres() -> NDArray[np.float64]:
    """The similarities in the middle of each bin, [BINS]."""
    return np.asarray((np.arange(BINS) + 0.5) * (2 / BINS) - 1)


def _bins(scores: NDArray[Any]) -> NDArray[np.int32]:
    return np.clip(((scores + 1) * (BINS / 2)).astype(np.int32), 0, BINS - 1)


def _compare_pairs(encoder: FaceEncoder, benchmark: PairBenchmark, flip: bool) -> Compared:
    result = evaluate_pairs(encoder, benchmark, flip, intervals=False)
    assert result.units is not None
    number = {name: place for place, name in enumerate(dict.fromkeys((*result.first, *result.second)))}
    photos = np.array([[number[name] for name in side] for side in (result.first, result.second)], np.int32).T
    units = np.stack([result.units.first, result.units.second], axis=1)
    same, units_there = result.same, result.units.number
    halves = first_half(units_there)[units[~same]]
    histogram = [histogram_of(result.scores[~same][(halves == half).all(axis=1)]) for half in (True, False)]
    return Compared(
        name=benchmark.name,
        kind=result.units.kind,
        photos=tuple(number),
        genuine=result.scores[same],
        genuine_photos=photos[same],
        genuine_units=units[same],
        impostors=result.scores[~same],
        impostor_photos=photos[~same],
        impostor_units=units[~same],
        units=units_there,
        unit_of=None,
        histogram=np.stack(histogram),
        metadata=benchmark.metadata or {},
        enrolment=result.enrolment,
    )


def _compare_people(encoder: FaceEncoder, people: People, wanted: int, flip: bool) -> Compared:
    embedded, found, enrolment = embed_enrolled(encoder, people, people.names, flip)
    there = set(found)
    listed = tuple(found) if people.undetected == "skip" else people.names
    enrolled = np.array([name in there for name in listed], np.bool_)
    embeddings = np.zeros((len(listed), embedded.shape[1]), np.float32)
    embeddings[enrolled] = embedded
    lost = _pairs_of(len(people.names)) - _pairs_of(len(found))
    compared = compare_embeddings(people.name, embeddings, listed, wanted, people.metadata, enrolled)
    return replace(compared, enrolment=replace(enrolment, trials=lost))


def _pairs_of(photos: int) -> int:
    """How many pairs so many photos make."""
    return photos * (photos - 1) // 2


@dataclass(frozen=True, eq=False)
class _Rows:
    """Embedded photos, those of a person side by side."""

    embeddings: NDArray[np.float32]  # [N, D]
    units: Places  # [N], rising
    enrolled: Bools  # [N]

    def blocks(self, told: str) -> Iterator[tuple[int, int, Scores, Bools]]:
        """The comparisons of some photos at a time with those after them: the first of either side, scores [n, m], and
        which of these are impostor comparisons of enrolled photos [n, m]."""
        count = len(self.units)
        last = np.searchsorted(self.units, self.units, side="right")  # where the strangers after each photo begin
        step = max(_BLOCK_CELLS // count, 1)
        starts = range(0, count, step)
        for start in progress.track(starts, told, len(starts), shown=len(starts) > 10):
            rows, begin = slice(start, start + step), int(last[start])
            scores = self.embeddings[rows] @ self.embeddings[begin:].T
            strangers = np.arange(begin, count) >= last[rows, None]
            yield start, begin, scores, strangers & self.enrolled[rows, None] & self.enrolled[begin:]


def compare_embeddings(
    name: str,
    embeddings: NDArray[np.float32],
    photos: Sequence[str],
    wanted: int,
    metadata: Metadata | None = None,
    enrolled: Bools | None = None,
) -> Compared:
    """All comparisons of photos of people.

    Args:
        name: of the benchmark.
        embeddings: [N, D], of unit length.
        photos: their names [N], ``<person>/<photo>``, in any order.
        wanted: how many impostor comparisons, the highest, are wanted at least, as far as there are as many.
        metadata: of the photos.
        enrolled: [N], False for a photo whose comparisons are non-matches; None: all are.

    Raises:
        InputError: fewer than two people, nobody with two photos, or more comparisons than can be kept.
    """
    people, unit_of = np.unique([identity_of(photo) for photo in photos], return_inverse=True)
    order = np.argsort(unit_of, kind="stable")
    there = np.ones(len(photos), np.bool_) if enrolled is None else enrolled
    rows = _Rows(embeddings[order], unit_of[order].astype(np.int32), there[order])
    sizes = np.bincount(rows.units)
    mates = sum(map(_pairs_of, sizes.tolist()))
    if len(people) < 2 or not mates:
        raise InputError(f"{name}: {len(people)} people with {mates} pairs of photos of one person; both are needed")
    wanted = min(wanted, int(all_pairs_weights(sizes, np.ones((1, len(sizes)), np.int32))[0]))
    if max(mates, wanted) > MOST_KEPT:
        raise InputError(
            f"{name}: {mates:,} genuine comparisons, and {wanted:,} impostor comparisons to keep; at most "
            f"{MOST_KEPT:,} are, so give lower false match rates, or fewer photos"
        )
    counted = _histograms(rows, len(people), f"{name}: counting comparisons")
    lowest = _lowest_kept(name, counted.sum(axis=0), wanted)
    impostors, impostor_photos = _highest_impostors(rows, lowest, f"{name}: comparing")
    genuine, genuine_photos = _mates(rows, sizes)
    return Compared(
        name=name,
        kind="people",
        photos=tuple(photos[place] for place in order),
        genuine=genuine,
        genuine_photos=genuine_photos,
        genuine_units=rows.units[genuine_photos],
        impostors=impostors,
        impostor_photos=impostor_photos,
        impostor_units=rows.units[impostor_photos],
        units=len(people),
        unit_of=rows.units,
        histogram=counted[[_IN_FIRST, _IN_SECOND]],
        metadata=metadata or {},
        all_kept=len(impostors) == counted.sum(),
    )


def _histograms(rows: _Rows, people: int, told: str) -> NDArray[np.int64]:
    """Impostor comparisons in each bin, [3, BINS]: between the halves of the people, and within either."""
    half = np.where(first_half(people)[rows.units], _IN_FIRST, _IN_SECOND)
    counted = np.zeros((3, BINS), np.int64)
    for start, begin, scores, strangers in rows.blocks(told):
        own = half[start : start + len(scores), None]
        cells = BINS * np.where(own == half[begin:], own, _BETWEEN) + _bins(scores)
        counted += np.bincount(cells[strangers], minlength=3 * BINS).reshape(3, BINS)
    return counted


def _lowest_kept(name: str, counted: NDArray[np.int64], wanted: int) -> int:
    """The highest bin such that it and those above it hold as many as are wanted, or 0; ``counted`` [BINS]."""
    above = np.cumsum(counted[::-1])[::-1]  # comparisons in a bin and those above it
    lowest = int(np.flatnonzero(above >= wanted).max(initial=0))
    if above[lowest] > 2 * MOST_KEPT:
        raise InputError(f"{name}: {int(above[lowest]):,} impostor comparisons have nearly one similarity")
    return lowest


def _highest_impostors(rows: _Rows, lowest: int, told: str) -> tuple[Scores, Places]:
    """The impostor comparisons in bin ``lowest`` and those above it: scores [K] and photos [K, 2]."""
    kept, pairs = [], []
    for start, begin, scores, strangers in rows.blocks(told):
        one, other = np.nonzero(strangers & (_bins(scores) >= lowest))
        kept.append(scores[one, other])
        pairs.append(np.stack([one + start, other + begin]).astype(np.int32))
    return np.concatenate(kept), np.concatenate(pairs, axis=1).T


def _mates(rows: _Rows, sizes: NDArray[np.int64]) -> tuple[Scores, Places]:
    """All genuine comparisons: scores [G], -inf of those that were not enrolled, and photos [G, 2]."""
    found, pairs = [], []
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends, strict=True):
        one, other = np.triu_indices(end - start, 1)
        own = rows.embeddings[start:end]
        few = len(own) < _FEW_PHOTOS
        found.append(np.einsum("nd,nd->n", own[one], own[other]) if few else (own @ own.T)[one, other])
        pairs.append(np.stack([one + start, other + start], axis=1))
    scores, photos = np.concatenate(found).astype(np.float32), np.concatenate(pairs).astype(np.int32)
    scores[~rows.enrolled[photos].all(axis=1)] = -np.inf
    return scores, photos
