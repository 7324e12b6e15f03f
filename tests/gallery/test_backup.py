"""A backup as docs/gallery.md describes it: pg_dump of the wheel, and pg_restore into an empty database."""

import subprocess
from pathlib import Path

from unit_vectors import made_up

from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.server import USER, programs
from elasticface.model.encoder import FaceEncoder


def test_what_was_dumped_is_restored(database: Database, encoder: FaceEncoder, tmp_path: Path) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    faces = made_up(10, 2)
    gallery.enrol_embeddings(faces)
    gallery.reindex(probes=5)
    before = gallery.people(), gallery.search_embeddings(faces[3].embedding[None])
    where = ["--host", database.address["host"], "--username", USER, "--dbname", USER]
    file = tmp_path / "gallery.dump"
    dump = [programs() / "pg_dump", *where, "--format=custom", "--file", file]
    subprocess.run(dump, check=True, umask=0o077)
    assert file.stat().st_mode & 0o777 == 0o600
    with database.transaction() as cursor:
        cursor.execute("DROP SCHEMA elasticface CASCADE")
    database.disconnect()
    subprocess.run([programs() / "pg_restore", *where, "--exit-on-error", file], check=True)
    assert (gallery.people(), gallery.search_embeddings(faces[3].embedding[None])) == before
    assert gallery.enrol_embeddings(faces) == ["is enrolled already"] * 20
    with database.transaction() as cursor:  # no statistics of embeddings there either
        cursor.execute("SELECT attstattarget FROM pg_attribute WHERE attrelid = 'elasticface.hnsw_1'::regclass")
        assert cursor.fetchall() == [(0,)]
