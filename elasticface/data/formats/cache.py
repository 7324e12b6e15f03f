"""What is kept in the user's cache folder for sets that take long to look through: arrays, by the files they are of."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, homes
from elasticface.base.errors import InputError

Stamp = tuple[int, int]  # bytes, and nanoseconds of the last change


def stamp(path: Path) -> Stamp:
    """What tells a file from the one that it replaced. OSError where there is none."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def opened_unchanged(path: Path, indexed: Stamp) -> io.BufferedReader:
    """A file, open to be read, as long as it is the one that has been indexed.

    Raises:
        InputError: it cannot be read, or has changed.
    """
    with files.reading(path):
        file = files.opened(path)
        if stamp(path) != indexed:
            file.close()
            raise InputError(f"{files.printable(path)}: has changed since it was opened; start again")
    return file


class ArrayCache:
    """Arrays that were made of files and are good as long as these have their size and time of change.

    Args:
        kind: what the arrays are, with a version: another kind shares nothing.
        of: the files.
        on: False keeps and finds nothing.
    """

    def __init__(self, kind: str, of: Sequence[Path], on: bool = True) -> None:
        self._path: Path | None = None
        if on:
            with contextlib.suppress(OSError, RuntimeError):
                key = json.dumps([kind, [(os.path.realpath(path), *stamp(path)) for path in of]])
                name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
                self._path = homes.cache_folder() / "indices" / f"{name}.npz"

    def load(self, names: Sequence[str]) -> dict[str, NDArray[np.int64]] | None:
        """The arrays of these names that were saved, int64 [n] of one length, or None."""
        if self._path is None or not self._path.exists():
            return None
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = {name: stored[name] for name in names}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # the zip has a checksum of each array
            return None
        if any(array.dtype != np.int64 or array.ndim != 1 for array in found.values()):
            return None
        return found if len({len(array) for array in found.values()}) == 1 else None

    def save(self, arrays: Mapping[str, NDArray[np.int64]]) -> None:
        """Keep them, if the folder can be written to: they can be made again."""
        if self._path is None:
            return
        with contextlib.suppress(OSError), files.replacing(self._path, sync=False) as temporary:
            if files.room(temporary.parent) > sum(array.nbytes for array in arrays.values()):
                with temporary.open("wb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
