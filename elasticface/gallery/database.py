"""The database of the galleries: the embedded server, or any PostgreSQL with pgvector, by one interface."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticface.base import progress
from elasticface.base.errors import InputError, Stopped, first_line
from elasticface.base.files import printable
from elasticface.gallery import schema
from elasticface.gallery.server import NotInstalled, Server, default_folder

if TYPE_CHECKING:
    from psycopg import Connection, Cursor
    from psycopg.errors import Diagnostic

_SCHEMES = ("postgresql://", "postgres://")

# A server that vanished with its network is given up after a minute, where TCP alone would wait for hours.
_PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

_UNSAID = logging.NullHandler()


class Unreachable(InputError):
    """No connection to the database, or none that can be used."""


class NotAllowed(InputError):
    """The role, or a replica, may not do it."""


class Connections:
    """Connections to a database, one a thread. Pickled to another process it connects anew there.

    Args:
        address: how to connect, as psycopg takes it.
        shown: what to call the database in messages; never with a password.
    """

    def __init__(self, address: dict[str, Any], shown: str) -> None:
        self.address, self.shown = address, shown
        self._mine = threading.local()
        self._all: list[tuple[threading.Thread, Connection[Any]]] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Connections, (self.address, self.shown)

    @contextlib.contextmanager
    def transaction(self) -> "Iterator[Cursor[Any]]":
        """A cursor in a transaction, which is on the disk when the body is left, or undone where that raises.

        Raises:
            InputError: a value that the database does not take; :class:`NotAllowed`, which is one.
            Stopped: the database is gone, or its disk is full.
        """
        with self._explained():
            connection = self._connection()
            with connection.transaction(), connection.cursor() as cursor:
                yield cursor

    @contextlib.contextmanager
    def no_transaction(self) -> "Iterator[Cursor[Any]]":
        """A cursor for what takes no part in transactions, such as VACUUM. Raises what :meth:`transaction` does."""
        with self._explained(), self._connection().cursor() as cursor:
            yield cursor

    def disconnect(self) -> None:
        """End the connections of all threads; who needs one again gets another."""
        with self._lock:
            for _, connection in self._all:
                connection.close()
            self._all.clear()

    def _connection(self) -> "Connection[Any]":
        """This thread's; another one where the server has ended it."""
        found: Connection[Any] | None = getattr(self._mine, "connection", None)
        if found is None or found.closed:
            with self._lock:
                for thread, connection in self._all:
                    if not thread.is_alive():
                        connection.close()
                self._all = [(thread, connection) for thread, connection in self._all if not connection.closed]
            found = connect(self.address, self.shown)
            with self._lock:
                self._all.append((threading.current_thread(), found))
            self._mine.connection = found
        return found

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What goes wrong with the database, as one line."""
        from psycopg import errors

        try:
            yield
        except errors.InsufficientPrivilege as error:
            raise NotAllowed(f"{self.shown}: {first_line(error)}; connect as a role that may") from error
        except errors.ReadOnlySqlTransaction as error:
            raise NotAllowed(f"{self.shown}: a replica, which can be searched and no more; give its primary") from error
        except (errors.DiskFull, errors.OutOfMemory) as error:
            raise Stopped(
                f"{self.shown}: {first_line(error)}; make room and start the command again: what was done is kept"
            ) from error
        except errors.DataError as error:  # a number out of its range, text that is none: what came from outside
            raise InputError(f"{self.shown}: a value that the database does not take: {first_line(error)}") from error
        except errors.DatabaseError as error:
            if self._connection_is_sound() and not isinstance(error, errors.OperationalError):
                raise
            raise Stopped(
                f"{self.shown}: the database does not answer: {first_line(error)}; start the command again: what was "
                "done is kept"
            ) from error

    def _connection_is_sound(self) -> bool:
        found: Connection[Any] | None = getattr(self._mine, "connection", None)
        return found is not None and not found.closed


class Database(Connections):
    """The database that the user names, and the embedded server where it is one.

    Args:
        database: ``postgresql://…`` of a server that runs, the folder of an embedded one, or None: that of
            :func:`.server.default_folder`.
        create: make the embedded one if it is not there.

    Attributes:
        server: the embedded server; None where it is another one.

    Raises:
        InputError: no such database, or one that is of a later version; :class:`.server.NotInstalled`, which is one.
        Stopped: the embedded server does not start.
    """

    def __init__(self, database: str | Path | None = None, create: bool = True) -> None:
        psycopg = _psycopg()
        self.server: Server | None = None
        if isinstance(database, str) and database.startswith(_SCHEMES):
            try:
                address: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(database)
            except (psycopg.ProgrammingError, UnicodeEncodeError):
                raise InputError("--database: no address of a database; give postgresql://user@host/name") from None
            place = (str(address.get(key, "")) for key in ("host", "dbname"))
            super().__init__(address, printable("/".join(filter(None, place)) or "the database"))
        elif isinstance(database, str) and "://" in database:
            scheme = printable(database.partition("://")[0], 60)  # and no more: what follows may have a password
            raise InputError(f"--database {scheme}://…: no PostgreSQL; give postgresql://… or a folder")
        elif database is not None and not str(database):
            raise InputError("--database: is empty; give postgresql://… or a folder, or leave it out")
        else:
            self.server = Server(default_folder() if database is None else Path(database), create)
            super().__init__(self.server.address, printable(self.server.folder))
        try:
            self._connection()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connections of all threads, and the use of the embedded server."""
        self.disconnect()
        if self.server is not None:
            self.server.close()

    def _connection(self) -> "Connection[Any]":
        try:
            return super()._connection()
        except Unreachable:
            if self.server is None:
                raise
            self.server.restart()  # it was killed, and a program that runs for long goes on without being started anew
            return super()._connection()


def connect(address: dict[str, Any], shown: str) -> "Connection[Any]":
    """A connection with the newest schema, whose commits are on the disk.

    Args:
        address: how to connect, as psycopg takes it.
        shown: what to call the database in a message.

    Raises:
        InputError: it is of a later version; where it cannot be reached :class:`Unreachable`, which is one.
    """
    psycopg = _psycopg()
    from pgvector.psycopg import register_vector

    try:
        connection: Connection[Any] = psycopg.connect(
            **{**_PATIENCE, **address, "client_encoding": "UTF8"}, autocommit=True
        )
    except psycopg.Error as error:
        raise Unreachable(f"{shown}: no connection to the database: {first_line(error)}") from error
    try:
        with connection.transaction(), connection.cursor() as cursor:
            schema.migrate(cursor, shown)
            # A stricter setting, such as remote_apply, stays.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
        register_vector(connection)
        connection.add_notice_handler(_pass_on)
    except psycopg.Error as error:
        connection.close()
        raise Unreachable(f"{shown}: the database cannot be used: {first_line(error)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _pass_on(notice: "Diagnostic") -> None:
    """Say that an index outgrows its memory while it is built: from there on it takes many times as long."""
    if "maintenance_work_mem" in (notice.message_primary or ""):
        progress.say(f"warning: {notice.message_primary}; the rest takes many times as long")


def _psycopg() -> Any:
    try:
        import pgvector.psycopg  # noqa: F401
        import psycopg
    except ImportError as error:
        raise NotInstalled("galleries need a database: pip install 'elasticface[gallery]'") from error
    # A program that configures no logging would have its warnings of what ended with an error beside that error.
    logging.getLogger("psycopg").addHandler(_UNSAID)
    return psycopg
