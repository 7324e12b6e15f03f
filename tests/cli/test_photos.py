"""`elasticface detect`, `align`, `embed`, `verify` and `find`: from photos to an answer, by the command line alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from album import NOBODY
from command_line import done, refused, run
from jsonargparse import Namespace

from elasticface.cli.photos import open_photos
from elasticface.faces import FaceFinder, sheet
from elasticface.faces.landmarks import read_faces
from elasticface.model.calibration import Calibration, OperatingPoint
from elasticface.model.loading import load
from elasticface.recognition import conditions_of, store_calibration


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
    assert out.splitlines()[:2] == [
        "person 0: at or above the threshold of -1.0000",
        "a stranger is taken for one of these 3 people (6 photos) in 5.85 % (95 % interval 0.6 to 11 %) of the "
        "searches",
    ]


def test_the_model_of_the_package_decides_without_any_option(album: Path) -> None:
    photo = album / "people/person 0/0.png"
    out = done("verify", photo, photo)
    assert out.splitlines()[1].startswith("the same person: at or above the threshold of")
    assert "are taken for one at this threshold" in out
    assert "keeps its own calibration" in refused("calibrate", "default", album / "people")


def test_a_photo_without_a_face_is_refused_in_one_line(album: Path, model: Path) -> None:
    message = refused("verify", album / NOBODY, album / "two.png", "--model", model)
    assert f"{NOBODY}: no face was found in 240x200 pixels" in message
    assert "no such model" in refused("verify", album / "two.png", album / "two.png", "--model", "none")
    assert "cannot be read" in refused("verify", "gone.jpg", album / "two.png", "--model", model)


def test_a_sheet_and_a_page_take_the_place_of_older_ones(album: Path, model: Path) -> None:
    for name in ("sheet.png", "page.html"):
        Path(name).write_text("old")
    done("align", album, "aligned", "--sheet", "sheet.png", "--workers", "1")
    assert Path("sheet.png").read_bytes().startswith(b"\x89PNG")
    photo = album / "people/person 0/0.png"
    done("verify", photo, photo, "--model", model, "--out", "page.html")
    assert "<html" in Path("page.html").read_text()


def test_landmarks_and_a_detector_are_one_too_many(album: Path) -> None:
    for option in (("--detector", "yunet"), ("--smallest", "20")):
        line = refused("align", album, "out", "--landmarks", "faces.csv", *option)
        assert "--landmarks says where the faces are; leave out --detector and --smallest" in line


def test_the_sheet_shows_the_identities_that_were_asked_for(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(sheet, "_drawn", lambda tiles, title: titles.append(title) or b"")
    done("detect", album, "faces.csv", "--workers", "1")
    Path("people.txt").write_text("people\n")
    common = ("--landmarks", "faces.csv", "--sheet", "sheet.png", "--identities", "people.txt", "--workers", "1")
    done("align", album, "aligned", *common)
    assert titles == ["6 photos with a face, 0 without (red). Shown: 6, lowest scores first"]


def test_a_file_whose_name_is_not_utf8_is_left_out_and_said(album: Path, model: Path) -> None:
    shutil.copytree(album / "people", "people")
    Path("people/person 0/Zo\udceb.png").write_bytes((album / "two.png").read_bytes())
    line = "person 0/Zo\\xeb.png: a name that is not UTF-8"
    assert line in done("detect", "people", "faces.csv", "--workers", "1")
    assert line in done("align", "people", "aligned", "--workers", "1")
    for more in ([], ["--resume"]):
        assert line in done("embed", "people", "embedded", "--model", model, "--workers", "1", *more)
    photo = album / "people/person 1/0.png"
    code, _, err = run("find", photo, "--in", "people", "--model", model, "--workers", "1")
    assert (code, err.splitlines()[-2:]) == (0, ["note: photos that were not compared: 1", f"  {line}"])


def test_find_names_the_nearest_people(album: Path, model: Path) -> None:
    photo = album / "people/person 1/0.png"
    code, out, _ = run("find", photo, "--in", album / "people", "--model", model, "--workers", "1")
    assert code == 0
    assert out.splitlines()[0].startswith("no decision:")
    assert out.splitlines()[1].startswith("1. person 1  similarity 1.0000  person 1/0.png")
    Path("empty").mkdir()
    assert "empty: no photo in it" in refused("find", photo, "--in", "empty", "--model", model)
    assert f"give {album}/people" in refused("find", photo, "--in", album, "--model", model)


def test_what_is_taken_for_no_photo_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, line in {
        "0.jpg": "",
        "notes": "left out: 1\n  notes: no image's suffix\n",
        "Bo/texts": "left out: 2\n  Bo: a folder without a photo\n  notes: no image's suffix\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        assert open_photos(Namespace(photos=str(tmp_path))).names == ["0.jpg"]
        assert capsys.readouterr().err == line


def test_other_detectors_are_refused_where_they_are_not(album: Path) -> None:
    assert "insightface is not installed" in refused("detect", album, "faces.csv", "--detector", "insightface")
    assert "give yunet, insightface, uniface" in refused("align", album, "out", "--detector", "mtcnn")
    assert "smallest must be at least 12 pixels" in refused("detect", album, "faces.csv", "--smallest", "3")


@pytest.mark.parametrize(
    ("out", "told"), [("", "out must be text"), (".", "give the name of a"), ("/", "give the name of a")]
)
def test_a_file_without_a_name_is_refused(album: Path, out: str, told: str) -> None:
    assert told in refused("detect", album, out)


def test_a_folder_is_no_page_and_no_sheet(album: Path, model: Path) -> None:
    photo = album / "people/person 0/0.png"
    for name, command in {
        "there.html": ("verify", photo, photo, "--model", model, "--out"),
        "there.png": ("align", album, "out", "--sheet"),
    }.items():
        Path(name).mkdir()
        assert f"{name}: is a folder; give the name of a file" in refused(*command, name)
    assert "give a name that ends in .html" in refused("verify", photo, photo, "--model", model, "--out", photo)


def test_a_rate_that_is_none_is_refused_even_where_nothing_is_calibrated(album: Path, model: Path) -> None:
    photo = album / "people/person 0/0.png"
    assert "lies between 0 and 1, and is not 5" in refused("verify", photo, photo, "--model", model, "--fmr", "5")


def test_misspelt_identities_are_named(album: Path) -> None:
    Path("who.txt").write_text("person 0\nPerson 1\n")
    out = done("detect", album / "people", "faces.csv", "--identities", "who.txt", "--workers", "1")
    assert "identities without a photo: 1\n  Person 1" in out
