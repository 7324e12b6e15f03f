"""Backbones and augmentations of the user's own: they train, resume and load, and are refused with what is wrong."""

import json
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import own_parts
import pytest
import small_run
import torch
from command_line import SMALL, done, refused
from safetensors.torch import load_file

import elasticface
from elasticface.base.errors import InputError, Stopped
from elasticface.data.feed.own_augmentation import OwnAugmentation
from elasticface.model.loading import load
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics
from elasticface.training.state import TrainState

OWN = replace(
    small_run.SMALL, backbone="own_parts:pooled", dropout=0.2, augmentation="own_parts:noisy", max_steps=5, epochs=4
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_same_bits(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("own") / "run"
    train(people, run, OWN)
    return run


def test_workers_and_a_stop_leave_the_bits_alone(run: Path, people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "workers", replace(OWN, workers=2))
    assert_same_bits(run, tmp_path / "workers")

    def stop(state: TrainState, _: object) -> None:
        if state.step == 4:  # in the second epoch
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"):
        train(people, tmp_path / "stopped", replace(OWN, checkpoint_every="2"), [stop])
    train(people, tmp_path / "stopped", OWN, resume=True)
    assert_same_bits(run, tmp_path / "stopped")


def test_the_augmentation_changes_what_is_learnt(run: Path, people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "run", replace(OWN, augmentation=None))
    losses = [[line["loss"] for line in read_metrics(path)] for path in (run, tmp_path / "run")]
    assert losses[0] != losses[1]


def test_an_augmentation_that_works_in_place_leaves_the_source_alone() -> None:
    image = np.full((112, 112, 3), 200, np.uint8)
    augment = OwnAugmentation.find("own_parts:halved_in_place", seed=0).of_epoch(0)
    assert (augment(image, 0) == 100).all()
    assert (image == 200).all()


def test_another_augmentation_is_another_run(run: Path, people: Path) -> None:
    with pytest.raises(InputError, match=r"augmentation own_parts:noisy -> None"):
        train(people, run, replace(OWN, augmentation=None), resume=True)


def test_a_model_says_whose_backbone_it_has_and_loads_with_it_alone(
    run: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = json.loads((run / "model" / "model.json").read_text())
    assert (card["backbone"], card["options"]) == ("own_parts:pooled", {"dropout": 0.2})
    faces = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    by_name = load(run, "own_parts:pooled").embed(faces)
    assert np.array_equal(by_name, elasticface.load(run, network=own_parts.pooled).embed(faces))
    assert by_name.any()

    monkeypatch.delitem(sys.modules, "own_parts")
    with pytest.raises(InputError, match=r"model.json: trained .* not ours, own_parts:pooled, .* give it yourself"):
        load(run)
    assert "own_parts" not in sys.modules
    for wrong, message in (("tiny", "says itself what it is"), ("own_parts:of_ten", "gives \\[2, 10\\] where")):
        with pytest.raises(InputError, match=message):
            load(run, wrong)
    with pytest.raises(InputError, match="give backbone, own_parts:pooled, or network, not both"):
        load(run, "own_parts:pooled", network=own_parts.pooled)


def test_our_own_models_take_no_other_backbone(people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "run", replace(small_run.SMALL, backbone="tiny", max_steps=1))
    with pytest.raises(InputError, match="its backbone is tiny; leave the other one out"):
        load(tmp_path / "run", network=own_parts.pooled)


def test_a_weights_file_loads_into_a_network_of_ones_own(run: Path, tmp_path: Path) -> None:
    torch.save(weights(run), tmp_path / "weights.pth")
    by_name = load(tmp_path / "weights.pth", "own_parts:pooled", embedding_size=16)
    given = load(tmp_path / "weights.pth", network=own_parts.pooled, embedding_size=16)
    assert by_name.card.backbone == given.card.backbone == "own_parts:pooled"


def test_a_file_in_this_folder_is_found(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    Path("mynet_of_a_test.py").write_text("from own_parts import pooled as make\n")
    done("train", people, "--out", "run", *SMALL, "--max-steps", "1", "--backbone", "mynet_of_a_test:make")
    out = done("evaluate", "run", people, "--backbone", "mynet_of_a_test:make")
    assert "run/report.html" in out
    assert "GiB" in done("plan", "--identities", "10", "--batch", "8", "--backbone", "mynet_of_a_test:make")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--backbone nowhere_at_all.net:make", "--backbone nowhere_at_all.net:make: no module nowhere_at_all, neither"),
        ("--backbone own_parts.net:make", "no module own_parts.net, neither installed nor in"),
        ("--backbone broken_of_a_test:make", "broken_of_a_test cannot be imported: SyntaxError"),
        ("--backbone lacking_of_a_test:make", "lacking_of_a_test cannot be imported: ModuleNotFoundError: No module"),
        ("--backbone own_parts:nothing", "--backbone own_parts:nothing: no function nothing in"),
        ("--backbone own_parts:NO_FUNCTION", "no function NO_FUNCTION in"),
        ("--backbone own_parts:of_ten", "backbone own_parts:of_ten: gives [2, 10] where [2, 8] for images [2, 3, 112"),
        ("--backbone own_parts:several_outputs", "gives a tuple where [2, 8] for images"),
        ("--backbone own_parts:for_small_images", "fails on images [2, 3, 112, 112]: RuntimeError: mat1 and mat2"),
        ("--backbone own_parts:that_asserts", "fails on images [2, 3, 112, 112]: AssertionError: height 112, not 224"),
        ("--backbone own_parts:that_is_unknown", "cannot be made: KeyError: 'convnext_tinny'"),
        ("--backbone own_parts:no_module", "makes a int where a torch.nn.Module is needed"),
        ("--backbone own_parts:without_size", "cannot be called with (embedding_size=8): got an unexpected keyword"),
        ("--backbone own_parts:pooled --drop-path 0.1", "cannot be called with (embedding_size=8, drop_path=0.1)"),
        ("--backbone own_parts:pooled --checkpoint-activations", "knows the blocks of our own backbones alone"),
        ("--augmentation nowhere_at_all:dark", "--augmentation nowhere_at_all:dark: no module nowhere_at_all, neither"),
        ("--augmentation own_parts:nothing", "--augmentation own_parts:nothing: no function nothing in"),
        ("--augmentation own_parts:smaller", "gives uint8 [56, 56, 3] for an image of uint8 [112, 112, 3]; it must"),
        ("--augmentation own_parts:in_floats", "gives float64 [112, 112, 3] for an image of uint8"),
        ("--augmentation own_parts:a_list", "gives list for an image of uint8"),
    ],
)
def test_what_is_wrong_with_a_part_is_said_in_one_line(
    options: str, message: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("broken_of_a_test.py").write_text("def make(:\n")
    Path("lacking_of_a_test.py").write_text("import nowhere_at_all_either\n")
    assert message in refused("train", people, "--out", "run", *SMALL, "--max-steps", "1", *options.split())


def test_an_operation_that_cannot_be_made_deterministic_is_named(people: Path, tmp_path: Path) -> None:
    config = replace(OWN, backbone="own_parts:unpooling", dropout=None)
    with pytest.raises(InputError, match=r"max_unpooling2d\w+ has no deterministic kernel for .* --no-deterministic"):
        train(people, tmp_path / "run", config)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_augmentation_that_fails_later_is_told_with_its_name(workers: int, people: Path, tmp_path: Path) -> None:
    config = replace(OWN, augmentation="own_parts:right_for_noise", workers=workers)
    before = set(multiprocessing.active_children())
    with pytest.raises(TypeError, match=r"own_parts:right_for_noise: gives uint8 \[1, 112, 3\] for an image of uint8"):
        train(people, tmp_path / "run", config)
    # `pytest.raises` holds on to the traceback, as the interpreter does at its end: workers must be gone all the same.
    assert set(multiprocessing.active_children()) <= before


def test_no_worker_outlives_a_run_that_an_error_ends(people: Path, tmp_path: Path) -> None:
    def fail(state: TrainState, _: object) -> None:
        raise RuntimeError("a hook's own")

    before = set(multiprocessing.active_children())
    with pytest.raises(RuntimeError, match="a hook's own"):
        train(people, tmp_path / "run", replace(small_run.SMALL, workers=1), [fail])
    assert set(multiprocessing.active_children()) <= before
