"""elasticface.recognition: photos to a decision, a person or embeddings; no decision where none was measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

from elasticface.base.errors import InputError
from elasticface.data.images.photos import Photos
from elasticface.faces import FaceFinder, align_faces
from elasticface.faces.landmarks import read_faces
from elasticface.model.calibration import Calibration, LikelihoodRatio, OperatingPoint, gallery_fmr
from elasticface.recognition.conditions import conditions_of
from elasticface.recognition.embed_folder import embed_photos
from elasticface.recognition.find import find
from elasticface.recognition.page import write_verification
from elasticface.recognition.verification import verify


def calibrated(encoder, *thresholds, detector="yunet-2023mar"):
    points = tuple(
        OperatingPoint(fmr, threshold, fmr / 2, (fmr / 4, fmr * 2), 0.9, (0.8, 0.95), 10_000)
        for fmr, threshold in thresholds
    )
    likelihood = LikelihoodRatio(10.0, -4.0, 0.2, 50, 50)
    return Calibration(conditions_of(encoder, detector), points, likelihood, ("lfw",), "people", 100, 3000, 3000)


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
    calibration = calibrated(encoder, (1e-1, similarity - 0.01), (1e-3, similarity), (1e-4, similarity + 0.01))
    for fmr, same in ((1e-1, True), (1e-3, True), (1e-4, False), (None, True)):
        found = verify(*pair, encoder, calibration=calibration, fmr=fmr)
        assert found.same is same
        assert found.threshold.point.fmr == (fmr or 1e-3)
    assert found.llr == pytest.approx(10 * similarity - 4)
    with pytest.raises(InputError, match=r"no threshold for a false match rate of 0.01, but for 0.1, 0.001, 0.0001"):
        verify(*pair, encoder, calibration=calibration, fmr=1e-2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"detector": "scrfd"}, "the detector was 'scrfd' and is 'yunet-2023mar'"),
        ({"flip": False}, "the mirror image was not added and is"),
        ({"fingerprint": (0.0, 1.0)}, "the model is another one"),
    ],
)
def test_a_calibration_under_other_conditions_is_void(pair, encoder, change, reason):
    calibration = calibrated(encoder, (1e-3, 0.0))
    calibration = replace(calibration, conditions=replace(calibration.conditions, **change))
    found = verify(*pair, encoder, calibration=calibration)
    assert found.same is None
    assert found.threshold.reason.startswith(f"the model's calibration is void: {reason}")


def test_of_several_faces_it_is_said_which_was_taken_and_none_is_refused(album, encoder, pair):
    found = verify(pair[0], album / "two.png", encoder, names=("a.png", "two.png"))
    assert found.faces[0].note is None
    assert found.faces[1].note.startswith("two.png: 2 faces; the one at (")
    with pytest.raises(InputError, match=r"nobody.png: no face was found in 240x200 pixels; give a photo"):
        verify(pair[0], album / "nobody.png", encoder, names=("a.png", "nobody.png"))


def test_the_json_has_the_keys_that_scripts_rely_on(pair, encoder):
    found = verify(*pair, encoder, calibration=calibrated(encoder, (1e-3, 2.0)), names=("a", "b"))
    told = json.loads(json.dumps(found.as_json()))
    assert {*told} >= {"similarity", "same", "threshold", "fmr", "fmr_interval"}
    assert (told["same"], told["threshold"], told["fmr"], told["fmr_interval"]) == (False, 2.0, 1e-3, [2.5e-4, 2e-3])
    told = verify(*pair, encoder).as_json()
    assert told["same"] is told["threshold"] is told["fmr"] is told["fmr_interval"] is None


def test_the_page_stands_alone_and_escapes_names(pair, encoder, tmp_path):
    for calibration in (None, calibrated(encoder, (1e-1, 0.1), (1e-3, 0.2))):
        found = verify(*pair, encoder, calibration=calibration, names=("<b>a</b>.png", "b.png"))
        write_verification(tmp_path / "page.html", found, "small")
        page = (tmp_path / "page.html").read_text()
        assert "&lt;b&gt;a&lt;/b&gt;.png" in page
        assert "<b>a" not in page
        assert page.count("data:image/jpeg;base64,") == 4
        assert "http" not in page


def test_the_most_similar_person_comes_first_and_strangers_are_unknown(album, encoder):
    photo = album / "people/person 1/0.png"
    found = find(photo, album / "people", encoder, calibration=calibrated(encoder, (1e-3, 0.999)), workers=1)
    assert (found.person, found.people, found.comparisons) == ("person 1", 3, 6)
    assert found.candidates[0].photo == "person 1/0.png"
    assert found.candidates[0].similarity == pytest.approx(1, abs=1e-5)
    assert found.false_positive_rate == pytest.approx(1 - (1 - 1e-3) ** 6)
    unknown = find(photo, album / "people", encoder, calibration=calibrated(encoder, (1e-3, 1.5)), workers=1)
    assert unknown.person is None
    assert unknown.as_json()["unknown"] is True
    assert find(photo, album / "people", encoder, workers=1).as_json()["unknown"] is None


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
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["embed.json", "embeddings.npy", "faces.csv"]
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
    for name in ("embeddings.npy", "faces.csv", "embed.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_photos_without_any_face_are_refused(album, encoder, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes((album / "nobody.png").read_bytes())
    with pytest.raises(InputError, match="photos: no face was found in 1 photos"):
        embed_photos(Photos(tmp_path / "photos"), tmp_path / "out", encoder, workers=1)
