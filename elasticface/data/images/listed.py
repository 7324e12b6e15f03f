"""Lists of photos: their rows, and the photos by the names there, which may not be quite those of the files."""

import itertools
import posixpath
from collections.abc import Iterator, Sequence
from functools import cached_property

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.decoding import IMAGE_SUFFIXES
from elasticface.data.images.photos import Photos

_MOST_FOLDERS = 8  # before all names of a tar: `tar cf x.tar data/IJB_release/IJBC/loose_crop` has four
_SHOWN = 100  # characters of a name, in messages


def numbered_rows(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a list that are not blank, stripped, each with its number in the file, from 1."""
    for row, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield row, line.strip()


def is_count(text: str) -> bool:
    """Whether a word of a list is a whole number, of at most nine digits."""
    return text.isdecimal() and len(text) < 10


class Finder:
    """The photos there are, by name, or else by name with another image's suffix.

    Args:
        names: of the photos.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._known = frozenset(names)

    def find(self, name: str) -> str | None:
        """The photo that ``name`` means, or None.

        Raises:
            InputError: it is none by its full name, and several but for their suffixes.
        """
        if name in self._known:
            return name
        found = self._by_stem.get(without_suffix(name), [])
        if len(found) > 1:
            told = " and ".join(printable(one, _SHOWN) for one in found[:2])
            raise InputError(f"{printable(name, _SHOWN)} may be {told}; keep the one that is meant")
        return found[0] if found else None

    def require(self, name: str, where: str) -> str:
        """The photo that ``name`` means.

        Raises:
            InputError: there is none, or there are several; said of ``where``.
        """
        try:
            photo = self.find(name)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if photo is None:
            raise InputError(f"{where}: no photo {printable(name, _SHOWN)} there; add it or take the row out")
        return photo

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self._known):
            found.setdefault(without_suffix(name), []).append(name)
        return found


class ListedPhotos:
    """The photos of a list, by its names for them: what :class:`Finder` finds, and a file of any suffix.

    Where nothing is found so, folders that all photos lie in may go before: a tar is often made with its folder.

    Args:
        photos: what there is.
        names: the list [N], N >= 1.

    Raises:
        InputError: not one of the listed photos is there, or several are by one name but for their suffixes.
    """

    def __init__(self, photos: Photos, names: Sequence[str]) -> None:
        self.names, self._photos = names, photos
        finder = Finder(photos.names)
        for folder in _folders_before_all(photos.names):
            found = {name: file for name in names if (file := finder.find(folder + name)) is not None}
            if found:
                self._files = {name: file for name, file in found.items() if name != file}
                return
        self._files = {}
        if not any(name in photos for name in names):
            raise InputError(_none_of_them(photos, names))

    def read(self, name: str) -> bytes:
        """The bytes of one listed image.

        Raises:
            DamagedImage: it is not there or cannot be read.
        """
        return self._photos.read(self._files.get(name, name))


def without_suffix(name: str) -> str:
    """A name without its image's suffix; what else follows a dot stays, as in `Robert_Downey_Jr._1`."""
    stem, suffix = posixpath.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def _folders_before_all(names: Sequence[str]) -> Iterator[str]:
    """``""``, and the folders that all of the sorted ``names`` begin with, each with a slash at its end."""
    yield ""
    if names:
        shared = posixpath.commonpath([posixpath.dirname(names[0]), posixpath.dirname(names[-1])])
        for folder in itertools.accumulate(shared.split("/")[:_MOST_FOLDERS] if shared else [], posixpath.join):
            yield f"{folder}/"


def _none_of_them(photos: Photos, names: Sequence[str]) -> str:
    there = f"there is {printable(photos.names[0], _SHOWN)}" if photos.names else "there are no images"
    if photos.left_out:
        name, why = next(iter(photos.left_out.items()))
        there += f" ({len(photos.left_out):,} left out, such as {printable(name, _SHOWN)}: {why})"
    if photos.path.is_dir():
        mend = "put them there under the list's names"
    else:
        mend = (
            f"make it of the folder that the list's names begin in: `tar cf {printable(photos.path.name)} -C FOLDER .`"
        )
    listed = f"none of the {len(names):,} images of the list, which begins with {printable(names[0], _SHOWN)}"
    return f"{printable(photos.path)}: {listed}; {there}; {mend}"
