"""A step that doesn't log reads one number from the device: with more, a GPU would idle while the host catches up."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_run
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from elasticface.heads import LOSSES
from elasticface.training import hooks
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.state import TrainState

# What makes the host wait for a number, or for the size of a result.
READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "unique_consecutive"}
ONE_NUMBER = ["_local_scalar_dense"]  # whether the step was finite

QUIET = replace(
    small_run.SMALL,
    backbone="own_parts:pooled",
    max_steps=6,
    epochs=9,
    log_every=100,
    checkpoint_every="100",
    augment=1.0,
)


class Reads(TorchDispatchMode):
    """The operations that read from the device, while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and isinstance(args[1], list) else []
        if name in READS or any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def reads_of_a_step(people: Path, out: Path, config: TrainConfig, patch: pytest.MonkeyPatch) -> list[str]:
    """What the fourth step of a run reads: from the end of the hooks of the third to that of its own."""
    patch.setattr(hooks, "SHOW_EVERY", math.inf)
    reads = Reads()

    def count(state: TrainState, run: object) -> None:
        if state.step == 3:
            reads.__enter__()
        elif state.step == 4:
            reads.__exit__(None, None, None)

    train(people, out, config, [count])
    return reads.found


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_reads_one_number(loss: Any, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(QUIET, loss=loss)
    assert reads_of_a_step(people, tmp_path / "run", config, monkeypatch) == ONE_NUMBER


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_rate": 0.5},
        {"accumulate": 2},
        {"optimizer": "adamw"},
        {"freeze_backbone_epochs": 9},
        {"clip_norm": 0.0},
    ],
    ids=str,
)
def test_so_it_does_whatever_else_is_set(
    settings: dict[str, Any], people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(QUIET, **settings)
    assert reads_of_a_step(people, tmp_path / "run", config, monkeypatch) == ONE_NUMBER


def test_a_step_that_logs_reads_its_figures(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reads_of_a_step(people, tmp_path / "run", replace(QUIET, log_every=1), monkeypatch)
    assert len(found) > 3  # the test can count
