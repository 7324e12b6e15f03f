"""Migrations: once each, by whoever comes first; what a later version wrote is refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from elasticface.base.errors import InputError
from elasticface.gallery.database import Connections, Database
from elasticface.gallery.schema import MIGRATIONS

psycopg = pytest.importorskip("psycopg", reason="needs the database: pip install 'elasticface[gallery]'")


def version(database: Connections) -> tuple[int, int]:
    with database.transaction() as cursor:
        row = cursor.execute("SELECT count(*), max(version) FROM migration").fetchone()
    assert row is not None
    return row


def test_several_at_once_migrate_once(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(version, [database] * 4)) == {(len(MIGRATIONS), len(MIGRATIONS))}


def test_a_later_schema_is_refused(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO migration VALUES (%s, now())", [len(MIGRATIONS) + 1])
    with pytest.raises(InputError, match="was written by a later elasticface"):
        version(Connections(database.address, database.shown))


def test_statistics_hold_no_names_and_no_embeddings(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute(
            "SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid WHERE relkind "
            "IN ('r', 'p') AND relnamespace = 'elasticface'::regnamespace AND attstattarget = 0"
        )
        kept_out = {name for (name,) in cursor.fetchall()}
    assert kept_out == {"person.name", "face.embedding", "face.source", "face.photo", "template.embedding"}


def test_a_role_without_rights_of_its_own_uses_what_a_superuser_has_made(database: Database) -> None:
    with database.no_transaction() as cursor:
        for statement in ("DROP DATABASE IF EXISTS guests", "DROP ROLE IF EXISTS clerk", "CREATE ROLE clerk LOGIN"):
            cursor.execute(statement)
        cursor.execute("CREATE DATABASE guests")
    guests = {**database.address, "dbname": "guests"}
    with psycopg.connect(**guests) as made:  # as docs/gallery.md says it
        made.execute("CREATE SCHEMA elasticface AUTHORIZATION clerk")
        made.execute("CREATE EXTENSION vector SCHEMA elasticface")
    clerks = Connections({**guests, "user": "clerk"}, "guests")
    assert version(clerks) == (len(MIGRATIONS), len(MIGRATIONS))
    clerks.disconnect()
    with database.no_transaction() as cursor:
        cursor.execute("DROP DATABASE guests")
        cursor.execute("DROP ROLE clerk")
