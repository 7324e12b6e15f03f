"""Export and import: what comes back is what was there, and a damaged file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from unit_vectors import made_up, unit

from elasticface.base.errors import InputError
from elasticface.gallery.collection import Aggregation
from elasticface.gallery.database import Database
from elasticface.gallery.exchange import EMBEDDINGS, FACES, HEADER, load
from elasticface.gallery.gallery import Gallery
from elasticface.model.encoder import FaceEncoder


@pytest.mark.parametrize("aggregation", ["best", "mean"])
def test_what_comes_back_is_what_was_there(
    database: Database, encoder: FaceEncoder, aggregation: Aggregation, tmp_path: Path
) -> None:
    gallery = Gallery.create("friends", encoder, database=database, aggregation=aggregation)
    gallery.enrol_embeddings(made_up(20, 3))
    assert gallery.export(tmp_path / "out") == 60
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    found, done = load(database, tmp_path / "out", "others")
    assert (found.people, found.faces, found.aggregation, len(done.enrolled)) == (20, 60, aggregation, 60)
    others = Gallery("others", encoder, database=database)
    probes = unit(np.random.default_rng(3).normal(size=(5, 16)))
    for one, other in zip(gallery.search_embeddings(probes, 20), others.search_embeddings(probes, 20), strict=True):
        assert {c.person: c.similarity for c in one.candidates} == {c.person: c.similarity for c in other.candidates}
    _, again = load(database, tmp_path / "out", "others")
    assert (len(again.enrolled), len(again.already)) == (0, 60)
    others.export(tmp_path / "again")
    assert (tmp_path / "again" / FACES).read_bytes() == (tmp_path / "out" / FACES).read_bytes()
    assert (tmp_path / "again" / EMBEDDINGS).read_bytes() == (tmp_path / "out" / EMBEDDINGS).read_bytes()


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


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        (HEADER, lambda data: data.replace(b'"format": 1', b'"format": 2'), "not of format 1"),
        (
            HEADER,
            lambda data: data.replace(b'"faces": 4', b'"faces": 5'),
            r"where collection.json says float16 \[5, 16\]",
        ),
        (HEADER, lambda data: data.replace(b'"dimensions": 16', b'"dimensions": 1e9'), "dimensions"),
        (FACES, lambda data: data[:-20], "line 4: is cut off or too long"),
        (FACES, lambda data: data[: data.index(b"\n") + 1], "1 faces where collection.json says 4"),
        (FACES, lambda data: data + data, "line 5: more faces than the 4"),
        (FACES, lambda data: data.replace(b'"score":null', b'"score":7', 1), "line 1"),
        (FACES, lambda data: b"x" * (1 << 17), "line 1: is cut off or too long"),
        (EMBEDDINGS, lambda data: data[:-2], "embeddings.npy: cannot be read"),
        (EMBEDDINGS, lambda data: b"\x80\x04N.", "embeddings.npy: cannot be read"),
        (EMBEDDINGS, lambda data: data[:-32] + bytes(32), "an embedding of length 0"),
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


def test_the_files_are_plain(database: Database, encoder: FaceEncoder, tmp_path: Path) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    (face,) = made_up(1, 1)
    gallery.enrol_embeddings([face])
    gallery.export(tmp_path / "out")
    line = json.loads((tmp_path / "out" / FACES).read_text())
    assert (line["person"], line["source"]) == ("person 0", "0/0.jpg")
    assert np.array_equal(np.load(tmp_path / "out" / EMBEDDINGS, allow_pickle=False), face.halves[None])
