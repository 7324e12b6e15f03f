"""What a grid may be, and which selections may go on in a folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_selection import made_selection

from elasticface.base.errors import InputError
from elasticface.selection.record import RECORD, Grid, Record, read_or_begin

GRID = Grid([0.45, 0.5], [0.0125, 0.05], 2)
SETTINGS = {"data": ["faces"], "lr": 0.1, "milestones": [7.0, 13.0], "max_steps": None, "pairs": {"lfw": 6000}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"margins": []}, "--margins: no value of m; give at least one"),
        ({"stds": []}, "--stds: no value of σ; give at least one"),
        ({"margins": [0.5, 0.45, 0.5]}, "--margins: 0.5 is given twice"),
        ({"stds": [0.05, 0.050]}, "--stds: 0.05 is given twice"),
        ({"margins": [0.5, -0.1]}, "--margins must be at least 0, got -0.1"),
        ({"stds": [0.0, 0.05]}, "--stds must be above 0, got 0; σ = 0, the fixed margin, is always compared"),
        ({"stds": [-0.05]}, "--stds must be above 0, got -0.05"),
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
    ],
)
def test_a_grid_that_is_none_is_refused(changed: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError) as refused:
        replace(GRID, **changed)
    assert message in str(refused.value)


def test_a_grid_counts_its_runs() -> None:
    assert Grid([0.45, 0.5, 0.55], [0.0125, 0.05], 3).size == 15


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with a selection of which one run is done."""
    run = made_selection(margins=2, stds=2, seeds=1)[1].runs[0]
    Record(SETTINGS, GRID, [run]).write(tmp_path)
    return tmp_path


def test_the_same_selection_goes_on_with_its_runs(begun: Path) -> None:
    record = read_or_begin(begun, SETTINGS, GRID)
    assert (record.settings, record.grid, len(record.runs), record.stages) == (SETTINGS, GRID, 1, [])
    run = record.runs[0]
    assert record.find(run.folder) == run
    assert record.find("runs/other") is None


@pytest.mark.parametrize(
    "grown", [{"margins": [0.5, 0.45]}, {"margins": [0.4, 0.45, 0.5]}, {"stds": [0.05, 0.0125, 0.1]}, {"seeds": 5}]
)
def test_more_values_and_more_seeds_may_be_added(begun: Path, grown: dict[str, list[float]]) -> None:
    grid = replace(GRID, **grown)
    record = read_or_begin(begun, SETTINGS, grid)
    assert (record.grid, len(record.runs)) == (grid, 1)


@pytest.mark.parametrize(
    ("settings", "grid", "changed"),
    [
        ({"lr": 0.2}, {}, "lr 0.1 -> 0.2"),
        ({"data": ["other"]}, {"seeds": 3}, "data ['faces'] -> ['other']"),
        ({"pairs": {"lfw": 3000}}, {}, "pairs {'lfw': 6000} -> {'lfw': 3000}"),
        ({}, {"margins": [0.45, 0.6]}, "margins [0.45, 0.5] -> [0.45, 0.6]"),
        ({"max_steps": 5}, {"stds": [0.05]}, "max_steps None -> 5, stds [0.0125, 0.05] -> [0.05]"),
        ({}, {"seeds": 1}, "seeds 2 -> 1"),
    ],
)
def test_another_selection_is_refused_with_what_differs(begun: Path, settings: dict, grid: dict, changed: str) -> None:
    before = (begun / RECORD).read_bytes()
    with pytest.raises(InputError) as refused:
        read_or_begin(begun, SETTINGS | settings, replace(GRID, **grid))
    assert str(refused.value) == (
        f"{begun}: was made with other settings: {changed}; give the same, or another folder with --out"
    )
    assert (begun / RECORD).read_bytes() == before


def test_until_a_run_has_begun_everything_may_change(tmp_path: Path) -> None:
    Record(SETTINGS, GRID).write(tmp_path)
    other = SETTINGS | {"lr": 0.2}
    assert read_or_begin(tmp_path, other, GRID).settings == other
    (tmp_path / "runs" / "arcface-m0.45-seed0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"lr 0\.1 -> 0\.2"):
        read_or_begin(tmp_path, other, GRID)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "mine", "holds something already; give another folder with --out"),
        (RECORD, "no JSON", r"select\.json: not valid JSON.*; give another folder with --out"),
        (RECORD, '{"settings": {}, "grid": 3}', r"select\.json: grid is 3: expected object.*; give another folder"),
        (RECORD, '{"settings": {}, "grid": {"margins": [], "stds": [1], "seeds": 1}}', "no value of m"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_or_begin(tmp_path, SETTINGS, GRID)


def test_a_record_that_is_written_is_read_again_as_it_was(tmp_path: Path) -> None:
    _, record = made_selection()
    record.write(tmp_path)
    again = read_or_begin(tmp_path, record.settings, record.grid)
    assert again.runs == record.runs


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"folder": "../victim"}, r"runs\[0\].*folder is not runs/arcface-m0.45-seed0, where that run is"),
        ({"folder": "/runs/arcface-m0.45-seed0"}, "folder is not runs/arcface-m0.45-seed0"),
        ({"loss": "../../x", "folder": "runs/../../x-m0.45-seed0"}, r"runs\[0\]\.loss is '\.\./\.\./x'"),
        ({"seconds": -1.0}, "seconds"),
    ],
)
def test_a_run_is_where_it_must_be_whatever_the_file_says(begun: Path, changed: dict, told: str) -> None:
    """Of runs that are done files are removed."""
    record = json.loads((begun / RECORD).read_text())
    record["runs"][0] |= changed
    (begun / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match=told):
        read_or_begin(begun, SETTINGS, GRID)


def test_a_run_that_is_a_link_out_of_the_folder_is_refused(
    begun: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (begun / "runs").mkdir()
    (begun / "runs" / "arcface-m0.45-seed0").symlink_to(tmp_path_factory.mktemp("victim"))
    with pytest.raises(InputError, match=r"arcface-m0\.45-seed0: is a link that leads out of"):
        read_or_begin(begun, SETTINGS, GRID)
