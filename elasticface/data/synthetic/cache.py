"""Rendered faces kept on the disk, so that every epoch but the first reads them instead of rendering them.

A file an identity, in it a record a photo: the pixels, then their CRC-32. Files appear under their names whole, so
processes may share a cache and may be killed; a record that is not what was written is rendered again. Any file, and
the whole folder, may be removed at any time.
"""

import mmap
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.filesize import decimal

from elasticface.base import files, homes

_SHAPE = (112, 112, 3)
_PIXELS = 112 * 112 * 3
_RECORD = _PIXELS + 4
_ABANDONED = 3600.0  # seconds after which an unfinished file has no writer any more: an identity takes some seconds


def open_cache(folder: Path | None, key: str, identities: range, images: int) -> "FaceCache | None":
    """A cache for ``images`` photos of each of the identities, or None, with a warning, where there can be none.

    Args:
        folder: of all caches; None for :func:`.homes.cache_folder`.
        key: what the faces depend on beside identity and photo, as a name; other keys share nothing.
        identities: their numbers.
        images: photos an identity.
    """
    try:
        own = (homes.cache_folder() if folder is None else folder) / "synthetic" / key
        own.mkdir(parents=True, exist_ok=True)
        files.remove_temporaries(own, older_than=_ABANDONED)
        return FaceCache(own, identities, images)
    except (OSError, RuntimeError) as error:
        _warn(str(error))
        return None


class FaceCache:
    """See :func:`open_cache`.

    Attributes:
        missing: identities of which nothing was kept when it was opened.
    """

    def __init__(self, folder: Path, identities: range, images: int) -> None:
        self._folder, self._images = folder, images
        self._full = mmap.mmap(-1, 1)  # shared with the processes forked from this one, so that they warn once together
        there = set(os.listdir(folder))
        self.missing = sum(_name(identity) not in there for identity in identities)
        needed = self.missing * images * _RECORD
        if needed > (room := files.room(folder)):
            self._stop_writing(f"they take {decimal(needed)}, {folder} has room for {decimal(room)}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_full": self._full[0]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _full=mmap.mmap(-1, 1))
        self._full[0] = state["_full"]

    def image(self, identity: int, photo: int, render: Callable[[int], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """One photo, uint8 RGB [112, 112, 3]. Where it is not kept yet, all the identity's are rendered and kept.

        Args:
            identity: whose.
            photo: which, below ``images``.
            render: photo's number -> the identity's photo.
        """
        found = self._read(identity, photo)
        if found is None and not self._full[0]:
            found = self._fill(identity, photo, render)
        return render(photo) if found is None else found

    def _read(self, identity: int, photo: int) -> NDArray[np.uint8] | None:
        record = bytearray(_RECORD)
        try:
            with self._path(identity).open("rb", buffering=0) as file:
                file.seek(photo * _RECORD)
                whole = file.readinto(record) == _RECORD
        except OSError:  # most often not there yet; whatever it is, the photo can be rendered
            return None
        if not whole or zlib.crc32(memoryview(record)[:_PIXELS]) != int.from_bytes(record[_PIXELS:], "little"):
            return None
        return np.frombuffer(record, np.uint8, _PIXELS).reshape(_SHAPE)

    def _fill(self, identity: int, photo: int, render: Callable[[int], NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
        wanted = None
        try:
            with files.replacing(self._path(identity), sync=False) as temporary, temporary.open("wb") as file:
                for number in range(self._images):
                    image = render(number)
                    if number == photo:
                        wanted = image
                    pixels = image.tobytes()
                    file.write(pixels + zlib.crc32(pixels).to_bytes(4, "little"))
        except OSError as error:
            self._stop_writing(f"{error} in {self._folder}")
        return wanted

    def _path(self, identity: int) -> Path:
        return self._folder / _name(identity)

    def _stop_writing(self, reason: str) -> None:
        if not self._full[0]:
            self._full[0] = 1
            _warn(reason)


def _name(identity: int) -> str:
    return f"{identity:06}.faces"


def _warn(reason: str) -> None:
    warnings.warn(
        f"synthetic faces are rendered each time, not kept: {files.printable(reason)}; ELASTICFACE_CACHE names another "
        "folder to keep them in",
        stacklevel=2,
    )
