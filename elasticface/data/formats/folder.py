"""A folder of identity folders, ``<root>/<identity>/<image>``, as a source of labelled images."""

import contextlib
import os
import warnings
from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.formats.encoded import EncodedImages
from elasticface.data.images import decoding
from elasticface.data.images.decoding import IMAGE_SUFFIXES, DamagedImage

_MANY = 10_000  # identity folders that take a while to look through


class FolderSource(EncodedImages):
    """The images of a folder of identity folders, with one label per identity folder.

    Identities and, within each, images are in the order of their names, so labels and indices are the same on every
    machine. Hidden files are passed over. Files without an image's suffix and folders below identity folders are left
    out; a warning counts them. Symbolic links are followed. Whatever has an image's suffix in an identity folder counts
    as one, a damaged one where it is no file: a folder, a named pipe, a link that leads nowhere.

    Held in memory, per image: its name's bytes and 16 more. They lie in arrays and not in Python objects, whose
    reference counts every worker process would write to and so copy, page by page, the whole list.

    Args:
        path: the folder.
        size: the side in pixels that every image comes out with; images of another size are resized, with one warning
            (one more in a worker process that is the first to meet such an image).

    Attributes:
        root: the folder.
        size: as given.
        labels: int64 [N], the images' identities, ascending, values 0..num_classes-1.
        num_classes: C, how many identity folders hold images. Those that hold none are no class; a warning counts them.

    Raises:
        InputError: ``path`` is missing, is not a folder, cannot be read, or holds no identity folder with an image.
    """

    def __init__(self, path: str | Path, size: int = 112) -> None:
        super().__init__(path, size)
        self.root = Path(path)
        self._identities, self._images, counts = _scan(self.root)
        self.num_classes = len(self._identities)
        self.labels = np.repeat(np.arange(self.num_classes, dtype=np.int64), counts)
        # Where one image has another size, most have. The warning comes here once, not from every worker process.
        with contextlib.suppress(DamagedImage):  # raised again when this image is read
            self[0]

    @cached_property
    def class_names(self) -> list[str]:
        """The identity folders' names [C], sorted, in the order of their labels."""
        return list(self._identities)

    @property
    def paths(self) -> list[Path]:
        """Every image's path [N], a new list on each call: for a few million images use :meth:`path`."""
        return [self.path(index) for index in range(len(self))]

    def path(self, index: int) -> Path:
        """One image's path, ``root/identity/image``."""
        return self.root / self._identities[int(self.labels[index])] / self._images[index]

    def name(self, index: int) -> str:
        """One image's name for a message or a table, ``identity/image``, fit to be printed whatever its bytes."""
        return printable(self.path(index).relative_to(self.root))

    def _place(self, index: int) -> str:
        return printable(self.path(index))

    def _bytes(self, index: int) -> bytes:
        # As text: a Path would take as long to make as the file to read.
        return decoding.read(f"{self.root}/{self._identities[self.labels.item(index)]}/{self._images[index]}")


class _Names:
    """Strings one after the other in one bytes object: immutable, and without a Python object a string."""

    def __init__(self, names: Iterable[str]) -> None:
        joined, ends = bytearray(), array("q", [0])
        for name in names:
            joined += os.fsencode(name)
            ends.append(len(joined))
        self._bytes = bytes(joined)
        self._ends: NDArray[np.int64] = np.frombuffer(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            index = range(len(self))[index]  # counts from the end below 0, and raises IndexError beyond it
        return os.fsdecode(self._bytes[self._ends.item(index) : self._ends.item(index + 1)])

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


def _scan(root: Path) -> tuple[_Names, _Names, NDArray[np.int64]]:
    """The identity folders that hold images, all the images' names one identity after the other, images an identity."""
    folders, images_and_folders, _ = _entries(root)
    loose = sorted({*images_and_folders} - {*folders})
    if not folders:
        found = f"{len(loose)} images directly in it, but no identity folders" if loose else "no identity folders"
        raise InputError(f"{printable(root)}: {found}; put each person's images in a folder: <identity>/<image>")

    identities, counts, empty = [], array("q"), []
    deeper: list[str] = []
    others: list[str] = []

    def images() -> Iterator[str]:  # so that the names go into the array as they come
        many = len(folders) > _MANY
        for identity in progress.track(folders, "looking through folders", len(folders), shown=many):
            below, names, unread = _entries(root / identity)
            deeper.extend(f"{identity}/{name}" for name in below)
            others.extend(f"{identity}/{name}" for name in unread)
            if names:
                identities.append(identity)
                counts.append(len(names))
                yield from names
            else:
                empty.append(identity)

    packed = _Names(images())
    if not identities:
        raise InputError(
            f"{printable(root)}: no images in any of its {len(folders)} folders; images belong at <identity>/<image> "
            f"and end in one of {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if empty:
        _warn_of_left_out(root, "identity folders without images", empty)
    if loose:
        _warn_of_left_out(root, "images outside identity folders", loose)
    if deeper:
        _warn_of_left_out(root, "folders below identity folders, with all that is in them", deeper)
    if others:
        _warn_of_left_out(root, "files without an image's suffix", others)
    return _Names(identities), packed, np.frombuffer(counts, dtype=np.int64)


def _entries(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """The names of folders, of all that has an image's suffix, and of other files in ``folder``; each list sorted."""
    folders, images, others = [], [], []
    with files.reading(folder, "give a folder with one folder per identity"), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_folder, suffix = _is_folder(entry), os.path.splitext(entry.name)[1].lower()
            if is_folder:
                folders.append(entry.name)
            if suffix in IMAGE_SUFFIXES:
                images.append(entry.name)
            elif not is_folder:
                others.append(entry.name)
    return sorted(folders), sorted(images), sorted(others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads nowhere or in a circle counts as a file: opening it will say what is wrong with it."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _warn_of_left_out(root: Path, what: str, names: list[str]) -> None:
    warnings.warn(f"{printable(root)}: left out: {len(names)} {what}, such as {printable(names[0])}", stacklevel=5)
