"""A run is resumed as it was begun, or says in which way it is not: its data, its learning rate, its folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import torch
from conftest import write_people
from numpy.typing import NDArray
from safetensors.torch import load_file

from elasticface.base.errors import InputError
from elasticface.data import open_dataset
from elasticface.data.formats.encoded import NumberNames
from elasticface.data.joined import JoinedSource
from elasticface.training import checkpoint, loop
from elasticface.training.config import TrainConfig
from elasticface.training.identities import ByName, Identities, take_centres
from elasticface.training.loop import train
from elasticface.training.processes import World
from elasticface.training.run_files import read_metrics
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

SMALL = replace(small_run.SMALL, epochs=2)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_people(tmp_path / "faces", 4, 6)


@pytest.fixture
def run(faces: Path, tmp_path: Path) -> Path:
    """A run of three steps an epoch, stopped after the first epoch by its number of steps."""
    train(faces, tmp_path / "run", replace(SMALL, max_steps=3))
    return tmp_path / "run"


def everything(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def rename(faces: Path) -> None:
    (faces / "person_00").rename(faces / "person_99")  # the labels of all shift by one


def add_a_photo(faces: Path) -> None:
    shutil.copy(faces / "person_02" / "person_02_0001.png", faces / "person_02" / "person_02_0009.png")


def add_a_person(faces: Path) -> None:
    shutil.copytree(faces / "person_02", faces / "person_07")


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a folder renamed": (rename, r"identity 0 was person_00, and is person_01"),
    "a photo more": (add_a_photo, r"person_02 had 6 images, and has 7"),
    "a person more": (add_a_person, r"there were 4 identities, and are 5"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused_by_their_first_difference_and_nothing_is_touched(
    change: str, run: Path, faces: Path
) -> None:
    make, told = CHANGES[change]
    make(faces)
    before = everything(run)
    with pytest.raises(InputError, match=rf"{told}.*--data-changed"):
        train(faces, run, SMALL, resume=True)
    assert everything(run) == before


@pytest.mark.parametrize(
    ("epochs", "told"),
    [("many", "epochs must be a whole number, got 'many'"), ("0", "damaged: epochs must be at least 1")],
)
def test_damaged_settings_of_a_run_are_named(epochs: str, told: str, run: Path, faces: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace(f"epochs: {SMALL.epochs}\n", f"epochs: {epochs}\n"))
    with pytest.raises(InputError, match=rf"config\.yaml: {told}"):
        train(faces, run, SMALL, resume=True)


def test_of_a_log_only_damaged_lines_are_lost(tmp_path: Path) -> None:
    damaged = "[" * 100_000 + '\n7\n{"note": "mine"}\n{"step": null}\n\0\0\n'
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{damaged}{{"step": 2}}\n{{"step": ')
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]


def test_adamws_moments_are_taken_over_by_name(faces: Path, tmp_path: Path) -> None:
    config = replace(SMALL, optimizer="adamw", lr=0.001)
    train(faces, tmp_path / "run", config)
    rename(faces)
    train(faces, tmp_path / "run", replace(config, epochs=config.epochs + 1), resume=True, data_changed=True)


def test_the_same_images_in_another_order_are_other_data() -> None:
    class Source:
        num_classes, class_names = 2, ("a", "b")

        def __init__(self, labels: list[int]) -> None:
            self.labels = np.array(labels)

        def __len__(self) -> int:
            return len(self.labels)

    one, other = (Identities.of(Source(labels)) for labels in ([0, 1, 0, 1], [0, 0, 1, 1]))  # type: ignore[arg-type]
    assert one.first_difference(other) == "its images have another order"
    assert one.first_difference(Identities.of(Source([0, 1, 0, 1]))) is None  # type: ignore[arg-type]


class Numbered:
    """Two people of whom nothing but a number is known."""

    num_classes = 2

    def __init__(self, labels: list[int], names: Sequence[str] | None = None, population: str | None = None) -> None:
        self.labels, self.population = np.array(labels), population
        self.class_names = NumberNames(2) if names is None else names

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return np.full((112, 112, 3), 80 * index % 256, np.uint8), int(self.labels[index])


def test_names_that_are_numbers_are_of_one_set_of_images_alone() -> None:
    one, again, other = (Identities.of(Numbered(labels)) for labels in ([0, 1, 0], [0, 1, 0], [0, 1, 1]))
    assert one.population == again.population != other.population
    named = [Identities.of(Numbered(labels, ["a", "b"])) for labels in ([0, 1, 0], [0, 1, 1])]
    assert {each.population for each in named} == {None}
    seeds = [Identities.of(Numbered([0, 1], ["person-0", "person-1"], f"synthetic, seed {seed}")) for seed in range(2)]
    assert seeds[0].population != seeds[1].population
    mixed = [
        Identities.of(JoinedSource([Numbered(labels), Numbered(labels)], ["a", "b"])) for labels in ([0, 1], [1, 0])
    ]
    assert mixed[0].population != mixed[1].population


def test_strangers_of_equal_numbers_are_not_taken_for_the_same_people(tmp_path: Path) -> None:
    one, other = Numbered([0, 1, 0, 1]), Numbered([0, 0, 1, 1])
    config = replace(SMALL, batch_size=2, max_steps=2, workers=0)
    train(one, tmp_path / "run", config)
    with pytest.raises(InputError, match="cannot be matched, since the names are numbers"):
        train(other, tmp_path / "run", config, resume=True, data_changed=True)
    own = Identities.of(one), Identities.of(other)
    state = TrainState.create(config, one, World(torch.device("cpu")))
    centres = torch.ones_like(state.head.weight.detach())
    assert take_centres(state, own[0], own[1], centres) == 0
    assert not torch.equal(state.head.weight.detach(), centres)
    assert take_centres(state, own[0], own[0], centres) == 2
    assert torch.equal(state.head.weight.detach(), centres)


def centres_by_name(run: Path, faces: Path) -> dict[str, torch.Tensor]:
    source = open_dataset(faces)
    state = TrainState.create(SMALL, source, World(torch.device("cpu")))
    path = checkpoint.newest(run / "checkpoints", pytest.fail)
    assert path is not None
    checkpoint.load(path, state)
    rows = {
        name: [own[label].clone() for own in state.centre_tensors().values()]
        for label, name in enumerate(source.class_names)
    }
    return {name: torch.stack(both) for name, both in rows.items()}


def test_centres_and_momentum_are_taken_over_by_name(run: Path, faces: Path) -> None:
    trained = centres_by_name(run, faces)
    rename(faces)
    add_a_person(faces)
    source = open_dataset(faces)
    state = TrainState.create(SMALL, source, World(torch.device("cpu")))
    fresh = {name: rows.clone() for name, rows in state.centre_tensors().items()}
    path = checkpoint.newest(run / "checkpoints", pytest.fail)
    assert path is not None
    checkpoint.load(path, ByName(state, list(trained), source.class_names))
    assert list(source.class_names) == ["person_01", "person_02", "person_03", "person_07", "person_99"]
    for label, name in enumerate(source.class_names):
        for number, (key, rows) in enumerate(state.centre_tensors().items()):
            expected = trained[name][number] if name in trained else fresh[key][label]
            assert torch.equal(rows[label], expected), (name, key)
    assert state.step == 3


def test_a_run_on_changed_data_goes_on_from_its_centres(run: Path, faces: Path) -> None:
    before = read_metrics(run)
    rename(faces)
    train(faces, run, SMALL, resume=True, data_changed=True)
    lines = read_metrics(run)
    assert lines[:3] == before
    assert lines[-1]["step"] == 6
    newest = checkpoint.newest(run / "checkpoints", pytest.fail)
    assert newest is not None
    assert Identities.of_checkpoint(newest).names == ("person_01", "person_02", "person_03", "person_99")


def test_a_run_that_ends_before_its_first_save_on_changed_data_still_knows_whose_centres_it_has(
    run: Path, faces: Path
) -> None:
    trained = centres_by_name(run, faces)
    rename(faces)

    def killed(state: TrainState, run: Any) -> None:
        raise KeyboardInterrupt  # which saves nothing

    with pytest.raises(KeyboardInterrupt):
        train(faces, run, SMALL, resume=True, data_changed=True, hooks=[killed])
    with pytest.raises(InputError, match=r"person_00, and is person_01.*--data-changed"):
        train(faces, run, SMALL, resume=True)

    seen: dict[str, torch.Tensor] = {}

    class Looking(RunFolder):
        def start_logging(self, state: TrainState) -> None:
            seen.update(zip(open_dataset(faces).class_names, state.head.weight.detach().clone(), strict=True))
            super().start_logging(state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "RunFolder", Looking)
        train(faces, run, SMALL, resume=True, data_changed=True)
    for name in ("person_01", "person_02", "person_03"):
        assert torch.equal(seen[name], trained[name][0]), name
    assert all(not torch.equal(seen["person_99"], rows[0]) for rows in trained.values())


def test_images_that_are_damaged_are_counted_anew_on_changed_data(faces: Path, tmp_path: Path) -> None:
    damaged = replace(SMALL, max_damaged=0.1, max_steps=3)
    (faces / "person_00" / "person_00_0001.png").write_bytes(b"no picture")
    train(faces, tmp_path / "run", damaged)
    assert len((tmp_path / "run" / "bad_items.jsonl").read_text().splitlines()) == 1
    rename(faces)
    train(faces, tmp_path / "run", replace(damaged, max_steps=6), resume=True, data_changed=True)
    (line,) = (tmp_path / "run" / "bad_items.jsonl").read_text().splitlines()
    assert "person_99" in line
    assert len(list((tmp_path / "run").glob("bad_items.before-*.jsonl"))) == 1


def test_a_checkpoint_without_its_identities_is_damaged(run: Path, faces: Path) -> None:
    for path in (run / "checkpoints").glob("step-*"):
        (path / "identities.json").unlink()
    train(faces, run, replace(SMALL, max_steps=1), resume=True)  # from the start, since no checkpoint is whole
    assert [line["step"] for line in read_metrics(run)] == [1]


def test_a_run_that_is_done_is_not_begun_anew_without_its_checkpoints(run: Path, faces: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    before = everything(run)
    with pytest.raises(InputError, match="holds a model and no checkpoint to resume from; put its checkpoints/ back"):
        train(faces, run, SMALL, resume=True)
    assert everything(run) == before


@pytest.mark.parametrize(
    ("max_steps", "change"), [(2, lambda faces: None), (3, rename)], ids=["fewer than are done", "none on other data"]
)
def test_a_run_of_no_more_steps_is_refused(
    max_steps: int, change: Callable[[Path], None], run: Path, faces: Path
) -> None:
    change(faces)
    before = everything(run)
    with pytest.raises(InputError, match=rf"step 3 is done, and the run would have {max_steps} in all; give more"):
        train(faces, run, replace(SMALL, max_steps=max_steps), resume=True, data_changed=True)
    assert everything(run) == before


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (replace(SMALL, schedule="cosine"), {"epochs": 4}),
        (replace(SMALL, schedule="cosine"), {"max_steps": 5}),
        (replace(SMALL, schedule="cosine", warmup_epochs=1.5), {"epochs": 3}),  # differs after the warm-up alone
    ],
)
def test_another_learning_rate_curve_is_refused_without_the_word_for_it(
    config: TrainConfig, changed: dict[str, Any], faces: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stop_after(2, faces, run, config)
    before = everything(run)
    with pytest.raises(InputError, match=r"learning rate of step \d was to be .* and would be .*--schedule-changed"):
        train(faces, run, replace(config, **changed), resume=True)
    assert everything(run) == before
    train(faces, run, replace(config, **changed), resume=True, schedule_changed=True)
    assert (run / "model").is_dir()


def test_more_epochs_that_leave_the_curve_as_it_was_need_no_word(run: Path, faces: Path) -> None:
    train(faces, run, replace(SMALL, epochs=3), resume=True)
    assert read_metrics(run)[-1]["step"] == 9


def stop_after(step: int, faces: Path, run: Path, config: TrainConfig) -> None:
    def stop(state: TrainState, run: Any) -> None:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with contextlib.suppress(RuntimeError):  # Stopped
        train(faces, run, config, hooks=[stop])


HOLDING = """
import sys, time
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train

def hold(state, run):
    print("training", flush=True)
    time.sleep(60)

settings = dict(loss="arcface", scale=16.0, backbone="tiny", embedding_size=16, batch_size=8, lr=0.05)
train(sys.argv[1], sys.argv[2], TrainConfig(**settings, workers=0, device="cpu"), hooks=[hold])
"""


def test_two_runs_cannot_write_one_folder_and_a_killed_one_leaves_no_lock(faces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(faces), str(run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert held.stdout is not None
        assert held.stdout.readline() == "training\n"
        before = everything(run)
        with pytest.raises(InputError, match=rf"{run}.*{held.pid}"):
            train(faces, run, SMALL, resume=True)
        assert everything(run) == before
    finally:
        held.kill()
        held.wait()
    train(faces, run, replace(SMALL, backbone="tiny"), resume=True)
    assert load_file(run / "model" / "model.safetensors")
