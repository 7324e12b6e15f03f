"""`--undetected` of `evaluate`, `pack` and `compare`: photos in which no face was found."""

import json
from pathlib import Path

import pytest
from command_line import done, refused, run
from conftest import write_pairs, write_people

from elasticface.data.images.alignment import TEMPLATE
from elasticface.faces.landmarks import DETECTED_COLUMNS

FACELESS = "person_01/person_01_0001.png"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = write_pairs(write_people(tmp_path / "photos", 6, 6), 6, 6, folds=10)
    points = ",".join(f"{value:.4f}" for value in TEMPLATE.ravel())
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [name + (16 * "," if name == FACELESS else f",0.9,{points},9,9,99,99,1") for name in names]
    (folder / "landmarks5.csv").write_text("\n".join([",".join(DETECTED_COLUMNS), *rows]) + "\n")
    return folder


def test_evaluate_rejects_unless_it_is_told_otherwise(photos: Path, model: Path) -> None:
    found = {}
    for rule in ("", "skip", "centre"):
        code, _, err = run("evaluate", model, photos, "--out", f"to/{rule}", *(["--undetected", rule] if rule else []))
        assert code == 0
        (found[rule],) = json.loads(Path("to", rule, "results.json").read_text())["results"]
        said = " ".join(err.split())
        assert "note: photos: failure to enrol 2.78 %: of 36 photos no face was found in 1" in said
        assert f"(--undetected {rule or 'reject'})" in said
    told = {rule: (one["enrolment"]["undetected"], one["counts"]["pairs"]) for rule, one in found.items()}
    lost = found[""]["enrolment"]["trials"]
    assert told == {"": ("reject", 60), "skip": ("skip", 60 - lost), "centre": ("centre", 60)}
    assert "images could not be enrolled" in refused("compare", "to/", "to/skip", "--out", "both")


def test_pack_says_what_it_cannot_express(photos: Path, model: Path) -> None:
    assert "give --undetected skip" in refused("pack", photos, "photos.bin")
    assert "left out: 10 pairs" in done("pack", photos, "photos.bin", "--undetected", "skip")
    assert "central square went in: 1" in done("pack", photos, "other.bin", "--undetected", "centre")
    assert "--undetected" in refused("pack", photos, "x.bin", "--undetected", "ignore")
