"""`elasticface adapt`: what it takes for faces, what it writes and says, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from album import NOBODY
from command_line import done, refused, run, write_landmarks
from conftest import write_people

import elasticface
from elasticface.model.loading import load


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four aligned people of three photos."""
    return write_people(tmp_path_factory.mktemp("few") / "faces", 4, 3)


def photos_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.png"))


def test_aligned_faces_give_a_model_folder_that_every_command_takes(model: Path, few: Path, album: Path) -> None:
    code, out, err = run("adapt", model, few, "--out", "adapted", "--aligned")
    assert code == 0
    assert out.splitlines() == ["adapted to 12 faces in 12 photos", "adapted"]
    assert err.splitlines()[-1].startswith("note: another model than before: calibrate it (elasticface calibrate)")
    expected = load(model).adapted_to(photos_of(few))
    found = load("adapted")
    assert found.card == expected.card
    assert found.card.training["adapted"]["photos"] == 12
    assert np.array_equal(found.embed(photos_of(few)), expected.embed(photos_of(few)))

    photo = album / "people/person 0/0.png"
    told = json.loads(done("verify", photo, album / "people/person 1/0.png", "--model", "adapted", "--json"))
    assert told["same"] is None
    assert "holds something already; give a new folder" in refused("adapt", model, few, "--out", "adapted", "--aligned")
    done("adapt", model, few, "--out", "halved", "--aligned", "--half")
    sizes = [Path(name, "model.safetensors").stat().st_size for name in ("halved", "adapted")]
    assert 0.45 < sizes[0] / sizes[1] < 0.6


def test_faces_are_looked_for_in_photos_as_a_camera_makes_them(model: Path, album: Path) -> None:
    shutil.copytree(album / "people", "more")
    Path("more/damaged.jpg").write_text("no picture")
    options = ("--faces", "all", "--workers", "1")
    out = done("adapt", model, album, "more", "--out", "adapted", *options)
    assert out.splitlines() == [
        "adapted to 14 faces in 14 photos",
        "photos without a face: 1",
        f"  {album / NOBODY}",
        "photos that cannot be read: 1",
        "  more/damaged.jpg: not an image, or a damaged one: OpenCV cannot read it; put it right or remove it",
        "adapted",
    ]
    faces = [elasticface.align_faces(photo, "all") for photo in sorted(album.rglob("*.png"))]
    again = [elasticface.align_faces(photo, "all") for photo in photos_of(Path("more"))]
    expected = load(model).adapted_to(np.concatenate(faces + again))
    np.testing.assert_allclose(load("adapted").embed(faces[0]), expected.embed(faces[0]), rtol=0, atol=1e-3)


def test_a_folder_of_align_and_photos_with_landmarks_are_taken_as_they_are(model: Path, few: Path) -> None:
    shutil.copytree(few, "photos")
    write_landmarks(Path("faces.csv"), [path.relative_to("photos").as_posix() for path in photos_of(Path("photos"))])
    done("align", "photos", "aligned", "--landmarks", "faces.csv", "--workers", "1")
    out = done("adapt", model, "aligned", "--out", "of aligned")
    assert out.startswith("adapted to 12 faces in 12 photos")
    shutil.copy("faces.csv", "photos/landmarks5.csv")
    assert done("adapt", model, "photos", "--out", "of points").startswith("adapted to 12 faces in 12 photos")
    # Points of the template warp a photo onto itself.
    for name, faces in (("of points", photos_of(few)), ("of aligned", sorted(Path("aligned").glob("*/*.jpg")))):
        expected = load(model).adapted_to(faces).embed(faces)
        np.testing.assert_allclose(load(name).embed(faces), expected, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("MODEL FEW", "--out"),
        ("MODEL --out new", "photos"),
        ("absent FEW --out new --aligned", "absent: no such model"),
        ("MODEL absent --out new", "absent: cannot be read"),
        ("MODEL empty --out new", "empty: no photo in it; give a folder or an uncompressed tar of photos"),
        ("MODEL FEW FEW --out new --aligned", "photos are given twice"),
        ("MODEL FEW --out new --aligned --detector yunet", "leave out --detector and --smallest"),
        ("MODEL FEW --out file --aligned", "file: cannot be used"),
        ("MODEL FEW --out file/below --aligned", "file/below: cannot be"),
        ("MODEL FEW --out new --faces first", "first"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(arguments: str, message: str, model: Path, few: Path) -> None:
    Path("empty").mkdir()
    Path("file").write_text("mine")
    words = [word.replace("MODEL", str(model)).replace("FEW", str(few)) for word in arguments.split()]
    assert message in refused("adapt", *words)


def test_too_few_faces_and_photos_that_are_not_aligned_are_refused(model: Path, few: Path) -> None:
    write_people(Path("large"), 1, 1, size=147)
    for photos, message in (
        (few / "person_00", "small: adapting takes at least 10 faces, and there are 3; give photos of more people"),
        ("large", "person_00_0001.png: 147x147 is no aligned face of 112x112; leave out --aligned, and faces are"),
    ):
        code, out, err = run("adapt", model, photos, "--out", "new", "--aligned")
        assert (code, out) == (2, "")
        assert message in err.splitlines()[-1]
        assert not Path("new").exists()


def test_its_help_teaches_what_it_does_and_what_follows() -> None:
    told = " ".join(done("adapt", "--help").split())
    for part in (
        "without labels and without training",
        "Nobody on them needs to be named",
        "50 photos are enough, and 10 the least",
        "another fingerprint",
        "run `elasticface calibrate` again",
        "Do not adapt to a benchmark that is to judge the model",
    ):
        assert part in told, part
