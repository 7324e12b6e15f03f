"""What goes wrong with the database is one line, and who lost a connection gets another."""

import contextlib
import logging
from pathlib import Path

import pytest

from elasticface.base.errors import InputError, Stopped
from elasticface.gallery.database import Database

psycopg = pytest.importorskip("psycopg", reason="needs the database: pip install 'elasticface[gallery]'")


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (psycopg.errors.DiskFull, Stopped, "make room and start the command again: what was done is kept"),
        (psycopg.errors.OutOfMemory, Stopped, "make room"),
        (psycopg.errors.InsufficientPrivilege, InputError, "connect as a role that may"),
        (psycopg.errors.ReadOnlySqlTransaction, InputError, "a replica, which can be searched and no more"),
        (psycopg.errors.AdminShutdown, Stopped, "the database does not answer"),
        (psycopg.errors.DeadlockDetected, Stopped, "start the command again"),
    ],
)
def test_what_goes_wrong_is_one_line(
    database: Database, error: type[psycopg.Error], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told) as raised, database.transaction():
        raise error("no more\nDETAIL: a name")
    assert "DETAIL" not in str(raised.value)
    assert database.shown in str(raised.value)


def test_a_lost_connection_is_said_and_the_next_transaction_has_another(database: Database) -> None:
    with pytest.raises(Stopped, match="the database does not answer"), database.transaction() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with database.transaction() as cursor:
        assert cursor.execute("SELECT 1").fetchone() == (1,)


def test_what_psycopg_logs_is_not_said_beside_the_error(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.transaction():
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program that configures no logging
        logging.getLogger("psycopg").warning("error ignored terminating")
    assert capsys.readouterr().err == ""


def test_what_raises_leaves_nothing(database: Database) -> None:
    with contextlib.suppress(KeyError), database.transaction() as cursor:
        cursor.execute("INSERT INTO audit (action, collection) VALUES ('create', 'x')")
        raise KeyError
    with database.transaction() as cursor:
        assert cursor.execute("SELECT count(*) FROM audit").fetchone() == (0,)


def test_a_file_is_no_folder_of_a_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file"):
        Database(tmp_path / "file")
