"""A selection on six people: its runs are ordinary ones, it goes on where it was stopped, and it refuses early."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import on_processes
import pytest
from command_line import SMALL as SMALL_WORDS
from conftest import write_pairs, write_people
from small_run import SMALL

from elasticface import heads
from elasticface.base.errors import InputError, Stopped
from elasticface.base.locks import locked
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.packing import pack
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.model import load
from elasticface.selection import Grid, Selection, select, selecting
from elasticface.selection.record import RECORD, Keep, folder_of, read_or_begin
from elasticface.training.config import TrainConfig, read_config
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics

GRID = Grid(margins=[0.2, 0.3], stds=[0.05], seeds=1)


@pytest.fixture(scope="module")
def config(people: Path) -> TrainConfig:
    return replace(SMALL, loss="elastic-arc+", max_steps=3, log_every=1, validate=[str(people)])


@pytest.fixture(scope="module")
def made(people: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Selection]:
    out = tmp_path_factory.mktemp("selection") / "out"
    return out, select(str(people), out, config, GRID, keep="all")


def stored(out: Path) -> Any:
    return json.loads((out / RECORD).read_text())


def no_training(*_: Any, **__: Any) -> None:
    pytest.fail("trained again")


# ---------------------------------------------------------------------------------------------- what it makes


def test_every_candidate_and_seed_is_a_run_of_its_own(made: tuple[Path, Selection]) -> None:
    out, selection = made
    m = selection.config.margin
    expected = ["arcface-m0.2-seed0", "arcface-m0.3-seed0", f"elastic-arc+-m{m}-std0.05-seed0"]
    assert [run.folder for run in selection.runs] == [f"runs/{name}" for name in expected]
    for run in selection.runs:
        settings = read_config(out / run.folder / "config.yaml")
        assert (settings["loss"], settings["margin"], settings["std"], settings["seed"]) == (
            *(run.loss, run.margin, run.std, run.seed),
        )
        assert [line["step"] for line in read_metrics(out / run.folder)] == [1, 2, 3]
        assert run.seconds is not None


def test_a_run_is_the_one_that_train_makes_and_its_accuracy_that_of_its_model(
    made: tuple[Path, Selection], people: Path, config: TrainConfig, tmp_path: Path
) -> None:
    out, selection = made
    run = selection.runs[-1]
    train(str(people), tmp_path / "run", replace(selection.config, validate=None))
    ours, theirs = (path / "model" / "model.safetensors" for path in (out / run.folder, tmp_path / "run"))
    assert ours.read_bytes() == theirs.read_bytes()
    measured = evaluate_pairs(load(tmp_path / "run", config.backbone), open_pairs(people), intervals=False)
    assert run.accuracy == {"faces": measured.accuracy}


def test_what_is_chosen_is_in_the_record_on_the_page_and_in_settings_to_train_with(
    made: tuple[Path, Selection], config: TrainConfig
) -> None:
    out, selection = made
    margin, std = selection.of_margin.chosen, selection.of_std.chosen
    assert std == 0.05
    assert [stage["chosen"] for stage in stored(out)["stages"]] == [margin, std]
    assert TrainConfig(**read_config(out / "chosen.yaml")) == replace(config, margin=margin, std=std)
    assert f"m = </small>{margin:g}" in selection.report.read_text()
    assert selection.of_std.reference is not None
    assert selection.of_std.reference.accuracy == selection.of_margin.winner.accuracy


# ---------------------------------------------------------------------------------------------- going on


def test_called_again_it_trains_nothing_and_of_its_runs_stays_what_is_asked_for(
    made: tuple[Path, Selection], people: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    monkeypatch.setattr(selecting, "train", no_training)
    logs = ["config.yaml", "environment.json", "metrics.jsonl", "tensorboard"]
    kept: list[tuple[Keep, list[str]]] = [("all", ["checkpoints", "classes", "model"]), ("model", ["model"])]
    for keep, parts in (*kept, ("figures", [])):
        again = select(str(people), out, config, GRID, keep=keep)
        assert (again.of_margin, again.of_std, again.runs) == (made[1].of_margin, made[1].of_std, made[1].runs)
        for run in again.runs:
            assert sorted(os.listdir(out / run.folder)) == sorted([*logs, *parts])
    assert sorted(os.listdir(out)) == ["chosen.yaml", "report.html", "runs", "select.json"]
    assert stored(out) == stored(made[0])


def test_stopped_and_called_again_it_comes_to_the_same_end(
    made: tuple[Path, Selection], people: Path, config: TrainConfig, tmp_path: Path
) -> None:
    out, forward, calls = tmp_path / "out", heads.MarginHead.forward, 0

    def interrupting(self: heads.MarginHead, *inputs: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 8):  # amid the first run, and amid that of the second stage
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, *inputs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads.MarginHead, "forward", interrupting)
        for done in (0, 2):
            with pytest.raises(Stopped, match=r"step-\S+; resume with: once more$"):
                select(str(people), out, config, GRID, resume_command="once more")
            assert len(stored(out)["runs"]) == done
        selection = select(str(people), out, config, GRID)
    assert not list(out.glob("runs/*/checkpoints"))
    assert calls == 3 * 3  # no step is made twice
    assert (selection.of_margin, selection.of_std) == (made[1].of_margin, made[1].of_std)
    assert [run.seconds is None for run in selection.runs] == [True, False, True]
    for run in selection.runs:
        one, other = (path / run.folder / "model" / "model.safetensors" for path in (out, made[0]))
        assert one.read_bytes() == other.read_bytes()


def test_ctrl_c_while_a_run_is_judged_names_the_way_on_and_no_step_is_made_again(
    made: tuple[Path, Selection], people: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    record = read_or_begin(out, stored(out)["settings"], GRID)
    record.runs.pop()
    record.write(out)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(heads.MarginHead, "forward", no_training)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selecting, "evaluate_pairs", interrupted)
        with pytest.raises(Stopped, match="runs that are done are kept, resume with: once more"):
            select(str(people), out, config, GRID, resume_command="once more")
    again = select(str(people), out, config, GRID, keep="all")
    assert (again.of_margin, again.of_std) == (made[1].of_margin, made[1].of_std)


def test_more_seeds_and_values_add_runs_to_those_that_are_there(
    made: tuple[Path, Selection], people: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, trained = tmp_path / "out", []
    shutil.copytree(made[0], out)

    def noted(sets: Any, folder: Path, *arguments: Any, **options: Any) -> Any:
        trained.append(folder.name)
        return train(sets, folder, *arguments, **options)

    monkeypatch.setattr(selecting, "train", noted)
    selection = select(str(people), out, config, replace(GRID, seeds=2))
    m = selection.config.margin
    first = made[1].config.margin  # which one seed more may have changed
    again = [f"elastic-arc+-m{m}-std0.05-seed{seed}" for seed in ((0, 1) if m != first else (1,))]
    assert trained == ["arcface-m0.2-seed1", "arcface-m0.3-seed1", *again]
    for stage in (selection.of_margin, selection.of_std):
        for one in stage.candidates:
            runs = selection.runs_of(stage, one)
            assert [run.seed for run in runs] == [0, 1]
            assert one.mean == pytest.approx(sum(run.accuracy["faces"] for run in runs) / 2)
    with pytest.raises(InputError, match="other settings: seeds 2 -> 1; give the same"):
        select(str(people), out, config, GRID)


def test_two_processes_make_each_run_together(people: Path, tmp_path: Path) -> None:
    grid = "--margins 0.2 --stds 0.05 --seeds 1 --max-steps 1".split()
    told = on_processes.command(
        2, "select", str(people), "--out", str(tmp_path / "out"), *SMALL_WORDS, *grid, "--validate", str(people)
    )
    assert told.count("6 identities, 30 images, tiny, elastic-arc+, 1 steps, 2 processes") == 1
    assert told.count("accuracy: faces ") == 2
    assert [stage["chosen"] for stage in stored(tmp_path / "out")["stages"]] == [0.2, 0.05]


# ---------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": "arcface"}, "loss must be an elastic one, .*: elastic-arc, elastic-cos, .*; got arcface"),
        ({"validate": None}, "no benchmark to judge by; give at least one of pairs with --validate"),
        ({"validate": ["absent"]}, "absent"),
        ({"validate": ["FACES", "FACES"]}, "is given twice"),
        ({"validate": ["LARGE"]}, "larger: .*112"),
        ({"scale": 1000.0}, "loss 'arcface': scale must be"),
        ({"device": "mps"}, "no device 'mps' here"),
    ],
)
def test_what_would_fail_in_the_end_is_refused_before_anything_is_written(
    changed: dict[str, Any], message: str, people: Path, config: TrainConfig, tmp_path: Path
) -> None:
    if "LARGE" in (changed.get("validate") or []):
        write_pairs(write_people(tmp_path / "larger", 4, 5, size=126), 4, 5)
    places = {"FACES": str(people), "LARGE": str(tmp_path / "larger")}
    if changed.get("validate"):
        changed = {"validate": [places.get(one, one) for one in changed["validate"]]}
    with pytest.raises(InputError, match=message):
        select(str(people), tmp_path / "out", replace(config, **changed), GRID)
    assert not (tmp_path / "out").exists()


def test_a_margin_that_no_head_takes_is_refused(people: Path, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"loss 'arcface': m is out of range for 'arc': 4\.0"):
        select(str(people), tmp_path / "out", config, replace(GRID, margins=[0.5, 4.0]))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_another_process_writes_to_is_refused(people: Path, config: TrainConfig, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(InputError, match="out: another process"):
        select(str(people), tmp_path / "out", config, GRID)


def test_another_number_of_epochs_makes_other_runs_and_is_refused(
    made: tuple[Path, Selection], people: Path, config: TrainConfig
) -> None:
    out, before = made[0], stored(made[0])
    with pytest.raises(InputError, match=r"other settings: max_steps 3 -> 4, lr 0\.05 -> 0\.1; give the same"):
        select(str(people), out, replace(config, max_steps=4, lr=0.1), GRID)
    assert stored(out) == before
    settings = before["settings"]
    assert read_or_begin(out, settings, GRID).runs
    assert "workers" not in settings


def test_class_weights_that_have_changed_under_their_name_are_refused(
    people: Path, config: TrainConfig, tmp_path: Path
) -> None:
    weights, names = tmp_path / "weights.csv", sorted(path.name for path in people.iterdir() if path.is_dir())
    weights.write_text("name,weight\n" + "".join(f"{name},1\n" for name in names))
    weighted, grid = replace(config, class_weights=str(weights)), Grid([0.2], [0.05], 1)
    select(str(people), tmp_path / "out", weighted, grid)
    weights.write_text("name,weight\n" + "".join(f"{name},{place + 1}\n" for place, name in enumerate(names)))
    with pytest.raises(InputError, match="other settings: content of class_weights"):
        select(str(people), tmp_path / "out", weighted, grid)


def test_what_a_selection_starts_from_is_known_by_its_content(
    made: tuple[Path, Selection], config: TrainConfig, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(made[0] / "runs" / "arcface-m0.2-seed0", tmp_path / "run"))
    started = replace(config, init=str(run))
    before = selecting._contents(started)
    assert selecting._contents(started) == before != selecting._contents(config)
    card = run / "model" / "model.json"
    card.write_text(card.read_text() + " ")
    assert selecting._contents(started) != before


@pytest.mark.parametrize("kind", ["list", "pack"])
def test_benchmarks_are_known_by_their_content(kind: str, people: Path, config: TrainConfig, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(people, tmp_path / "lfw"))
    path = folder if kind == "list" else tmp_path / "lfw.bin"
    settings = []
    for _ in range(2):
        if kind == "pack":
            pack(open_pairs(folder), path, overwrite=True)
        settings.append(selecting._open([str(people)], replace(config, validate=[str(path)]))[1])
        first, *rows, last = (folder / "pairs.txt").read_text().splitlines()
        (folder / "pairs.txt").write_text("\n".join([first, rows[1], rows[0], *rows[2:], last]))
    assert [name for name in settings[0] if settings[0][name] != settings[1][name]] == ["content of validate"]


def test_whole_numbers_are_the_same_candidates_when_they_are_read_again() -> None:
    assert Grid([0, 1], [1], 1).margins == [0.0, 1.0]
    assert folder_of("arcface", Grid([1], [1], 1).margins[0], None, 0) == "runs/arcface-m1.0-seed0"


def test_a_link_in_place_of_checkpoints_is_unlinked(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    selecting._remove(tmp_path / "run", "model")
    assert (tmp_path / "elsewhere").is_dir()
    assert not (tmp_path / "run" / "checkpoints").is_symlink()
