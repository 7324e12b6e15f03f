"""People out of a collection, for good: their rows, the bytes of these in the files, and what the log has of them.

PostgreSQL's DELETE marks rows, and VACUUM frees their space without overwriting it. So the tables that held them are
written afresh (VACUUM FULL), after which the old files are deleted; so are those that a crash has left, and the
write-ahead log is brought to a new segment, after which the old ones are deleted. docs/gallery.md says what that does
not reach.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from elasticface.base import progress
from elasticface.base.errors import Stopped
from elasticface.base.files import printable
from elasticface.gallery import index, orphans
from elasticface.gallery.collection import Collection, NoCollection, as_kept, checked_name, note, note_people, read
from elasticface.gallery.database import Database, NotAllowed
from elasticface.gallery.people import NoPerson, called
from elasticface.gallery.storing import count

if TYPE_CHECKING:
    from psycopg import Cursor, sql


PATIENCE = 60.0
"""Seconds that a removal waits for other transactions to end, in all."""

_OPEN = "another transaction of the database was open all the time; end it"
_ASK, _LEAST_ASK, _PAUSE = 5.0, 0.1, 0.5  # seconds for which it asks for a table, and lets others have it


class _Patience:
    """One for all that a removal waits for: the time in which it writes does not count.

    Attributes:
        left: seconds.
    """

    def __init__(self) -> None:
        self.left = PATIENCE

    def lasts(self, since: float) -> bool:
        """Whether some is left now that it has waited since that moment, of ``time.monotonic``."""
        self.left -= time.monotonic() - since
        return self.left > 0


@dataclass(frozen=True)
class Removal:
    """What was removed.

    Attributes:
        people: how many people.
        faces: how many were theirs.
        erased: whether the bytes of their embeddings are gone from the files of the database.
        remains: what is not erased, and why, or what no removal reaches; "" where nothing is known to be left.
        numbers: name -> the id that the audit log has; empty where everybody was removed.
    """

    people: int
    faces: int
    erased: bool = False
    remains: str = ""
    numbers: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [f"people removed: {self.people:,} ({self.faces:,} faces)"]
        lines += [f"  {printable(name)} (number {number} in the audit log)" for name, number in self.numbers.items()]
        return [*lines, *([self.remains] if self.remains else [])]


def remove(database: Database, which: str | Collection, people: Sequence[str | int], *, erase: bool = True) -> Removal:
    """Remove people and their embeddings: :func:`delete`, and :func:`erase` or leave that for later.

    Args:
        database, which, people: as of :func:`delete`.
        erase: write the files of the collection afresh, so that the bytes are gone. Without, no search finds them, and
            their bytes may stay in freed space.

    Raises:
        InputError: no such collection or person.
    """
    collection, removed = delete(database, which, people)
    return _finished(_rewrite if erase else _vacuum, database, collection, removed)


def delete(database: Database, which: str | Collection, people: Sequence[str | int]) -> tuple[Collection, Removal]:
    """Remove the rows of people, in one transaction: from then on no search finds them.

    Args:
        database: where.
        which: collection.
        people: their names or numbers; all are there, or nobody is removed.

    Returns:
        What :func:`erase` takes, and what was removed.

    Raises:
        NoCollection: no such collection.
        NoPerson: nobody of that name or number.
    """
    from psycopg import sql

    wanted = [one if isinstance(one, int) else checked_name(one, "person") for one in dict.fromkeys(people)]
    names = [one for one in wanted if isinstance(one, str)]
    numbers = [one for one in wanted if isinstance(one, int)]
    with database.transaction() as cursor:
        collection = read(cursor, database, which, "FOR KEY SHARE")
        whom = sql.SQL(
            "SELECT name, id FROM {} WHERE collection = %s AND (name = ANY(%s) OR id = ANY(%s::bigint[])) "
            'ORDER BY name COLLATE "C" FOR UPDATE'  # as enrolments lock people, so that nobody waits in a circle
        )
        cursor.execute(whom.format(collection.person_table), [collection.id, names, numbers])
        there: dict[str, int] = dict(cursor.fetchall())
        known = {*there, *there.values()}
        missing = [one for one in wanted if one not in known]
        if missing:
            raise NoPerson(
                f"collection {printable(collection.name)}: nobody {called(missing[0])} is enrolled"
                f"{f', nor {len(missing) - 1:,} others' if missing[1:] else ''}; nobody was removed"
            )
        faces_of = sql.SQL("SELECT person, count(*) FROM {} WHERE person = ANY(%s) GROUP BY person ORDER BY person")
        cursor.execute(faces_of.format(collection.face_table), [[*there.values()]])
        of_person: dict[int, int] = dict(cursor.fetchall())
        note_people(cursor, "remove", collection.name, of_person)
        faces = sum(of_person.values())
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(collection.person_table), [[*there.values()]]
        )
        count(cursor, collection, -len(there), -faces)
    return collection, Removal(len(there), faces, numbers=there)


def drop(database: Database, which: str | Collection) -> Removal:
    """Remove a collection with everybody in it. Raises what :func:`remove` does."""
    collection, removed = delete_collection(database, which)
    return _finished(_rewrite, database, collection, removed)


def delete_collection(database: Database, which: str | Collection) -> tuple[Collection, Removal]:
    """Remove a collection with the rows of everybody in it, in one transaction; as :func:`delete`."""
    from psycopg import sql

    with database.transaction() as cursor:
        collection = read(cursor, database, which, "FOR UPDATE")
        everybody = sql.SQL(
            "INSERT INTO audit (action, collection, person, faces) "
            "SELECT 'remove', %s, person, count(*) FROM {} GROUP BY person ORDER BY person"
        )
        cursor.execute(everybody.format(collection.face_table), [collection.name])
        cursor.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(collection.tables)))
        cursor.execute("DELETE FROM collection WHERE id = %s", [collection.id])
        note(cursor, "drop", collection.name, faces=collection.faces)
    return collection, Removal(collection.people, collection.faces)


def erase(database: Database, which: str | Collection, *, shown: bool = True) -> Removal:
    """Erase what removals from a collection have left in the files until now: of :func:`delete`, of those without
    ``erase``, and of those that were killed. Searches of it wait meanwhile, and an HNSW index is built anew.

    The collection itself may have been removed, and its files with it; the database's log is left then.

    Args:
        database, which: where.
        shown: say on stderr what is being done.

    Raises:
        NoCollection: by the audit log there never was such a collection.
    """
    with database.transaction() as cursor:
        try:
            collection: Collection | None = read(cursor, database, which)
        except NoCollection:
            name = which.name if isinstance(which, Collection) else as_kept(which)
            cursor.execute("SELECT 1 FROM audit WHERE action = 'drop' AND collection = %s LIMIT 1", [name])
            if cursor.fetchone() is None:
                raise
            collection = None
    return _rewrite(database, collection, Removal(0, 0), shown)


def _finished(
    rest: Callable[[Database, Collection, Removal], Removal],
    database: Database,
    collection: Collection,
    removed: Removal,
) -> Removal:
    """``rest`` of a removal; who was removed is told even where the database ends meanwhile."""
    try:
        return rest(database, collection, removed)
    except Stopped:
        return replace(removed, remains=_remains("the database ended meanwhile; see that its disk has room"))


def _rewrite(database: Database, collection: Collection | None, removed: Removal, shown: bool = True) -> Removal:
    """``removed``, and what remains when the tables that held people were written afresh, and the log was ended."""
    remains, patience = [], _Patience()
    if collection is not None:
        with database.transaction() as cursor:
            xid = _transaction(cursor)
        with progress.status("writing the collection's files afresh", shown), database.no_transaction() as cursor:
            remains.append(_wait_for_snapshots(cursor, xid, patience))
            remains += [_write_afresh(database, cursor, collection, table, patience) for table in collection.tables]
        with contextlib.suppress(NoCollection):
            index.measure_again(database, collection, shown)
    if database.server is not None:
        with database.no_transaction() as cursor:
            if not orphans.remove(cursor, database.server.folder / "data", patience.left):
                remains.append(_remains(_OPEN))
    left = [*dict.fromkeys(filter(None, remains))]
    ended, log = _end_log(database)
    return replace(removed, erased=ended and not left, remains="; ".join(filter(None, [*left, log])))


def _write_afresh(
    database: Database, cursor: "Cursor[Any]", collection: Collection, table: "sql.Identifier", patience: _Patience
) -> str:
    """VACUUM FULL, and what remains where that was not done. A table that is gone has left nothing.

    It waits for who reads the table for a moment at a time: whoever comes later waits behind it.
    """
    from psycopg import errors, sql

    file = sql.SQL("SELECT pg_relation_filenode(to_regclass({}))").format(sql.Literal(table.as_string(cursor)))
    before = cursor.execute(file).fetchone()
    while True:
        since = time.monotonic()
        try:
            with index.memory(cursor, database, collection), _lock_timeout(cursor, patience.left):
                cursor.execute(sql.SQL("VACUUM (FULL) {}").format(table))
            break
        except errors.UndefinedTable:
            return ""
        except errors.LockNotAvailable:
            if not patience.lasts(since):
                return _remains("somebody read them all the time; end that")
            time.sleep(_PAUSE)
        except errors.DiskFull:
            return _remains("no room on the disk to write them afresh; make room")
    if cursor.execute(file).fetchone() == before:  # PostgreSQL only warns
        return _remains("this role may not write them afresh; connect as their owner")
    return ""


@contextlib.contextmanager
def _lock_timeout(cursor: "Cursor[Any]", left: float) -> Iterator[None]:
    seconds = max(min(_ASK, left), _LEAST_ASK)
    cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{round(1000 * seconds)}ms"])
    try:
        yield
    finally:
        cursor.execute("RESET lock_timeout")


def _vacuum(database: Database, collection: Collection, removed: Removal) -> Removal:
    """``removed``, and what remains when the space of people's rows was freed."""
    from psycopg import errors, sql

    with database.no_transaction() as cursor, contextlib.suppress(errors.UndefinedTable):
        for table in collection.tables:
            cursor.execute(sql.SQL("VACUUM {}").format(table))
    remains = (
        "bytes of theirs may stay in freed space of the files: elasticface gallery remove without names erases them"
    )
    return replace(removed, remains=remains)


def _remains(why: str) -> str:
    return f"bytes of theirs stay in the files: {why}, and give elasticface gallery remove without names"


def _transaction(cursor: "Cursor[Any]") -> str:
    """The number of the cursor's transaction."""
    cursor.execute("SELECT pg_current_xact_id()::xid::text")
    row = cursor.fetchone()
    assert row is not None
    return str(row[0])


def _wait_for_snapshots(cursor: "Cursor[Any]", xid: str, patience: _Patience) -> str:
    """Wait for transactions that see the rows as they were before transaction ``xid``: VACUUM keeps them for these.

    Returns what remains where one of them takes longer.
    """
    while True:
        since = time.monotonic()
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND age(backend_xmin) >= age(%s::xid)",
            [xid],
        )
        row = cursor.fetchone()
        if row is None or not row[0]:
            return ""
        time.sleep(0.05)
        if not patience.lasts(since):
            return _remains(_OPEN)


def _end_log(database: Database) -> tuple[bool, str]:
    """Bring the write-ahead log to a segment that has nothing of what was removed.

    Returns:
        Whether that was done, and what is not reached.
    """
    try:
        with database.no_transaction() as cursor:
            # The first writes out what the log is needed for; the second lets the segments before the switch go.
            for statement in ("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
                cursor.execute(statement)
    except NotAllowed:
        return False, (
            "the write-ahead log of the server still holds them, until it is recycled: this role may not end it "
            "(pg_checkpoint)"
        )
    if database.server is None:
        return True, (
            "replicas, archives of the write-ahead log, backups, and files that a crash of the server has left are its "
            "own, and are not reached"
        )
    return True, ""
