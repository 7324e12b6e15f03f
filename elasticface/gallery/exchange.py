"""A collection as plain files, to keep or to bring elsewhere: JSON and one array; nothing in them is executed.

OUT/                  mode 0700
  collection.json     model, fingerprint, preprocessing, detector, aggregation, how many faces
  faces.jsonl         a line a face: person, photo's name and SHA-256, box, score, time
  embeddings.npy      float16 [N, D], a row a line
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from elasticface.base import files, progress, records
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.gallery import collection as collections
from elasticface.gallery.collection import LONGEST_NAME, Aggregation, Collection
from elasticface.gallery.database import Connections
from elasticface.gallery.enrolment import LONGEST_SOURCE, Enrolment, NewFace, store
from elasticface.gallery.schema import LARGEST_HALFVEC

FORMAT = 1
HEADER, FACES, EMBEDDINGS = "collection.json", "faces.jsonl", "embeddings.npy"

_ROWS = 2000  # at a time
_LONGEST_LINE = 1 << 16  # bytes
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Text = Annotated[str, Meta(max_length=500)]
_Pixels = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]


@dataclass(frozen=True)
class Header:
    """What `collection.json` says."""

    format: Annotated[int, Meta(ge=1)]
    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    model: _Text
    fingerprint: _Hash
    dimensions: Annotated[int, Meta(ge=1, le=LARGEST_HALFVEC)]
    preprocessing: dict[str, Any]
    detector: _Text
    aggregation: Aggregation
    faces: Annotated[int, Meta(ge=0, le=1 << 40)]


@dataclass(frozen=True)
class Line:
    """A line of `faces.jsonl`."""

    person: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    source: Annotated[str, Meta(max_length=LONGEST_SOURCE)]
    photo: _Hash
    box: Annotated[list[_Pixels], Meta(max_length=4)]
    score: Annotated[float, Meta(ge=0, le=1)] | None
    enrolled: datetime


def export(database: Connections, name: str, out: Path) -> int:
    """Write a collection as it is at one moment to the folder ``out``, whole or not at all. Returns its faces.

    Raises:
        InputError: no such collection; ``out`` holds something, or cannot be written to.
    """
    if out.exists() and (not out.is_dir() or files.holds_something(out)):
        raise InputError(f"{printable(out)}: holds something already; give a new folder")
    files.check_writable(out.parent, None)
    with database.transaction() as cursor, files.replacing(out) as folder:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = collections.read(cursor, database, name)
        folder.mkdir(mode=0o700)
        header = Header(
            format=FORMAT,
            name=found.name,
            model=found.model,
            fingerprint=found.fingerprint.hex(),
            dimensions=found.dimensions,
            preprocessing=found.preprocessing,
            detector=found.detector,
            aggregation=found.aggregation,
            faces=found.faces,
        )
        files.write_json(folder / HEADER, asdict(header))
        shape = (found.faces, found.dimensions)
        embeddings = np.lib.format.open_memmap(folder / EMBEDDINGS, mode="w+", dtype=np.float16, shape=shape)
        written, last = 0, 0
        with (folder / FACES).open("wb") as lines, progress.bar() as bar:
            task = bar.add_task("exporting", total=found.faces)
            while written < found.faces:
                cursor.execute(
                    "SELECT face.id, person.name, source, photo, box, score, enrolled, embedding FROM face "
                    "JOIN person ON person.id = face.person WHERE face.collection = %s AND face.id > %s "
                    "ORDER BY face.id LIMIT %s",
                    [found.id, last, _ROWS],
                )
                rows = cursor.fetchall()
                for number, (_, person, source, photo, box, score, enrolled, embedding) in enumerate(rows, written):
                    line = Line(person, source, bytes(photo).hex(), box, score, enrolled)
                    lines.write(msgspec.json.encode(line) + b"\n")
                    embeddings[number] = embedding.to_numpy()
                written, last = written + len(rows), rows[-1][0]
                bar.advance(task, len(rows))
        embeddings.flush()
        collections.note(cursor, "export", found.name, faces=found.faces)
    return found.faces


def load(database: Connections, path: Path, name: str | None = None) -> tuple[Collection, Enrolment]:
    """Enrol what :func:`export` wrote, into a new collection or into one of the same model.

    All is checked before it is used. Faces that are there already are passed over, so that what was stopped goes on
    when it is started again.

    Args:
        database: where.
        path: the folder.
        name: of the collection; None: as it was called.

    Raises:
        InputError: a file that is missing, damaged or of a later version; a collection of another model.
    """
    header = _header(path)
    name = collections.checked_name(name or header.name, "collection")
    embeddings = _embeddings(path, header)
    found = _target(database, header, name)
    done = Enrolment()
    with progress.bar() as bar:
        task = bar.add_task("importing", total=header.faces)
        for start, lines in _batches(path, header):
            faces = [
                NewFace(
                    line.person, row, line.source, bytes.fromhex(line.photo), tuple(line.box), line.score, line.enrolled
                )
                for line, row in zip(lines, np.array(embeddings[start : start + len(lines)], np.float32), strict=True)
            ]
            for number, reason in enumerate(store(database, found, faces), start):
                done.add(f"{FACES}, line {number + 1}", reason)
            bar.advance(task, len(lines))
    with database.transaction() as cursor:
        collections.note(cursor, "import", name, faces=len(done.enrolled))
        return collections.read(cursor, database, name), done


def _header(path: Path) -> Header:
    content = records.read_object(path / HEADER, "give a folder that elasticface gallery export has written")
    if content.get("format") != FORMAT:
        raise InputError(f"{printable(path / HEADER)}: not of format {FORMAT}, the one that this version reads")
    return records.convert(content, Header, printable(path / HEADER), "export it again")


def _embeddings(path: Path, header: Header) -> np.ndarray[Any, Any]:
    place, shape = path / EMBEDDINGS, (header.faces, header.dimensions)
    try:
        found: np.ndarray[Any, Any] = np.load(place, mmap_mode="r" if header.faces else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{printable(place)}: cannot be read: {first_line(error)}; export it again") from error
    if found.dtype != np.float16 or found.shape != shape:
        raise InputError(
            f"{printable(place)}: {found.dtype} {list(found.shape)} where {HEADER} says float16 {list(shape)}; "
            "export it again"
        )
    return found


def _target(database: Connections, header: Header, name: str) -> Collection:
    """The collection of that name, made if it is not there."""
    there = next((found for found in collections.every(database) if found.name == name), None)
    if there is None:
        return collections.insert(
            database,
            name,
            model=header.model,
            print_of_model=bytes.fromhex(header.fingerprint),
            dimensions=header.dimensions,
            preprocessing=header.preprocessing,
            detector=header.detector,
            aggregation=header.aggregation,
        )
    if (there.fingerprint.hex(), there.detector) != (header.fingerprint, header.detector):
        raise InputError(
            f"collection {printable(name)}: was made with {printable(there.model)} and {printable(there.detector)}, "
            f"not as the exported one with {printable(header.model)} and {printable(header.detector)}; give another "
            "name with --collection"
        )
    return there


def _batches(path: Path, header: Header) -> Iterator[tuple[int, list[Line]]]:
    """Some lines at a time, with the number of the first, from 0."""
    place, start = path / FACES, 0
    lines: list[Line] = []
    with files.reading(place, "export it again"), files.opened(place) as file:
        while data := file.readline(_LONGEST_LINE + 1):
            where = f"{printable(place)}, line {start + len(lines) + 1}"
            if len(data) > _LONGEST_LINE or not data.endswith(b"\n"):
                raise InputError(f"{where}: is cut off or too long; export it again")
            try:
                lines.append(msgspec.json.decode(data, type=Line))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise InputError(f"{where}: {first_line(error)}; export it again") from error
            if start + len(lines) > header.faces:
                raise InputError(f"{where}: more faces than the {header.faces:,} that {HEADER} says; export it again")
            if len(lines) == _ROWS:
                yield start, lines
                start, lines = start + len(lines), []
    if start + len(lines) != header.faces:
        raise InputError(
            f"{printable(place)}: {start + len(lines):,} faces where {HEADER} says {header.faces:,}; export it again"
        )
    if lines:
        yield start, lines
