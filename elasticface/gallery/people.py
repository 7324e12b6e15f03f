"""Who is enrolled in a collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.gallery.collection import Collection, checked_name, if_there, read
from elasticface.gallery.database import Connections

if TYPE_CHECKING:
    from psycopg import Cursor

LARGEST_ID = 2**63 - 1
"""Of PostgreSQL's bigint."""


class NoPerson(InputError):
    """Nobody of that name or number is enrolled."""


@dataclass(frozen=True)
class Person:
    """Somebody who is enrolled."""

    name: str
    id: int  # which the audit log has
    faces: int
    enrolled: datetime


def everybody(database: Connections, which: str | Collection, names: Sequence[str] | None = None) -> list[Person]:
    """The people of a collection, by name.

    Args:
        database: where.
        which: collection.
        names: those that are wanted; None: all.

    Raises:
        NoCollection: there is none of that name.
        NoPerson: nobody of one of the names is enrolled.
    """
    if names is None:
        return _people(database, which, "ORDER BY name")
    wanted = [checked_name(name, "person") for name in names]
    found = _people(database, which, "AND name = ANY(%(names)s) ORDER BY name", names=wanted)
    there = {person.name for person in found}
    if missing := [name for name in wanted if name not in there]:
        raise _nobody(which, missing[0])
    return found


def page(database: Connections, which: str | Collection, after: int, most: int) -> tuple[list[Person], int | None]:
    """Some people of a collection, by number: in the order in which they were first enrolled.

    Args:
        database: where.
        which: collection.
        after: the number of the last one of the page before; 0 for the first page.
        most: people of the page, ≥ 1.

    Returns:
        The people, and what to give as ``after`` for the next page; None where this one is the last.

    Raises:
        NoCollection: there is none of that name.
    """
    found = _people(database, which, "AND id > %(after)s ORDER BY id LIMIT %(most)s", after=after, most=most + 1)
    return found[:most], found[most - 1].id if len(found) > most else None


def named(database: Connections, which: str | Collection, person: str) -> Person | None:
    """The person of that name, spelled as it is kept; None where there is nobody.

    Raises:
        NoCollection: there is no such collection.
    """
    return next(iter(_people(database, which, "AND name = %(person)s", person=person)), None)


def find(cursor: "Cursor[Any]", collection: Collection, person: str | int) -> int:
    """The number of the person of that name or number.

    Raises:
        NoPerson: there is nobody.
    """
    from psycopg import sql

    wanted = person if isinstance(person, int) else checked_name(person, "person")
    statement = sql.SQL("SELECT id FROM {} WHERE collection = %s AND {} = %s").format(
        collection.person_table, sql.Identifier("id" if isinstance(wanted, int) else "name")
    )
    cursor.execute(statement, [collection.id, wanted])
    if (row := cursor.fetchone()) is None:
        raise _nobody(collection, wanted)
    return int(row[0])


def called(person: str | int) -> str:
    """A person in a message: by name or number."""
    return f"number {person}" if isinstance(person, int) else f"named {printable(person, 60)!r}"


def _nobody(which: str | Collection, person: str | int) -> NoPerson:
    name = which.name if isinstance(which, Collection) else which
    return NoPerson(f"collection {printable(name)}: nobody {called(person)} is enrolled")


def _people(database: Connections, which: str | Collection, whom: LiteralString, **values: Any) -> list[Person]:
    from psycopg import sql

    with database.transaction() as cursor:
        collection = read(cursor, database, which)
        statement = sql.SQL(
            "SELECT name, id, (SELECT count(*) FROM {faces} WHERE person = person.id), created FROM {people} AS person "
            "WHERE collection = %(collection)s "
        ).format(people=collection.person_table, faces=collection.face_table)
        with if_there(collection):
            cursor.execute(statement + sql.SQL(whom), {"collection": collection.id, **values})
            return [Person(*row) for row in cursor.fetchall()]
