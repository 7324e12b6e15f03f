"""elasticface.recognition: photos to a decision, a person or embeddings; no decision where none was measured."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from calibrated import calibrated, calibration, having

from elasticface import backbones
from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.data.images.decoding import decode, encode
from elasticface.data.images.photos import Photos
from elasticface.faces import FaceFinder, align_faces, choose
from elasticface.faces.landmarks import read_faces
from elasticface.model.calibration import gallery_fmr
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition import embed_folder
from elasticface.recognition.embed_folder import embed_photos
from elasticface.recognition.page import write_verification
from elasticface.recognition.search import find
from elasticface.recognition.verification import Threshold, check_embedding, compared, verify

WRITTEN = ("embeddings.npy", "faces.csv", "embed.json")


@pytest.fixture(scope="session")
def pair(album):
    return album / "people/person 0/0.png", album / "people/person 1/1.png"


def test_the_similarity_is_the_cosine_of_the_aligned_faces(pair, encoder):
    found = verify(*pair, encoder)
    a, b = encoder.embed(np.concatenate([align_faces(path) for path in pair]))
    assert found.similarity == pytest.approx(float(a @ b), abs=1e-6)
    assert found.same is None
    assert found.llr is None
    assert found.threshold.reason == "the model is not calibrated: see `elasticface calibrate`"


def test_the_decision_is_by_the_threshold_of_the_rate_that_is_asked_for(pair, encoder):
    similarity = verify(*pair, encoder).similarity
    given = calibration(encoder, (1e-1, similarity - 0.01), (1e-3, similarity), (1e-4, similarity + 0.01))
    for fmr, same in ((1e-1, True), (1e-3, True), (1e-4, False), (None, True)):
        found = verify(*pair, having(encoder, given), fmr=fmr)
        assert found.same is same
        assert found.threshold.point.fmr == (fmr or 1e-3)
    assert found.llr == pytest.approx(10 * similarity - 4)
    with pytest.raises(InputError, match=r"no threshold for a false match rate of 0.01, but for 0.1, 0.001, 0.0001"):
        verify(*pair, having(encoder, given), fmr=1e-2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"detector": "scrfd"}, "the detector was 'scrfd' and is 'yunet-2023mar/1'"),
        ({"flip": False}, "the mirror image was not added and is"),
        ({"fingerprint": (0.0, 1.0)}, "the model is another one"),
    ],
)
def test_a_calibration_under_other_conditions_is_void(pair, encoder, change, reason):
    given = calibration(encoder, (1e-3, 0.0))
    given = replace(given, conditions=replace(given.conditions, **change))
    found = verify(*pair, having(encoder, given))
    assert found.same is None
    assert found.threshold.reason.startswith(f"the model's calibration is void: {reason}")


def test_of_several_faces_it_is_said_which_was_taken_and_none_is_refused(album, encoder, pair):
    found = verify(pair[0], album / "two.png", encoder, names=("a.png", "two.png"))
    assert found.faces[0].note is None
    assert found.faces[1].note.startswith("two.png: 2 faces; the one at (")
    with pytest.raises(InputError, match=r"nobody.png: no face was found in 240x200 pixels; give a photo"):
        verify(pair[0], album / "nobody.png", encoder, names=("a.png", "nobody.png"))


@pytest.mark.parametrize(
    ("values", "reason"), [([0, 0], "is zero"), ([1, np.nan], "a number that is none"), ([np.inf, 0], "that is none")]
)
def test_an_embedding_that_says_nothing_is_refused(values, reason):
    with pytest.raises(InputError, match=f"small: its embedding of a.jpg .*{reason}; the model is broken"):
        check_embedding(np.array(values, np.float32), "a.jpg", "small")
    check_embedding(np.array([0, 1], np.float32), "a.jpg", "small")


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_takes_no_similarity_beyond_one(pair, encoder, sign):
    faces = verify(*pair, encoder).faces
    embeddings = np.array([[1 + 1e-6, 0], [sign, 0]], np.float32)
    assert compared(faces, embeddings, Threshold(None, reason="none"), "small").similarity == sign


def test_the_json_has_the_keys_that_scripts_rely_on(pair, encoder):
    found = verify(*pair, calibrated(encoder, (1e-3, 2.0)), names=("a", "b"))
    told = json.loads(json.dumps(found.as_json()))
    assert {*told} >= {"similarity", "same", "threshold", "fmr", "fmr_interval"}
    assert (told["same"], told["threshold"], told["fmr"], told["fmr_interval"]) == (False, 2.0, 1e-3, [2.5e-4, 2e-3])
    told = verify(*pair, encoder).as_json()
    assert told["same"] is told["threshold"] is told["fmr"] is told["fmr_interval"] is None


def test_the_page_stands_alone_and_escapes_names(pair, encoder, tmp_path):
    for given in (None, calibration(encoder, (1e-1, 0.1), (1e-3, 0.2))):
        found = verify(*pair, having(encoder, given), names=("<b>a</b>.png", "b.png"))
        write_verification(tmp_path / "page.html", found, "small")
        page = (tmp_path / "page.html").read_text()
        assert "&lt;b&gt;a&lt;/b&gt;.png" in page
        assert "<b>a" not in page
        assert page.count("data:image/jpeg;base64,") == 4
        assert "http" not in page


def test_the_most_similar_person_comes_first_and_strangers_are_unknown(album, encoder):
    photo = album / "people/person 1/0.png"
    found = find(photo, album / "people", calibrated(encoder, (1e-3, 0.999)), workers=1)
    assert (found.person, found.people, found.comparisons) == ("person 1", 3, 6)
    assert found.candidates[0].photo == "person 1/0.png"
    assert found.candidates[0].similarity == pytest.approx(1, abs=1e-5)
    assert found.candidates[0].similarity <= 1
    assert found.false_positive_rate == pytest.approx(1 - (1 - 1e-3) ** 6)
    unknown = find(photo, album / "people", calibrated(encoder, (1e-3, 1.5)), workers=1)
    assert unknown.person is None
    assert unknown.as_json()["unknown"] is True
    assert find(photo, album / "people", encoder, workers=1).as_json()["unknown"] is None
    broken = FaceEncoder(lambda images: images.new_zeros(len(images), encoder.card.embedding_size), encoder.card)
    with pytest.raises(InputError, match="is zero; the model is broken"):
        find(photo, album / "people", broken, workers=1)


def test_nobody_is_named_at_a_rate_that_nobody_asked_for_if_most_strangers_would_be(album, encoder):
    photo, model = album / "people/person 1/0.png", calibrated(encoder, (0.2, 0.5))
    found = find(photo, album / "people", model, workers=1)
    assert found.false_positive_rate == pytest.approx(1 - 0.8**6)
    assert found.false_positive_interval == pytest.approx((1 - 0.95**6, 1 - 0.6**6))
    assert (found.person, found.as_json()["unknown"]) == (None, None)
    assert "a stranger would be taken for one of these people in 73.8 % of the searches" in found.lines()[0]
    assert "no threshold is calibrated for a false match rate of 0.000166667; that for 0.2" in found.threshold.note
    assert find(photo, album / "people", model, fmr=0.2, workers=1).person == "person 1"


def test_names_cannot_forge_lines_of_the_answer(album, encoder, tmp_path):
    (tmp_path / "people/Eve\n1. Ann\x1b[2K").mkdir(parents=True)
    (tmp_path / "people/Eve\n1. Ann\x1b[2K/a.png").write_bytes((album / "people/person 1/0.png").read_bytes())
    found = find(album / "people/person 1/0.png", tmp_path / "people", encoder, workers=1)
    assert len([line for text in found.lines() for line in text.splitlines()]) == 2
    assert "\x1b" not in "".join(found.lines())


def test_a_gallery_of_more_people_is_matched_more_often_by_strangers():
    assert gallery_fmr(1e-3, 1000) == pytest.approx(1 - 0.999**1000)


def test_embeddings_come_in_the_order_of_the_list_of_faces(album, encoder, tmp_path):
    done = embed_photos(Photos(album), tmp_path / "out", encoder, workers=1)
    rows, faces = np.load(tmp_path / "out/embeddings.npy"), read_faces(tmp_path / "out/faces.csv")
    assert (done.faces, done.photos, done.without_face) == (8, 8, ["nobody.png"])
    assert rows.shape == (8, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    two = encoder.embed(align_faces(album / "two.png", "all"))
    at = [name for name, found in faces.items() for _ in found].index("two.png")
    np.testing.assert_allclose(rows[at : at + 2], two, atol=0.02)  # the list has hundredths of a pixel
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*WRITTEN, "settings.json"}
    with pytest.raises(InputError, match="out: holds something already; resume"):
        embed_photos(Photos(album), tmp_path / "out", encoder, workers=1)


def test_embedding_is_resumed_to_the_same_bytes(album, encoder, tmp_path):
    embed_photos(Photos(album), tmp_path / "whole", encoder, workers=1)

    class Stops(FaceFinder):
        left = 3

        def find(self, photo):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().find(photo)

    with pytest.raises(KeyboardInterrupt):
        embed_photos(Photos(album), tmp_path / "out", encoder, Stops(), workers=1)
    embed_photos(Photos(album), tmp_path / "out", encoder, workers=1, resume=True)
    for name in WRITTEN:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_photos_without_any_face_are_refused(album, encoder, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes((album / "nobody.png").read_bytes())
    with pytest.raises(InputError, match="photos: no face was found in 1 photos"):
        embed_photos(Photos(tmp_path / "photos"), tmp_path / "out", encoder, workers=1)


def test_what_is_finished_is_not_made_again(album, encoder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    whole = embed_photos(Photos(album), out, encoder, workers=1)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    (out / "unfinished").mkdir()  # what a kill right before the end leaves
    (out / "detected.csv").write_text("half")
    monkeypatch.setattr(embed_folder, "detected", None)
    assert embed_photos(Photos(album), out, encoder, workers=1, resume=True) == whole
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()} == before


def test_a_kill_before_the_summary_is_written_leaves_all_that_is_needed(album, encoder, tmp_path, monkeypatch):
    whole = embed_photos(Photos(album), tmp_path / "whole", encoder, workers=1)

    def killed(path, value):
        if path.name == "embed.json":
            raise KeyboardInterrupt
        files.write_text(path, json.dumps(value))

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            embed_photos(Photos(album), tmp_path / "out", encoder, workers=1)
    assert embed_photos(Photos(album), tmp_path / "out", encoder, workers=1, resume=True) == whole
    for name in WRITTEN:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_folder_of_embeddings_is_of_the_settings_that_it_was_begun_with(album, encoder, tmp_path):
    embed_photos(Photos(album), tmp_path / "out", encoder, workers=1)
    torch.manual_seed(1)
    other = FaceEncoder(backbones.create("tiny", 16).eval(), encoder.card)
    for model, settings, words in (
        (encoder, {"flip": False, "faces": "largest"}, "faces, flip"),
        (encoder, {"finder": FaceFinder(smallest=40)}, "detector"),
        (encoder, {"only": ["people"]}, "identities"),
        (other, {}, "weights"),
    ):
        with pytest.raises(InputError, match=rf"out: was begun with other settings: {words} \(see settings.json there"):
            embed_photos(Photos(album), tmp_path / "out", model, workers=1, resume=True, **settings)


def test_the_faces_of_a_photo_are_numbered_among_those_that_were_embedded(album, encoder, tmp_path):
    """The central face of `two.png` is not the largest."""
    photo = decode((album / "two.png").read_bytes(), "two.png")
    wide = np.pad(photo, ((0, 0), (140, 0), (0, 0)), mode="edge")  # the middle is between 0 and 2 now
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/two.png").write_bytes(encode(wide, ".png"))
    found = FaceFinder().find(wide)
    (place,) = choose(found, "central", *wide.shape[1::-1])
    assert place == 1
    embed_photos(Photos(tmp_path / "photos"), tmp_path / "out", encoder, faces="central", workers=1)
    (told,) = read_faces(tmp_path / "out/faces.csv")["two.png"]
    np.testing.assert_allclose(told.points, found[1].points, atol=0.006)


def test_damaged_photos_and_those_left_out_are_told_with_the_reason(album, encoder, tmp_path):
    people = tmp_path / "people"
    shutil.copytree(album / "people", people)
    (people / "person 0/bad.jpg").write_bytes(b"nothing")
    (people / "person 0/raw.cr2").write_bytes(b"raw")
    (people / "person 1/nobody.png").write_bytes((album / "nobody.png").read_bytes())
    (people / "person 2/Zo\udceb.png").write_bytes((album / "two.png").read_bytes())
    done = embed_photos(Photos(people), tmp_path / "out", encoder, workers=1, only=["person 0", "person 2"])
    assert done.damaged.keys() == {"person 0/bad.jpg"}
    assert list(done.left_out) == ["person 0/raw.cr2", "person 2/Zo\\xeb.png"]
    found = find(album / "people/person 1/0.png", people, encoder, workers=1)
    assert found.unusable == {
        "person 0/bad.jpg": done.damaged["person 0/bad.jpg"],
        "person 0/raw.cr2": done.left_out["person 0/raw.cr2"],
        "person 1/nobody.png": "no face was found in it",
        "person 2/Zo\\xeb.png": "a name that is not UTF-8",
    }
    assert found.as_json()["unusable"] == found.unusable
    with pytest.raises(InputError, match="most must be at least 1, not 0"):
        find(album / "people/person 1/0.png", people, encoder, most=0)


def test_embeddings_are_brought_to_length_1_block_by_block(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    rows[3] = 0
    whole = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
    np.save(tmp_path / "whole.npy", whole)
    monkeypatch.setattr(embed_folder, "BLOCK", 3)
    embed_folder._write_normalised(tmp_path / "rows.npy", rows)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
