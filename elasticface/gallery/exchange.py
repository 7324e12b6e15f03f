"""A collection as plain files, to keep or to bring elsewhere: JSON and one array; nothing in them is executed.

OUT/                  mode 0700
  collection.json     model, fingerprint, preprocessing, detector, aggregation, whether faces are kept, how many faces
  faces.jsonl         a line a face: person, photo's name and SHA-256, box, score, time, a PNG in base64 if it is kept
  embeddings.npy      float16 [N, D], a row a line
"""

import contextlib
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
from elasticface.base.locks import new_folder
from elasticface.benchmarks.reading.npy import map_floats, write_header
from elasticface.data.images.decoding import DamagedImage, decode_aligned, suffix_of
from elasticface.gallery import collection as collections
from elasticface.gallery.collection import LONGEST_NAME, Aggregation, Collection, CollectionExists
from elasticface.gallery.database import Connections
from elasticface.gallery.enrolment import Enrolment
from elasticface.gallery.faces import at_a_time
from elasticface.gallery.schema import LARGEST_HALFVEC
from elasticface.gallery.storing import LONGEST_SOURCE, NewFace, check, store
from elasticface.model.calibration import LONGEST_TEXT
from elasticface.model.encoder import Preprocessing

FORMAT = 2
"""1 had no kept faces; it is read, too."""

HEADER, FACES, EMBEDDINGS = "collection.json", "faces.jsonl", "embeddings.npy"

_ROWS = 2000  # at a time, at most
_LONGEST_LINE = 1 << 16  # bytes, beside the picture
_Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT, pattern=r"\A[^\x00]*\Z")]
_Pixels = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]


@dataclass(frozen=True)
class Header:
    """What `collection.json` says."""

    format: Annotated[int, Meta(ge=1, le=FORMAT)]
    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    model: _Text
    fingerprint: _Hash
    dimensions: Annotated[int, Meta(ge=1, le=LARGEST_HALFVEC)]
    preprocessing: Preprocessing
    detector: _Text
    aggregation: Aggregation
    faces: Annotated[int, Meta(ge=0, le=1 << 40)]
    keeps_faces: bool = False

    @property
    def longest_line(self) -> int:
        """Bytes of a line of `faces.jsonl`; a PNG is hardly larger than its pixels, and a third larger in base64."""
        return _LONGEST_LINE + (5 * self.preprocessing.size**2 if self.keeps_faces else 0)

    @property
    def rows(self) -> int:
        """How many faces are read at a time."""
        return at_a_time(self.preprocessing.size, _ROWS) if self.keeps_faces else _ROWS


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of `faces.jsonl`."""

    person: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    source: Annotated[str, Meta(max_length=LONGEST_SOURCE)]
    photo: _Hash
    box: Annotated[list[_Pixels], Meta(max_length=4)]
    score: Annotated[float, Meta(ge=0, le=1)] | None
    enrolled: Annotated[datetime, Meta(tz=True)]
    aligned: bytes | None = None

    def __post_init__(self) -> None:
        if len(self.box) not in (0, 4):
            raise ValueError(f"box has {len(self.box)} numbers, not 4, or none")


def export(database: Connections, which: str | Collection, out: Path) -> int:
    """Write a collection as it is at one moment to the folder ``out``, whole or not at all. Returns its faces.

    Raises:
        InputError: no such collection; ``out`` holds something, or cannot be written to.
    """
    from psycopg import sql

    # The line of the audit log is there before the folder has its name.
    with new_folder(out) as folder, database.transaction() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = collections.read(cursor, database, which)
        folder.mkdir(mode=0o700)
        header = Header(
            format=FORMAT,
            name=found.name,
            model=found.model,
            fingerprint=found.fingerprint.hex(),
            dimensions=found.dimensions,
            preprocessing=records.convert(
                found.preprocessing, Preprocessing, f"collection {printable(found.name)}: its preprocessing"
            ),
            detector=found.detector,
            aggregation=found.aggregation,
            faces=found.faces,
            keeps_faces=found.keeps_faces,
        )
        files.write_json(folder / HEADER, asdict(header))
        rows_after = sql.SQL(
            "SELECT face.id, person.name, source, photo, box, score, enrolled, aligned, embedding FROM {} AS person "
            "JOIN {} AS face ON person.id = face.person WHERE face.id > %s ORDER BY face.id LIMIT %s"
        ).format(found.person_table, found.face_table)
        written, last = 0, 0
        with (
            (folder / FACES).open("wb") as lines,
            (folder / EMBEDDINGS).open("wb") as embeddings,
            progress.bar() as bar,
            collections.if_there(found),
        ):
            write_header(embeddings, np.float16, (found.faces, found.dimensions))
            task = bar.add_task("exporting", total=found.faces)
            while written < found.faces:
                cursor.execute(rows_after, [last, header.rows])
                rows = cursor.fetchall()
                for _, person, source, photo, box, score, enrolled, aligned, embedding in rows:
                    line = Line(person, source, bytes(photo).hex(), box, score, enrolled, aligned and bytes(aligned))
                    lines.write(msgspec.json.encode(line) + b"\n")
                    embeddings.write(embedding.to_numpy().astype("<f2").tobytes())
                written, last = written + len(rows), rows[-1][0]
                bar.advance(task, len(rows))
        collections.note(cursor, "export", found.name, faces=found.faces)
    return found.faces


def load(database: Connections, path: Path, name: str | None = None) -> tuple[Collection, Enrolment]:
    """Enrol what :func:`export` wrote, into a new collection or into one of the same model.

    All of it is checked before anything is enrolled. Faces that are there already are passed over, so that what was
    stopped goes on when it is started again. A collection that is there keeps pictures only if it was made so.

    Args:
        database: where.
        path: the folder.
        name: of the collection; None: as it was called.

    Raises:
        InputError: a file that is missing, damaged or of a later version; a collection of another model.
    """
    header = read_header(path)
    name = collections.checked_name(header.name if name is None else name, "collection")
    embeddings = _embeddings(path, header)
    _check_target(database, header, name)
    with progress.bar() as bar:
        task = bar.add_task("checking", total=header.faces)
        for faces in _faces(path, header, embeddings):
            bar.advance(task, len(faces))
    found = _target(database, header, name)
    if header.keeps_faces != found.keeps_faces:
        told = "faces, and the export has none" if found.keeps_faces else "no faces; those of the export are left out"
        progress.say(f"note: the collection {printable(name)} keeps {told}")
    done, start = Enrolment(), 0
    with progress.bar() as bar:
        task = bar.add_task("importing", total=header.faces)
        for faces in _faces(path, header, embeddings):
            for number, reason in enumerate(store(database, found, faces, "import"), start + 1):
                done.add(f"{FACES}, line {number}", reason)
            start += len(faces)
            bar.advance(task, len(faces))
    with database.transaction() as cursor:
        return collections.read(cursor, database, found), done


def read_header(path: Path) -> Header:
    """What an export says of itself.

    Raises:
        InputError: there is none, or one that is damaged or of a later version.
    """
    content = records.read_object(path / HEADER, "give a folder that elasticface gallery export has written")
    if content.get("format") not in range(1, FORMAT + 1):
        raise InputError(f"{printable(path / HEADER)}: not of format 1 to {FORMAT}, which this version reads")
    return records.convert(content, Header, printable(path / HEADER), "export it again")


def _embeddings(path: Path, header: Header) -> np.ndarray[Any, Any]:
    place, shape = path / EMBEDDINGS, (header.faces, header.dimensions)
    if not header.faces:
        return np.empty(shape, np.float16)
    try:
        with files.reading(place, "export it again"):
            found = map_floats(place, kind=np.float16)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        what = first_line(error).partition(";")[0]
        raise InputError(f"{printable(place)}: {what}; export it again") from error
    if found.shape != shape:
        raise InputError(
            f"{printable(place)}: {list(found.shape)} numbers where {HEADER} says {list(shape)}; export it again"
        )
    return found


def _check_target(database: Connections, header: Header, name: str) -> Collection | None:
    """The collection of that name, if there is one, which must be of the same model and detector."""
    try:
        with database.transaction() as cursor:
            there = collections.read(cursor, database, name)
    except collections.NoCollection:
        return None
    same = (there.fingerprint.hex(), there.detector, there.dimensions, there.size)
    if same != (header.fingerprint, header.detector, header.dimensions, header.preprocessing.size):
        raise InputError(
            f"collection {printable(name)}: was made with {printable(there.model)} ({there.size} pixels, "
            f"{there.dimensions} numbers) and {printable(there.detector)}, not as the exported one with "
            f"{printable(header.model)} ({header.preprocessing.size} pixels, {header.dimensions} numbers) and "
            f"{printable(header.detector)}; give another name with --collection"
        )
    return there


def _target(database: Connections, header: Header, name: str) -> Collection:
    """The collection of that name, made if it is not there."""
    while (there := _check_target(database, header, name)) is None:
        with contextlib.suppress(CollectionExists):  # another import has made it meanwhile
            return collections.insert(
                database,
                name,
                model=header.model,
                print_of_model=bytes.fromhex(header.fingerprint),
                dimensions=header.dimensions,
                preprocessing=asdict(header.preprocessing),
                detector=header.detector,
                aggregation=header.aggregation,
                keep_faces=header.keeps_faces,
            )
    return there


def _faces(path: Path, header: Header, embeddings: np.ndarray[Any, Any]) -> Iterator[list[NewFace]]:
    """Some faces at a time, in the order of the lines; each is checked."""
    for start, lines in _batches(path, header):
        faces = []
        rows = np.array(embeddings[start : start + len(lines)], np.float32)
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), start + 1):
            try:
                face = _face(header, line, row)
                check(face, header.dimensions, header.preprocessing.size)
            except (InputError, DamagedImage) as error:
                where = f"{printable(path / FACES)}, line {number}, and that row of {EMBEDDINGS}"
                told = str(error).partition(";")[0] if isinstance(error, DamagedImage) else error
                raise InputError(f"{where}: {told}; export it again") from error
            faces.append(face)
        yield faces


def _face(header: Header, line: Line, row: np.ndarray[Any, Any]) -> NewFace:
    """Of a picture its pixels alone are taken.

    Raises:
        DamagedImage: a picture that is none.
        InputError: one of another format or size, or where none is kept.
    """
    aligned = None
    if line.aligned is not None:
        if not header.keeps_faces:
            raise InputError(f"has a picture where {HEADER} says that none is kept")
        if suffix_of(line.aligned) != ".png":  # whose header tells its size before memory is taken
            raise InputError("its picture is no PNG")
        aligned = decode_aligned(line.aligned, "its picture", header.preprocessing.size, "its picture: {}".format)
    return NewFace(
        line.person,
        row,
        line.source,
        bytes.fromhex(line.photo),
        tuple(line.box),
        line.score,
        line.enrolled,
        aligned,
    )


def _batches(path: Path, header: Header) -> Iterator[tuple[int, list[Line]]]:
    """Some lines at a time, with the number of the first, from 0."""
    place, start = path / FACES, 0
    lines: list[Line] = []
    with files.reading(place, "export it again"), files.opened(place) as file:
        while data := file.readline(header.longest_line + 1):
            where = f"{printable(place)}, line {start + len(lines) + 1}"
            if len(data) > header.longest_line or not data.endswith(b"\n"):
                raise InputError(f"{where}: is cut off or too long; export it again")
            try:
                lines.append(msgspec.json.decode(data, type=Line))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise InputError(f"{where}: {first_line(error)}; export it again") from error
            if start + len(lines) > header.faces:
                raise InputError(f"{where}: more faces than the {header.faces:,} that {HEADER} says; export it again")
            if len(lines) == header.rows:
                yield start, lines
                start, lines = start + len(lines), []
    if start + len(lines) != header.faces:
        raise InputError(
            f"{printable(place)}: {start + len(lines):,} faces where {HEADER} says {header.faces:,}; export it again"
        )
    if lines:
        yield start, lines
