"""Who is enrolled in a collection."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticface.base.errors import InputError
from elasticface.gallery.collection import read
from elasticface.gallery.database import Connections

LARGEST_ID = 2**63 - 1
"""Of PostgreSQL's bigint."""

_SELECT = (
    "SELECT name, id, (SELECT count(*) FROM face WHERE face.collection = %(collection)s AND person = person.id), "
    "created FROM person WHERE collection = %(collection)s"
)


class NoPerson(InputError):
    """Nobody of that name or number is enrolled."""


@dataclass(frozen=True)
class Person:
    """Somebody who is enrolled."""

    name: str
    id: int  # which the audit log has
    faces: int
    enrolled: datetime


def everybody(database: Connections, name: str) -> list[Person]:
    """The people of a collection, by name.

    Raises:
        NoCollection: there is none of that name.
    """
    return _people(database, name, "ORDER BY name")


def page(database: Connections, name: str, after: int, most: int) -> tuple[list[Person], int | None]:
    """Some people of a collection, by number: in the order in which they were first enrolled.

    Args:
        database: where.
        name: of the collection.
        after: the number of the last one of the page before; 0 for the first page.
        most: people of the page, ≥ 1.

    Returns:
        The people, and what to give as ``after`` for the next page; None where this one is the last.

    Raises:
        NoCollection: there is none of that name.
    """
    found = _people(database, name, "AND id > %(after)s ORDER BY id LIMIT %(most)s", after=after, most=most + 1)
    return found[:most], found[most - 1].id if len(found) > most else None


def named(database: Connections, name: str, person: str) -> Person | None:
    """The person of that name, spelled as it is kept; None where there is nobody.

    Raises:
        NoCollection: there is no collection ``name``.
    """
    return next(iter(_people(database, name, "AND name = %(person)s", person=person)), None)


def _people(database: Connections, name: str, which: str, **values: Any) -> list[Person]:
    with database.transaction() as cursor:
        collection = read(cursor, database, name)
        cursor.execute(f"{_SELECT} {which}", {"collection": collection.id, **values})
        return [Person(*row) for row in cursor.fetchall()]
