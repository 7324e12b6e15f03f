"""`elasticface train --loss`: the options of each loss reach its head, and those of others are refused."""

from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, done, refused

from elasticface import heads
from elasticface.training.config import TrainConfig, read_config

OWN: dict[str, dict[str, Any]] = {
    "adaface": {"m": 0.3, "h": 0.5, "t_alpha": 0.2, "std": 0.02},
    "magface": {"l_a": 5.0, "u_a": 50.0, "l_margin": 0.2, "u_margin": 0.4, "lambda_g": 7.0},
    "curricularface": {"m": 0.3, "t_alpha": 0.2},
    "subcenter-arcface": {"m": 0.3, "centres_per_class": 2},
}


@pytest.mark.parametrize("loss", OWN)
def test_a_losses_own_options_reach_its_head(loss: str, people: Path, here: Path) -> None:
    names = {name: "margin" if name == "m" else name for name in OWN[loss]}
    options = [f"--{names[name].replace('_', '-')}={value}" for name, value in OWN[loss].items()]
    done("train", people, "--out", "run", *SMALL, "--loss", loss, "--max-steps", "1", *options)
    config = TrainConfig(**read_config(Path("run/config.yaml")))
    head = heads.create(config.loss, 3, 8, **config.head_options())
    assert {name: getattr(head, name) for name in OWN[loss]} == OWN[loss]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--loss adaface --l-a 3", "loss 'adaface' has no option l_a; there is m (--margin), h, t_alpha, "),
        ("--loss magface --h 3", "loss 'magface' has no option h; there is l_a, u_a, "),
        ("--loss magface --margin 0.3", "loss 'magface' has no option m (--margin); there is l_a, u_a, "),
        ("--loss arcface --t-alpha 0.1", "loss 'arcface' has no option t_alpha; there is m (--margin), "),
        ("--loss elastic-arc --centres-per-class 3", "loss 'elastic-arc' has no option centres_per_class"),
        ("--loss magface --l-a 30 --u-a 20", "loss 'magface': u_a must be above l_a, 30.0, got 20.0"),
        ("--loss subcenter-arcface --centres-per-class 0", "centres_per_class must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit_a_loss_are_refused_in_one_line(
    options: str, message: str, people: Path, here: Path
) -> None:
    assert message in refused("train", people, "--out", "run", *SMALL, *options.split())
    assert not Path("run").exists()


@pytest.mark.parametrize("loss", OWN)
def test_every_loss_makes_a_run_of_the_recipe_for_few_photos(loss: str, people: Path, here: Path) -> None:
    margin = ["--margin", "null"] if loss == "magface" else []
    small = ["--batch-size", "8", "--max-steps", "2", "--embedding-size", "16", "--workers", "0"]
    done("train", people, "--out", "run", "--config", "lfw-tiny", "--loss", loss, *margin, *small)
    assert (Path("run") / "model" / "model.safetensors").exists()
