"""`elasticface detect`, `align`, `embed`, `verify` and `find`: from photos to an answer, by the command line alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from album import NOBODY, write_album
from command_line import done, refused, run

from elasticface.faces import FaceFinder
from elasticface.faces.landmarks import read_faces
from elasticface.model.calibration import Calibration, OperatingPoint
from elasticface.model.loading import load
from elasticface.recognition import conditions_of, store_calibration


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_album(tmp_path_factory.mktemp("album"))


def test_detect_then_align_then_embed(album: Path, model: Path) -> None:
    out = done("detect", album, "faces.csv", "--workers", "1")
    assert out.splitlines()[:3] == [
        "faces found in 7 of 8 photos: 8",
        "photos without a face (12.50%): 1",
        f"  {NOBODY}",
    ]
    assert out.splitlines()[-1] == "faces.csv"
    assert len(read_faces("faces.csv")) == 8
    out = done("align", album, "aligned", "--landmarks", "faces.csv", "--faces", "all", "--sheet", "sheet.png")
    assert "faces aligned to 112x112 jpg: 8" in out
    assert Path("sheet.png").stat().st_size > 10_000
    assert Path("aligned/two_face2.jpg").exists()
    done("align", album, "found", "--faces", "all", "--workers", "1")
    assert Path("found/two_face2.jpg").read_bytes() == Path("aligned/two_face2.jpg").read_bytes()
    out = done("embed", album, "embedded", "--model", model, "--workers", "1")
    assert out.startswith("embeddings of 8 faces in 8 photos")
    assert np.load("embedded/embeddings.npy").shape == (8, 8)


def test_what_is_there_is_not_written_over(album: Path, model: Path) -> None:
    Path("faces.csv").write_text("mine")
    Path("full").mkdir()
    Path("full/mine").write_text("mine")
    assert "faces.csv: is there already" in refused("detect", album, "faces.csv")
    assert "full: holds something already" in refused("embed", album, "full", "--model", model)
    assert "full: holds something already" in refused("align", album, "full")


def test_verify_tells_a_similarity_and_no_decision_without_a_calibration(album: Path, model: Path) -> None:
    pair = album / "people/person 0/0.png", album / "people/person 0/1.png"
    code, out, err = run("verify", *pair, "--model", model, "--out", "page.html")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "no decision: the model is not calibrated: see `elasticface calibrate`"
    assert "No decision: not calibrated" in Path("page.html").read_text()
    told = json.loads(done("verify", *pair, "--model", model, "--json"))
    assert told["same"] is None
    assert out.startswith(f"similarity {told['similarity']:.4f}")


def test_a_calibrated_model_decides(album: Path, model: Path) -> None:
    shutil.copytree(model, "calibrated")
    encoder = load("calibrated")
    point = OperatingPoint(1e-2, -1.0, 5e-3, (1e-3, 2e-2), 0.9, (0.8, 0.95), 1000)
    conditions = conditions_of(encoder, FaceFinder().name)
    store_calibration("calibrated", Calibration(conditions, (point,), None, ("lfw",), "people", 100, 3000, 3000))
    photo = album / "people/person 0/0.png"
    out = done("verify", photo, album / "people/person 1/1.png", "--model", "calibrated", "--fmr", "1e-2")
    assert out.splitlines()[1:] == [
        "the same person: at or above the threshold of -1.0000",
        "of different people 1 % (95 % interval 0.1 to 2 %) are taken for one at this threshold",
        "of one person's pairs 10 % (95 % interval 5 to 20 %) are taken for two people",
    ]
    _, _, told = run("verify", photo, photo, "--model", "calibrated")
    assert "no threshold is calibrated for a false match rate of 0.001; that for 0.01 is the nearest" in told
    assert "but for 0.01" in refused("verify", photo, photo, "--model", "calibrated", "--fmr", "1e-3")
    _, out, _ = run("find", photo, "--in", album / "people", "--model", "calibrated", "--workers", "1")
    assert out.splitlines()[0].startswith("person 0: the threshold is -1.0000")
    assert out.splitlines()[1] == (
        "a stranger matches one of these 3 people (6 photos) in at most 0.059 of the searches"
    )


def test_a_photo_without_a_face_is_refused_in_one_line(album: Path, model: Path) -> None:
    message = refused("verify", album / NOBODY, album / "two.png", "--model", model)
    assert f"{NOBODY}: no face was found in 240x200 pixels" in message
    assert "no such model" in refused("verify", album / "two.png", album / "two.png", "--model", "none")
    assert "cannot be read" in refused("verify", "gone.jpg", album / "two.png", "--model", model)


def test_find_names_the_nearest_people(album: Path, model: Path) -> None:
    photo = album / "people/person 1/0.png"
    code, out, _ = run("find", photo, "--in", album / "people", "--model", model, "--workers", "1")
    assert code == 0
    assert out.splitlines()[0].startswith("no decision:")
    assert out.splitlines()[1].startswith("1. person 1  similarity 1.0000  person 1/0.png")
    Path("empty").mkdir()
    assert "empty: no photo in it" in refused("find", photo, "--in", "empty", "--model", model)


def test_other_detectors_are_refused_where_they_are_not(album: Path) -> None:
    assert "insightface is not installed" in refused("detect", album, "faces.csv", "--detector", "insightface")
    assert "give yunet, insightface, uniface" in refused("align", album, "out", "--detector", "mtcnn")
    assert "smallest must be at least 12 pixels" in refused("detect", album, "faces.csv", "--smallest", "3")
