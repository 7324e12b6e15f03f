"""Detect, verify and embed: the answers of the service are those of the package."""

import numpy as np
import pytest
from service_problems import problem

from elasticface.data.images.decoding import decode
from elasticface.faces import FaceFinder, align_faces
from elasticface.recognition.verification import verify


def test_detected_faces_are_those_of_the_finder(client, photos):
    answer = client.post("/v1/detect", files={"photo": photos["two"]}).json()
    pixels = decode(photos["two"], "two")
    expected = FaceFinder().find(pixels)
    assert (answer["height"], answer["width"]) == pixels.shape[:2]
    assert len(expected) == 2
    for face, found in zip(expected, answer["faces"], strict=True):
        assert found == {"box": face.box.tolist(), "score": face.score, "points": face.points.tolist()}


def test_a_photo_without_a_face_has_no_faces(client, photos):
    assert client.post("/v1/detect", files={"photo": photos["nobody"]}).json()["faces"] == []


@pytest.mark.parametrize("fmr", [None, "1e-1", "0.0001"])
def test_verify_answers_as_the_command_does(serving, calibrated, photos, fmr):
    fields = {} if fmr is None else {"fmr": fmr}
    files = {"first": photos["a"], "second": photos["other"]}
    answer = serving(calibrated).post("/v1/verify", files=files, data=fields).json()
    expected = verify(*files.values(), calibrated, fmr=fmr and float(fmr), names=("first", "second")).as_json()
    for name in ("similarity", "llr"):
        assert answer.pop(name) == pytest.approx(expected.pop(name), abs=1e-4)
    assert [face.pop("crop") for face in answer["faces"]] == [None, None]
    assert answer == expected
    assert answer["same"] is {None: expected["same"], "1e-1": True, "0.0001": False}[fmr]


def test_without_a_calibration_there_is_a_similarity_and_no_decision(client, photos):
    answer = client.post("/v1/verify", files={"first": photos["a"], "second": photos["b"]}).json()
    assert answer["same"] is None
    assert -1 <= answer["similarity"] <= 1
    assert answer["reason"].startswith("the model is not calibrated")


def test_a_rate_that_is_not_calibrated_is_refused(serving, calibrated, photos):
    service = serving(calibrated)
    files = {"first": photos["a"], "second": photos["b"]}
    for fmr, words in (("1e-2", "no threshold for"), ("2", "between 0 and 1"), ("x", "a number"), ("nan", "a number")):
        assert words in problem(service.post("/v1/verify", files=files, data={"fmr": fmr}), 422, "wrong-value")


def test_embeddings_are_the_models_and_a_bad_photo_has_a_problem_of_its_own(client, encoder, photos, noise):
    files = [("photos", photos[name]) for name in ("two", "nobody")]
    files[1:1] = [("photos", noise), ("photos", photos["a"][:-50])]
    answer = client.post("/v1/embed", files=files, data={"faces": "all"}).json()
    assert (answer["model"], answer["embedding_size"]) == ("small", 16)
    two, no_photo, cut, nobody = answer["photos"]
    expected = encoder.embed(align_faces(photos["two"], "all"))
    np.testing.assert_allclose([face["embedding"] for face in two["faces"]], expected, atol=1e-5)
    assert two["problem"] is None
    assert no_photo["problem"]["type"].endswith(":no-photo")
    assert cut["problem"]["type"].endswith(":damaged-photo")
    assert "photos[2]: the image is cut short" in cut["problem"]["detail"]
    assert nobody == {"faces": [], "problem": None}


def test_one_face_a_photo_unless_all_are_asked_for(client, photos):
    for choice, count in (("largest", 1), ("central", 1), ("all", 2)):
        answer = client.post("/v1/embed", files={"photos": photos["two"]}, data={"faces": choice}).json()
        assert len(answer["photos"][0]["faces"]) == count
    refused = client.post("/v1/embed", files={"photos": photos["two"]}, data={"faces": "best"})
    assert problem(refused, 422, "wrong-value") == "faces: must be one of largest, central, all"
