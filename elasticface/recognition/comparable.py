"""What there is to calibrate on: a benchmark of pairs, or the photos of a folder of people."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.enrolment import Undetected
from elasticface.benchmarks.ijb.files import kind_of
from elasticface.benchmarks.megaface.files import is_megaface
from elasticface.benchmarks.opening import open_benchmark
from elasticface.benchmarks.pairwise import slices, two_line_lists
from elasticface.benchmarks.pairwise.cfp import protocol_folder
from elasticface.benchmarks.pairwise.listed_faces import find_landmarks, left_out_of
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, BenchmarkPhotos, PairBenchmark, is_pack, photos_path
from elasticface.data.images.photos import Photos, identity_of
from elasticface.faces.examples import with_examples
from elasticface.metrics.resampled_roc import all_pairs_weights

MOST_PHOTOS = 5
"""Photos of a person that are compared, unless said otherwise. Of LFW's 13,233 photos 530 show one man of 5,749 people:
with all of them, what he looks like decides the rate, and intervals over people hold it too seldom."""


@dataclass(frozen=True)
class People(BenchmarkPhotos):
    """Photos of people, ``<person>/<photo>``, to be compared all with all."""

    names: tuple[str, ...]  #: of the photos that are compared, sorted
    left_out: int = 0  #: photos of these people that are not compared, beyond the most of each

    @property
    def share(self) -> str:
        """How many of the photos are compared, in words; "" where all are."""
        return f"{len(self.names):,} of {len(self.names) + self.left_out:,} photos" if self.left_out else ""


Comparable = PairBenchmark | People


def most_impostors(benchmark: Comparable) -> int:
    """How many impostor comparisons a benchmark has, were all of its photos readable."""
    if isinstance(benchmark, People):
        sizes = list(Counter(map(identity_of, benchmark.names)).values())
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


def _has_list(root: Path) -> bool:
    """Whether there is a list of pairs with the photos, as `open_benchmark` looks for it."""
    names = (PAIRS_FILE, *two_line_lists.FILES)
    beside = root if root.is_dir() else root.parent
    if any((beside / name).exists() for name in names) or (root.is_dir() and protocol_folder(root) is not None):
        return True
    return root.is_file() and any(name in Photos(root) for name in names)


def _open_people(root: Path, landmarks: str | Path | None, undetected: Undetected, most: int) -> People:
    photos = Photos(photos_path(root))
    photos.check_people()
    beside = root if root.is_dir() else root.parent
    left_out = left_out_of(beside, photos)
    every = [name for name in sorted([*photos.names, *left_out.names]) if "/" in name]
    names = some_of_each(every, most)
    if len(set(map(identity_of, names))) < 2:
        raise InputError(
            f"{printable(root)}: fewer than two people: give a benchmark of pairs, or a folder of people with their "
            "photos, <person>/<photo>"
        )
    if loose := len(photos.names) + len(left_out.names) - len(every):
        progress.say(f"{printable(root)}: left out: {loose:,} photos outside the folders of people")
    for line in with_examples(f"{printable(root)}: left out: folders without a photo", photos.empty):
        progress.say(line)
    points, without = find_landmarks(beside, landmarks, names, str(root), left_out)
    return People(
        root.resolve().name.removesuffix(".tar"),
        photos,
        names,
        left_out=len(every) - len(names),
        landmarks=points,
        metadata=slices.read_metadata(beside / slices.METADATA_FILE, names),
        undetected=undetected,
        without_face=without,
    )


def some_of_each(names: Sequence[str], most: int) -> tuple[str, ...]:
    """At most so many photos of each person, spread evenly over ``names``, which are sorted; 0 for all."""
    found: list[str] = []
    for _, of_person in itertools.groupby(names, identity_of):
        photos = list(of_person)
        count = min(most or len(photos), len(photos))
        found += [photos[(2 * place + 1) * len(photos) // (2 * count)] for place in range(count)]
    return tuple(found)
