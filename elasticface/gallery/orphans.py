"""Files that a crash has left in an embedded database: of a table or an index that was being written.

PostgreSQL deletes such a file when its transaction is undone, but not after a crash: no table has it, no VACUUM finds
it, and the embeddings in it would stay for good.
"""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticface.base import files

if TYPE_CHECKING:
    from psycopg import Cursor

_FILE = re.compile(r"([0-9]+)(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?")  # of a relation: its number, a fork, a segment


def remove(cursor: "Cursor[Any]", data: Path, patience: float) -> bool:
    """Delete the files that are no relation's.

    A transaction that goes on may be writing one, which nobody else sees in the catalogue: what was open when a file
    was found is waited for, and the catalogue asked again. A file that is made later has another number.

    Args:
        cursor: outside of a transaction, of a role that sees those of others.
        data: the server's folder.
        patience: seconds that it waits.

    Returns:
        False where a transaction takes longer: nothing was deleted then.
    """
    cursor.execute("CHECKPOINT")  # whose files were dropped are gone, and nothing is to be written to them
    folder = data / "base" / str(_one(cursor, "SELECT oid FROM pg_database WHERE datname = current_database()"))
    there = [(path, int(found[1])) for path in folder.iterdir() if (found := _FILE.fullmatch(path.name))]
    suspects = {number for _, number in there} - _relations(cursor)
    if not suspects:
        return True
    moment, deadline = _one(cursor, "SELECT clock_timestamp()::text"), time.monotonic() + patience
    while _one(
        cursor,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND xact_start <= %s::timestamptz",
        moment,
    ):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    orphans = suspects - _relations(cursor)
    for path, number in there:
        if number in orphans:
            path.unlink(missing_ok=True)
    files.to_disk(folder)
    return True


def _relations(cursor: "Cursor[Any]") -> set[int]:
    """The numbers of all tables' and indexes' files."""
    cursor.execute("SELECT pg_relation_filenode(oid) FROM pg_class")
    return {number for (number,) in cursor.fetchall() if number is not None}


def _one(cursor: "Cursor[Any]", statement: str, *values: object) -> object:
    row = cursor.execute(statement, values).fetchone()
    assert row is not None
    return row[0]
