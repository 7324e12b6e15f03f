"""Faces as a collection keeps them: checked, and stored in one transaction, each face of a photo once."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.decoding import encode
from elasticface.gallery.collection import (
    UNIT,
    Collection,
    as_kept,
    checked_name,
    if_there,
    is_text,
    note,
    note_people,
    read,
)
from elasticface.gallery.database import Connections

if TYPE_CHECKING:
    from psycopg import Cursor

LONGEST_SOURCE = 4096
"""Bytes of a photo's name."""

ALREADY = "is enrolled already"

K = TypeVar("K", bound=Hashable)

_YEARS = range(1900, 9000)  # no time zone brings these to a year that Python does not have
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True, eq=False)
class NewFace:
    """A face that is to be enrolled.

    Attributes:
        person: whose it is.
        embedding: float [D], of length 1.
        source: the photo's name.
        photo: SHA-256 of the photo's bytes; of an embedding without photo, None: then that of the embedding's halves.
        box: x1, y1, x2, y2 in whole pixels; empty without photo.
        score: the detector's.
        enrolled: when; None: now.
        aligned: the face itself, uint8 [size, size, 3] RGB, for collections that keep faces; others do not store it.
    """

    person: str
    embedding: NDArray[Any]
    source: str
    photo: bytes | None = None
    box: tuple[int, ...] = ()
    score: float | None = None
    enrolled: datetime | None = None
    aligned: NDArray[np.uint8] | None = None

    @cached_property
    def halves(self) -> NDArray[np.float16]:
        """The embedding as it is kept."""
        return np.asarray(self.embedding, np.float16)


def store(
    database: Connections, collection: Collection, faces: Sequence[NewFace], part_of: str | None = None
) -> list[str | None]:
    """Enrol faces, all of them in one transaction: when this returns they are on the disk.

    Args:
        database: where.
        collection: into which.
        faces: of one person or of several.
        part_of: the action, such as "import", that the audit log is to have a line of, beside one for each person.

    Returns:
        For each face None, or why it was not enrolled: the same face of the same photo is there, as this person's
        (``ALREADY``) or as somebody else's.

    Raises:
        InputError: an embedding of another length, or not of length 1; a name that is none; the collection is gone.
    """
    from psycopg import sql

    names = [check(face, collection.dimensions, collection.size) for face in faces]
    if not faces:
        return []
    # Before anything is locked: it takes a millisecond each.
    pictures = [
        None if face.aligned is None or not collection.keeps_faces else encode(face.aligned, ".png") for face in faces
    ]
    with database.transaction() as cursor:
        read(cursor, database, collection, "FOR KEY SHARE")
        people = _people(cursor, collection, sorted({*names}))
        outcomes = _insert(cursor, collection, faces, [people[name][0] for name in names], pictures)
        enrolled = Counter(people[name][0] for name, why in zip(names, outcomes, strict=True) if why is None)
        new = {person for person, is_new in people.values() if is_new}
        if without := new - enrolled.keys():  # nobody is enrolled without a face
            delete = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(collection.person_table)
            cursor.execute(delete, [[*without]])
        note_people(cursor, "enrol", collection.name, enrolled)
        if part_of is not None:
            note(cursor, part_of, collection.name, enrolled.total())
        pool(cursor, collection, [*enrolled])
        count(cursor, collection, len(new & enrolled.keys()), enrolled.total())
    return outcomes


def pool(cursor: "Cursor[Any]", collection: Collection, people: Sequence[int]) -> None:
    """Make the templates of some people again, where the collection has templates: the mean of a person's embeddings,
    brought to length 1. Nothing else may change their faces meanwhile: their rows are locked.
    """
    if collection.aggregation != "mean" or not people:
        return
    from psycopg import sql

    statement = sql.SQL(
        "INSERT INTO {templates} (collection, person, embedding) "
        "SELECT collection, person, l2_normalize(avg(embedding::vector))::halfvec FROM {faces} WHERE person = ANY(%s) "
        "GROUP BY collection, person ON CONFLICT (person, collection) DO UPDATE SET embedding = EXCLUDED.embedding"
    )
    cursor.execute(statement.format(templates=collection.template_table, faces=collection.face_table), [[*people]])


def count(cursor: "Cursor[Any]", collection: Collection, people: int, faces: int) -> None:
    """Add to the counts of a collection that is held: last in a transaction, for writers wait for each other here."""
    cursor.execute(
        "UPDATE collection SET people = people + %s, faces = faces + %s WHERE id = %s", [people, faces, collection.id]
    )


def enrolled_already(database: Connections, collection: Collection, whose: Mapping[K, tuple[bytes, str]]) -> set[K]:
    """Of photos, each its SHA-256 and its person, those of which a face is enrolled as that person's."""
    with database.transaction() as cursor, if_there(collection):
        there = people_on(cursor, collection, [photo for photo, _ in whose.values()])
    return {key for key, (photo, person) in whose.items() if as_kept(person) in there.get(photo, ())}


def people_on(
    cursor: "Cursor[Any]", collection: Collection, photos: Sequence[bytes], box: Sequence[int] | None = None
) -> dict[bytes, set[str]]:
    """Who is enrolled from photos of these SHA-256, by the face in ``box`` or by any; photos of nobody are left out."""
    from psycopg import sql

    statement = sql.SQL(
        "SELECT photo, name FROM {people} AS person JOIN {faces} AS face ON person.id = person "
        "WHERE face.collection = %s AND photo = ANY(%s) AND box = coalesce(%s::integer[], box)"
    ).format(people=collection.person_table, faces=collection.face_table)
    cursor.execute(statement, [collection.id, [*photos], None if box is None else [*box]])
    found: dict[bytes, set[str]] = {}
    for photo, name in cursor.fetchall():
        found.setdefault(bytes(photo), set()).add(name)
    return found


def _reason(person: str, enrolled_as: set[str]) -> str:
    """Why a face of ``person`` that is there already is not enrolled again."""
    if as_kept(person) in enrolled_as:
        return ALREADY
    others = ", ".join(printable(name, 60) for name in sorted(enrolled_as))
    return f"the same face of the same photo is enrolled as {others}"


def check(face: NewFace, dimensions: int, size: int) -> str:
    """Refuse a face that no collection of embeddings of ``dimensions`` numbers, of faces of ``size`` pixels, can have.

    Returns:
        Its person's name as it is kept.

    Raises:
        InputError: it says which and why.
    """
    person = checked_name(face.person, "person")
    name, shape = printable(face.source, 200), np.shape(face.embedding)
    if shape != (dimensions,):
        raise InputError(f"{name}: an embedding of {list(shape)} where the collection has {dimensions}")
    length = float(np.linalg.norm(np.asarray(face.embedding, np.float64)))
    if not abs(length - 1) <= UNIT:
        raise InputError(f"{name}: an embedding of length {length:.4g}; it must be 1")
    if not is_text(face.source) or len(face.source.encode()) > LONGEST_SOURCE:
        raise InputError(
            f"{name}: a photo's name must be text in UTF-8 of at most {LONGEST_SOURCE:,} bytes, without NUL"
        )
    if face.photo is not None and len(face.photo) != _DIGEST:
        raise InputError(f"{name}: a photo's SHA-256 has {_DIGEST} bytes, not {len(face.photo)}")
    if len(face.box) not in (0, 4):
        raise InputError(f"{name}: a box of {len(face.box)} numbers, not of 4, or of none")
    if any(not -(1 << 31) <= edge < 1 << 31 for edge in face.box):
        raise InputError(f"{name}: a box of {face.box}, which is beyond any photo")
    if face.score is not None and not 0 <= face.score <= 1:
        raise InputError(f"{name}: a score of {face.score:g}; it must lie in 0 to 1")
    if face.aligned is not None:
        is_array = isinstance(face.aligned, np.ndarray)
        found = f"{face.aligned.dtype} {list(face.aligned.shape)}" if is_array else type(face.aligned).__name__
        if found != (right := f"uint8 [{size}, {size}, 3]"):
            raise InputError(f"{name}: an aligned face of {found}, not {right}")
    if face.enrolled is not None and face.enrolled.year not in _YEARS:
        raise InputError(f"{name}: enrolled in the year {face.enrolled.year}; it must be {_YEARS[0]} to {_YEARS[-1]}")
    return person


def _people(cursor: "Cursor[Any]", collection: Collection, names: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """The people of these names, made where they are not there, and locked: id, and whether it is a new one."""
    from psycopg import sql

    # The update changes nothing: it locks the row and returns it. xmax is 0 in a row that was inserted.
    statement = sql.SQL(
        "INSERT INTO {} (collection, name) VALUES (%s, %s) ON CONFLICT (collection, name) "
        "DO UPDATE SET name = EXCLUDED.name RETURNING id, xmax = 0"
    )
    cursor.executemany(
        statement.format(collection.person_table),
        [(collection.id, name) for name in names],
        returning=True,
    )
    found: dict[str, tuple[int, bool]] = {}
    for name, _ in zip(names, cursor.results(), strict=True):
        row = cursor.fetchone()
        assert row is not None
        found[name] = row
    return found


def _insert(
    cursor: "Cursor[Any]",
    collection: Collection,
    faces: Sequence[NewFace],
    people: Sequence[int],
    pictures: Sequence[bytes | None],
) -> list[str | None]:
    from pgvector import HalfVector
    from psycopg import sql

    insert = sql.SQL(
        "INSERT INTO {} (collection, person, embedding, photo, box, score, source, enrolled, aligned) "
        "VALUES (%s, %s, %b, %s, %s, %s, %s, coalesce(%s, now()), %b) "
        "ON CONFLICT (collection, photo, box) DO NOTHING RETURNING id"
    ).format(collection.face_table)
    photos = [face.photo or hashlib.sha256(face.halves.tobytes()).digest() for face in faces]
    outcomes: list[str | None] = [None] * len(faces)
    # All in one order: two that enrol the same photos as different people's wait for each other's, and not in a circle.
    left = sorted(range(len(faces)), key=lambda number: (photos[number], faces[number].box))
    while left:
        rows = []
        for number in left:
            face = faces[number]
            score = None if face.score is None else float(np.float32(face.score))  # a real, in which 1e-300 is 0
            where = (photos[number], [*face.box])
            halves = HalfVector(face.halves)
            about = (face.source, face.enrolled, pictures[number])
            rows.append((collection.id, people[number], halves, *where, score, *about))
        cursor.executemany(insert, rows, returning=True)
        there = [number for number, _ in zip(left, cursor.results(), strict=True) if cursor.fetchone() is None]
        left = []
        for number in there:
            owners = people_on(cursor, collection, [photos[number]], faces[number].box)
            if owners:
                outcomes[number] = _reason(faces[number].person, owners[photos[number]])
            else:  # whose it was has been removed meanwhile
                left.append(number)
    return outcomes
