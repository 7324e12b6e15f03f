"""Runs with the losses that ElasticFace is compared with: their running statistics are part of a run's state."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_run
import torch
from heads.test_compared import COMPARED, STATISTICS

from elasticface.heads import MarginHead
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics
from elasticface.training.state import TrainState

SMALL = replace(small_run.SMALL, backbone="own_parts:pooled", epochs=100, milestones=[], max_steps=6)


def run(people: Path, out: Path, loss: str, **changes: Any) -> list[list[float]]:
    """The head's statistics after every step."""
    found: list[list[float]] = []

    def note(state: TrainState, run: object) -> None:
        found.append([buffer.item() for buffer in state.head.buffers()])

    train(people, out, replace(SMALL, loss=loss, **changes), [note], resume=out.exists())
    return found


@pytest.mark.parametrize("loss", COMPARED)
def test_a_resumed_run_ends_in_the_same_bits(loss: str, people: Path, tmp_path: Path) -> None:
    unbroken = run(people, tmp_path / "unbroken", loss)
    found = [step for steps in (2, 5, 6) for step in run(people, tmp_path / "run", loss, max_steps=steps)]
    assert found == unbroken
    lines, expected = read_metrics(tmp_path / "run"), read_metrics(tmp_path / "unbroken")
    assert [line["loss"] for line in lines] == [line["loss"] for line in expected]


@pytest.mark.parametrize("loss", STATISTICS)
def test_a_skipped_step_leaves_the_statistics(
    loss: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_once(self: Any, *inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        value = forward(self, *inputs, **options)
        return value * torch.nan if self.step == 2 else value

    forward = MarginHead.forward
    monkeypatch.setattr(MarginHead, "forward", broken_once)
    first, second, third = run(people, tmp_path / "run", loss, max_steps=3)
    assert first == second != third
