"""A checkpoint is written while training goes on: it holds the state of its step, and what fails is told."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_run
import torch

from elasticface.base.errors import InputError, Stopped
from elasticface.model import checkpoint_folder
from elasticface.model.checkpoint_weights import read_tensors
from elasticface.training import checkpoint, hooks
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

RUN = replace(small_run.SMALL, batch_size=4, max_steps=4, epochs=9, checkpoint_every="2", keep_checkpoints=9)


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """What is called by the writing thread before it writes."""

    def before(call: Callable[[], None]) -> None:
        def write(self: Any, *inputs: Any) -> Any:
            call()
            return write_data(self, *inputs)

        monkeypatch.setattr(checkpoint._Writer, "write_data", write)

    write_data = checkpoint._Writer.write_data
    return before


def test_the_next_step_is_taken_meanwhile_and_the_checkpoint_holds_its_own(
    writing: Callable[[Callable[[], None]], None], people: Path, tmp_path: Path
) -> None:
    three_steps = threading.Event()
    writing(lambda: three_steps.wait(60) or pytest.fail("the step waited for the checkpoint"))
    weights: dict[int, torch.Tensor] = {}
    there: dict[int, bool] = {}

    def note(state: TrainState, run: RunFolder) -> None:
        weights[state.step] = state.head.weight.detach().clone()
        there[state.step] = run.newest is not None
        if state.step == 3:
            three_steps.set()

    train(people, tmp_path / "run", RUN, [note])
    assert there == {1: False, 2: False, 3: False, 4: True}  # before the second begins, the first is waited for
    for step in (2, 4):
        path = checkpoint_folder.path_of(tmp_path / "run/checkpoints", step)
        assert torch.equal(read_tensors(path, "head.")["weight"], weights[step])
    assert not torch.equal(weights[2], weights[3])


def test_a_full_disk_stops_the_run_when_it_is_known(
    writing: Callable[[Callable[[], None]], None], people: Path, tmp_path: Path
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    writing(full)
    with pytest.raises(Stopped, match=r"step-000000002: the checkpoint cannot be written: No space left on device"):
        train(people, tmp_path / "run", RUN)
    assert os.listdir(tmp_path / "run/checkpoints") == []


def test_a_run_that_ends_by_an_error_leaves_the_checkpoint_whole(people: Path, tmp_path: Path) -> None:
    def fail(state: TrainState, _: object) -> None:
        if state.step == 2:
            raise ValueError("of a hook")

    with pytest.raises(ValueError, match="of a hook"):
        train(people, tmp_path / "run", RUN, [fail])
    (path,) = (tmp_path / "run/checkpoints").iterdir()
    assert checkpoint_folder.damage(path) is None


def test_every_so_many_minutes(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = iter(range(100))
    monkeypatch.setattr(hooks.time, "monotonic", lambda: 60.0 * next(minutes))  # one for each look at it
    saved: list[int] = []

    def note(self: RunFolder, state: TrainState) -> None:
        saved.append(state.step)

    monkeypatch.setattr(RunFolder, "save", note)
    monkeypatch.setattr(RunFolder, "finish", lambda *_: None)
    train(people, tmp_path / "run", replace(RUN, checkpoint_every="2min", batch_size=2, epochs=1, max_steps=None))
    assert saved[:2] == [2, 4]


@pytest.mark.parametrize("every", ["0", "-1", "1.5", "10 min", "0min", "nan", "1e3", "9" * 10, "soon"])
def test_an_interval_that_is_none_is_refused(every: str) -> None:
    with pytest.raises(InputError, match="checkpoint_every must be a number of steps, or of minutes as in 10min"):
        TrainConfig(checkpoint_every=every)


@pytest.mark.parametrize(
    ("every", "interval"), [("1000", (1000, "steps")), ("10min", (10, "minutes")), ("0.5min", (0.5, "minutes"))]
)
def test_intervals(every: str, interval: tuple[float, str]) -> None:
    assert TrainConfig(checkpoint_every=every).checkpoint_interval == interval
