"""Kept faces: only where they were asked for, the very pixels that were embedded, and out again as pictures."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit_vectors import made_up

from elasticface.base.errors import InputError
from elasticface.data.images.decoding import decode, encode
from elasticface.faces import FaceFinder
from elasticface.gallery import faces
from elasticface.gallery.database import Database
from elasticface.gallery.exchange import FACES, HEADER, load
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.people import NoPerson
from elasticface.gallery.prepared import prepare
from elasticface.gallery.rules import Rules
from elasticface.gallery.storing import NewFace
from elasticface.model.encoder import FaceEncoder

LOOK = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)


@pytest.fixture
def keeping(database: Database, encoder: FaceEncoder) -> Gallery:
    return Gallery.create("friends", encoder, database=database, keep_faces=True)


def kept(look: Any = LOOK) -> list[NewFace]:
    """Three people of two faces; each has a picture but the last."""
    return [replace(face, aligned=None if at == 5 else look) for at, face in enumerate(made_up(3, 2))]


def test_the_aligned_face_is_kept_where_it_was_asked_for(
    keeping: Gallery, database: Database, encoder: FaceEncoder, album: Path
) -> None:
    for gallery in (keeping, Gallery.create("others", encoder, database=database)):
        gallery.enrol_folder(album / "people", workers=1)
        found = sorted(gallery.faces("person 0"), key=lambda face: face.photo)
        assert [face.photo for face in found] == ["person 0/0.png", "person 0/1.png"]
        answer = gallery.search(album / "people/person 0/1.png")
        best = answer.found.candidates[0]
        assert (best.face, best.id) == (found[1].id, gallery.people(["person 0"])[0].id)
        pictures = faces.pictures(gallery.database, gallery.collection, [face.id for face in found])
        if gallery is keeping:
            assert pictures == {face.id: face.picture for face in found}
            for face in found:
                photo = (album / "people" / face.photo).read_bytes()
                seen = prepare(photo, face.photo, FaceFinder(), Rules(), 112)
                assert face.picture is not None
                assert face.picture.startswith(b"\x89PNG")
                assert np.array_equal(decode(face.picture, ""), seen.face)
                assert (face.box, face.score) == (seen.box, pytest.approx(seen.score))
        else:
            assert pictures == {}
            assert {face.picture for face in found} == {None}


def test_a_person_is_read_some_faces_at_a_time(keeping: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping.enrol_embeddings(made_up(2, 7))
    whole = list(keeping.faces("person 1"))
    for name, less in (("_AT_A_TIME", 3), ("_BYTES", 2 * 3 * 112**2)):  # which bounds the memory of large pictures
        with monkeypatch.context() as smaller:
            smaller.setattr(faces, name, less)
            found, following = faces.page(keeping.database, "friends", "person 1", 0, faces._AT_A_TIME)
            assert len(found) == (3 if name == "_AT_A_TIME" else 2)
            assert following == found[-1].id
            assert list(keeping.faces("person 1")) == whole
    assert len(whole) == 7
    assert faces.page(keeping.database, "friends", "person 1", whole[4].id, 2) == (whole[5:], None)
    for nobody in ("Ann", 999):
        with pytest.raises(NoPerson, match=r"nobody (named 'Ann'|number 999) is enrolled"):
            next(keeping.faces(nobody))


@pytest.mark.parametrize("look", [LOOK[:100], LOOK.astype(np.float32), LOOK[..., 0], LOOK.tolist(), b"PNG"])
def test_what_is_no_aligned_face_is_refused(keeping: Gallery, look: Any) -> None:
    with pytest.raises(InputError, match=r"an aligned face of .*, not uint8 \[112, 112, 3\]"):
        keeping.enrol_embeddings(kept(look))
    assert keeping.collection.faces == 0


def test_whether_they_are_kept_is_yes_or_no(database: Database, encoder: FaceEncoder) -> None:
    wrong: Any = "no"
    with pytest.raises(InputError, match="keep_faces is 'no', not True or False"):
        Gallery.create("friends", encoder, database=database, keep_faces=wrong)


def test_an_export_has_them_and_an_import_keeps_them_where_that_was_asked_for(
    keeping: Gallery, database: Database, encoder: FaceEncoder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keeping.enrol_embeddings(kept())
    keeping.export(tmp_path / "out")
    copy, _ = Gallery.load(tmp_path / "out", "copy", encoder, database=database)
    assert copy.collection.keeps_faces
    assert {face.picture for face in copy.faces("person 2")} == {encode(LOOK, ".png"), None}
    copy.export(tmp_path / "again")
    assert (tmp_path / "again" / FACES).read_bytes() == (tmp_path / "out" / FACES).read_bytes()
    bare = Gallery.create("bare", encoder, database=database)
    load(database, tmp_path / "out", "bare")
    assert "note: the collection bare keeps no faces; those of the export are left out" in capfd.readouterr().err
    assert {face.picture for face in bare.faces("person 0")} == {None}
    bare.export(tmp_path / "bare")
    load(database, tmp_path / "bare", "friends")
    assert "note: the collection friends keeps faces, and the export has none" in capfd.readouterr().err


def test_what_the_first_version_exported_is_read(keeping: Gallery, database: Database, tmp_path: Path) -> None:
    keeping.enrol_embeddings(made_up(2, 1))
    keeping.export(tmp_path / "out")
    change_header(tmp_path / "out", format=1, keeps_faces=None)
    found, done = load(database, tmp_path / "out", "copy")
    assert (found.keeps_faces, len(done.enrolled)) == (False, 2)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (encode(LOOK[:90, :90], ".png"), "its picture: 90x90 is no aligned face of 112x112"),
        (b"no picture", "its picture is no PNG"),
        (encode(LOOK, ".jpg"), "its picture is no PNG"),
        (encode(LOOK, ".png")[:-9], "its picture: "),
    ],
)
def test_a_picture_of_an_export_that_is_none_changes_nothing(
    keeping: Gallery, database: Database, tmp_path: Path, picture: bytes, told: str
) -> None:
    keeping.enrol_embeddings(kept())
    keeping.export(tmp_path / "out")
    place = tmp_path / "out" / FACES
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    lines[1]["aligned"] = base64.b64encode(picture).decode()
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=f"faces.jsonl, line 2, and that row of embeddings.npy: {told}"):
        load(database, tmp_path / "out", "copy")
    change_header(tmp_path / "out", preprocessing={"size": 90})
    with pytest.raises(InputError, match=r"made with small \(112 pixels, .* not as .* small \(90 pixels"):
        load(database, tmp_path / "out", "friends")
    change_header(tmp_path / "out", keeps_faces=False)
    with pytest.raises(InputError, match=r"line 1.*has a picture where collection.json says that none is kept"):
        load(database, tmp_path / "out", "copy")
    with pytest.raises(InputError, match="no collection 'copy'"):
        Gallery("copy", database=database)


def change_header(folder: Path, **values: Any) -> None:
    header = json.loads((folder / HEADER).read_text()) | values
    (folder / HEADER).write_text(json.dumps({key: value for key, value in header.items() if value is not None}))


def test_they_are_written_as_pictures(keeping: Gallery, encoder: FaceEncoder, tmp_path: Path) -> None:
    keeping.enrol_embeddings(kept())
    people = keeping.people(["person 2", "person 0"])
    assert [person.name for person in people] == ["person 0", "person 2"]
    assert keeping.write_faces(tmp_path / "out", [*people, people[0]]) == {people[0].id: 2, people[1].id: 1}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    first = next(keeping.faces("person 0"))
    assert (tmp_path / f"out/{people[0].id}/{first.id}.png").read_bytes() == encode(LOOK, ".png")
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("*.png")) == sorted(
        [str(people[0].id)] * 2 + [str(people[1].id)]
    )
    assert [row[2:] for row in keeping.audit() if row[2] == "export"] == [
        ("export", "friends", people[0].id, 2),
        ("export", "friends", people[1].id, 1),
    ]
    with pytest.raises(InputError, match="nobody named 'Ann' is enrolled"):
        keeping.people(["person 0", "Ann"])
    bare = Gallery.create("bare", encoder, database=keeping.database)
    bare.enrol_embeddings(kept())
    with pytest.raises(InputError, match="collection bare: keeps no faces"):
        bare.write_faces(tmp_path / "bare", bare.people())
    with pytest.raises(InputError, match="collection friends: nobody whose faces could be written"):
        keeping.write_faces(tmp_path / "bare", [])
    assert not (tmp_path / "bare").exists()
