"""What is in a database: its collections, their sizes, and the audit log."""

from dataclasses import dataclass
from typing import Any

from elasticface.base.files import printable
from elasticface.gallery import collection as collections
from elasticface.gallery.collection import Collection
from elasticface.gallery.database import Connections
from elasticface.gallery.search import EXACT_UP_TO, Recall, is_small, read_recall

AUDIT_COLUMNS = ("time", "role", "action", "collection", "person", "faces")


@dataclass(frozen=True)
class Stats:
    """Of one collection."""

    collection: Collection
    size: int  # bytes on the disk, indexes included
    recall: Recall | None  # of its index, where it has one

    @property
    def search(self) -> str:
        """How it is searched."""
        if self.recall is None:
            return "exact"
        if is_small(self.collection):
            return f"exact, up to {EXACT_UP_TO:,} vectors; its index: {self.recall}"
        return f"approximate, {self.recall}"

    @property
    def advice(self) -> str | None:
        """What would make its searches faster, in a large collection without an index."""
        if self.recall is not None or is_small(self.collection):
            return None
        return f"every search compares with {self.collection.searched:,} vectors; an index: elasticface gallery reindex"

    def lines(self) -> list[str]:
        """For the terminal."""
        found = self.collection
        advice = [] if self.advice is None else [f"  {self.advice}"]
        return [
            f"{printable(found.name)}: {found.people:,} people, {found.faces:,} faces, {self.size / 1e6:,.1f} MB",
            f"  model {printable(found.model)} ({found.fingerprint.hex()[:16]}…), {found.dimensions} numbers a face, "
            f"detector {printable(found.detector)}",
            f"  several faces of a person: {found.aggregation}; search: {self.search}",
            *(["  the aligned faces are kept as pictures"] if found.keeps_faces else []),
            *advice,
        ]

    def as_json(self) -> dict[str, Any]:
        """As `elasticface gallery stats --json` writes it."""
        found = self.collection
        return {
            **{name: value for name, value in vars(found).items() if name != "id"},
            "fingerprint": found.fingerprint.hex(),
            "created": found.created.isoformat(),
            "bytes": self.size,
            "recall": self.recall and self.recall.as_json(),
        }


def stats(database: Connections) -> list[Stats]:
    """Of all collections, by name."""
    return [_stats(database, found) for found in collections.every(database)]


def stats_of(database: Connections, which: str | Collection) -> Stats:
    """Of one collection.

    Raises:
        NoCollection: it is not there.
    """
    with database.transaction() as cursor:
        found = collections.read(cursor, database, which)
    return _stats(database, found)


def _stats(database: Connections, found: Collection) -> Stats:
    with database.transaction() as cursor:
        tables = [table.as_string(cursor) for table in found.tables]
        cursor.execute(
            "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(%s::text[]) AS name", [tables]
        )
        row = cursor.fetchone()
        return Stats(found, int(row[0] or 0) if row else 0, read_recall(cursor, found))


def audit(database: Connections, collection: str | None = None) -> list[tuple[Any, ...]]:
    """The lines of the audit log, oldest first, as ``AUDIT_COLUMNS`` says; times in ISO 8601.

    Args:
        database: where.
        collection: a name: only lines of collections that had it; None: all.
    """
    with database.transaction() as cursor:
        cursor.execute(
            "SELECT time, role, action, collection, person, faces FROM audit "
            "WHERE collection = coalesce(%s::text, collection) ORDER BY id",
            [collection],
        )
        return [(time.isoformat(), *others) for time, *others in cursor.fetchall()]
