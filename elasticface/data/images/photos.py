"""Named image files, in a folder or in a plain tar, read alike. Nothing is ever extracted."""

import os
import tarfile
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

from elasticface.base import files, progress
from elasticface.base.errors import InputError
from elasticface.base.files import LONGEST_NAME, MOST_TEXT, printable
from elasticface.data.images.decoding import IMAGE_SUFFIXES, MAX_BYTES, UNREAD_SUFFIXES, DamagedImage
from elasticface.data.images.tars import members

_LONG = 1 << 30  # bytes of a tar that take a while to look through
_UPDATE_EVERY = 1 << 10  # entries between two updates of the progress bar


class Photos:
    """The images below a folder, at any depth, or inside an uncompressed tar.

    A photo's name is its path below the folder or in the tar, with ``/`` and without a leading ``./``. Hidden files and
    files without a picture's suffix are passed over (``others``); pictures of a kind that is not read (camera raw, …)
    are left out.
    In a folder, whatever has an image's suffix counts as a photo, a damaged one where it is no file: a named pipe, a
    folder, a link that leads nowhere.

    No name leads elsewhere: one that has ``..``, a backslash or NUL, or is absolute, is left out, and so are links that
    leave the folder, linked folders, and every link, device and sparse file of a tar. Of a name that a tar holds twice,
    the later one counts. A name that is not UTF-8 is left out too: no list could hold it.

    A tar is gone through once for its index; from then on each photo is one seek and read. No file stays open, so
    objects can be pickled and used from several processes.

    Args:
        path: the folder or the tar.

    Attributes:
        path: as given.
        names: the images' names [N], sorted.
        left_out: name -> reason, of what looks like a photo but is none of ``names``. Bytes that are not UTF-8 are
            written as ``\\xeb``, so that all of it is text.
        others: files without a picture's suffix in folders that hold images, sorted.
        empty: folders directly in it, of people perhaps, with nothing at any depth that looks like a photo, sorted.

    Raises:
        InputError: nothing there, a file that is no plain tar, a damaged tar, or a folder that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        if not str(path):
            raise InputError("photos are needed: give a folder or a plain tar")
        self.path = Path(path)
        self.left_out: dict[str, str] = {}
        self._folders: set[str] = set()  # directly in it
        self._index: dict[str, tuple[int, int]] | None = None  # of a tar: name -> (offset, size), of files of any kind
        try:
            self._root = Path(os.path.realpath(self.path, strict=True))
            if self._root.is_dir():
                found = list(self._walk())
            elif _is_image(self.path.name):
                raise InputError(f"{printable(self.path)}: is one photo; give its folder, or a plain tar")
            else:
                self._index = self._read_index()
                found = list(self._index)
        except OSError as error:
            label = printable(error.filename or self.path)
            raise InputError(f"{label}: cannot be read: {error.strerror}; give a folder or a plain tar") from error
        self.names = sorted(filter(_is_image, found))
        folders = set(map(_folder_of, self.names))
        self.others = sorted(name for name in found if not _is_image(name) and _folder_of(name) in folders)
        self.empty = sorted(self._folders.difference(map(identity_of, (*self.names, *self.left_out))))

    def __len__(self) -> int:
        """N, how many images there are."""
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        """Whether there is a file ``name`` that can be read: an image, or any other such as a ``pairs.txt``."""
        if not isinstance(name, str) or not self._is_there(name):
            return False
        return self._index is not None or os.path.isfile(self._root / name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def of(self, identities: Collection[str] | None) -> tuple[list[str], dict[str, str]]:
        """``names`` and ``left_out`` of some identities, in any form of Unicode, or of all (None)."""
        if identities is None:
            return self.names, dict(self.left_out)
        wanted = frozenset(map(canonical, identities))
        names = [name for name in self.names if _canonical_identity(name) in wanted]
        return names, {name: why for name, why in self.left_out.items() if _canonical_identity(name) in wanted}

    def passed_over(self) -> dict[str, str]:
        """Name -> reason, of what does not look like a photo: ``empty`` folders, and ``others``."""
        others = map(as_text, self.others)
        return dict.fromkeys(self.empty, "a folder without a photo") | dict.fromkeys(others, "no image's suffix")

    def missing(self, identities: Collection[str] | None) -> list[str]:
        """Those of the identities that have no photo, sorted."""
        there = set(map(_canonical_identity, self.names))
        return sorted(identity for identity in frozenset(identities or ()) if canonical(identity) not in there)

    def check_forms(self) -> None:
        """Refuse two photos whose names differ in the form of Unicode alone: lists of names cannot tell them apart.

        Raises:
            InputError: there are such.
        """
        if all(name.isascii() for name in self.names):
            return
        seen: dict[str, str] = {}
        for name in self.names:
            if (other := seen.setdefault(canonical(name), name)) != name:
                raise InputError(
                    f"{printable(self.path)}: two photos are named {printable(name)}, with accents stored in two ways "
                    f"({len(other.encode())} and {len(name.encode())} bytes, Unicode's NFC and NFD); rename one"
                )

    def check_people(self) -> None:
        """Refuse photos that lie deeper than ``<person>/<photo>``: which of the folders names the person is not said.

        Raises:
            InputError: there are such.
        """
        deep = next((name for name in self.names if name.count("/") > 1), None)
        if deep is not None:
            above = printable(identity_of(deep))
            inner = f"give {printable(self.path)}/{above}" if self._index is None else "pack them without it"
            raise InputError(
                f"{printable(self.path)}: whose photo is {printable(deep)}? It must be <person>/<photo>: if the people "
                f"are the folders in {above}, {inner}; if {above} is a person, move the photo up"
            )

    def read(self, name: str) -> bytes:
        """The bytes of one image.

        Raises:
            DamagedImage: not there, not readable, no regular file, or larger than ``MAX_BYTES``; the message begins
                with the name.
        """
        try:
            return self._read(name, MAX_BYTES)
        except _Unreadable as error:
            raise DamagedImage(f"{printable(name)}: {error}") from error

    def read_text(self, name: str) -> str:
        """A file of any suffix as text, such as a ``pairs.txt`` that lies beside the images. UTF-8, BOM removed.

        Raises:
            InputError: not there, not readable, larger than ``files.MOST_TEXT``, or not UTF-8.
        """
        label = f"{printable(self.path)}: {printable(name)}"
        try:
            return self._read(name, MOST_TEXT).decode("utf-8-sig")
        except _Unreadable as error:
            raise InputError(f"{label}: {error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{label}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error

    def _read(self, name: str, limit: int) -> bytes:
        if not self._is_there(name):
            raise _Unreadable("there is no such file")
        try:
            with files.opened(self._root if self._index is not None else self._root / name) as file:
                if self._index is not None:
                    offset, size = self._index[name]
                else:
                    offset, size = 0, os.fstat(file.fileno()).st_size
                if size > limit:
                    kind = "an image" if limit == MAX_BYTES else "a text"
                    raise _Unreadable(f"{size} bytes, more than the {limit} that {kind} may have; shrink or remove it")
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise _Unreadable(f"cannot be read: {error.strerror}") from error
        if len(data) != size:
            raise _Unreadable(f"ends after {len(data)} of {size} bytes; was the tar changed meanwhile?")
        return data

    def _is_there(self, name: str) -> bool:
        """Whether there is anything of that name, be it a file or not."""
        if _flaw(name) is not None:
            return False
        if self._index is not None:
            return name in self._index
        path = self._root / name
        return self._inside(path) and os.path.lexists(path)

    def _inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._root)

    def _walk(self) -> Iterator[str]:
        """The names of photos, and of files that are none."""

        def refuse(error: OSError) -> None:
            raise error

        for parent, folders, names in os.walk(self._root, onerror=refuse):
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            below = Path(parent).relative_to(self._root)
            linked = {folder for folder in folders if os.path.islink(os.path.join(parent, folder))}
            if below == Path():
                self._folders = {as_text(folder) for folder in folders if folder not in linked}
            self.left_out |= {as_text((below / folder).as_posix()): "a link to a folder" for folder in sorted(linked)}
            for file in sorted({*names, *folders} - linked):
                name = (below / file).as_posix()
                if file.startswith("."):
                    continue
                if not looks_like_photo(name):
                    if file not in folders:
                        yield name
                    continue
                path = os.path.join(parent, file)
                why = _flaw(name) or (_UNREAD if _is_unread(name) else None)
                if why is None and os.path.islink(path) and not self._inside(Path(path)):
                    why = "a link that leads out of the folder"
                if why is None:
                    yield name
                else:
                    self.left_out[as_text(name)] = why

    def _read_index(self) -> dict[str, tuple[int, int]]:
        index: dict[str, tuple[int, int]] = {}
        size = self._root.stat().st_size
        with progress.bar(shown=size > _LONG) as bar:
            task = bar.add_task(f"looking through {printable(self.path.name)}", total=size)
            for number, member in enumerate(members(self.path)):
                self._add_member(member, index)
                if not number % _UPDATE_EVERY:
                    bar.update(task, completed=member.offset)
            bar.update(task, completed=size)
        return index

    def _add_member(self, member: tarfile.TarInfo, index: dict[str, tuple[int, int]]) -> None:
        why = _flaw(member.name)
        if why is not None:
            if member.isdir():
                return
            name = member.name
        else:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if any(part.startswith(".") for part in parts):
                return
            if folders := parts if member.isdir() else parts[:-1]:
                self._folders.add(folders[0])
            if member.isdir():
                return
            name = "/".join(parts)
            if not member.isreg() or member.issparse():
                why = "a link, a device or a sparse file"
            elif _is_unread(name):
                why = _UNREAD
        if why is None:  # of members of one name the last one counts
            index[name] = (member.offset_data, member.size)
            self.left_out.pop(name, None)
        elif looks_like_photo(name):
            self.left_out[as_text(name)] = why
            index.pop(name, None)


def canonical(name: str) -> str:
    """A photo's name without a leading ``./`` and in Unicode's form NFC.

    File systems and tools differ in how they store letters with accents: the same name may have other bytes.
    """
    return unicodedata.normalize("NFC", name.removeprefix("./"))


def looks_like_photo(name: str) -> bool:
    """Whether a file of that name is a picture, be it of a kind that is read or not."""
    return _is_image(name) or _is_unread(name)


def identity_of(name: str) -> str:
    """Whom a photo shows: the first part of its name, ``<identity>/<photo>``."""
    return name.split("/", 1)[0]


def person_of(name: str) -> str:
    """Whom a photo of a folder of people shows: ``<person>/<photo>``, or ``<person>.jpg`` beside such folders."""
    return _canonical_identity(name) if "/" in name else Path(canonical(name)).stem


def read_identities(path: str | Path) -> set[str]:
    """The names in a text file, one a line; blank lines, and lines that begin with ``#``, are passed over.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or names no one.
    """
    text = files.read_text(Path(path), "give a text file with one identity a line")
    lines = (line.strip() for line in text.splitlines())
    names = {line for line in lines if line and not line.startswith("#")}
    if not names:
        raise InputError(f"{printable(path)}: names no identity; give one a line")
    return names


_LONGEST_PATH = 2048
"""Bytes: half of what Linux takes, for there is a folder before it."""


_UNREAD = "a kind of picture that is not read; convert it to JPEG or PNG"


class _Unreadable(Exception):
    """Why a file cannot be had, for the caller to make a sentence with its name."""


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _canonical_identity(name: str) -> str:
    return identity_of(canonical(name))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_unread(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in UNREAD_SUFFIXES


def flaw(name: str) -> str | None:
    """What makes a name unfit to be a path below anything, or None."""
    if name.startswith("/"):
        return "an absolute path"
    if ".." in name.split("/"):
        return "a path with .."
    if "\\" in name or "\0" in name:
        return "a backslash or NUL in its name"
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) > _LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_NAME:
        return "a longer name than a file has"
    return None


def _flaw(name: str) -> str | None:
    """What keeps a name from being a photo's, which is to be written in lists; or None."""
    return flaw(name) or (None if as_text(name) == name else "a name that is not UTF-8")


def as_text(name: str) -> str:
    """The name of a file as text: bytes that are not UTF-8 are spelled out."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
