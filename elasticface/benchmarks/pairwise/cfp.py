"""Celebrities in Frontal-Profile, in the layout of its authors: frontal–profile (FP) and frontal–frontal (FF) pairs.

Sengupta et al., "Frontal to Profile Face Verification in the Wild", WACV 2016. 500 people, ten frontal and four profile
photos of each, and for FP and FF ten splits of 350 genuine and 350 impostor pairs, which are the folds:

    Data/Images/001/frontal/01.jpg       Data/Images/001/profile/01.jpg
    Protocol/Pair_list_F.txt             rows `number path`, the frontal photos; a path is relative to Protocol
    Protocol/Pair_list_P.txt             the profile photos
    Protocol/Split/FP/01/same.txt        rows `i,j`: frontal photo i and profile photo j are one person
    Protocol/Split/FP/01/diff.txt        … are not; 01 to 10, and in Split/FF both are frontal
"""

import posixpath
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.enrolment import Undetected
from elasticface.benchmarks.pairwise import slices
from elasticface.benchmarks.pairwise.contradictions import check_kinds, notes_on
from elasticface.benchmarks.pairwise.listed_faces import find_landmarks, left_out_of
from elasticface.benchmarks.pairwise.lists import FOLDS, PairBenchmark, Pairs, checked
from elasticface.data.images.listed import Finder, is_count, numbered_rows
from elasticface.data.images.photos import Photos

PROTOCOL = "Protocol"
LISTS = {"F": "Pair_list_F.txt", "P": "Pair_list_P.txt"}
KINDS = {"cfp_fp": "FP", "cfp_ff": "FF"}
"""A benchmark's name -> which lists the two photos of its pairs are in, and the folder of its splits."""


def protocol_folder(path: Path, given: str | Path | None = None) -> Path | None:
    """The `Protocol` folder of CFP: ``given``, or in ``path``; None where that is something else."""
    folder = Path(given) if given else path / PROTOCOL
    return folder if (folder / LISTS["F"]).is_file() else None


def open_cfp(
    path: str | Path,
    protocol: str | Path | None = None,
    landmarks: str | Path | None = None,
    undetected: Undetected = "reject",
) -> list[PairBenchmark]:
    """The benchmarks ``cfp_fp`` and ``cfp_ff``, or the one of them whose splits there are.

    Args:
        path: the folder that holds `Data`, the photos in it aligned or with `landmarks5.csv` beside `Data`; or a tar.
            Photos may have another suffix than in the lists.
        protocol: the `Protocol` folder, where it is not in there.
        landmarks: five points a photo, where they are not `landmarks5.csv` in there.
        undetected: what becomes of photos without a face, as :func:`elasticface.benchmarks.pairwise.lists.open_pairs`
            takes it.

    Raises:
        InputError: a file that is missing or wrong; a pair that names a photo that is not there, or that is both
            genuine and impostor; splits of unequal size, which make no folds, or of one kind of pairs.
    """
    root = Path(path)
    folder = protocol_folder(root, protocol)
    if folder is None:
        raise InputError(f"{printable(root)}: no {PROTOCOL}/{LISTS['F']} in it, which CFP has")
    photos = Photos(root)
    beside = root if root.is_dir() else root.parent
    left_out = left_out_of(beside, photos)
    finder = Finder([*photos.names, *left_out.names])
    lists: dict[str, _List] = {}
    found = []
    for name, kind in KINDS.items():
        splits = folder / "Split" / kind
        if not splits.is_dir():
            continue
        for letter in kind:
            if letter not in lists:
                lists[letter] = _List.read(folder / LISTS[letter])
        pairs = _pairs(splits, (lists[kind[0]], lists[kind[1]]), finder)
        listed = {*pairs.first, *pairs.second}
        points, without = find_landmarks(beside, landmarks, listed, str(splits), left_out)
        found.append(
            PairBenchmark(
                name,
                photos,
                pairs,
                landmarks=points,
                metadata=slices.read_metadata(beside / slices.METADATA_FILE, listed),
                undetected=undetected,
                without_face=without,
                notes=notes_on(pairs),
            )
        )
    if not found:
        raise InputError(f"{printable(folder)}: neither Split/FP nor Split/FF in it, which CFP has")
    return found


@dataclass(frozen=True)
class _List:
    """One of the two lists of photos."""

    source: str
    photos: dict[int, tuple[int, str]]  # number -> row, and path below the folder that holds Data

    @staticmethod
    def read(path: Path) -> "_List":
        label = printable(path)
        photos: dict[int, tuple[int, str]] = {}
        for row, line in numbered_rows(files.read_text(path)):
            where = f"{label}, row {row}"
            words = line.split(maxsplit=1)
            if len(words) != 2 or not is_count(words[0]):
                raise InputError(f"{where}: not `number path`: {printable(line[:100])}")
            number, name = int(words[0]), words[1]
            if number in photos:
                raise InputError(f"{where}: number {number} is in row {photos[number][0]} already; keep one")
            # Only a key to look photos up by: what leads out of the folder is not among them.
            photos[number] = row, posixpath.normpath(posixpath.join(PROTOCOL, name))
        if not photos:
            raise InputError(f"{label}: lists no photo")
        return _List(label, photos)


def _find(finder: Finder, listed: _List, number: int, where: str) -> str:
    """The photo that a list has under ``number``."""
    if number not in listed.photos:
        raise InputError(f"{where}: {listed.source} has no number {number}")
    row, name = listed.photos[number]
    found = finder.find(name)
    if found is None:
        raise InputError(f"{where}: no photo {printable(name[:100])} there (row {row} of {listed.source}); add it")
    return found


def _pairs(splits: Path, lists: tuple[_List, _List], finder: Finder) -> Pairs:
    """The pairs of all splits in order, of each first those of `same.txt`."""
    first: list[str] = []
    second: list[str] = []
    same: list[bool] = []
    rows: list[str] = []
    sizes = []
    for number in range(1, FOLDS + 1):
        before = len(same)
        for name in ("same", "diff"):
            path = splits / f"{number:02d}" / f"{name}.txt"
            for row, line in numbered_rows(files.read_text(path)):
                where = f"{printable(path)}, row {row}"
                cells = [cell.strip() for cell in line.split(",")]
                if len(cells) != 2 or not all(map(is_count, cells)):
                    raise InputError(f"{where}: not `i,j`: {printable(line[:100])}")
                first.append(_find(finder, lists[0], int(cells[0]), where))
                second.append(_find(finder, lists[1], int(cells[1]), where))
                same.append(name == "same")
                rows.append(where)
            if not same or same[-1] != (name == "same"):
                raise InputError(
                    f"{printable(path)}: no pairs in it, and a split has pairs of both kinds; is it whole?"
                )
        sizes.append(len(same) - before)
        if sizes[-1] != sizes[0]:  # folds are cut at equal lengths
            raise InputError(f"{printable(path.parent)}: {sizes[-1]} pairs where split 01 has {sizes[0]}; is it whole?")
    pairs = checked(Pairs(tuple(first), tuple(second), np.array(same, np.bool_), FOLDS), printable(splits))
    check_kinds(pairs, printable(splits), rows)
    return pairs
