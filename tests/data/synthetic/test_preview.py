"""elasticface.data.synthetic.preview: a contact sheet and the sweeps, whole or not at all."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from elasticface.base import files
from elasticface.data.images import decoding
from elasticface.data.synthetic import preview
from elasticface.data.synthetic.expression import EXPRESSIONS
from elasticface.data.synthetic.preview import contact_sheet, sweeps, write_preview
from elasticface.data.synthetic.scene import Variation, plain_scene
from elasticface.data.synthetic.studio import SIZE, Studio

STEP = SIZE + preview._GAP


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(preview, "_PEOPLE", 2)
    monkeypatch.setattr(preview, "_PHOTOS", 3)
    monkeypatch.setattr(preview, "_STEPS", 2)


@pytest.fixture(scope="module")
def quick():
    """A studio that paints by numbers: what is tested here is where its photos go."""

    class Quick(Studio):
        def seat(self, person):
            return person

        def image(self, identity, photo):
            return np.full((SIZE, SIZE, 3), [10 * identity, 10 * photo, 7], np.uint8)

        def take(self, sitter, scene, photo=0, size=SIZE):
            return np.full((SIZE, SIZE, 3), [sitter.number, photo, 9], np.uint8)

    return Quick


def panel(picture: np.ndarray, row: int, column: int, left: int = 0) -> np.ndarray:
    return picture[row * STEP : row * STEP + SIZE, left + column * STEP : left + column * STEP + SIZE]


def width(photos: int) -> int:
    return photos * STEP - preview._GAP


def test_a_contact_sheet_has_a_row_a_person_and_a_column_a_photo():
    studio = Studio(0)
    picture = contact_sheet(studio, range(1, 3), 3)
    assert picture.dtype == np.uint8
    assert picture.shape == (width(2), width(3), 3)
    for row, identity in enumerate((1, 2)):
        for photo in range(3):
            assert np.array_equal(panel(picture, row, photo), studio.image(identity, photo))
    gaps = np.ones(picture.shape[:2], bool)
    for row in range(2):
        for photo in range(3):
            panel(gaps, row, photo)[:] = False
    assert (picture[gaps] == picture[SIZE, 0]).all()


def test_two_pictures_are_written_beside_each_other(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(preview, "Studio", quick)
    path = tmp_path / "new" / "faces.png"
    written = write_preview(path, seed=2, first=4)
    assert written == [path, path.with_name("faces-sweeps.png")]
    assert sorted(path.parent.iterdir()) == sorted(written)
    sheet, swept = (decoding.decode(where.read_bytes(), str(where)) for where in written)
    assert sheet.shape == (width(2), width(3), 3)
    assert panel(sheet, 1, 2)[0, 0].tolist() == [50, 20, 7]  # RGB, person 5, photo 2
    rows = len(preview._sweeps(quick(2), 4))
    columns = max(2, len(EXPRESSIONS))
    assert swept.shape == (width(rows), preview._LABELS + width(columns), 3)
    assert np.array_equal(swept, sweeps(quick(2), 4))


def test_a_preview_is_a_function_of_seed_variation_and_first(tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "_STEPS", 1)
    one, again = (
        [path.read_bytes() for path in write_preview(tmp_path / name / "p.png", seed=1)] for name in ("a", "b")
    )
    assert one == again


def test_what_is_asked_for_reaches_the_pictures(tmp_path, quick, monkeypatch):
    seen = []

    class Remembering(quick):
        def __init__(self, seed, variation):
            seen.append((seed, variation))
            super().__init__(seed, variation)

    monkeypatch.setattr(preview, "Studio", Remembering)
    variation = Variation(1.0, "frozen")
    write_preview(tmp_path / "p.png", 5, variation, first=3)
    assert seen == [(5, variation)]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, quick, monkeypatch):
    path = tmp_path / "p.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(preview, "Studio", quick)
    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_preview(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_before_everything_is_drawn(tmp_path, quick, monkeypatch):
    def fail(*_):
        raise RuntimeError("no light")

    monkeypatch.setattr(preview, "Studio", quick)
    monkeypatch.setattr(preview, "sweeps", fail)
    with pytest.raises(RuntimeError, match="no light"):
        write_preview(tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------- sweeps


def flat(value) -> str:
    return repr(asdict(value))


def test_a_sweep_turns_one_factor_alone(studio):
    """Its photos show one person, or one person changed in one field, in one scene that changes in one place."""
    shots = preview._sweeps(studio, 0)
    assert len(shots) > 10
    for name, row in shots.items():
        people = {person.number for person, _ in row}
        assert len(people) == 1, name
        assert len({(flat(person), flat(scene)) for person, scene in row}) == len(row), name
        scenes = [asdict(scene) for _, scene in row]
        changed = {key for key in scenes[0] if len({repr(scene[key]) for scene in scenes}) > 1}
        if name not in ("age", "sex", "weight", "melanin"):
            assert len({flat(person) for person, _ in row}) == 1, name
            assert len(changed - {"yaw"}) == 1 or changed == {"yaw"}, (name, changed)


def test_a_sweep_starts_from_a_portrait(studio):
    for person, scene in preview._sweeps(studio, 0)["camera distance"]:
        plain = plain_scene(person)
        np.testing.assert_equal(asdict(replace(scene, distance=plain.distance)), asdict(plain))


def test_sweeps_have_all_expressions_and_styles(studio):
    shots = preview._sweeps(studio, 0)
    assert len(shots["expression"]) == len(EXPRESSIONS)
    assert {scene.look.hair.kind for _, scene in shots["hair"]} == set(preview.hair.KINDS)


def test_labels_are_written_beside_their_rows(quick):
    picture = sweeps(quick(0), 0)
    margin = picture[:, : preview._LABELS]
    for row in range(len(preview._sweeps(quick(0), 0))):
        assert panel(margin, row, 0).min() < 128, row


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_suffix_chooses_the_format(tmp_path, quick, monkeypatch, suffix):
    monkeypatch.setattr(preview, "Studio", quick)
    written: list[Path] = write_preview(tmp_path / f"p{suffix}")
    start = {".png": b"\x89PNG", ".jpg": b"\xff\xd8"}[suffix]
    for path in written:
        assert path.suffix == suffix
        assert path.read_bytes().startswith(start)
