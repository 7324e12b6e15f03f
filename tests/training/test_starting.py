"""A run starts from a backbone that was trained before: which one, what stays frozen, and what a resumed run needs."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import own_parts
import pytest
import small_run
import torch
from safetensors.torch import load_file

from elasticface import backbones
from elasticface.base import progress
from elasticface.base.errors import InputError, Stopped
from elasticface.data import open_dataset
from elasticface.model.checkpoint_folder import Validation, add_validation, path_of
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing
from elasticface.training import classes
from elasticface.training.checkpoint import load as load_checkpoint
from elasticface.training.config import TrainConfig, differences, read_config
from elasticface.training.loop import train
from elasticface.training.processes import World
from elasticface.training.run_files import read_metrics
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

SMALL = replace(small_run.SMALL, epochs=4, max_steps=5, seed=1)  # three steps an epoch
FROZEN = replace(SMALL, max_steps=2, freeze_backbone_epochs=1)


@pytest.fixture(scope="module")
def before(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, whose second was the best."""
    run = tmp_path_factory.mktemp("before") / "run"
    train(people, run, replace(small_run.SMALL, max_steps=4, epochs=4, checkpoint_every="2"))
    for step, accuracy in ((2, 0.9), (4, 0.8)):
        add_validation(path_of(run / "checkpoints", step), Validation("faces", accuracy))
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def stop_after(step: int) -> Callable[[TrainState, RunFolder], None]:
    def stop(state: TrainState, run: RunFolder) -> None:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def state_of(checkpoint: Path, people: Path) -> TrainState:
    state = TrainState.create(SMALL, open_dataset(people), World(torch.device("cpu")))
    load_checkpoint(checkpoint, state)
    return state


def as_run(run: Path) -> Path:
    return run


def as_model(run: Path) -> Path:
    return run / "model"


def as_weights(run: Path) -> Path:
    path = run.parent / "backbone.ckpt"
    state = load_file(run / "model" / "model.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


def without_checkpoints(run: Path) -> Path:
    return Path(shutil.copytree(run, run.parent / "finished", ignore=shutil.ignore_patterns("checkpoints")))


SOURCES: dict[str, tuple[Callable[[Path], Path], int, bool]] = {
    "a run, at its best checkpoint": (as_run, 2, True),
    "a run without its checkpoints": (without_checkpoints, 4, True),
    "a model folder": (as_model, 4, False),
    "public weights": (as_weights, 4, False),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_frozen_backbone_stays_as_what_it_started_from_to_the_bit(
    source: str, before: Path, people: Path, tmp_path: Path
) -> None:
    make, step, with_centres = SOURCES[source]
    started: list[torch.Tensor] = []

    def remember(run: RunFolder, state: TrainState) -> None:
        started.append(state.head.weight.detach().clone())

    start_logging = RunFolder.start_logging
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "start_logging", lambda *given: (remember(*given), start_logging(*given)))
        train(people, tmp_path / "run", replace(FROZEN, init=str(make(before))))
    if step == 4:
        assert_same_bits(weights(tmp_path / "run"), weights(before))  # running statistics among them
    else:
        expected = state_of(path_of(before / "checkpoints", step), people)
        assert_same_bits(weights(tmp_path / "run"), dict(expected.backbone.state_dict()))
    fresh = TrainState.create(SMALL, open_dataset(people), World(torch.device("cpu"))).head.weight
    if with_centres and step == 4:
        assert torch.equal(started[0], classes.read(before / "classes")[1])
    elif with_centres:
        assert torch.equal(started[0], expected.head.weight)
    else:
        assert torch.equal(started[0], fresh)
    assert not torch.equal(started[0], classes.read(tmp_path / "run" / "classes")[1])  # they are trained
    assert all(line["gradient_norm"] > 0 for line in read_metrics(tmp_path / "run"))


def test_centres_go_by_name_and_new_people_start_afresh(before: Path, people: Path, tmp_path: Path) -> None:
    faces = Path(shutil.copytree(people, tmp_path / "faces"))
    (faces / "person_01").rename(faces / "person_99")
    shutil.copytree(faces / "person_02", faces / "person_00b")
    checkpoint = state_of(path_of(before / "checkpoints", 2), people).head.weight
    centres_before = dict(zip(open_dataset(people).class_names, checkpoint, strict=True))
    source = open_dataset(faces)
    fresh = TrainState.create(SMALL, source, World(torch.device("cpu"))).head.weight
    train(faces, tmp_path / "run", replace(FROZEN, init=str(before), lr=1e-30, max_steps=1))
    identities, centres = classes.read(tmp_path / "run" / "classes")
    names = identities.names
    assert set(names) - set(centres_before) == {"person_00b", "person_99"}
    for label, name in enumerate(names):
        assert torch.equal(centres[label], centres_before.get(name, fresh[label])), name


def test_after_its_frozen_epochs_the_backbone_trains(before: Path, people: Path, tmp_path: Path) -> None:
    same: list[bool] = []
    start = load_file(before / "model" / "model.safetensors")

    def compare(state: TrainState, run: RunFolder) -> None:
        same.append(all(torch.equal(value, start[name]) for name, value in state.backbone.state_dict().items()))

    train(people, tmp_path / "run", replace(SMALL, init=str(before / "model"), freeze_backbone_epochs=1), [compare])
    assert same == [True, True, True, False, False]


def test_a_resumed_run_has_the_same_bits_and_does_not_need_what_it_started_from(
    before: Path, people: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(before, tmp_path / "before"))
    config = replace(SMALL, init=str(model), freeze_backbone_epochs=1, backbone_lr=0.5, augment=1.0)
    train(people, tmp_path / "unbroken", config)
    for stop in (2, 4):  # frozen, and not
        with pytest.raises(Stopped, match="--resume"):
            train(people, tmp_path / f"run{stop}", config, [stop_after(stop)])
    shutil.rmtree(model)
    for stop in (2, 4):
        run = tmp_path / f"run{stop}"
        train(people, run, TrainConfig(**read_config(run / "config.yaml")), resume=True)
        assert_same_bits(weights(run), weights(tmp_path / "unbroken"))
        assert read_config(run / "config.yaml")["init"] == str(model)


def test_backbone_lr_is_a_factor_on_the_backbones_learning_rate_alone(people: Path, tmp_path: Path) -> None:
    moved = {}
    start = TrainState.create(SMALL, open_dataset(people), World(torch.device("cpu")))
    for factor in (1.0, 0.25):
        state: list[TrainState] = []
        config = replace(SMALL, max_steps=1, backbone_lr=factor)
        train(people, tmp_path / f"run{factor}", config, [lambda now, run, state=state: state.append(now)])
        assert state[0].lr == config.lr
        moved[factor] = {
            name: (value.detach() - before.detach()).double()
            for (name, before), value in zip(start.model.named_parameters(), state[0].model.parameters(), strict=True)
        }
    for name, step in moved[1.0].items():
        if name.startswith("head."):
            assert torch.equal(moved[0.25][name], step)
        else:
            assert torch.allclose(moved[0.25][name], 0.25 * step, rtol=1e-3, atol=1e-6), name
            assert step.abs().max() > 0 or "features.weight" in name


def other_input(folder: Path) -> Path:
    card = Card("bgr", "own_parts:shrunk", 16, preprocessing=Preprocessing(channels="BGR"))
    FaceEncoder(own_parts.shrunk(16), card).save(folder / "bgr")
    return folder / "bgr"


def other_size(folder: Path) -> Path:
    FaceEncoder(own_parts.shrunk(8), Card("small", "own_parts:shrunk", 8)).save(folder / "small")
    return folder / "small"


def other_backbone(folder: Path) -> Path:
    FaceEncoder(backbones.create("tiny", 16), Card("ours", "tiny", 16)).save(folder / "ours")
    return folder / "ours"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (other_input, r"bgr: takes images that training does not give: channels RGB -> BGR"),
        (other_size, r"small: does not fit own_parts:shrunk of size 16: .*; fc.weight is \[8, 784\] where \[16, 784\]"),
        (other_size, r" is needed; give --embedding-size 8$"),
        (other_backbone, r"ours/model\.json: its backbone is tiny; leave the other one out"),
        (lambda folder: folder / "absent", r"absent: no such model"),
        (lambda folder: folder, r"not a model folder"),
    ],
)
def test_what_a_run_cannot_start_from_is_refused_and_leaves_nothing(
    make: Callable[[Path], Path], told: str, people: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        train(people, tmp_path / "run", replace(SMALL, init=str(make(tmp_path))))
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_network_is_refused_with_the_options_that_fit(
    before: Path, people: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, backbone="tiny", embedding_size=8, init=str(before))
    with pytest.raises(InputError, match=r"; give --backbone own_parts:shrunk --embedding-size 16$"):
        train(people, tmp_path / "run", config)


def test_a_damaged_best_checkpoint_is_named_and_the_last_one_taken(
    before: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    run = Path(shutil.copytree(before, tmp_path / "before"))
    (path_of(run / "checkpoints", 2) / "model.json").write_text("{}")
    train(people, tmp_path / "run", replace(FROZEN, init=str(run)))
    assert_same_bits(weights(tmp_path / "run"), weights(before))
    assert any("step-000000002: model.json is damaged" in line for line in said)
    last = path_of(run / "checkpoints", 4)
    assert f"the backbone starts from {last}, 6 of 6 class centres by their names" in said


def test_an_older_run_is_not_resumed_with_another_start() -> None:
    older = {"lr": 0.1}
    assert differences(older, TrainConfig(init="model")) == ["init None -> model"]
    assert differences(older, TrainConfig()) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"init": ""}, "init must be text or null, got ''"),
        ({"freeze_backbone_epochs": -1}, "freeze_backbone_epochs must be at least 0"),
        ({"backbone_lr": 0.0}, "backbone_lr must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        TrainConfig(**settings)  # type: ignore[arg-type]
