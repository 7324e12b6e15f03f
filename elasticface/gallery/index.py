"""The HNSW index of a large collection, and the recall of searches by it, measured on the collection itself.

A probe is one of the collection's own vectors, and what it is to find is the most similar other person: a search as
hard as that for a stranger, and harder than that for somebody who is enrolled, whose own faces are nearer.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs" (2018).
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.gallery import schema
from elasticface.gallery.collection import Collection, read
from elasticface.gallery.database import Database
from elasticface.gallery.search import Recall, indexed, nearest, read_recall

if TYPE_CHECKING:
    from psycopg import Cursor, sql

PROBES = 500
"""Searches from which the recall is measured."""

_MOST_WORKERS = 1024  # that PostgreSQL takes as max_parallel_maintenance_workers
_NEIGHBOURS, _BEAM = 16, 128  # HNSW's M and efConstruction: pgvector's own, and twice its own
_BYTES = 750  # of a vector in the graph that is being built, beside its numbers: 714 measured, with M = 16
_BLOCK = 1 << 20  # pgvector takes memory in blocks of this size
_LEAST_MEMORY = 1 << 26  # PostgreSQL's own setting
_LARGEST_MEMORY = 1 << 41  # what PostgreSQL takes as maintenance_work_mem


def reindex(database: Database, which: str | Collection, probes: int = PROBES, workers: int = 1) -> Recall | None:
    """Make the index of a collection anew, with its files written afresh, and measure its recall.

    Who enrols or removes waits until it is made; another one who makes it waits until it is measured, too.

    Args:
        database: where.
        which: collection.
        probes: searches to measure with, ≥ 1; all vectors where there are fewer.
        workers: processes of the server that build it, 1 to 1,024; several share memory, of which containers have
            little.

    Returns:
        The recall, which is kept and said by every approximate search; None of an empty collection, which has no index.

    Raises:
        InputError: no such collection, or a number out of its range.
        Stopped: no memory or no room on the disk.
    """
    if probes < 1 or workers < 1:
        raise InputError(f"probes and workers must be at least 1, not {probes} and {workers}")
    if workers > _MOST_WORKERS:
        raise InputError(f"workers must be at most {_MOST_WORKERS:,}, not {workers}")
    with _turn(database, which):
        drop(database, which)  # by itself, so that searches do not wait for the new one
        with database.transaction() as cursor:
            collection = read(cursor, database, which, "FOR UPDATE")
            if collection.searched:
                with progress.status(f"indexing {collection.searched:,} vectors"):
                    _build(cursor, database, collection, workers)
        return measure(database, collection, probes)


def measure(database: Database, which: str | Collection, probes: int = PROBES, shown: bool = True) -> Recall | None:
    """Measure the recall@1 of searches by the index, and keep it; ``shown``: with a bar. None where there is no index,
    or nobody any more to measure it with: then it is removed.
    """
    from psycopg import sql

    with database.transaction() as cursor:
        collection = read(cursor, database, which, "FOR KEY SHARE")
        if not _is_there(cursor, collection):
            return None
        chosen = sql.SQL("SELECT person, embedding FROM {} ORDER BY random() LIMIT %b")
        cursor.execute(chosen.format(collection.searched_table), [min(probes, collection.searched)])
        drawn = cursor.fetchall()
        found = 0
        for person, embedding in progress.track(drawn, "measuring the recall", len(drawn), shown):
            probe = embedding.to_numpy().astype(np.float32)
            exact = nearest(cursor, collection, probe, 1, approximate=False, without=person)
            near = nearest(cursor, collection, probe, 1, approximate=True, without=person)
            # Of equally similar people either will do; where the index names nobody else, the search is exact.
            found += not exact or not near or near[0].similarity >= exact[0].similarity
        if drawn:
            cursor.execute(
                "INSERT INTO measured_index (collection, vectors, found, searches) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (collection) DO UPDATE SET vectors = EXCLUDED.vectors, found = EXCLUDED.found, "
                "searches = EXCLUDED.searches, measured = now()",
                [collection.id, collection.searched, found, len(drawn)],
            )
            return read_recall(cursor, collection)
    drop(database, collection)
    return None


def measure_again(database: Database, which: str | Collection, shown: bool = True) -> None:
    """Measure an index that was built anew with its table, with as many searches as before; none is no error."""
    with database.transaction() as cursor:
        collection = read(cursor, database, which)
        recall = read_recall(cursor, collection)
    if recall is not None:
        measure(database, collection, recall.searches, shown)


@contextlib.contextmanager
def memory(cursor: "Cursor[Any]", database: Database, collection: Collection) -> Iterator[None]:
    """Let the session build an index in memory, as far as this machine has some; without, it takes many times as long.

    Another server's memory is its own, and so are its settings.
    """
    from psycopg.pq import TransactionStatus

    if database.server is None:
        yield
        return
    needed = collection.searched * (2 * collection.dimensions + _BYTES) + _BLOCK
    given = max(min(needed, _free() // 2), _LEAST_MEMORY)
    cursor.execute("SELECT set_config('maintenance_work_mem', %s, false)", [f"{given >> 10}kB"])
    try:
        yield
    finally:
        if cursor.connection.info.transaction_status != TransactionStatus.INERROR:  # which ends the setting, too
            cursor.execute("RESET maintenance_work_mem")


def drop(database: Database, which: str | Collection) -> None:
    """Remove the index of a collection: every search of it is exact again."""
    from psycopg import sql

    with database.transaction() as cursor:
        collection = read(cursor, database, which, "FOR UPDATE")
        cursor.execute("DELETE FROM measured_index WHERE collection = %s", [collection.id])
        cursor.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(_identifier(collection)))


def _build(cursor: "Cursor[Any]", database: Database, collection: Collection, workers: int) -> None:
    from psycopg import sql

    cursor.execute("SELECT set_config('max_parallel_maintenance_workers', %s, true)", [str(workers - 1)])
    statement = sql.SQL("CREATE INDEX {} ON {} USING hnsw (({}) halfvec_ip_ops) WITH (m = {}, ef_construction = {})")
    with memory(cursor, database, collection):
        cursor.execute(
            statement.format(
                sql.Identifier(_name(collection)),
                collection.searched_table,
                indexed(collection),
                sql.Literal(_NEIGHBOURS),
                sql.Literal(_BEAM),
            )
        )
    # PostgreSQL samples the values of an expression, too, for its statistics, and these outlive a removal.
    cursor.execute(sql.SQL("ALTER INDEX {} ALTER COLUMN 1 SET STATISTICS 0").format(_identifier(collection)))


@contextlib.contextmanager
def _turn(database: Database, which: str | Collection) -> Iterator[None]:
    """Nobody else makes this index meanwhile."""
    with database.transaction() as cursor:
        lock = f"elasticface index {read(cursor, database, which).id}"
    with database.no_transaction() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [lock])
    try:
        yield
    finally:
        with database.no_transaction() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [lock])


def _is_there(cursor: "Cursor[Any]", collection: Collection) -> bool:
    cursor.execute(
        "SELECT 1 FROM pg_indexes WHERE schemaname = %s AND indexname = %s", [schema.NAME, _name(collection)]
    )
    return cursor.fetchone() is not None


def _identifier(collection: Collection) -> "sql.Identifier":
    from psycopg import sql

    return sql.Identifier(schema.NAME, _name(collection))


def _name(collection: Collection) -> str:
    return f"hnsw_{collection.id}"


def _free() -> int:
    """Bytes of memory that programs can have now."""
    try:
        with open("/proc/meminfo") as lines:
            told = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
        return min(told["MemAvailable"], _LARGEST_MEMORY)
    except (OSError, KeyError, ValueError):
        return 1 << 30
