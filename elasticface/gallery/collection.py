"""Collections: people of one kind, enrolled with one model; embeddings of another one are refused."""

import contextlib
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.gallery.database import Connections
from elasticface.gallery.schema import LARGEST_HALFVEC, add_partitions, partition

if TYPE_CHECKING:
    from psycopg import Cursor, sql

    from elasticface.faces.finder import FaceFinder
    from elasticface.model.encoder import FaceEncoder

Aggregation = Literal["best", "mean"]
"""What a person's similarity is: that of the most similar face, or that of the mean of all."""

_TABLES: dict[Aggregation, tuple[str, ...]] = {"best": ("person", "face"), "mean": ("person", "template", "face")}

UNIT = 1e-3
"""How far the length of an embedding may be from 1: what halves of 512 numbers lose is less."""

LONGEST_NAME = 255
"""Bytes of the name of a person or a collection."""

_COLUMNS = (
    "id, name, model, fingerprint, dimensions, preprocessing, detector, aggregation, keeps_faces, people, faces, "
    "created"
)


class NoCollection(InputError):
    """There is no such collection, or it was removed meanwhile."""


class CollectionExists(InputError):
    """There is a collection of that name already."""


class OtherModel(InputError):
    """A collection was made with another model or detector."""


@dataclass(frozen=True)
class Collection:
    """A row of the table, as it was read."""

    id: int
    name: str
    model: str  # its name
    fingerprint: bytes  # of :func:`fingerprint`
    dimensions: int  # D
    preprocessing: dict[str, Any]
    detector: str
    aggregation: Aggregation
    keeps_faces: bool  # aligned ones, as pictures
    people: int
    faces: int
    created: datetime

    @property
    def person_table(self) -> "sql.Identifier":
        """The partition with its people."""
        return partition("person", self.id)

    @property
    def face_table(self) -> "sql.Identifier":
        """The partition with its faces."""
        return partition("face", self.id)

    @property
    def template_table(self) -> "sql.Identifier":
        """The partition with its people's means; there only for the aggregation by mean."""
        return partition("template", self.id)

    @property
    def tables(self) -> "list[sql.Identifier]":
        """Its partitions, in the order in which all statements lock them."""
        return [partition(table, self.id) for table in _TABLES[self.aggregation]]

    @property
    def size(self) -> int:
        """Side of an aligned face in pixels."""
        return int(self.preprocessing["size"])

    @property
    def searched_table(self) -> "sql.Identifier":
        """What a face is compared with."""
        return self.face_table if self.aggregation == "best" else self.template_table

    @property
    def searched(self) -> int:
        """How many vectors that are."""
        return self.faces if self.aggregation == "best" else self.people


def fingerprint(encoder: "FaceEncoder") -> bytes:
    """SHA-256 over a model's weights, or its file, and its preprocessing: whose embeddings may be compared."""
    from elasticface.benchmarks.reading.features import model_bytes

    preprocessing = json.dumps(asdict(encoder.card.preprocessing), sort_keys=True)
    return hashlib.sha256(model_bytes(encoder) + preprocessing.encode()).digest()


def create(
    database: Connections,
    name: str,
    encoder: "FaceEncoder",
    finder: "FaceFinder",
    aggregation: Aggregation = "best",
    *,
    keep_faces: bool = False,
) -> Collection:
    """Make an empty collection for the embeddings of ``encoder``, of faces that ``finder`` finds; the aligned faces
    themselves are kept if asked for.

    Raises:
        InputError: a name that is none, or embeddings that are too long; of a name that is taken
            :class:`CollectionExists`, which is one.
    """
    return insert(
        database,
        checked_name(name, "collection"),
        model=encoder.card.name,
        print_of_model=fingerprint(encoder),
        dimensions=encoder.card.embedding_size,
        preprocessing=asdict(encoder.card.preprocessing),
        detector=finder.name,
        aggregation=aggregation,
        keep_faces=keep_faces,
    )


def insert(
    database: Connections,
    name: str,
    *,
    model: str,
    print_of_model: bytes,
    dimensions: int,
    preprocessing: dict[str, Any],
    detector: str,
    aggregation: Aggregation,
    keep_faces: bool = False,
) -> Collection:
    """Make an empty collection from what is known of its model; see :func:`create`."""
    from psycopg.types.json import Jsonb

    if aggregation not in get_args(Aggregation):
        raise InputError(f"aggregation is {aggregation!r}, not one of {', '.join(get_args(Aggregation))}")
    if not isinstance(keep_faces, bool):
        raise InputError(f"keep_faces is {keep_faces!r}, not True or False")
    if dimensions > LARGEST_HALFVEC:
        raise InputError(
            f"{printable(model)}: embeddings of {dimensions:,} numbers; at most {LARGEST_HALFVEC:,} are kept"
        )
    with database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO collection "
            "(name, model, fingerprint, dimensions, preprocessing, detector, aggregation, keeps_faces) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING RETURNING id",
            [name, model, print_of_model, dimensions, Jsonb(preprocessing), detector, aggregation, keep_faces],
        )
        row = cursor.fetchone()
        if row is None:
            raise CollectionExists(
                f"{database.shown}: there is a collection {printable(name)!r} already; give another name"
            )
        add_partitions(cursor, row[0], _TABLES[aggregation])
        note(cursor, "create", name)
        return read(cursor, database, name)


def read(
    cursor: "Cursor[Any]",
    database: Connections,
    which: "str | Collection",
    lock: Literal["", "FOR KEY SHARE", "FOR UPDATE"] = "",
) -> Collection:
    """A collection as it is now.

    Whoever writes locks in this order, so that no two wait for each other: the collection's row, people by name, faces
    by photo and box, the tables as :attr:`Collection.tables` has them, the collection's counts.

    Args:
        cursor: of a transaction.
        database: to name in a message.
        which: its name, in whichever form of Unicode; or the collection as it was read before: no other one that has
            its name by now will do.
        lock: of its row until the transaction ends: who writes into a collection shares it; who removes the collection
            or its index has it alone.

    Raises:
        InputError: a name that is no text.
        NoCollection: there is none, or not any more; the message names those that there are.
    """
    if isinstance(which, Collection):
        cursor.execute(f"SELECT {_COLUMNS} FROM collection WHERE id = %s {lock}", [which.id])
        if (row := cursor.fetchone()) is None:
            raise gone(which)
        return Collection(*row)
    name = _checked_text(which, "collection")
    cursor.execute(f"SELECT {_COLUMNS} FROM collection WHERE name = %s {lock}", [name])
    row = cursor.fetchone()
    if row is None:
        cursor.execute("SELECT name FROM collection ORDER BY name LIMIT 10")
        there = ", ".join(printable(other, 60) for (other,) in cursor.fetchall())
        told = f"there are: {there}" if there else "there is none: elasticface gallery create"
        raise NoCollection(f"{database.shown}: no collection {printable(name, 60)!r}; {told}")
    return Collection(*row)


def gone(collection: Collection) -> NoCollection:
    """A collection was removed meanwhile, another one may have its name."""
    return NoCollection(f"collection {printable(collection.name)}: was removed meanwhile")


@contextlib.contextmanager
def if_there(collection: Collection) -> Iterator[None]:
    """For statements on its tables by who holds no lock of its row: replicas, which can be searched, give none.

    Raises:
        NoCollection: it was removed meanwhile.
    """
    from psycopg import errors

    try:
        yield
    except errors.UndefinedTable as error:
        raise gone(collection) from error


def every(database: Connections) -> list[Collection]:
    """All collections, by name."""
    with database.transaction() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM collection ORDER BY name")
        return [Collection(*row) for row in cursor.fetchall()]


def check_model(
    collection: Collection, encoder: "FaceEncoder", finder: "FaceFinder", print_of_model: bytes | None = None
) -> None:
    """Refuse a model or a detector other than that of the collection.

    Args:
        collection: that is to be used.
        encoder, finder: with which.
        print_of_model: :func:`fingerprint` of ``encoder``, where it is known: it reads all weights.

    Raises:
        OtherModel: another network, preprocessing or detector.
    """
    name, model = printable(collection.name), encoder.card.name
    if (print_of_model or fingerprint(encoder)) != collection.fingerprint:
        now = json.loads(json.dumps(asdict(encoder.card.preprocessing)))
        what = "another preprocessing" if now != collection.preprocessing else "another model"
        raise OtherModel(
            f"collection {name}: was made with the model {printable(collection.model)}, and {printable(model)} is "
            f"{what}: their embeddings cannot be compared; give that model, or enrol the photos in a new collection"
        )
    if finder.name != collection.detector:
        raise OtherModel(
            f"collection {name}: its faces were found by {printable(collection.detector)}, not "
            f"{printable(finder.name)}; give the same --detector and --smallest, or make a new collection"
        )


def as_kept(name: str) -> str:
    """A name in Unicode's form NFC, without blanks around it: folders spell letters with accents in two ways."""
    return unicodedata.normalize("NFC", name).strip()


def checked_name(name: str, what: str) -> str:
    """The name of a person or a collection, as it is kept.

    Raises:
        InputError: it is empty, too long, or no text.
    """
    name = _checked_text(name, what)
    if not 0 < len(name.encode()) <= LONGEST_NAME:
        raise InputError(
            f"the name of a {what} must have 1 to {LONGEST_NAME} bytes, and {printable(name, 60)!r} has not"
        )
    return name


def _checked_text(name: str, what: str) -> str:
    name = as_kept(name)
    if not is_text(name):
        raise InputError(f"{printable(name, 100)}: the name of a {what} must be text in UTF-8, without NUL")
    return name


def is_text(text: str) -> bool:
    """Whether PostgreSQL takes it: all of it Unicode, and no NUL."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def note(cursor: "Cursor[Any]", action: str, collection: str, faces: int = 0) -> None:
    """A line of the audit log, in the transaction that does what it tells."""
    cursor.execute("INSERT INTO audit (action, collection, faces) VALUES (%s, %s, %s)", [action, collection, faces])


def note_people(cursor: "Cursor[Any]", action: str, collection: str, faces: Mapping[int, int]) -> None:
    """A line of the audit log for each person, by id, with how many faces were enrolled or removed."""
    cursor.executemany(
        "INSERT INTO audit (action, collection, person, faces) VALUES (%s, %s, %s, %s)",
        [(action, collection, person, of_person) for person, of_person in faces.items()],
    )
