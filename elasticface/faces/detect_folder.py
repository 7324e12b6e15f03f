"""Photos in, a CSV file of the faces in them out: :mod:`.landmarks` reads it."""

import contextlib
import csv
import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from elasticface.base import files, processes, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.decoding import DamagedImage, decode
from elasticface.data.images.photos import Photos, canonical
from elasticface.faces.begun import begun
from elasticface.faces.detector import Face
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.faces.landmarks import DETECTED_COLUMNS, ListedFaces, read_faces

CHUNK = 16
"""Photos a task: some tenths of a second."""

PARTIAL = ".partial"
"""What is added to the name of the file for the folder in which it is made."""

Row = list[str]

_ROWS = "rows.csv"


@dataclass(frozen=True)
class Found:
    """What became of every photo."""

    photos: int = 0  # that could be read
    faces: int = 0
    without_face: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)  # name -> what is wrong
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why it was not looked at
    missing_identities: list[str] = field(default_factory=list)  # asked for by `only`, and no photo of them is there

    def lines(self) -> list[str]:
        """For the terminal: counts, and of every kind of gap the first few."""
        share = f" ({len(self.without_face) / self.photos:.2%})" if self.without_face else ""
        return [
            f"faces found in {self.photos - len(self.without_face):,} of {self.photos:,} photos: {self.faces:,}",
            *with_examples(f"photos without a face{share}", self.without_face),
            *with_examples("photos that cannot be read", [f"{name}: {why}" for name, why in self.damaged.items()]),
            *with_examples("left out", [f"{name}: {why}" for name, why in self.left_out.items()]),
            *with_examples("identities without a photo", self.missing_identities),
        ]


def detect_photos(
    photos: Photos,
    out: str | Path,
    finder: FaceFinder | None = None,
    *,
    workers: int = 2,
    only: Collection[str] | None = None,
    resume: bool = False,
) -> Found:
    """Write the faces of every photo to ``out``, a line a face, photos by name and a photo's faces largest first.

    A photo without a face has a line with its name and empty fields; one that cannot be read has what is wrong in the
    last of them. Until all photos are done, the lines are in the folder ``out`` + ``.partial``. The file does not
    depend on the number of workers, nor on how often it was resumed.

    Args:
        photos: where to read.
        out: the CSV file, which is not there yet.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        workers: processes; 1 does it in this one.
        only: the identities to look at: the first parts of the photos' names.
        resume: ``out`` may have been begun with the same detector. Photos that could not be read are tried again.

    Raises:
        InputError: ``out`` is there, was begun and ``resume`` is not given, or by another detector; no photo at all.
        Stopped: a worker process was killed.
    """
    return _detect(photos, Path(out), finder or FaceFinder(), workers, only, resume)


def detected(
    photos: Photos, path: Path, finder: FaceFinder, *, workers: int, only: Collection[str] | None, resume: bool
) -> ListedFaces:
    """The faces that :func:`detect_photos` has written to ``path``, or writes there now.

    Photos that were added since are looked at, and ``path`` is written anew with their rows.

    Raises:
        InputError: as :func:`detect_photos`.
    """
    if not path.exists():
        detect_photos(photos, path, finder, workers=workers, only=only, resume=resume)
        return read_faces(path)
    listed = read_faces(path)
    if all(name in listed or canonical(name) in listed.damaged for name in photos.of(only)[0]):
        shutil.rmtree(partial_of(path), ignore_errors=True)  # a kill can leave it
        return listed
    _detect(photos, path, finder, workers, only, resume=True, known=path)
    return read_faces(path)


def _detect(
    photos: Photos,
    out: Path,
    finder: FaceFinder,
    workers: int,
    only: Collection[str] | None,
    resume: bool,
    known: Path | None = None,
) -> Found:
    """As :func:`detect_photos`; photos of which the file ``known`` has faces, or says that they have none, are not
    looked at again. It may be ``out``.
    """
    if not out.name:
        raise InputError(f"{printable(out)}: give the name of a CSV file")
    partial = partial_of(out)
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    photos.check_forms()
    names, left_out = photos.of(only)
    if not names:
        raise InputError(f"{printable(photos.path)}: no photo to look at, of {len(photos):,}; give a folder of photos")
    files.check_writable(out.parent, out.name)
    with begun(partial, settings_of(photos, finder), resume, "an unfinished run; resume it, or remove the folder"):
        if out.exists() and known is None:
            raise InputError(f"{printable(out)}: is there already; remove it, or give another name")
        with (partial / _ROWS).open("a+b") as file:
            rows = _Rows(names, file)
            if known is not None:
                rows.take(known)
            damaged = _look(rows, _Job(photos, finder), workers, partial)
            with files.replacing(out) as temporary, temporary.open("wb") as table:
                table.write(_lines([DETECTED_COLUMNS]))
                for name in names:
                    table.write(_lines([_without(name, damaged[name])]) if name in damaged else rows.of(name))
        (partial / _ROWS).unlink()
    with contextlib.suppress(OSError):
        partial.rmdir()
    return Found(
        photos=len(names) - len(damaged),
        faces=rows.faces,
        without_face=rows.without_face,
        damaged=dict(sorted(damaged.items())),
        left_out=left_out,
        missing_identities=photos.missing(only),
    )


def settings_of(photos: Photos, finder: FaceFinder | None, only: Collection[str] | None = None) -> dict[str, Any]:
    """What the faces of a folder depend on, as :func:`elasticface.faces.begun.begun` keeps and compares it."""
    people = None if only is None else "\n".join(sorted(set(map(canonical, only)))).encode(errors="surrogatepass")
    return {
        "detector": None if finder is None else finder.name,
        "photos": printable(os.path.realpath(photos.path)),
        "identities": None if people is None else hashlib.sha256(people).hexdigest(),
    }


def partial_of(out: Path) -> Path:
    """The folder in which ``out`` is made."""
    return out.with_name(out.name + PARTIAL)


def _look(rows: "_Rows", job: "_Job", workers: int, partial: Path) -> dict[str, str]:
    """Add the rows of the photos that have none yet. Returns what is wrong with those that cannot be read."""
    damaged: dict[str, str] = {}
    todo = rows.missing()
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    if_killed = f"what is in {printable(partial)} is good: resume with fewer workers"
    with (
        progress.bar(shown=bool(todo)) as bar,
        contextlib.closing(processes.run(job.run, chunks, workers, if_killed)) as runs,
    ):
        task = bar.add_task("looking for faces", total=len(todo))
        for found, unreadable in runs:
            for name, faces in found.items():
                rows.add(name, faces)
            rows.flush()
            damaged |= unreadable
            bar.advance(task, len(found) + len(unreadable))
    return damaged


class _Rows:
    """The lines of photos in a file; in memory is only where they are.

    Args:
        names: of the photos, those of which lines are wanted.
        file: open to be read and appended to; what an earlier run has left in it is kept, but for the end, which a kill
            can have cut short.
    """

    def __init__(self, names: Sequence[str], file: BinaryIO) -> None:
        self._file, self._names = file, names
        self._position = {name: position for position, name in enumerate(names)}
        self._begin, self._end = np.full((2, len(names)), -1, np.int64)
        self._count = np.zeros(len(names), np.int32)
        self._recover()

    @property
    def faces(self) -> int:
        """In all photos."""
        return int(self._count.sum())

    @property
    def without_face(self) -> list[str]:
        """The photos in which none was found."""
        return [self._names[position] for position in np.flatnonzero((self._end >= 0) & (self._count == 0)).tolist()]

    def missing(self) -> list[str]:
        """The photos that have no lines."""
        return [self._names[position] for position in np.flatnonzero(self._end < 0).tolist()]

    def add(self, name: str, faces: Sequence[Row]) -> None:
        """The lines of a photo, none of them where it has no face."""
        begin = self._file.seek(0, os.SEEK_END)
        self._file.write(_lines(faces or [_without(name)]))
        self._note(name, begin, self._file.tell(), len(faces))

    def take(self, path: Path) -> None:
        """The lines of photos that have none yet, from a finished file; not of those that could not be read."""
        missing = set(self.missing())
        with path.open("rb") as file:
            for name, group in itertools.groupby((row for _, row in _rows_in(file)), key=itemgetter(0)):
                lines = list(group)
                could_be_read = lines[0][1] or not lines[0][-1]
                if name in missing and could_be_read:
                    self.add(name, [line for line in lines if line[1]])

    def flush(self) -> None:
        """Have what was added in the file, whatever happens."""
        self._file.flush()

    def of(self, name: str) -> bytes:
        """The lines of a photo."""
        position = self._position[name]
        self._file.seek(int(self._begin[position]))
        return self._file.read(int(self._end[position] - self._begin[position]))

    def _note(self, name: str, begin: int, end: int, faces: int) -> None:
        if (position := self._position.get(name)) is not None:
            self._begin[position], self._end[position], self._count[position] = begin, end, faces

    def _recover(self) -> None:
        """Note what is in the file. The last photo's lines may not all be there, and are cut off."""
        self._file.seek(0)
        last, begin, faces = "", 0, 0
        for start, row in _rows_in(self._file):
            if row[0] != last:
                if start:
                    self._note(last, begin, start, faces)
                last, begin, faces = row[0], start, 0
            faces += row[1] != ""
        self._file.truncate(begin)


def _rows_in(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    """Where each row begins, and its cells, up to the first that is not as it was written."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in file:
            end += len(line)
            yield line.decode()

    start = 0
    with contextlib.suppress(UnicodeDecodeError, csv.Error):
        for row in csv.reader(lines()):
            if len(row) != len(DETECTED_COLUMNS):
                return
            yield start, row
            start = end


@dataclass(frozen=True)
class _Job:
    """What a process needs beside the photos' names."""

    photos: Photos
    finder: FaceFinder

    def run(self, names: Sequence[str]) -> tuple[dict[str, list[Row]], dict[str, str]]:
        """The rows of the faces of some photos by name, and what is wrong with those that cannot be read."""
        rows, damaged = {}, {}
        for name in names:
            try:
                photo = decode(self.photos.read(name), printable(name))
            except DamagedImage as error:
                damaged[name] = str(error).removeprefix(f"{printable(name)}: ")
            else:
                faces = self.finder.find(photo)
                rows[name] = [row_of(name, face, number) for number, face in enumerate(faces, start=1)]
        return rows, damaged


def row_of(name: str, face: Face, number: int) -> Row:
    """The line of a photo's face, with coordinates to a hundredth of a pixel."""
    return [name, f"{face.score:.4f}", *(f"{x:.2f}" for x in (*face.points.ravel(), *face.box)), str(number)]


def _without(name: str, why: str = "") -> Row:
    """The line of a photo in which no face was found, or that could not be read, and why."""
    return [name, *[""] * (len(DETECTED_COLUMNS) - 2), why]


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    return table.getvalue().encode()
