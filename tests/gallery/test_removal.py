"""Removal: the bytes of an embedding are in no file of the database any more, and the audit log has a line."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import pytest
from unit_vectors import made_up

from elasticface.base.errors import InputError, Stopped
from elasticface.data.images.decoding import encode
from elasticface.gallery import removal
from elasticface.gallery.collection import Aggregation
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.stats import audit, stats
from elasticface.model.encoder import FaceEncoder

psycopg = pytest.importorskip("psycopg", reason="needs the database: pip install 'elasticface[gallery]'")

NAME = "Zacharias Quetzalcoatl"


def files_with(database: Database, wanted: bytes) -> list[str]:
    """The files of the database that hold these bytes; those that a checkpoint removes may be gone meanwhile."""
    assert database.server is not None
    found = []
    for path in database.server.folder.rglob("*"):
        try:
            if path.is_file() and wanted in path.read_bytes():
                found.append(str(path))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("aggregation", "index"), [("best", False), ("best", True), ("mean", True)])
def test_nothing_of_who_was_removed_is_left_in_any_file(
    database: Database, encoder: FaceEncoder, aggregation: Aggregation, index: bool
) -> None:
    gallery = Gallery.create("friends", encoder, database=database, aggregation=aggregation, keep_faces=True)
    faces = made_up(40, 2)
    look = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    mine = [replace(face, person=NAME, source=f"{NAME}.jpg", aligned=look) for face in made_up(1, 1, seed=9)]
    gallery.enrol_embeddings(faces[:40])
    gallery.enrol_embeddings(mine)
    gallery.enrol_embeddings(faces[40:])
    if index:
        gallery.reindex(probes=5)
    with database.no_transaction() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("CHECKPOINT")
    # The middle of it, as PostgreSQL writes it: a page of the table may begin at any byte.
    embedding, name, picture = mine[0].halves.tobytes(), NAME.encode(), encode(look, ".png")[5000:5200]
    other = faces[0].halves.tobytes()
    assert any("/base/" in path for path in files_with(database, embedding))
    assert any("/base/" in path for path in files_with(database, picture))
    assert files_with(database, name)
    removed = gallery.remove(NAME)
    assert (removed.people, removed.faces, removed.remains) == (1, 1, "")
    assert files_with(database, embedding) == []
    assert files_with(database, name) == []
    assert files_with(database, picture) == []
    assert any("/base/" in path for path in files_with(database, other))
    (found,) = gallery.search_embeddings(mine[0].embedding[None], most=40)
    assert NAME not in {one.person for one in found.candidates}
    assert found.people == 40


def test_without_erasing_it_says_what_remains_until_it_is_erased(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    faces = made_up(3, 1)
    gallery.enrol_embeddings(faces)
    with database.no_transaction() as cursor:
        cursor.execute("CHECKPOINT")  # in the write-ahead log a page's header may stand amid the bytes
    removed = gallery.remove(["person 1"], erase=False)
    assert "may stay in freed space" in removed.lines()[-1]
    assert gallery.search_embeddings(faces[1].embedding[None])[0].people == 2
    assert files_with(database, faces[1].halves.tobytes())
    gallery.erase()
    assert files_with(database, faces[1].halves.tobytes()) == []


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"),
            "another transaction of the database was open",
        ),
        # As an export does, which keeps the table and no snapshot.
        (("SELECT count(*) FROM elasticface.face_1",), "somebody read them all the time"),
    ],
)
def test_who_still_sees_or_reads_them_is_said_and_not_waited_for_without_end(
    database: Database,
    encoder: FaceEncoder,
    monkeypatch: pytest.MonkeyPatch,
    statements: tuple[LiteralString, ...],
    told: str,
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    faces = made_up(3, 1)
    gallery.enrol_embeddings(faces)
    monkeypatch.setattr(removal, "PATIENCE", 0.2)
    monkeypatch.setattr(removal, "_ASK", 0.1)
    with psycopg.connect(**database.address) as other:
        for statement in statements:
            other.execute(statement)
        removed = gallery.remove("person 1")
        assert not removed.erased
        assert told in removed.remains
        other.rollback()
    done = gallery.erase()
    assert done.erased
    assert done.remains == ""
    assert files_with(database, faces[1].halves.tobytes()) == []


def test_all_that_is_waited_for_shares_one_patience(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create("means", encoder, database=database, aggregation="mean")
    gallery.enrol_embeddings(made_up(2, 1))
    left_over: list[float] = []
    lock_timeout = removal._lock_timeout

    def noted(cursor: Any, left: float) -> Any:
        left_over.append(left)
        return lock_timeout(cursor, left)

    monkeypatch.setattr(removal, "_lock_timeout", noted)
    monkeypatch.setattr(removal, "PATIENCE", 0.2)
    with psycopg.connect(**database.address) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for table in gallery.collection.tables:
            other.execute(psycopg.sql.SQL("SELECT count(*) FROM elasticface.{}").format(table))
        removed = gallery.remove("person 1")
        other.rollback()
    assert len(left_over) == 3  # each table is asked for, once
    assert all(left <= 0 for left in left_over)
    assert not removed.erased
    assert gallery.erase().erased


def test_all_or_nobody_is_removed(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(3, 1))
    with pytest.raises(InputError, match="nobody named 'x' is enrolled; nobody was removed"):
        gallery.remove(["person 1", "x"])
    assert [person.name for person in gallery.people()] == ["person 0", "person 1", "person 2"]
    removed = gallery.drop()
    assert (removed.people, removed.faces) == (3, 3)
    assert files_with(database, made_up(3, 1)[2].halves.tobytes()) == []
    for use in (gallery.people, lambda: gallery.enrol_embeddings(made_up(1, 1))):
        with pytest.raises(InputError, match="collection friends: was removed meanwhile"):
            use()
    with pytest.raises(InputError, match="no collection 'friends'"):
        Gallery("friends", database=database)


def test_a_role_that_may_not_write_the_files_afresh_is_told(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(3, 1))
    with database.no_transaction() as cursor:
        cursor.execute("DROP ROLE IF EXISTS clerk")
        cursor.execute("CREATE ROLE clerk LOGIN IN ROLE pg_checkpoint")
        cursor.execute("GRANT USAGE ON SCHEMA elasticface TO clerk")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA elasticface TO clerk")
        cursor.execute("REVOKE MAINTAIN ON ALL TABLES IN SCHEMA elasticface FROM clerk")
        cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA elasticface TO clerk")
        cursor.execute("GRANT EXECUTE ON FUNCTION pg_switch_wal TO clerk")
    folder = database.address["host"]
    clerks = Database(f"postgresql://clerk@/elasticface?host={folder}&port={database.address['port']}")
    removed = removal.remove(clerks, "friends", ["person 1"])
    assert (removed.people, removed.erased) == (1, False)
    assert "this role may not write them afresh; connect as their owner" in removed.remains
    clerks.close()
    assert gallery.erase().erased
    with database.no_transaction() as cursor:
        cursor.execute("DROP OWNED BY clerk")
        cursor.execute("DROP ROLE clerk")


def test_what_a_collection_that_is_gone_has_left_is_erased(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    faces = made_up(3, 1)
    gallery.enrol_embeddings(faces)
    removal.delete_collection(database, "friends")  # and a kill
    assert files_with(database, faces[0].halves.tobytes())  # in the log
    with pytest.raises(InputError, match="no collection 'freinds'"):
        removal.erase(database, "freinds")
    assert removal.erase(database, "friends").erased
    assert files_with(database, faces[0].halves.tobytes()) == []
    assert files_with(database, b"person 1") == []


def test_an_index_of_nobody_is_removed(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    assert gallery.reindex() is None
    gallery.enrol_embeddings(made_up(3, 1))
    assert gallery.reindex() is not None
    gallery.remove([person.name for person in gallery.people()])
    (told,) = stats(database)
    assert told.search == "exact"
    assert told.as_json()["recall"] is None


def test_the_audit_log_says_what_was_done_to_whom_without_names_or_embeddings(
    database: Database, encoder: FaceEncoder, tmp_path: Path
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings([type(face)(NAME, face.embedding, "a.jpg") for face in made_up(1, 3)])
    (person,) = gallery.people()
    gallery.export(tmp_path / "out")
    gallery.remove(NAME, erase=False)
    gallery.enrol_embeddings(made_up(2, 2))
    others = [one.id for one in gallery.people()]
    gallery.drop()
    told = audit(database)
    assert [row[2:] for row in told] == [
        ("create", "friends", None, 0),
        ("enrol", "friends", person.id, 3),
        ("export", "friends", None, 3),
        ("remove", "friends", person.id, 3),
        *(("enrol", "friends", other, 2) for other in others),
        *(("remove", "friends", other, 2) for other in others),
        ("drop", "friends", None, 4),
    ]
    assert NAME not in str(told)
    assert np.array_equal([row[1] for row in told], ["elasticface"] * 9)


@pytest.mark.parametrize("erase", [True, False])
def test_who_was_removed_is_told_where_the_database_ends_meanwhile(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch, erase: bool
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 1))

    def ended(*arguments: object) -> removal.Removal:
        raise Stopped("gone")

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_rewrite" if erase else "_vacuum", ended)
        told = gallery.remove("person 1", erase=erase)
    assert (told.people, told.faces, told.erased, list(told.numbers)) == (1, 1, False, ["person 1"])
    assert told.remains.endswith("give elasticface gallery remove without names")
    assert gallery.erase().erased


def test_what_a_crash_left_of_a_rewriting_is_erased(
    place: Path, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is written when the server is killed is no table afterwards, and its file stays."""
    database = Database(place / "orphan")
    assert database.server is not None
    gallery = Gallery.create("friends", encoder, database=database)
    faces = made_up(4, 2)
    gallery.enrol_embeddings(faces)
    mine = faces[0].halves.tobytes()
    with psycopg.connect(**database.address) as other:
        other.execute("CREATE TABLE copy (embedding bytea)")
        other.execute("INSERT INTO copy VALUES (%b)", [mine])
        monkeypatch.setattr(removal, "PATIENCE", 0.2)
        told = gallery.remove("person 1")  # whose table it is, cannot be seen
        assert not told.erased
        assert told.remains.startswith(
            "bytes of theirs stay in the files: another transaction of the database was open"
        )
        with database.no_transaction() as cursor:
            cursor.execute("CHECKPOINT")
        assert len(files_with(database, mine)) == 2  # in the collection's table and in that one
        os.kill(int((database.server.folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        other.close()
    database.disconnect()
    monkeypatch.undo()
    removed = gallery.remove("person 0")
    assert (removed.erased, removed.remains) == (True, "")
    assert files_with(database, mine) == []
    assert len(gallery.people()) == 2
    gallery.drop()
    database.close()
