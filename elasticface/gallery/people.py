"""Who is enrolled in a collection."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from elasticface.base.errors import InputError
from elasticface.gallery.collection import Collection, if_there, read
from elasticface.gallery.database import Connections

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


def everybody(database: Connections, which: str | Collection) -> list[Person]:
    """The people of a collection, by name.

    Raises:
        NoCollection: there is none of that name.
    """
    return _people(database, which, "ORDER BY name")


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
