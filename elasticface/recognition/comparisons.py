"""Genuine and impostor comparisons to calibrate on: of a list of pairs, or all those of a folder of people.

A folder of N photos has some N²/2 impostor comparisons, LFW 87 million. Their scores are never all there: a first pass
counts them in a fine histogram, a second one keeps those that the highest false match rate can let through.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.enrolment import Enrolment, Undetected
from elasticface.benchmarks.ijb.files import kind_of
from elasticface.benchmarks.megaface.files import is_megaface
from elasticface.benchmarks.opening import open_benchmark
from elasticface.benchmarks.pairwise import slices, two_line_lists
from elasticface.benchmarks.pairwise.cfp import protocol_folder
from elasticface.benchmarks.pairwise.listed_faces import find_landmarks, left_out_of
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, PairBenchmark, Pairs, is_pack, photos_path
from elasticface.benchmarks.pairwise.pairs import embed_enrolled, evaluate_pairs
from elasticface.benchmarks.pairwise.slices import Metadata
from elasticface.data.images.photos import Photos
from elasticface.metrics.resampled_roc import accepted_weights, all_pairs_weights
from elasticface.metrics.resampling import Counts
from elasticface.model.encoder import FaceEncoder

MOST_KEPT = 1 << 24
"""Comparisons whose scores are kept at most."""

MOST_PHOTOS = 5
"""Photos of a person that are compared, unless said otherwise. Of LFW's 13,233 photos 530 show one man of 5,749 people:
with all of them, what he looks like decides the rate, and intervals over people hold it too seldom."""

BINS = 1 << 15
"""Of a histogram of similarities, from -1 to 1."""

_BLOCK_CELLS = 1 << 22  # scores that are made at a time: 16 MiB
_NO_FACE = -1.001  # below it is what stands for a comparison without a face, and no similarity
_HALVES_SEED = 0

Scores = NDArray[np.float32]
Places = NDArray[np.int32]


@dataclass(frozen=True)
class People:
    """A folder of people, ``<person>/<photo>``, to be compared all with all."""

    faces: PairBenchmark  # without pairs

    @property
    def name(self) -> str:
        """To show."""
        return self.faces.name


Comparable = PairBenchmark | People


@dataclass(frozen=True, eq=False)
class Compared:
    """The comparisons of one benchmark. Units are people, or what stands for them; photos are by number."""

    name: str
    kind: str  # what the units are, a key of benchmarks.units.UNITS
    photos: tuple[str, ...]  # names
    genuine: Scores  # [G], -inf of those with a photo that could not be enrolled
    genuine_photos: Places  # [G, 2]
    genuine_units: Places  # [G, 2], the same twice
    impostors: Scores  # [K], likewise: all, or of a folder of people the highest
    impostor_photos: Places  # [K, 2]
    impostor_units: Places  # [K, 2]
    units: int
    unit_of: Places | None  # of a folder of people, whose photos are all compared: [photos]
    histogram: NDArray[np.int64]  # [2, BINS], of all impostors within either half of the units
    metadata: Metadata = field(default_factory=dict)
    enrolment: Enrolment | None = None  # photos without a face, and damaged ones

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


def most_impostors(benchmark: Comparable) -> int:
    """How many impostor comparisons a benchmark has, were all of its photos readable."""
    if isinstance(benchmark, People):
        sizes = list(Counter(name.split("/", 1)[0] for name in benchmark.faces.pairs.first).values())
        return int(all_pairs_weights(sizes, np.ones((1, len(sizes)), np.int32))[0])
    return int((~benchmark.pairs.same).sum())


def open_comparable(
    path: str | Path,
    pairs: str | Path | None = None,
    landmarks: str | Path | None = None,
    all_pairs: bool = False,
    undetected: Undetected = "reject",
    most_photos: int = MOST_PHOTOS,
) -> list[Comparable]:
    """What there is to compare at ``path``: a benchmark of pairs, or the people of a folder or tar.

    Args:
        path: a pack, photos with a list of pairs, CFP, or ``<person>/<photo>`` without a list.
        pairs: as :func:`elasticface.benchmarks.opening.open_benchmark` takes it.
        landmarks: likewise; of people, too.
        all_pairs: take photos for people even where there is a list of pairs.
        undetected: what becomes of photos without a face, and of damaged ones: see
            :mod:`elasticface.benchmarks.enrolment`.
        most_photos: of a person in a folder that are compared, spread evenly over their names; 0 for all.

    Raises:
        InputError: nothing there, something wrong in it, or a benchmark that is not of pairs.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"{printable(root)}: no such file or folder")
    if all_pairs and is_pack(root):
        raise InputError(f"{printable(root)}: a pack does not say who is on its images; leave out --all-pairs")
    if pairs is None and (kind_of(root) is not None or is_megaface(root)):
        raise InputError(f"{printable(root)}: neither a list of pairs nor a folder of people, <person>/<photo>")
    if all_pairs or not (pairs or is_pack(root) or _has_list(root)):
        return [_open_people(root, landmarks, undetected, most_photos)]
    found = open_benchmark(root, pairs, landmarks, undetected=undetected)
    return [benchmark for benchmark in found if isinstance(benchmark, PairBenchmark)]


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
        return _compare_people(encoder, benchmark.faces, wanted, flip)
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


def weights_at(scores: NDArray[Any], units: Places, thresholds: Sequence[float], counts: Counts) -> NDArray[np.int64]:
    """How many comparisons [K] of these units [K, 2] reach each threshold in each resample, [R, T]."""
    return accepted_weights(scores, units[:, 0], units[:, 1], thresholds, counts)


def all_weights(units: Places, counts: Counts) -> NDArray[np.int64]:
    """How many of all comparisons of these units [K, 2] there are in each resample, [R]."""
    return weights_at(np.zeros(len(units)), units, [0.0], counts)[:, 0]


def first_half(units: int) -> NDArray[np.bool_]:
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


# ---------------------------------------------------------------------------------------------- people


def _has_list(root: Path) -> bool:
    """Whether there is a list of pairs with the photos, as `open_benchmark` looks for it."""
    names = (PAIRS_FILE, *two_line_lists.FILES)
    beside = root if root.is_dir() else root.parent
    if any((beside / name).exists() for name in names) or (root.is_dir() and protocol_folder(root) is not None):
        return True
    return root.is_file() and any(name in Photos(root) for name in names)


def _open_people(root: Path, landmarks: str | Path | None, undetected: Undetected, most: int) -> People:
    photos = Photos(photos_path(root))
    beside = root if root.is_dir() else root.parent
    left_out = left_out_of(beside, photos)
    every = [name for name in sorted([*photos.names, *left_out.names]) if "/" in name]
    names = some_of_each(every, most)
    if len({name.split("/", 1)[0] for name in names}) < 2:
        raise InputError(
            f"{printable(root)}: fewer than two people: give a benchmark of pairs, or a folder of people with their "
            "photos, <person>/<photo>"
        )
    if loose := len(photos.names) + len(left_out.names) - len(every):
        progress.say(f"{printable(root)}: left out: {loose:,} photos outside the folders of people")
    points, without = find_landmarks(beside, landmarks, names, str(root), left_out)
    return People(
        PairBenchmark(
            name=root.resolve().name.removesuffix(".tar"),
            photos=photos,
            pairs=Pairs(names, names, np.ones(len(names), np.bool_), 1),
            landmarks=points,
            metadata=slices.read_metadata(beside / slices.METADATA_FILE, names),
            undetected=undetected,
            without_face=without,
        )
    )


def some_of_each(names: Sequence[str], most: int) -> tuple[str, ...]:
    """At most so many photos of each person, spread evenly over ``names``, which are sorted; 0 for all."""
    found: list[str] = []
    for _, of_person in itertools.groupby(names, lambda name: name.split("/", 1)[0]):
        photos = list(of_person)
        count = min(most or len(photos), len(photos))
        found += [photos[(2 * place + 1) * len(photos) // (2 * count)] for place in range(count)]
    return tuple(found)


def _compare_people(encoder: FaceEncoder, faces: PairBenchmark, wanted: int, flip: bool) -> Compared:
    embedded, found = embed_enrolled(encoder, faces, faces.pairs.first, flip)
    if not np.isfinite(embedded).all():
        raise InputError(f"{encoder.card.name}: its embeddings hold NaN or infinity; the model is broken")
    listed = faces.pairs.first
    there = set(found)
    damaged = set(listed) - there - (faces.without_face if faces.undetected != "centre" else set())
    if faces.undetected == "skip":
        listed = tuple(found)
    enrolled = np.array([name in there for name in listed])
    embeddings = np.zeros((len(listed), embedded.shape[1]), np.float32)
    embeddings[enrolled] = embedded
    compared = compare_embeddings(faces.name, embeddings, listed, wanted, faces.metadata, enrolled)
    enrolment = Enrolment.counted(
        faces.undetected,
        images=len(faces.pairs.first),
        without_face=len(faces.without_face - damaged),
        damaged=len(damaged),
        trials=comparisons(len(faces.pairs.first)) - comparisons(len(found)),
    )
    return replace(compared, enrolment=enrolment)


def comparisons(photos: int) -> int:
    """How many pairs so many photos make."""
    return photos * (photos - 1) // 2


def compare_embeddings(
    name: str,
    embeddings: NDArray[np.float32],
    photos: Sequence[str],
    wanted: int,
    metadata: Metadata | None = None,
    enrolled: NDArray[np.bool_] | None = None,
) -> Compared:
    """All comparisons of photos of people.

    Args:
        name: of the benchmark.
        embeddings: [N, D], of unit length.
        photos: their names [N], ``<person>/<photo>``, those of a person side by side.
        wanted: how many impostor comparisons, the highest, are wanted at least, as far as there are as many.
        metadata: of the photos.
        enrolled: [N], False for a photo whose comparisons are non-matches; None: all are.

    Raises:
        InputError: fewer than two people, nobody with two photos, or more comparisons than can be kept.
    """
    people, unit_of = np.unique([photo.split("/", 1)[0] for photo in photos], return_inverse=True)
    order = np.argsort(unit_of, kind="stable")
    embeddings, units = embeddings[order], unit_of[order].astype(np.int32)
    there = np.ones(len(units), np.bool_) if enrolled is None else enrolled[order]
    sizes = np.bincount(units)
    mates = int((sizes * (sizes - 1) // 2).sum())
    if len(people) < 2 or not mates:
        raise InputError(f"{name}: {len(people)} people with {mates} pairs of photos of one person; both are needed")
    wanted = min(wanted, int(all_pairs_weights(sizes, np.ones((1, len(sizes)), np.int32))[0]))
    if max(mates, wanted) > MOST_KEPT:
        raise InputError(
            f"{name}: {mates:,} genuine comparisons, and {wanted:,} impostor comparisons to keep; at most "
            f"{MOST_KEPT:,} are, so give lower false match rates, or fewer photos"
        )
    half = first_half(len(people))[units]
    counted = np.zeros((3, BINS), np.int64)  # between the halves, within the second, within the first
    for start, begin, scores, strangers in _blocks(embeddings, units, there, f"{name}: counting comparisons"):
        rows = half[start : start + len(scores), None]
        cells = BINS * np.where(rows == half[begin:], rows + 1, 0) + _bins(scores)
        counted += np.bincount(cells[strangers], minlength=3 * BINS).reshape(3, BINS)
    above = np.cumsum(counted.sum(axis=0)[::-1])[::-1]  # comparisons in a bin and those above it
    lowest = int(np.flatnonzero(above >= wanted).max(initial=0))
    if above[lowest] > 2 * MOST_KEPT:
        raise InputError(f"{name}: {int(above[lowest]):,} impostor comparisons have nearly one similarity")
    kept, kept_pairs = [], []
    for start, begin, scores, strangers in _blocks(embeddings, units, there, f"{name}: comparing"):
        one, other = np.nonzero(strangers & (_bins(scores) >= lowest))
        kept.append(scores[one, other])
        kept_pairs.append(np.stack([one + start, other + begin]).astype(np.int32))
    genuine, genuine_pairs = _mates(embeddings, sizes)
    genuine[~there[genuine_pairs].all(axis=1)] = -np.inf
    high_pairs = np.concatenate(kept_pairs, axis=1).T
    return Compared(
        name=name,
        kind="people",
        photos=tuple(photos[place] for place in order),
        genuine=genuine,
        genuine_photos=genuine_pairs,
        genuine_units=units[genuine_pairs],
        impostors=np.concatenate(kept),
        impostor_photos=high_pairs,
        impostor_units=units[high_pairs],
        units=len(people),
        unit_of=units,
        histogram=counted[[2, 1]],
        metadata=metadata or {},
    )


def _blocks(
    embeddings: NDArray[np.float32], units: Places, enrolled: NDArray[np.bool_], told: str
) -> Iterator[tuple[int, int, Scores, NDArray[np.bool_]]]:
    """The comparisons of some photos at a time with those after them: the first of either side, scores [n, m], and
    which of these are impostor comparisons of enrolled photos [n, m]."""
    count = len(units)
    last = np.searchsorted(units, units, side="right")  # where the strangers begin that come after each photo
    step = max(_BLOCK_CELLS // count, 1)
    starts = range(0, count, step)
    for start in progress.track(starts, told, len(starts), shown=len(starts) > 10):
        begin = int(last[start])
        scores = embeddings[start : start + step] @ embeddings[begin:].T
        strangers = np.arange(begin, count) >= last[start : start + step, None]
        yield start, begin, scores, strangers & enrolled[start : start + step, None] & enrolled[begin:]


def _mates(embeddings: NDArray[np.float32], sizes: NDArray[np.int64]) -> tuple[Scores, Places]:
    """All genuine comparisons: scores [G] and photos [G, 2]."""
    scores, pairs = [], []
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends, strict=True):
        one, other = np.triu_indices(end - start, 1)
        rows = embeddings[start:end]
        scores.append(np.einsum("nd,nd->n", rows[one], rows[other]) if len(rows) < 64 else (rows @ rows.T)[one, other])
        pairs.append(np.stack([one + start, other + start], axis=1))
    return np.concatenate(scores).astype(np.float32), np.concatenate(pairs).astype(np.int32)
