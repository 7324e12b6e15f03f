"""Photos in, a CSV file of the faces in them out: :mod:`.landmarks` reads it."""

import contextlib
import csv
import io
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elasticface.base import files, processes, progress, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.data.images.decoding import DamagedImage, decode
from elasticface.data.images.photos import Photos
from elasticface.faces.detector import Face
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.faces.landmarks import DETECTED_COLUMNS

CHUNK = 16
"""Photos a task: some tenths of a second."""

PARTIAL = ".partial"
"""What is added to the name of the file for the folder in which it is made."""

Row = list[str]

_ROWS, _SETTINGS = "rows.csv", "settings.json"
_MOST = 1 << 31  # bytes of rows: those of ten million faces


@dataclass(frozen=True)
class Found:
    """What became of every photo."""

    photos: int = 0  # that could be read
    faces: int = 0
    without_face: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)  # name -> what is wrong; these are not in the file
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why it was not looked at

    def lines(self) -> list[str]:
        """For the terminal: counts, and of every kind of gap the first few."""
        share = f" ({len(self.without_face) / self.photos:.2%})" if self.without_face else ""
        return [
            f"faces found in {self.photos - len(self.without_face):,} of {self.photos:,} photos: {self.faces:,}",
            *with_examples(f"photos without a face{share}", self.without_face),
            *with_examples("photos that cannot be read", [f"{name}: {why}" for name, why in self.damaged.items()]),
            *with_examples("left out", [f"{name}: {why}" for name, why in self.left_out.items()]),
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

    A photo without a face has a line with its name and empty fields. Until all photos are done, the lines are in the
    folder ``out`` + ``.partial``. The file does not depend on the number of workers, nor on how often it was resumed.

    Args:
        photos: where to read.
        out: the CSV file, which is not there yet.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        workers: processes; 1 does it in this one.
        only: the identities to look at: the first parts of the photos' names.
        resume: ``out`` may have been begun with the same detector.

    Raises:
        InputError: ``out`` is there, was begun and ``resume`` is not given, or by another detector; no photo at all.
        Stopped: a worker process was killed.
    """
    out, finder = Path(out), finder or FaceFinder()
    partial = out.with_name(out.name + PARTIAL)
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    if out.exists():
        raise InputError(f"{printable(out)}: is there already; remove it, or give another name")
    if files.holds_something(partial) and not resume:
        raise InputError(f"{printable(partial)}: an unfinished run; resume it, or remove the folder")
    files.check_writable(out)
    wanted = None if only is None else frozenset(only)
    names = [name for name in photos.names if wanted is None or name.split("/", 1)[0] in wanted]
    if not names:
        raise InputError(f"{printable(photos.path)}: no photo to look at, of {len(photos):,}; give a folder of photos")
    settings = {"detector": finder.name, "photos": os.path.realpath(photos.path)}
    with locked(partial):
        rows = _rows_of_earlier_run(partial, settings)
        todo = [name for name in names if name not in rows]
        damaged: dict[str, str] = {}
        job = _Job(photos, finder)
        chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
        if_killed = f"what is in {printable(partial)} is good: resume with fewer workers"
        with (
            progress.bar(shown=bool(todo)) as bar,
            (partial / _ROWS).open("a", encoding="utf-8", newline="") as file,
            contextlib.closing(processes.run(job.run, chunks, workers, if_killed)) as runs,
        ):
            task = bar.add_task("looking for faces", total=len(todo))
            for found, unreadable in runs:
                rows |= found
                damaged |= unreadable
                csv.writer(file).writerows(row for faces in found.values() for row in faces)
                file.flush()
                bar.advance(task, len(found) + len(unreadable))
        done = [name for name in names if name in rows]
        table = io.StringIO(newline="")
        csv.writer(table).writerows([DETECTED_COLUMNS, *(row for name in done for row in rows[name])])
        files.write_text(out, table.getvalue())
        for name in (_ROWS, _SETTINGS):
            (partial / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        partial.rmdir()
    without = [name for name in done if not _has_face(rows[name])]
    return Found(
        photos=len(done),
        faces=sum(len(rows[name]) for name in done) - len(without),
        without_face=without,
        damaged=dict(sorted(damaged.items())),
        left_out=dict(photos.left_out),
    )


@dataclass(frozen=True)
class _Job:
    """What a process needs beside the photos' names."""

    photos: Photos
    finder: FaceFinder

    def run(self, names: Sequence[str]) -> tuple[dict[str, list[Row]], dict[str, str]]:
        """The rows of some photos by name, and what is wrong with those that cannot be read."""
        rows, damaged = {}, {}
        for name in names:
            try:
                photo = decode(self.photos.read(name), printable(name))
            except DamagedImage as error:
                damaged[name] = str(error).removeprefix(f"{printable(name)}: ")
            else:
                faces = self.finder.find(photo)
                rows[name] = [row_of(name, face, number) for number, face in enumerate(faces, start=1)] or [
                    _empty(name)
                ]
        return rows, damaged


def row_of(name: str, face: Face, number: int) -> Row:
    """The line of a photo's face, with coordinates to a hundredth of a pixel."""
    return [name, f"{face.score:.4f}", *(f"{x:.2f}" for x in (*face.points.ravel(), *face.box)), str(number)]


def _empty(name: str) -> Row:
    return [name, *[""] * (len(DETECTED_COLUMNS) - 1)]


def _has_face(rows: Sequence[Row]) -> bool:
    return rows[0][1] != ""


def _rows_of_earlier_run(partial: Path, settings: dict[str, str]) -> dict[str, list[Row]]:
    """Rows by photo, of the photos that an earlier run was done with; ``settings`` are kept or compared."""
    rows_file, settings_file = partial / _ROWS, partial / _SETTINGS
    if not settings_file.exists():
        rows_file.unlink(missing_ok=True)
        files.write_json(settings_file, settings)
        return {}
    before = records.read_object(settings_file)
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        raise InputError(f"{printable(partial)}: was begun with another {' and '.join(changed)}; remove the folder")
    rows: dict[str, list[Row]] = {}
    if rows_file.exists():
        text = files.read_text(rows_file, most=_MOST)
        whole = text[: text.rfind("\r\n") + 2] if "\r\n" in text else ""  # a kill can cut the last line short
        for row in csv.reader(io.StringIO(whole, newline="")):
            if len(row) == len(DETECTED_COLUMNS):
                rows.setdefault(row[0], []).append(row)
        if rows:  # and the last photo's lines may not all be there
            rows.popitem()
        table = io.StringIO(newline="")
        csv.writer(table).writerows(row for faces in rows.values() for row in faces)
        files.write_text(rows_file, table.getvalue())
    return rows
