"""Migrations: once each, by whoever comes first; what a later version wrote is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from unit_vectors import made_up

from elasticface.base.errors import InputError
from elasticface.faces.finder import FaceFinder
from elasticface.gallery import schema
from elasticface.gallery.collection import fingerprint
from elasticface.gallery.database import Connections, Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.schema import MIGRATIONS
from elasticface.model.encoder import FaceEncoder

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
    faces = {f"face.{column}" for column in ("embedding", "source", "photo", "aligned")}
    assert kept_out == {"person.name", "template.embedding", *faces}


def test_what_the_first_version_made_goes_on(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.no_transaction() as cursor:
        cursor.execute("DROP SCHEMA elasticface CASCADE")
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS[:1])
    first = Connections(database.address, database.shown)
    with first.transaction() as cursor:  # as the first version made a collection
        cursor.execute(
            "INSERT INTO collection (name, model, fingerprint, dimensions, preprocessing, detector, aggregation) "
            "VALUES ('friends', 'small', %s, 16, %s, %s, 'best') RETURNING id",
            [fingerprint(encoder), json.dumps(asdict(encoder.card.preprocessing)), FaceFinder().name],
        )
        row = cursor.fetchone()
        assert row is not None
        cursor.execute(f"CREATE TABLE face_{row[0]} PARTITION OF face FOR VALUES IN ({row[0]})")
        cursor.execute(f"CREATE TABLE person_{row[0]} PARTITION OF person FOR VALUES IN ({row[0]})")
    first.disconnect()
    monkeypatch.undo()
    database.disconnect()
    gallery = Gallery("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 2))
    assert (gallery.collection.keeps_faces, gallery.collection.faces) == (False, 4)
    assert {face.picture for face in gallery.faces("person 1")} == {None}


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
