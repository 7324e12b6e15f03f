"""Export and import: what comes back is what was there, and a damaged file is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit_vectors import made_up, unit

from elasticface.base.errors import InputError
from elasticface.gallery import collection as collections
from elasticface.gallery import exchange
from elasticface.gallery.collection import Aggregation, Collection, every
from elasticface.gallery.database import Database
from elasticface.gallery.exchange import EMBEDDINGS, FACES, HEADER, load
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.stats import audit
from elasticface.gallery.storing import store
from elasticface.model.encoder import FaceEncoder


@pytest.mark.parametrize("aggregation", ["best", "mean"])
def test_what_comes_back_is_what_was_there(
    database: Database, encoder: FaceEncoder, aggregation: Aggregation, tmp_path: Path
) -> None:
    gallery = Gallery.create("friends", encoder, database=database, aggregation=aggregation)
    gallery.enrol_embeddings(made_up(20, 3))
    assert gallery.export(tmp_path / "out") == 60
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    others, done = Gallery.load(tmp_path / "out", "others", encoder, database=database)
    found = others.stats().collection
    assert (found.people, found.faces, found.aggregation, len(done.enrolled)) == (20, 60, aggregation, 60)
    assert [(action, faces) for _, _, action, name, _, faces in others.audit() if name == "others"][-1] == (
        "import",
        60,
    )
    assert Gallery(" friends ", database=database).audit() == gallery.audit()
    assert len(gallery.audit()) + len(others.audit()) == len(audit(database))
    probes = unit(np.random.default_rng(3).normal(size=(5, 16)))
    for one, other in zip(gallery.search_embeddings(probes, 20), others.search_embeddings(probes, 20), strict=True):
        assert {c.person: c.similarity for c in one.candidates} == {c.person: c.similarity for c in other.candidates}
    _, again = load(database, tmp_path / "out", "others")
    assert (len(again.enrolled), len(again.already)) == (0, 60)
    others.export(tmp_path / "again")
    assert (tmp_path / "again" / FACES).read_bytes() == (tmp_path / "out" / FACES).read_bytes()
    assert (tmp_path / "again" / EMBEDDINGS).read_bytes() == (tmp_path / "out" / EMBEDDINGS).read_bytes()


def test_an_import_joins_another_one_that_has_made_the_collection_meanwhile(
    database: Database, encoder: FaceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gallery.create("friends", encoder, database=database).enrol_embeddings(made_up(2, 1))
    Gallery("friends", database=database).export(tmp_path / "out")
    insert, others = collections.insert, iter(range(1))

    def after_another(*arguments: Any, **keywords: Any) -> Collection:
        for _ in others:
            insert(*arguments, **keywords)
        return insert(*arguments, **keywords)

    monkeypatch.setattr(collections, "insert", after_another)
    found, done = load(database, tmp_path / "out", "others")
    assert (found.name, len(done.enrolled)) == ("others", 2)


def test_the_audit_log_has_every_face_of_an_import_that_was_stopped(
    database: Database, encoder: FaceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(5, 1))
    gallery.export(tmp_path / "out")
    gallery.drop()
    monkeypatch.setattr(exchange, "_ROWS", 2)
    calls = iter(range(3))

    def stopped(*arguments: Any) -> list[str | None]:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return store(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(exchange, "store", stopped)
        with pytest.raises(KeyboardInterrupt):
            load(database, tmp_path / "out", "back")
    load(database, tmp_path / "out")
    load(database, tmp_path / "out", "back")
    told = [(name, faces) for _, _, action, name, _, faces in audit(database) if action == "import"]
    assert told == [
        ("back", 2),
        ("back", 2),
        ("friends", 2),
        ("friends", 2),
        ("friends", 1),
        ("back", 0),
        ("back", 0),
        ("back", 1),
    ]


def test_an_empty_collection_comes_back(database: Database, encoder: FaceEncoder, tmp_path: Path) -> None:
    assert Gallery.create("nobody", encoder, database=database).export(tmp_path / "out") == 0
    found, _ = load(database, tmp_path / "out", "still nobody")
    assert found.faces == 0


def test_an_export_writes_over_nothing_and_an_import_joins_no_other_model(
    database: Database, encoder: FaceEncoder, other_encoder: FaceEncoder, tmp_path: Path
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    with pytest.raises(InputError, match="holds something already"):
        gallery.export(tmp_path / "full")
    gallery.export(tmp_path / "out")
    Gallery.create("others", other_encoder, database=database)
    with pytest.raises(InputError, match="give another name with --collection"):
        load(database, tmp_path / "out", "others")


def _changed(**fields: object) -> Callable[[bytes], bytes]:
    """The first line with other fields."""

    def change(data: bytes) -> bytes:
        first, rest = data.split(b"\n", 1)
        return json.dumps(json.loads(first) | fields).encode() + b"\n" + rest

    return change


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        (HEADER, lambda data: data.replace(b'"format": 2', b'"format": 3'), "not of format 1"),
        (
            HEADER,
            lambda data: data.replace(b'"faces": 4', b'"faces": 5'),
            r"\[4, 16\] numbers where collection.json says \[5, 16\]",
        ),
        (HEADER, lambda data: data.replace(b'"dimensions": 16', b'"dimensions": 1e9'), "dimensions"),
        (FACES, lambda data: data[:-20], "line 4: is cut off or too long"),
        (FACES, lambda data: data[: data.index(b"\n") + 1], "1 faces where collection.json says 4"),
        (FACES, lambda data: data + data, "line 5: more faces than the 4"),
        (FACES, lambda data: data.replace(b'"score":null', b'"score":7', 1), "line 1"),
        (FACES, lambda data: b"x" * (1 << 17), "line 1: is cut off or too long"),
        (HEADER, lambda data: data.replace(b'"model": "', b'"model": "\\u0000'), "model is '.x00small'"),
        (HEADER, lambda data: data.replace(b'"detector": "', b'"detector": "\\u0000'), "detector is '.x00yunet"),
        (HEADER, lambda data: data.replace(b'"size": 112', b'"size": "\\u0000"'), "preprocessing.size is '.x00'"),
        (HEADER, lambda data: data.replace(b'"size": 112', b'"deep": ' + b"[" * 900 + b"]" * 900), "no such field"),
        (FACES, _changed(enrolled="9999-12-31T23:59:59-12:00"), "line 1.* enrolled in the year 9999; it must be 1900"),
        (FACES, _changed(enrolled="0001-01-01T00:00:00+14:00"), "line 1.* enrolled in the year 1; it must be 1900"),
        (FACES, _changed(enrolled="2026-11-29T00:00:00"), "line 1: .*timezone"),
        (FACES, _changed(box=[1, 2, 3]), "line 1: box has 3 numbers, not 4, or none"),
        (FACES, _changed(person=" "), r"line 1, and that row of embeddings.npy: the name of a person must have 1 to"),
        (FACES, _changed(person="a\0b"), "line 1, .* must be text in UTF-8, without NUL"),
        (FACES, _changed(source="a\0b"), "line 1, .* must be text in UTF-8 of at most 4,096 bytes, without NUL"),
        (FACES, _changed(other=1), "line 1: .*unknown field `other`"),
        (
            EMBEDDINGS,
            lambda data: data[:-2],
            r"embeddings.npy: .* 254 bytes where \[4, 16\] takes 256",
        ),
        (EMBEDDINGS, lambda data: b"\x80\x04N.", "embeddings.npy: not an array that can be mapped; export it again"),
        (EMBEDDINGS, lambda data: data.replace(b"(4, 16)", b"(9" + b"0" * 30 + b", 16)"), "not|float16"),
        (EMBEDDINGS, lambda data: data.replace(b"(4, 16)", b"((((((("), "not an array that can be mapped"),
        (EMBEDDINGS, lambda data: b"PK\x03\x04" + data, "not an array that can be mapped"),
        (EMBEDDINGS, lambda data: data.replace(b"<f2", b">f2"), "float16|>f2"),
        (EMBEDDINGS, lambda data: data[:-32] + bytes(32), "line 4, and that row of embeddings.npy: .* of length 0"),
        (EMBEDDINGS, lambda data: data[:-2] + b"\x00\x7e", "line 4, .* an embedding of length nan"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    database: Database, encoder: FaceEncoder, tmp_path: Path, name: str, damage: object, told: str
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 2))
    gallery.export(tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match=told) as error:
        load(database, tmp_path / "out", "back")
    assert len(str(error.value).splitlines()) == 1
    assert [one.name for one in every(database)] == ["friends"]


@pytest.mark.parametrize("name", [HEADER, FACES, EMBEDDINGS])
def test_a_pipe_in_a_files_place_is_refused_at_once(
    database: Database, encoder: FaceEncoder, tmp_path: Path, name: str
) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 2))
    gallery.export(tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    os.mkfifo(tmp_path / "out" / name)
    with pytest.raises(InputError, match=rf"{name}: cannot be read: is a named pipe"):
        load(database, tmp_path / "out", "back")


def test_nothing_is_enrolled_where_a_later_face_is_damaged(
    database: Database, encoder: FaceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elasticface.gallery.exchange._ROWS", 1)
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 2))
    gallery.export(tmp_path / "out")
    gallery.remove("person 0")
    path = tmp_path / "out" / FACES
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="line 4: is cut off"):
        load(database, tmp_path / "out", "friends")
    assert (gallery.collection.people, gallery.collection.faces) == (1, 2)


def test_a_score_that_underflows_comes_in_as_zero(database: Database, encoder: FaceEncoder, tmp_path: Path) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 2))
    gallery.export(tmp_path / "out")
    path = tmp_path / "out" / FACES
    path.write_bytes(_changed(score=1e-300)(path.read_bytes()))
    assert load(database, tmp_path / "out", "back")[0].faces == 4


def test_an_export_is_not_written_through_a_map(
    database: Database, encoder: FaceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk that would be SIGBUS: no message, and a part of the export left there."""
    monkeypatch.delattr(np, "memmap")
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(2, 2))
    assert gallery.export(tmp_path / "out") == 4


def test_the_files_are_plain(database: Database, encoder: FaceEncoder, tmp_path: Path) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    (face,) = made_up(1, 1)
    gallery.enrol_embeddings([face])
    gallery.export(tmp_path / "out")
    line = json.loads((tmp_path / "out" / FACES).read_text())
    assert (line["person"], line["source"]) == ("person 0", "0/0.jpg")
    assert np.array_equal(np.load(tmp_path / "out" / EMBEDDINGS, allow_pickle=False), face.halves[None])
