"""`elasticface calibrate`: where its result goes, what it says, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import done, refused, run, words
from conftest import write_pairs, write_people

import elasticface
from elasticface.faces import aligned
from elasticface.faces.finder import FaceFinder
from elasticface.recognition import conditions_of


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty people of four photos, with pairs."""
    return write_pairs(write_people(tmp_path_factory.mktemp("many") / "faces", 30, 4), 30, 4)


@pytest.fixture
def own(model: Path) -> Path:
    return Path(shutil.copytree(model, "own"))


def test_a_folder_of_people_gives_thresholds_in_the_models_card(own: Path, many: Path) -> None:
    weights = (own / "model.safetensors").read_bytes()
    found = json.loads(
        done("calibrate", own, many, "--all-pairs", "--fmr", "0.1,0.05", "--detector", "yunet", "--json")
    )
    encoder = elasticface.load(own)
    calibration = encoder.card.calibration
    assert calibration is not None
    assert [point.fmr for point in calibration.points] == [0.1, 0.05]
    assert (calibration.genuine, calibration.impostors, calibration.unit_count) == (180, 120 * 119 // 2 - 180, 30)
    assert calibration.difference(conditions_of(encoder, FaceFinder().name)) is None
    assert "mirror" in str(calibration.difference(conditions_of(encoder, FaceFinder().name, flip=False)))
    assert found["file"] == "own/model.json"
    assert found["calibration"]["points"][1]["threshold"] == calibration.threshold(0.05).threshold
    assert (own / "model.safetensors").read_bytes() == weights

    # The share of all impostor comparisons, longhand.
    paths = sorted(many.glob("*/*.png"))
    rows = encoder.embed(paths)
    different = np.array([[a.parent != b.parent and i < j for j, b in enumerate(paths)] for i, a in enumerate(paths)])
    scores = (rows.astype(np.float64) @ rows.T)[different]
    for point in calibration.points:
        assert np.mean(scores >= point.threshold - 1e-6) == pytest.approx(point.observed_fmr, abs=2 / len(scores))
        assert point.observed_fmr <= point.fmr


def test_a_list_of_pairs_and_a_pack_of_it_have_the_same_thresholds(own: Path, many: Path) -> None:
    done("pack", many, "faces.bin")
    points = []
    for benchmark in (many, Path("faces.bin")):
        found = json.loads(done("calibrate", own, benchmark, "--fmr", "0.2", "--json"))["calibration"]
        assert (found["genuine"], found["impostors"]) == (90, 90)
        points.append((found["points"][0]["threshold"], found["points"][0]["observed_fmr"]))
    assert points[0] == points[1]


def test_without_the_mirror_image_it_is_said_who_will_not_use_it(own: Path, many: Path) -> None:
    code, _, err = run("calibrate", own, many, "--fmr", "0.2", "--detector", "yunet", "--no-flip")
    assert (code, "--no-flip: verify, find, gallery and serve add the mirror image and will not" in err) == (0, True)


def test_the_table_says_what_was_found(own: Path, many: Path) -> None:
    code, out, err = run("calibrate", own, many, "--all-pairs")
    assert code == 0, err
    assert "1e-1" in out
    assert "180 genuine and 6,960 impostor comparisons of 30 people" in out
    assert "log likelihood ratio = " in out
    assert out.endswith("own/model.json\n")
    assert "what found the faces is not known" in err


def test_what_aligned_the_faces_is_known_from_its_summary(own: Path, many: Path) -> None:
    shutil.copytree(many, "faces")
    aligned.write(Path("faces"), aligned.Summary(112, "jpg", detector="some-detector"))
    found = json.loads(done("calibrate", own, "faces", "--all-pairs", "--fmr", "0.1", "--json"))
    assert found["calibration"]["conditions"]["detector"] == "some-detector"
    line = refused("calibrate", own, "faces", many, "--all-pairs")
    assert "faces of different detectors (some-detector, unknown)" in line


def test_a_detector_that_is_named_has_the_name_that_verify_gives_it(
    own: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        name, upright_score = "det 3fa1", 0.5

    monkeypatch.setattr("elasticface.recognition.found_by.open_detector", lambda name: Found())
    code, _, err = run("calibrate", own, many, "--all-pairs", "--fmr", "0.1", "--detector", "det.onnx")
    assert code == 0
    assert "note: the calibration is for faces that det 3fa1/1 found, as --detector says" in err
    encoder = elasticface.load(own)
    calibration = encoder.card.calibration
    assert calibration is not None
    assert calibration.difference(conditions_of(encoder, FaceFinder(Found()).name)) is None


def test_photos_without_a_face_are_non_matches_unless_they_are_skipped(own: Path, many: Path) -> None:
    shutil.copytree(many, "faces")
    Path("faces/person_00/person_00_0001.png").unlink()
    aligned.write(Path("faces"), aligned.Summary(112, "jpg", without_face=["person_00/person_00_0001.jpg"]))
    counts = []
    for rule in ("reject", "skip"):
        found = json.loads(done("calibrate", own, "faces", *words(f"--all-pairs --fmr 0.1 --json --undetected {rule}")))
        assert f"--undetected {rule}" in found["notes"][0]
        counts.append((found["calibration"]["genuine"], found["calibration"]["impostors"]))
    assert counts == [(180, 6960), (177, 6960 - 116)]


def test_a_folder_of_which_no_photo_could_be_enrolled_is_refused(own: Path, many: Path) -> None:
    shutil.copytree(many, "faces")
    for path in Path("faces").glob("*/*.png"):
        path.write_bytes(b"damaged")
    for rule, said in (
        ("skip", "faces: 0 people with 0 pairs of photos of one person; both are needed"),
        ("reject", "the 6,960 of 30 people are too few for one false match; give more people"),
    ):
        code, _, err = run("calibrate", own, "faces", *words(f"--all-pairs --fmr 0.1 --undetected {rule}"))
        assert (code, err.splitlines()[-1].endswith(said)) == (2, True)


def test_of_a_person_no_more_than_so_many_photos_are_compared(own: Path, many: Path) -> None:
    found = json.loads(done("calibrate", own, many, *words("--all-pairs --fmr 0.1 --json --most-photos 2")))
    assert (found["calibration"]["genuine"], found["calibration"]["impostors"]) == (30, 60 * 59 // 2 - 30)
    assert found["calibration"]["benchmarks"] == ["faces (60 of 120 photos)"]
    assert found["notes"] == [
        "faces: 60 of 120 photos were compared, some of each person; --most-photos 0 compares all"
    ]
    for most in ("4", "0"):
        found = json.loads(done("calibrate", own, many, *words(f"--all-pairs --fmr 0.1 --json --most-photos {most}")))
        assert (found["calibration"]["benchmarks"], found["notes"]) == (["faces"], [])
    assert "--most-photos must be 0 or more" in refused("calibrate", own, many, "--most-photos", "-1")


def test_groups_are_told_by_metadata(own: Path, many: Path) -> None:
    shutil.copytree(many, "faces")
    rows = [f"{p.parent.name}/{p.name},{'fm'[int(p.parent.name[-2:]) % 2]}" for p in sorted(many.glob("*/*.png"))]
    Path("faces/metadata.csv").write_text("\n".join(["file,sex", *rows]) + "\n")
    found = json.loads(done("calibrate", own, "faces", "--all-pairs", "--fmr", "0.1", "--json"))
    (differential,) = found["groups"]
    assert differential["column"] == "sex"
    assert [group["name"] for group in differential["groups"]] == ["f", "m"]
    assert [group["impostors"] for group in differential["groups"]] == [15 * 14 // 2 * 16] * 2
    assert differential["fmr_worst_over_mean"]["value"] >= 1
    out = done("calibrate", own, "faces", "--all-pairs", "--fmr", "0.1")
    assert "By sex" in out
    assert "worst / mean" in out


def test_what_cannot_be_calibrated_is_refused_in_one_line(own: Path, many: Path) -> None:
    line = refused("calibrate", own, many, "--fmr", "0.1,1e-3")
    assert "0.001 takes 3,000 independent impostor comparisons (rule of three), and there are 90;" in line
    for rate in ("0", "1e-320", "1"):
        assert "must lie between 1e-12 and 1" in refused("calibrate", own, many, "--fmr", rate)
    assert "a benchmark is given twice" in refused("calibrate", own, many, f"{many}/")
    assert "--fmr must be numbers separated by commas" in refused("calibrate", own, many, "--fmr", "low")
    assert "no such file or folder" in refused("calibrate", own, "nowhere")
    assert "det.onnx: " in refused("calibrate", own, many, "--detector", "det.onnx")
    assert "--detector must be a name" in refused("calibrate", own, many, "--detector", " ")
    assert "given twice" in refused("calibrate", own, many, many)
    Path("loose").mkdir()
    assert "fewer than two people" in refused("calibrate", own, "loose")
    assert f"give {many.parent}/faces" in refused("calibrate", own, many.parent)
    done("pack", many, "faces.bin")
    assert "does not say who" in refused("calibrate", own, "faces.bin", "--all-pairs")


def test_people_who_are_in_many_comparisons_are_worth_fewer(own: Path, many: Path) -> None:
    before = (own / "model.json").read_bytes()
    code, out, err = run("calibrate", own, many, "--all-pairs", "--fmr", "1e-3")
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    assert "(rule of three), and the 6,960 of 30 people are " in line
    assert line.endswith("ask for 0.01, or give more people")
    assert (own / "model.json").read_bytes() == before
