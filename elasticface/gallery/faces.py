"""The faces that a person was enrolled with, and their pictures in collections that keep faces."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import new_folder
from elasticface.gallery.collection import Collection, if_there, note_people, read
from elasticface.gallery.database import Connections
from elasticface.gallery.people import Person, find

_AT_A_TIME = 100  # faces
_BYTES = 1 << 26  # of the pixels of so many faces


@dataclass(frozen=True)
class EnrolledFace:
    """A face of a collection.

    Attributes:
        id: its number.
        photo: the photo's name.
        box: x1, y1, x2, y2 in whole pixels of the photo; empty of an embedding that came without photo.
        score: the detector's; None of such an embedding.
        enrolled: when.
        picture: the aligned face as a PNG; None where the collection keeps no faces, or the embedding came without.
    """

    id: int
    photo: str
    box: tuple[int, ...]
    score: float | None
    enrolled: datetime
    picture: bytes | None


def faces_of(database: Connections, which: str | Collection, person: str | int) -> Iterator[EnrolledFace]:
    """The faces of a person, by number; they are read as they are taken.

    Args:
        database: where.
        which: collection.
        person: name or number.

    Raises:
        NoCollection: there is none of that name.
        NoPerson: nobody of that name or number is enrolled.
    """
    after: int | None = 0
    while after is not None:
        found, after = page(database, which, person, after, _AT_A_TIME)
        yield from found


def at_a_time(size: int, most: int) -> int:
    """How many pictures of a side of ``size`` pixels are held in memory at one time: at most ``most``, at least one."""
    return max(1, min(most, _BYTES // (3 * size**2)))


def page(
    database: Connections, which: str | Collection, person: str | int, after: int, most: int
) -> tuple[list[EnrolledFace], int | None]:
    """Some faces of a person.

    Args:
        database, which, person: as of :func:`faces_of`.
        after: the number of the last one of the page before; 0 for the first page.
        most: faces of the page, ≥ 1; there are fewer where the pictures are too large (:func:`at_a_time`).

    Returns:
        The faces, and what to give as ``after`` for the next page; None where this one is the last.

    Raises:
        NoCollection, NoPerson: as of :func:`faces_of`.
    """
    from psycopg import sql

    with database.transaction() as cursor:
        collection = read(cursor, database, which)
        with if_there(collection):
            whose = find(cursor, collection, person)
            statement = sql.SQL(
                "SELECT id, source, box, score, enrolled, aligned FROM {} WHERE person = %s AND id > %s "
                "ORDER BY id LIMIT %s"
            ).format(collection.face_table)
            cursor.execute(statement, [whose, after, at_a_time(collection.size, most)])
            found = [
                EnrolledFace(id, source, tuple(box), score, enrolled, picture and bytes(picture))
                for id, source, box, score, enrolled, picture in cursor.fetchall()
            ]
            if not found:
                return [], None
            more = sql.SQL("SELECT 1 FROM {} WHERE person = %s AND id > %s LIMIT 1").format(collection.face_table)
            cursor.execute(more, [whose, found[-1].id])
            return found, None if cursor.fetchone() is None else found[-1].id


def pictures(database: Connections, collection: Collection, faces: Sequence[int]) -> dict[int, bytes]:
    """The kept pictures, PNG, of the faces of these numbers; those that have none are left out.

    Raises:
        NoCollection: it was removed meanwhile.
    """
    if not collection.keeps_faces or not faces:
        return {}
    from psycopg import sql

    statement = sql.SQL("SELECT id, aligned FROM {} WHERE id = ANY(%s) AND aligned IS NOT NULL")
    with database.transaction() as cursor, if_there(collection):
        cursor.execute(statement.format(collection.face_table), [[*faces]])
        return {number: bytes(picture) for number, picture in cursor.fetchall()}


def write(database: Connections, which: str | Collection, people: Sequence[Person], out: Path) -> dict[int, int]:
    """Write the kept pictures of some people to a new folder, ``out/<person's number>/<face's number>.png``.

    It is written whole or not at all. The audit log has a line for each person.

    Args:
        database: where.
        which: collection.
        people: of it.
        out: the folder, which gets mode 0700.

    Returns:
        Of each person's number how many pictures; a face that came as an embedding has none.

    Raises:
        InputError: the collection keeps no faces; nobody is named; ``out`` holds something, or cannot be written to.
        NoCollection, NoPerson: it was, or somebody was, removed meanwhile.
    """
    written = dict.fromkeys((person.id for person in people), 0)
    with new_folder(out, sync=False) as folder, database.transaction() as cursor, progress.bar() as bar:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        collection = read(cursor, database, which)
        if not collection.keeps_faces:
            raise InputError(
                f"collection {printable(collection.name)}: keeps no faces; one made by elasticface gallery create "
                "--keep-faces does"
            )
        if not written:
            raise InputError(f"collection {printable(collection.name)}: nobody whose faces could be written")
        folder.mkdir(mode=0o700)
        task = bar.add_task("writing faces", total=sum(person.faces for person in people))
        for person in written:
            (folder / str(person)).mkdir()
            for face in faces_of(database, collection, person):
                if face.picture is not None:
                    (folder / str(person) / f"{face.id}.png").write_bytes(face.picture)
                    written[person] += 1
                bar.advance(task)
        note_people(cursor, "export", collection.name, written)
        os.sync()  # once for all, where one fsync a file would take milliseconds each
    return written
