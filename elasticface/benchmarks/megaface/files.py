"""What a MegaFace folder holds: the lists of probes and distractors, the published noise, images, features.

    facescrub_features_list.json                  {"id": […], "path": […]}, or facescrub_lst, a path a line
    megaface_features_list.json_1000000_1         {"path": […]}, or megaface_lst, a path a line
    facescrub_noises.txt, megaface_noises.txt     of MegaFace (R), both or neither
    facescrub_images/<path>, megaface_images/<path>        aligned faces, where a model is measured

The lists may also lie in `templatelists` or `devkit/templatelists`, where the devkit has them. The paths of `_lst` may
be absolute: of these the last two parts count, person and file, and for MegaFace the last three, group, user and file.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import opened, printable, read_text
from elasticface.data.images.listed import without_suffix
from elasticface.data.images.photos import flaw

SETS = ("facescrub", "megaface")  # probes, distractors
_NOUNS = {"facescrub": "probes", "megaface": "distractors"}
_PARTS = {"facescrub": 2, "megaface": 3}  # of a path, which name an image
_MOST_LIST_BYTES = 1 << 28  # four times the list of a million
_SHOWN = 400  # characters of a path that a list names, in messages
_MOST_DIMENSIONS = 1 << 16
_HEADER = np.dtype("<i4")
_FLOAT32 = 5  # OpenCV's CV_32F

Floats = NDArray[np.float32]


class Rows(Protocol):
    """Features that are read as they are needed."""

    @property
    def source(self) -> str:
        """Where they are, for messages."""

    def __len__(self) -> int:
        """N, how many there are."""

    def read(self, rows: NDArray[np.intp]) -> Floats:
        """float32 [len(rows), D]."""


@dataclass(frozen=True, eq=False)
class MegaFaceFiles:
    """A MegaFace folder, read and checked: P probes, M distractors."""

    root: Path
    probes: list[str]  # [P] paths
    people: list[str]  # [P] whose photo it is
    distractors: list[str]  # [M] paths
    noisy_probes: NDArray[np.bool_] | None  # [P], on the list of noise; None without, or where a list hits nothing
    noisy_distractors: NDArray[np.bool_] | None  # [M]
    noise_notes: tuple[str, ...] = ()  # which of the lists' names are of no image here

    def images(self, which: str) -> Path:
        """Where the images of one of SETS are.

        Raises:
            InputError: they are not there.
        """
        for path in (self.root / f"{which}_images", self.root / f"{which}_images.tar"):
            if path.exists():
                return path
        raise InputError(
            f"{printable(self.root)}: no {which}_images in it; put the aligned images there, or give a folder of "
            "features as MODEL"
        )


def is_megaface(path: str | Path) -> bool:
    """Whether ``path`` is a folder with MegaFace's lists."""
    return Path(path).is_dir() and any(_lists(Path(path), which) for which in SETS)


def read_megaface(path: str | Path) -> MegaFaceFiles:
    """The folder at ``path``.

    Raises:
        InputError: a list that is missing or wrong.
    """
    root = Path(path)
    chosen = {}
    for which in SETS:
        found = _lists(root, which)
        if not found:
            raise InputError(f"{printable(root)}: no {which}_features_list.json and no {which}_lst in it")
        chosen[which] = found[0]
    probes, people = _read_list(chosen["facescrub"], "facescrub")
    distractors, _ = _read_list(chosen["megaface"], "megaface")
    if len(set(people)) == len(people):
        raise InputError(f"{printable(chosen['facescrub'])}: nobody has two photos; there are no mates to find")
    noise_files = [root / f"{which}_noises.txt" for which in SETS]
    missing = [file for file in noise_files if not file.exists()]
    if len(missing) == 1:
        raise InputError(f"{printable(missing[0])}: missing; MegaFace (R) needs both lists of noise, MegaFace neither")
    if missing:
        return MegaFaceFiles(root, probes, people, distractors, None, None)
    noisy_probes, of_probes = _noisy(root, "facescrub", probes)
    noisy_distractors, of_distractors = _noisy(root, "megaface", distractors)
    notes = tuple(note for note in (of_probes, of_distractors) if note)
    if not (noisy_probes.any() and noisy_distractors.any()):
        said = (f"no MegaFace (R): {'; '.join(notes)}",)
        return MegaFaceFiles(root, probes, people, distractors, None, None, said)
    return MegaFaceFiles(root, probes, people, distractors, noisy_probes, noisy_distractors, notes)


def open_feature_folder(path: Path, files: MegaFaceFiles, suffix: str | None) -> tuple[Rows, Rows]:
    """Features of the probes and of the distractors in a folder.

    For each of SETS it has `<set>.npy`, float32 [N, D] in the order of the list, or `<set>/<path>_<suffix>.bin`.

    Raises:
        InputError: neither is there, or a `.npy` of another kind.
    """
    from elasticface.benchmarks.reading.features import open_features

    def of(which: str, names: list[str]) -> Rows:
        array = path / f"{which}.npy"
        if array.exists():
            return ArrayRows(open_features(array, len(names), f"the list of {which}"), printable(array))
        if (path / which).is_dir():
            return MatrixFiles(path / which, names, suffix)
        raise InputError(f"{printable(path)}: neither {which}.npy nor a folder {which} of .bin files in it")

    return of("facescrub", files.probes), of("megaface", files.distractors)


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """Features in one array, which may be a memory map."""

    array: Floats
    source: str = "the features"  # where they are, for messages

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: NDArray[np.intp]) -> Floats:
        return np.asarray(self.array[rows], np.float32)


class MatrixFiles:
    """Features in the devkit's matrix files, one an image: `<path>_<suffix>.bin`.

    A file is int32 rows, columns, bytes a row, 5 (float32), then the numbers; little-endian.

    Args:
        root: the folder.
        names: paths below it [N], as the list has them.
        suffix: of the files; None for the one that there is.

    Raises:
        InputError: no feature of the first image, or several and no ``suffix``.
    """

    def __init__(self, root: Path, names: Sequence[str], suffix: str | None) -> None:
        self._root, self._names = Path(os.path.realpath(root)), names
        if suffix is None:
            first = self._root / names[0]
            pattern = re.compile(re.escape(first.name) + r"_(.+)\.bin", re.DOTALL)
            there = sorted(os.listdir(first.parent)) if first.parent.is_dir() else []
            found = [match[1] for name in there if (match := pattern.fullmatch(name))]
            if len(found) != 1:
                which = (
                    f"{len(found)} of them ({', '.join(printable(name, _SHOWN) for name in found[:3])}); give --suffix"
                    if found
                    else "none"
                )
                raise InputError(f"{printable(first, _SHOWN)}_….bin: {which}; a feature an image is needed")
            suffix = found[0]
        if flaw(suffix) is not None or "/" in suffix:
            raise InputError(f"--suffix {printable(suffix)}: not a part of a file's name")
        self._suffix = suffix
        self._dimensions = len(read_matrix(self._path(0)))

    @property
    def source(self) -> str:
        return printable(self._root)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, rows: NDArray[np.intp]) -> Floats:
        found = np.empty((len(rows), self._dimensions), np.float32)
        for feature, row in zip(found, rows.tolist(), strict=True):
            path = self._path(row)
            values = read_matrix(path)
            if len(values) != self._dimensions:
                raise InputError(
                    f"{printable(path, _SHOWN)}: {len(values)} numbers where the first file has {self._dimensions}"
                )
            feature[:] = values
        return found

    def _path(self, row: int) -> Path:
        path = Path(f"{self._root / self._names[row]}_{self._suffix}.bin")
        if not Path(os.path.realpath(path)).is_relative_to(self._root):
            raise InputError(f"{printable(path, _SHOWN)}: a link that leads out of the folder")
        return path


def read_matrix(path: Path) -> Floats:
    """The vector in one of the devkit's matrix files, float32 [D].

    Raises:
        InputError: no such file, or one whose header and size don't agree on a row or a column of float32.
    """
    label = printable(path, _SHOWN)
    try:
        with opened(path) as file:
            data = file.read(4 * 4 + 4 * _MOST_DIMENSIONS + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) < 4 * 4:
        raise InputError(f"{label}: {len(data)} bytes are no matrix file; compute the feature again")
    height, width, stride, kind = np.frombuffer(data, _HEADER, 4).tolist()
    if kind != _FLOAT32:
        raise InputError(f"{label}: its numbers are of OpenCV's type {kind}; float32, type {_FLOAT32}, is needed")
    if min(height, width) != 1 or max(height, width) > _MOST_DIMENSIONS or stride != 4 * width:
        raise InputError(f"{label}: a matrix of {height} x {width}, {stride} bytes a row, is no feature of one image")
    if len(data) != 4 * 4 + height * stride:
        raise InputError(
            f"{label}: {len(data)} bytes where its header says {4 * 4 + height * stride}; it is cut short or damaged"
        )
    return np.frombuffer(data, "<f4", offset=4 * 4).astype(np.float32)


# ---------------------------------------------------------------------------------------------- lists


def _lists(root: Path, which: str) -> list[Path]:
    """The lists of one set that there are, the one to take first: the devkit's of most images, of its first draw."""
    found: list[tuple[int, int, Path]] = []
    for folder in (root, root / "templatelists", root / "devkit" / "templatelists"):
        if folder.is_dir():
            for name in sorted(os.listdir(folder)):
                match = re.fullmatch(re.escape(which) + r"_features_list\.json(?:_(\d{1,9})_(\d{1,9}))?", name)
                if match:
                    found.append((-int(match[1] or 10**9), int(match[2] or 0), folder / name))
    chosen = [path for *_, path in sorted(found)]
    plain = root / f"{which}_lst"
    return [*chosen, plain] if plain.is_file() else chosen


def _read_list(path: Path, which: str) -> tuple[list[str], list[str]]:
    """The paths [N] of a list of one of SETS, and of the probes whose they are [N]."""
    label = printable(path)
    text = read_text(path, most=_MOST_LIST_BYTES)
    people: list[str] = []
    if path.name.endswith("_lst"):
        paths = [_below(line.strip(), _PARTS[which]) for line in text.splitlines() if line.strip()]
        if which == "facescrub":
            people = [os.path.dirname(name).rpartition("/")[2] for name in paths]
    else:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{label}: not valid JSON: {error}") from error
        paths = _texts(content, "path", label)
        if which == "facescrub":
            people = _texts(content, "id", label, numbers=True)
            if len(people) != len(paths):
                raise InputError(f"{label}: {len(people)} ids for {len(paths)} paths")
    if not paths:
        raise InputError(f"{label}: no paths in it")
    seen: dict[str, int] = {}
    for number, name in enumerate(paths, 1):
        why = flaw(name) or (None if name and name.isprintable() else "no name of a file")
        if why is not None:
            raise InputError(f"{label}, path {number}: {why}: {printable(name[:100])}")
        if seen.setdefault(name, number) != number:
            raise InputError(
                f"{label}, path {number}: {printable(name, _SHOWN)} is path {seen[name]} already; keep one"
            )
    if "" in people:
        number = people.index("")
        raise InputError(f"{label}, path {number + 1}: does not say who it is: {printable(paths[number][:100])}")
    return paths, people


def _below(path: str, parts: int) -> str:
    """A path below the images' folder, from one that may be absolute, and then has so many ``parts`` below it."""
    last = path.split("/")[-parts:]
    return "/".join(last) if path.startswith("/") and all(last) else path.removeprefix("./")


def _texts(content: Any, key: str, label: str, numbers: bool = False) -> list[str]:
    """The texts of a list in an object; whole ``numbers`` are taken for texts, where they may be."""
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, list) or not all(type(value) in ((str, int) if numbers else (str,)) for value in values):
        wanted = "texts or whole numbers" if numbers else "texts"
        raise InputError(f'{label}: "{key}" must be a list of {wanted}, in an object')
    return list(map(str, values))


def _noisy(root: Path, which: str, names: list[str]) -> tuple[NDArray[np.bool_], str]:
    """Which of ``names`` [N] the list of noise names: by the whole path or its end, one a line; and what it misses.

    The published lists have lines of comment (`#`), and of FaceScrub the files' names alone. Names that are of no image
    are tried without their image's suffix.
    """
    path = root / f"{which}_noises.txt"
    lines = [line.strip() for line in read_text(path, most=_MOST_LIST_BYTES).splitlines() if not line.startswith("#")]
    noise = {line.rpartition("\t")[2].removeprefix("./") for line in lines if line}
    noisy, hits = _ending_in(noise, names)
    found = len(hits)
    if found < len(noise):
        rest: dict[str, list[str]] = {}
        for name in noise - hits:
            rest.setdefault(without_suffix(name), []).append(name)
        more, hits = _ending_in(set(rest), [without_suffix(name) for name in names])
        noisy |= more
        found += sum(len(rest[name]) for name in hits)
    if found == len(noise) and noise:
        return noisy, ""
    return noisy, f"{found:,} of {len(noise):,} names of {path.name} are in the list of {_NOUNS[which]}"


def _ending_in(ends: set[str], names: list[str]) -> tuple[NDArray[np.bool_], set[str]]:
    """Which of ``names`` [N] end, or are, one of ``ends`` in whole parts of a path; and which of ``ends`` there are."""
    depths = sorted({end.count("/") for end in ends})
    found, hits = np.zeros(len(names), np.bool_), set()
    for row, name in enumerate(names):
        parts = name.split("/")
        here = {"/".join(parts[-depth - 1 :]) for depth in depths if depth < len(parts)} & ends
        found[row] = bool(here)
        hits |= here
    return found, hits
