"""The settings of a run: what they may be, and the files that hold them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.base.limits import LONGEST_EMBEDDING
from elasticface.training.config import TrainConfig, differences, read_config, to_yaml


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "triplet"}, r"loss must be one of arcface, cosface, .*, got 'triplet'"),
        ({"backbone": "vit"}, r"backbone must be one of iresnet18, .*, vit-l, or a function .*, got 'vit'"),
        ({"backbone": "mine:make:it"}, r"backbone must be .*, or a function of your own, package.module:function, got"),
        ({"augmentation": "mine.darker"}, r"augmentation must be a function of your own, package.module:function, got"),
        ({"device": "abacus"}, r"device must be one of auto, cpu, cuda, mps, got 'abacus'"),
        ({"precision": "16"}, r"precision must be one of 32, bf16, fp16, 64, got '16'"),
        ({"optimizer": "lion"}, r"optimizer must be one of sgd, adamw, got 'lion'"),
        ({"ema": 1.0}, r"ema must be above 0 and below 1, got 1.0"),
        ({"nesterov": True, "momentum": 0.0}, r"nesterov must be off without SGD and its momentum, got True"),
        ({"nesterov": True, "optimizer": "adamw"}, r"nesterov must be off without SGD and its momentum, got True"),
        ({"order": None}, r"order must be one of paper, release, got null"),
        ({"batch_size": 8.5}, r"batch_size must be a whole number, got 8.5"),
        ({"batch_size": True}, r"batch_size must be a whole number, got true"),
        ({"lr": "x"}, r"lr must be a number, got 'x'"),
        ({"backbone": 5.5}, r"backbone must be text, got 5.5"),
        ({"backbone": object}, r"backbone must be text, got <class 'object'>"),
        ({"milestones": None}, r"milestones must be numbers separated by commas, got null"),
        ({"milestones": [-1, 2]}, r"milestones must be in rising order, none below 0, got \[-1.0, 2.0\]"),
        ({"loss": "elastic-arc", "order": "release"}, r"order must be paper for elastic-arc, a loss without"),
        ({"embedding_size": LONGEST_EMBEDDING + 1}, r"embedding_size must be at most 65,536, got 65537"),
        ({"validate": "a.bin,,b.bin"}, "validate must be words separated by commas or null, got 'a.bin,,b.bin'"),
        ({"images_per_identity": 3}, r"images_per_identity must be a divisor of the batch size, 512, got 3"),
        ({"images_per_identity": 0}, r"images_per_identity must be a divisor of the batch size, 512, got 0"),
        ({"best_by": "lfw"}, r"best_by must be given with validate, got 'lfw'"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)


def test_an_embedding_as_long_as_a_model_card_admits_can_be_trained() -> None:
    size = TrainConfig(embedding_size=LONGEST_EMBEDDING).embedding_size
    with torch.device("meta"):
        assert backbones.create("tiny", size).eval()(torch.empty(1, 3, 112, 112)).shape == (1, size)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    validate = ["Gesichter/größe.bin", "b.bin"]
    config = TrainConfig(margin=0.4, milestones=[1.0, 2.5], sync_batchnorm=True, validate=validate)
    (tmp_path / "config.yaml").write_text(to_yaml(config), "utf-8")
    assert TrainConfig(**read_config(tmp_path / "config.yaml")) == config


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("validate", "a.bin,b.bin", ["a.bin", "b.bin"]),
        ("milestones", (1, 2), [1.0, 2.0]),
        ("precision", 32, "32"),
        ("checkpoint_every", 10, "10"),
        ("seed", np.int64(3), 3),
        ("lr", np.float32(0.5), 0.5),
    ],
)
def test_settings_are_of_their_type_however_they_are_given(name: str, given: Any, taken: Any) -> None:
    value = getattr(TrainConfig(**{name: given}), name)
    assert (value, type(value)) == (taken, type(taken))


def test_settings_of_a_file_are_compared_by_their_type(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1e-1\nprecision: 32\n")  # to YAML 1.1 text and a number
    assert differences(read_config(path), TrainConfig()) == []


def test_an_older_run_has_its_margin_as_m(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(TrainConfig(margin=0.4)).replace("margin:", "m:", 1))
    assert "\nm: 0.4\n" in path.read_text()
    assert TrainConfig(**read_config(path)) == TrainConfig(margin=0.4)
    assert differences(read_config(path), TrainConfig(margin=0.3)) == ["margin 0.4 -> 0.3"]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InputError, match=r"config.yaml: more than 1,048,576 bytes"):
        read_config(path)
