"""Benchmarks of pairs, opened: a folder or tar of photos with a list of pairs, or a pack; the face of each photo."""

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.enrolment import Undetected
from elasticface.benchmarks.pairwise import contradictions, slices, two_line_lists
from elasticface.benchmarks.pairwise.listed_faces import LANDMARKS_FILE, find_landmarks, left_out_of
from elasticface.benchmarks.pairwise.listed_pairs import Pairs as Pairs  # who opens a benchmark needs it
from elasticface.benchmarks.pairwise.slices import Metadata
from elasticface.data.formats.packs import read_pack
from elasticface.data.images import decoding
from elasticface.data.images.alignment import align, central_square
from elasticface.data.images.listed import Finder, is_count, numbered_rows
from elasticface.data.images.photos import Photos

PAIRS_FILE, PACK_SUFFIX = "pairs.txt", ".bin"
FOLDS = two_line_lists.FOLDS  # where a list of pairs says nothing else; a pack never does


class Images(Protocol):
    """Where a benchmark's photos come from, encoded: :class:`Photos` of a folder or tar, the images of a pack, …"""

    @property
    def names(self) -> Sequence[str]:
        """What there is to be read."""

    def read(self, name: str, /) -> bytes:
        """The bytes of one image.

        Raises:
            DamagedImage: it cannot be read.
        """


@dataclass(frozen=True)
class BenchmarkPhotos:
    """The photos of a benchmark, and the face on each."""

    name: str
    photos: Images
    _: KW_ONLY
    landmarks: dict[str, NDArray[np.float64]] | None = None  # None: the photos are aligned
    metadata: Metadata | None = None  # what is in the photos, where it is known
    if_unaligned: str = (  # what to do about photos that are not aligned, for the message
        f"give the landmarks ({LANDMARKS_FILE} beside {PAIRS_FILE}, or --landmarks), or run `elasticface align` first"
    )
    undetected: Undetected = "reject"  # what becomes of photos without a face, and of damaged ones
    without_face: frozenset[str] = frozenset()  # listed photos in which no face was found

    def face(self, name: str, size: int = 112) -> NDArray[np.uint8]:
        """The aligned face of one photo, uint8 [size, size, 3] RGB.

        Raises:
            NoFace: none was found in it; with ``undetected="centre"`` its central square is the face.
            InputError: a damaged photo, one that is not aligned and has no landmarks, or landmarks in one place.
        """
        label = f"{self.name}: {printable(name)}"
        if name in self.without_face:
            if self.undetected != "centre":
                raise decoding.NoFace(f"{label}: no face was found in it")
            return central_square(decoding.decode(self.photos.read(name), label), size)
        data = self.photos.read(name)
        if self.landmarks is None:
            return decoding.decode_aligned(data, label, size, lambda why: f"{label}: {why}; {self.if_unaligned}")
        photo = decoding.decode(data, label)
        if name not in self.landmarks:
            again = "could not be read when faces were looked for, and can be now; run `elasticface detect` again"
            raise decoding.DamagedImage(f"{label}: {again}")
        try:
            with np.errstate(all="ignore"):  # absurd coordinates overflow to what `align` refuses
                return align(photo, self.landmarks[name], size)
        except ValueError as error:
            raise InputError(f"{label}: {error}; mend its row in the landmarks") from error


@dataclass(frozen=True)
class PairBenchmark(BenchmarkPhotos):
    """Photos and the pairs to judge on them."""

    pairs: Pairs
    _: KW_ONLY
    content: str = ""  # what tells its images from others where their names do not
    notes: tuple[str, ...] = ()  # on the list of pairs

    @property
    def result_names(self) -> tuple[str, ...]:
        """The benchmark's name in each of its results."""
        return (self.name,)


def open_pairs(
    path: str | Path,
    pairs: str | Path | None = None,
    landmarks: str | Path | None = None,
    undetected: Undetected = "reject",
) -> PairBenchmark:
    """The benchmark at ``path``, with what a `metadata.csv` there says of its photos.

    Args:
        path: a folder or an uncompressed tar with the photos and `pairs.txt`; a folder with `pairs.txt` and a tar; or
            a pack (`.bin`). Where there is no `pairs.txt`, `pairs_CALFW.txt` and `pairs_CPLFW.txt` are looked for.
        pairs: the list of pairs, where it is none of these in there or, for a tar, beside it.
        landmarks: five points a photo, where they are not `landmarks5.csv` in there. Without any, photos are aligned.
        undetected: what becomes of photos in which no face was found, and of damaged ones: their pairs count as
            non-matches ("reject"), are left out ("skip"), or the central square of the photo is the face ("centre").

    Raises:
        InputError: a file that is missing or wrong, or pairs that name photos that are not there.
    """
    root = Path(path)
    if is_pack(root):
        if pairs or landmarks:
            raise InputError(f"{printable(root)}: a pack has pairs and faces itself; leave out --pairs and --landmarks")
        return open_pack(root, undetected)
    if not root.exists():
        raise InputError(f"{root}: no such folder or tar")
    beside = root if root.is_dir() else root.parent
    photos = Photos(photos_path(root))
    left_out = left_out_of(beside, photos)
    pairs_file = Path(pairs) if pairs else _find_list(root, beside, photos)
    text = (
        files.read_text(pairs_file, "give the file of the list of pairs")
        if pairs or pairs_file.exists()
        else photos.read_text(pairs_file.name)
    )
    listed = parse_pairs(text, str(pairs_file), [*photos.names, *left_out.names])
    points, without = find_landmarks(beside, landmarks, {*listed.first, *listed.second}, str(pairs_file), left_out)
    return PairBenchmark(
        root.resolve().name.removesuffix(".tar"),
        photos,
        listed,
        landmarks=points,
        metadata=slices.read_metadata(beside / slices.METADATA_FILE, {*listed.first, *listed.second}),
        undetected=undetected,
        without_face=without,
        notes=contradictions.notes_on(listed),
    )


def is_pack(path: Path) -> bool:
    """Whether ``path`` is taken for a pack: a `.bin` that is no folder."""
    return path.suffix.lower() == PACK_SUFFIX and not path.is_dir()


def open_pack(path: str | Path, undetected: Undetected = "reject") -> PairBenchmark:
    """The benchmark in a pack: ten contiguous folds, as packs always have.

    Its images are named by their position, ``000000`` and ``000001`` for the first pair; the later of two that are the
    same to the byte have the name of the first, and so are embedded once.

    Raises:
        InputError: see :func:`elasticface.data.read_pack`; or too few pairs, or pairs of one kind.
    """
    encoded, same = read_pack(path)
    position: dict[bytes, int] = {}
    names = [f"{position.setdefault(image, number):06d}" for number, image in enumerate(encoded)]
    pairs = checked(Pairs(tuple(names[::2]), tuple(names[1::2]), same, FOLDS), printable(path))
    photos = _Packed({f"{number:06d}": image for image, number in position.items()})
    unaligned = "a pack holds faces aligned to the model's size; make one of the photos by `elasticface pack`"
    content = hashlib.sha256(b"".join(hashlib.sha256(image).digest() for image in encoded)).hexdigest()
    return PairBenchmark(
        Path(path).stem,
        photos,
        pairs,
        if_unaligned=unaligned,
        content=content,
        undetected=undetected,
        notes=contradictions.notes_on(pairs),
    )


def checked(pairs: Pairs, source: str) -> Pairs:
    """``pairs``, if they can be judged.

    Raises:
        InputError: fewer pairs than folds or than two, or pairs of one kind alone; said of ``source``.
    """
    count, folds, same = len(pairs.same), pairs.folds, pairs.same
    if not 2 <= folds <= count:
        raise InputError(f"{source}: {count} pairs in {folds} folds; there must be 2 folds and a pair in each")
    if same.all() or not same.any():
        raise InputError(f"{source}: only {'genuine' if same.all() else 'impostor'} pairs; both kinds are needed")
    return pairs


def _find_list(root: Path, beside: Path, photos: Photos) -> Path:
    """The list of pairs in the folder ``beside``, or among the photos of a tar."""
    for names in ((PAIRS_FILE,), two_line_lists.FILES):
        found = [beside / name for name in names if (beside / name).exists()]
        found = found or [photos.path / name for name in names if name in photos]
        if len(found) > 1:
            raise InputError(f"{root}: {' and '.join(path.name for path in found)} in it; give one with --pairs")
        if found:
            return found[0]
    raise InputError(f"{root}: no {PAIRS_FILE} in it; give the list of pairs with --pairs")


def parse_pairs(text: str, source: str, names: Sequence[str]) -> Pairs:
    """Pairs from LFW's format, from a list of paths, or from the two lines a pair of CALFW and CPLFW.

    LFW (`folds<TAB>pairs` first, or the pairs of either kind in the whole list, then `name n1 n2` for a genuine pair
    and `name1 n1 name2 n2` for an impostor pair) means photo `name/name_0001` of any image suffix. A list of paths has
    lines `path1<TAB>path2<TAB>1` (or 0). Folds are contiguous; ten unless the first line says otherwise. For the third
    kind see :mod:`elasticface.benchmarks.pairwise.two_line_lists`. Photos may have another image suffix than in the
    list.

    Args:
        text: content of the file.
        source: its name, for messages.
        names: the photos there are.

    Raises:
        InputError: a row that is neither, or that names a photo that is not there; too few pairs for the folds, or
            another number of them than the first line says; a pair that is both genuine and impostor.
    """
    if two_line_lists.is_two_line(text):
        first, second, same = zip(*two_line_lists.read_two_line(text, source, names), strict=True)
        pairs = checked(Pairs(first, second, np.array(same, np.bool_), FOLDS), source)
        contradictions.check_kinds(pairs, source)
        return pairs
    finder = Finder(names)
    rows = [(row, _cells(line)) for row, line in numbered_rows(text)]
    folds, stretches, said = FOLDS, 1, 0
    if rows and 1 <= len(rows[0][1]) <= 2 and all(map(is_count, rows[0][1])):
        *told, said = map(int, rows[0][1])
        if told:
            folds = stretches = told[0]
        rows = rows[1:]
    found: list[tuple[str, str, bool]] = []
    paths = True
    for row, parts in rows:
        where = f"{source}, row {row}"
        match parts:
            case [a, b, ("0" | "1") as kind] if not is_count(b):
                two, genuine = (a, b), kind == "1"
            case [name, i, j] if is_count(i) and is_count(j):
                two, genuine, paths = (_lfw_photo(name, i), _lfw_photo(name, j)), True, False
            case [a, i, b, j] if is_count(i) and is_count(j):
                two, genuine, paths = (_lfw_photo(a, i), _lfw_photo(b, j)), False, False
            case _:
                given = printable(" ".join(parts)[:100])
                raise InputError(f"{where}: neither `name n n`, `name n name n` nor `path path 0|1`: {given}")
        one, other = (finder.require(name.removeprefix("./"), where) for name in two)
        found.append((one, other, genuine))
    first, second, same = zip(*found, strict=True) if found else ((), (), ())
    pairs = checked(Pairs(first, second, np.array(same, np.bool_), folds), source)
    if said:
        contradictions.check_header(source, len(found), stretches, said, paths)
    contradictions.check_kinds(pairs, source, [f"{source}, row {row}" for row, _ in rows])
    return pairs


@dataclass(frozen=True)
class _Packed:
    """The images of a pack, by name."""

    images: dict[str, bytes]

    @property
    def names(self) -> list[str]:
        return list(self.images)

    def read(self, name: str) -> bytes:
        return self.images[name]


def photos_path(root: Path) -> Path:
    """Where the photos are: in ``root`` itself, or in the one tar that lies in it where no person's folder does."""
    if root.is_file() or any(child.is_dir() and not child.name.startswith(".") for child in root.iterdir()):
        return root
    tars = sorted(root.glob("*.tar"))
    if len(tars) > 1:
        raise InputError(f"{root}: {len(tars)} tars in it; name the one to use")
    return tars[0] if tars else root


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()


def _lfw_photo(name: str, number: str) -> str:
    """LFW's photo ``number`` of ``name``, without suffix."""
    return f"{name}/{name}_{int(number):04d}"
