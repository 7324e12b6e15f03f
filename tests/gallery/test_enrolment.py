"""Enrolment: the same photo is one face, what is not enrolled has a reason, and names are data."""

import csv
import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from album import NOBODY
from unit_vectors import made_up, unit

from elasticface.base.errors import InputError
from elasticface.data.images.decoding import decode, encode
from elasticface.faces import FaceFinder, align_faces
from elasticface.gallery import enrolment
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.prepared import prepare
from elasticface.gallery.rules import FaceChoice, Rules
from elasticface.gallery.storing import ALREADY, NewFace
from elasticface.model.encoder import FaceEncoder


@pytest.fixture
def gallery(database: Database, encoder: FaceEncoder) -> Gallery:
    return Gallery.create("friends", encoder, database=database)


def faces_of(gallery: Gallery) -> dict[str, int]:
    return {person.name: person.faces for person in gallery.people()}


def test_a_folder_is_enrolled_once_however_often(gallery: Gallery, album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    shutil.copytree(album / "people", folder)
    done = gallery.enrol_folder(folder, workers=2)
    assert done.lines() == ["faces enrolled: 6"]
    shutil.copy(folder / "person 0/0.png", folder / "person 0/copy.png")
    shutil.copy(folder / "person 0/0.png", folder / "person 1/not me.png")
    shutil.copy(album / NOBODY, folder / "person 1")
    shutil.copy(album / "two.png", folder / "Ann.png")
    (folder / "person 2/damaged.jpg").write_bytes(b"no image")
    (folder / "Bo").mkdir()
    (folder / "Bo/1.jpg_original").write_bytes(b"no image's suffix")
    (folder / "person 2/notes").touch()
    again = gallery.enrol_folder(folder, workers=1)
    assert again.enrolled == []
    assert len(again.already) == 7
    assert again.refused == {
        "Ann.png": "2 faces are in it; cut one out, or have the largest taken (faces: largest)",
        "person 1/nobody.png": "no face was found in it",
        "person 1/not me.png": "the same face of the same photo is enrolled as person 0",
        "person 2/damaged.jpg": again.refused["person 2/damaged.jpg"],
    }
    assert "image" in again.refused["person 2/damaged.jpg"]
    assert again.left_out == {"Bo": "a folder without a photo", "person 2/notes": "no image's suffix"}
    assert again.lines()[-3:] == [
        "left out: 2",
        "  Bo: a folder without a photo",
        "  person 2/notes: no image's suffix",
    ]
    assert faces_of(gallery) == {"person 0": 2, "person 1": 2, "person 2": 2}
    again.write(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows].count("refused") == 4
    assert [row["photo"] for row in rows if row["outcome"] == "left out"] == ["Bo", "person 2/notes"]
    assert len(rows) == 13
    assert gallery.enrol_folder(folder, rules=Rules("largest"), workers=1).enrolled == ["Ann.png"]
    assert (gallery.collection.people, gallery.collection.faces) == (4, 7)


@pytest.mark.parametrize("in_folder", [False, True])
def test_a_photo_gives_a_person_one_face_and_a_face_has_one_person(
    gallery: Gallery, album: Path, tmp_path: Path, in_folder: bool
) -> None:
    group = np.pad(decode((album / "two.png").read_bytes(), "two"), ((0, 0), (100, 0), (0, 0)), constant_values=128)

    def enrol(person: str, faces: FaceChoice) -> str | None:
        photo = tmp_path / f"{person} {faces}" / person / "group.png"
        photo.parent.mkdir(parents=True)
        photo.write_bytes(encode(group, ".png"))
        if not in_folder:
            return gallery.enrol(person, photo, rules=Rules(faces))
        done = gallery.enrol_folder(photo.parent.parent, rules=Rules(faces), workers=1)
        return ALREADY if done.already else done.refused.get(f"{person}/group.png")

    assert enrol("Ann", "largest") is None
    assert enrol("Ann", "central") == ALREADY  # it is Bo's
    assert enrol("Bo", "largest") == "the same face of the same photo is enrolled as Ann"
    assert enrol("Bo", "central") is None
    assert faces_of(gallery) == {"Ann": 1, "Bo": 1}


def test_a_report_has_names_that_are_not_utf8(tmp_path: Path) -> None:
    enrolment.Enrolment(refused={"Zo\udceb.png": "no face was found in it"}).write(tmp_path / "report.csv")
    assert "Zo\\xeb.png,refused,no face" in (tmp_path / "report.csv").read_text()


def test_an_enrolment_that_is_broken_off_goes_on_with_the_rest(
    gallery: Gallery, album: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(enrolment, "CHUNK", 2)
    store, calls = enrolment.store_prepared, iter(range(3))

    def broken_off(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return store(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(enrolment, "store_prepared", broken_off)
        with pytest.raises(KeyboardInterrupt):
            gallery.enrol_folder(album / "people", workers=1)
    assert faces_of(gallery) == {"person 0": 2}
    capsys.readouterr()
    again = gallery.enrol_folder(album / "people", workers=1)
    assert (len(again.enrolled), len(again.already), again.refused) == (4, 2, {})
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "enrolling 0/6"
    assert last.startswith("enrolling 6/6  not enrolled 0  done in ")


def test_faces_that_are_small_or_of_a_low_score_are_refused(gallery: Gallery, album: Path) -> None:
    photo = album / "people/person 0/0.png"
    assert gallery.enrol("Ann", photo, rules=Rules(smallest=200)).endswith("pixels wide, less than 200")
    assert gallery.enrol("Ann", photo, rules=Rules(least_score=1.0)).endswith("below 1")
    assert faces_of(gallery) == {}
    assert gallery.enrol("Ann", photo) is None
    assert gallery.enrol("Ann", photo.read_bytes()) == ALREADY
    with pytest.raises(InputError, match="least score lie in 0 to 1"):
        Rules(least_score=2)


@pytest.mark.parametrize(
    ("photo", "rules", "why"),
    [
        ("people/person 0/0.png", Rules(), ""),
        ("people/person 0/0.png", Rules(smallest=200), "wide, less than 200"),
        ("people/person 0/0.png", Rules(least_score=1.0), "below 1"),
        ("two.png", Rules(), "2 faces are in it"),
        ("two.png", Rules("largest", smallest=200), "wide, less than 200"),
        ("nobody.png", Rules(), "no face was found in it"),
    ],
)
def test_a_refused_photo_has_the_face_that_was_looked_at(album: Path, photo: str, rules: Rules, why: str) -> None:
    found = prepare((album / photo).read_bytes(), photo, FaceFinder(), rules, 112)
    assert why in found.reason
    assert (found.reason == "") == (found.aligned is not None)
    faces = align_faces(album / photo, faces="all")
    assert found.found == len(faces)
    assert (found.face is None) == (len(faces) == 0)
    for largest in faces[:1]:
        np.testing.assert_array_equal(found.face, largest)


def test_names_are_data(gallery: Gallery, database: Database) -> None:
    names = ["Robert'); DROP TABLE elasticface.face; --", "%s", "$1", "a\nb", "日本", "\\", "{}"]
    vectors = unit(np.random.default_rng(0).normal(size=(len(names), 16)))
    faces = [NewFace(name, vector, name) for name, vector in zip(names, vectors, strict=True)]
    assert gallery.enrol_embeddings(faces) == [None] * len(names)
    assert faces_of(gallery) == dict.fromkeys(names, 1)
    for vector, name in zip(vectors, names, strict=True):
        (found,) = gallery.search_embeddings(vector[None], most=1)
        assert (found.candidates[0].person, found.candidates[0].photo) == (name, name)


def test_embeddings_must_fit_and_nothing_of_a_wrong_batch_is_kept(gallery: Gallery) -> None:
    good = made_up(2, 1)
    for vector, told in (
        (np.ones(16), "an embedding of length 4"),
        (unit(np.ones(8)), r"an embedding of \[8\] where the collection has 16"),
        (np.full(16, np.nan), "of length nan"),
    ):
        with pytest.raises(InputError, match=told):
            gallery.enrol_embeddings([*good, NewFace("Ann", vector, "a.jpg")])
    assert faces_of(gallery) == {}


def test_who_has_no_face_of_their_own_is_nobody(gallery: Gallery) -> None:
    (face,) = made_up(1, 1)
    assert gallery.enrol_embeddings([face, NewFace("Ann", face.embedding, "same.jpg")]) == [
        None,
        "the same face of the same photo is enrolled as person 0",
    ]
    assert faces_of(gallery) == {"person 0": 1}
    assert gallery.collection.people == 1


def test_what_is_counted_is_what_is_there(gallery: Gallery, database: Database) -> None:
    gallery.enrol_embeddings(made_up(20, 3))
    gallery.enrol_embeddings(made_up(25, 3))
    gallery.remove(["person 3", "person 7"], erase=False)
    with database.transaction() as cursor:
        there = cursor.execute("SELECT (SELECT count(*) FROM person), (SELECT count(*) FROM face)").fetchone()
    assert (gallery.collection.people, gallery.collection.faces) == there == (23, 69)


def test_a_mean_is_that_of_the_faces_that_are_there(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("means", encoder, database=database, aggregation="mean")
    faces = made_up(3, 4)
    for face in faces:
        gallery.enrol_embeddings([face])
    probe = unit(np.random.default_rng(1).normal(size=16))
    (found,) = gallery.search_embeddings(probe[None])
    for one in found.candidates:
        own = [face.halves.astype(np.float64) for face in faces if face.person == one.person]
        assert one.similarity == pytest.approx(float(unit(np.mean(own, axis=0)) @ probe), abs=2e-3)
    assert found.comparisons == 3


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"source": "\udcff.jpg"}, "a photo's name must be text in UTF-8"),
        ({"photo": b"x"}, "a photo's SHA-256 has 32 bytes, not 1"),
        ({"box": (1 << 40, 0, 1, 1)}, "which is beyond any photo"),
        ({"box": (0, 0, 1)}, "a box of 3 numbers, not of 4, or of none"),
        ({"score": float("nan")}, "a score of nan; it must lie in 0 to 1"),
        ({"enrolled": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))}, "enrolled in the year 9999"),
    ],
)
def test_what_no_collection_can_have_is_refused(gallery: Gallery, changed: dict[str, Any], told: str) -> None:
    (face,) = made_up(1, 1)
    with pytest.raises(InputError, match=told):
        gallery.enrol_embeddings([replace(face, **changed)])
    assert gallery.people() == []
