"""People out of a collection, for good: their rows, the bytes of these in the files, and what the log has of them.

PostgreSQL's DELETE marks rows, and VACUUM frees their space without overwriting it. So the tables that held them are
written afresh (VACUUM FULL), after which the old files are deleted, and the write-ahead log is brought to a new
segment, after which the old ones are deleted. docs/gallery.md says what that does not reach.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.gallery import index
from elasticface.gallery.collection import Collection, checked_name, note, note_people, read
from elasticface.gallery.database import Database
from elasticface.gallery.enrolment import count

if TYPE_CHECKING:
    from psycopg import Cursor, sql


PATIENCE = 60.0
"""Seconds that a removal waits for other transactions to end."""


@dataclass(frozen=True)
class Removal:
    """What was removed.

    Attributes:
        people: how many people.
        faces: how many were theirs.
        numbers: name -> the id that the audit log has; empty where everybody was removed.
        remains: what is not erased, and why; "" where nothing is known to be left in the database.
    """

    people: int
    faces: int
    remains: str = ""
    numbers: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [f"people removed: {self.people:,} ({self.faces:,} faces)"]
        lines += [f"  {printable(name)} (number {number} in the audit log)" for name, number in self.numbers.items()]
        return [*lines, *([self.remains] if self.remains else [])]


def remove(database: Database, name: str, people: Sequence[str], *, erase: bool = True) -> Removal:
    """Remove people and their embeddings.

    Args:
        database: where.
        name: of the collection.
        people: their names; all are there, or nobody is removed.
        erase: write the files of the collection afresh, so that the bytes are gone; its searches wait meanwhile, and an
            HNSW index is built anew. Without, no search finds them, and their bytes may stay in freed space.

    Raises:
        InputError: no such collection or person.
    """
    names = [checked_name(person, "person") for person in dict.fromkeys(people)]
    with database.transaction() as cursor:
        collection = read(cursor, database, name)
        cursor.execute(
            "SELECT name, id FROM person WHERE collection = %s AND name = ANY(%s) ORDER BY name FOR UPDATE",
            [collection.id, names],
        )
        there: dict[str, int] = dict(cursor.fetchall())
        missing = [person for person in names if person not in there]
        if missing:
            raise InputError(
                f"collection {printable(name)}: nobody named {printable(missing[0], 60)!r} is enrolled"
                f"{f', nor {len(missing) - 1:,} others' if missing[1:] else ''}; nobody was removed"
            )
        cursor.execute(
            "SELECT person, count(*) FROM face WHERE collection = %s AND person = ANY(%s) "
            "GROUP BY person ORDER BY person",
            [collection.id, [*there.values()]],
        )
        of_person: dict[int, int] = dict(cursor.fetchall())
        note_people(cursor, "remove", collection.name, of_person)
        faces = sum(of_person.values())
        cursor.execute("DELETE FROM person WHERE id = ANY(%s)", [[*there.values()]])
        count(cursor, collection, -len(there), -faces)
        number = _transaction(cursor)
    remains = _erase(database, collection, number) if erase else _vacuum(database, collection)
    return Removal(len(there), faces, remains, there)


def erase(database: Database, name: str) -> Removal:
    """Erase what earlier removals have left in a collection's files: those without ``erase``, or that were killed."""
    with database.transaction() as cursor:
        collection, number = read(cursor, database, name), _transaction(cursor)
    return Removal(0, 0, _erase(database, collection, number))


def drop(database: Database, name: str) -> Removal:
    """Remove a collection with everybody in it. Raises what :func:`remove` does."""
    from psycopg import sql

    with database.transaction() as cursor:
        collection = read(cursor, database, name)
        for table in _tables(collection):
            cursor.execute(sql.SQL("DROP TABLE {}").format(table))
        cursor.execute("DELETE FROM collection WHERE id = %s", [collection.id])
        note(cursor, "drop", collection.name, faces=collection.faces)
        number = _transaction(cursor)
    with database.no_transaction() as cursor:
        seen = _still_seen(cursor, number)
        cursor.execute("VACUUM (FULL) person")
    return Removal(collection.people, collection.faces, _both(seen, _end_log(database)))


def _erase(database: Database, collection: Collection, number: str) -> str:
    """Write the tables that held people afresh, without what transaction ``number`` removed. Returns what remains."""
    from psycopg import sql

    with progress.status("writing the collection's files afresh"), database.no_transaction() as cursor:
        seen = _still_seen(cursor, number)
        index.give_memory(cursor, database, collection)
        for table in (*_tables(collection), sql.Identifier("person")):
            cursor.execute(sql.SQL("VACUUM (FULL) {}").format(table))
        cursor.execute("RESET maintenance_work_mem")
    index.measure_again(database, collection.name)
    return _both(seen, _end_log(database))


def _transaction(cursor: "Cursor[Any]") -> str:
    """The number of the cursor's transaction."""
    cursor.execute("SELECT pg_current_xact_id()::xid::text")
    row = cursor.fetchone()
    assert row is not None
    return str(row[0])


def _still_seen(cursor: "Cursor[Any]", number: str) -> str:
    """Wait for transactions that still see what transaction ``number`` removed: VACUUM keeps it for them.

    Returns what remains where one of them takes longer than ``PATIENCE``.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND age(backend_xmin) >= age(%s::xid)",
            [number],
        )
        row = cursor.fetchone()
        if row is None or not row[0]:
            return ""
        if time.monotonic() > deadline:
            return (
                "bytes of theirs stay in the files: another transaction of the database was open all the time; end "
                "it, and give elasticface gallery remove without names"
            )
        time.sleep(0.05)


def _both(first: str, second: str) -> str:
    return "; ".join(filter(None, [first, second]))


def _vacuum(database: Database, collection: Collection) -> str:
    from psycopg import sql

    with database.no_transaction() as cursor:
        for table in _tables(collection):
            cursor.execute(sql.SQL("VACUUM {}").format(table))
    return "bytes of theirs may stay in freed space of the files: elasticface gallery remove without names erases them"


def _end_log(database: Database) -> str:
    """Bring the write-ahead log to a segment that has nothing of what was removed. Returns what remains."""
    from psycopg import errors

    try:
        with database.no_transaction() as cursor:
            # The first writes out what the log is needed for; the second lets the segments before the switch go.
            for statement in ("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
                cursor.execute(statement)
    except InputError as error:
        if not isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise
        return (
            "the write-ahead log of the server still holds them, until it is recycled: this role may not end it "
            "(pg_checkpoint)"
        )
    if database.server is None:
        return "replicas, archives of the write-ahead log and backups of the server are its own, and are not reached"
    return ""


def _tables(collection: Collection) -> "list[sql.Identifier]":
    by_mean = collection.aggregation == "mean"
    return [collection.face_table, *([collection.template_table] if by_mean else [])]
