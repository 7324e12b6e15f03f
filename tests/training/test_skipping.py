"""Steps that cannot be made leave nothing behind, are counted, and end a run that would pretend to have trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fp16_ranks
import on_processes
import pytest
import small_run
import torch
from conftest import write_people

from elasticface.base.errors import InputError, Stopped
from elasticface.heads import MarginHead
from elasticface.training import processes
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics
from elasticface.training.state import TrainState

SMALL = replace(small_run.SMALL, backbone="own_parts:pooled", epochs=100, max_steps=12)


HALF = replace(SMALL, precision="fp16")


@pytest.fixture
def begin_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Runs of float16 on the CPU, whose autocast knows it, with gradients scaled so at first."""

    def begin(scale: float) -> None:
        def scaled(*settings: Any) -> TrainState:
            state = create(*settings)
            state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": scale})
            return state

        create = TrainState.create
        monkeypatch.setattr(TrainState, "create", scaled)
        monkeypatch.setattr(processes, "_device", lambda *_: torch.device("cpu"))

    return begin


def test_half_precision_learns_and_keeps_its_scale_in_the_checkpoint(
    begin_with: Callable[[float], None], people: Path, tmp_path: Path
) -> None:
    begin_with(8.0)
    scales: list[float] = []

    def note(state: TrainState, run: object) -> None:
        scales.append(state.scaler.get_scale())

    train(people, tmp_path / "run", replace(HALF, max_steps=3), hooks=[note])
    begin_with(2.0)  # which the checkpoint's takes the place of
    train(people, tmp_path / "run", replace(HALF, max_steps=6), hooks=[note], resume=True)
    assert scales == [8.0] * 6
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_a_step_that_overflows_is_skipped_counted_and_scaled_down(
    begin_with: Callable[[float], None], people: Path, tmp_path: Path
) -> None:
    begin_with(2.0**16)
    weights: list[torch.Tensor] = []
    scales: list[float] = []

    def note(state: TrainState, run: object) -> None:
        weights.append(state.head.weight.detach().clone())
        scales.append(state.scaler.get_scale())

    train(people, tmp_path / "run", replace(HALF, max_skipped=100, max_steps=8), hooks=[note])
    skipped = [line.get("skipped_steps", 0) for line in read_metrics(tmp_path / "run")]
    assert skipped[0] == 1
    for step in range(1, 8):
        overflowed = skipped[step] > skipped[step - 1]
        assert torch.equal(weights[step], weights[step - 1]) == overflowed
        assert scales[step] == scales[step - 1] * (0.5 if overflowed else 1)
    assert 1 < skipped[-1] < 8


def test_steps_that_a_scaler_skips_are_limited_as_others_are(
    begin_with: Callable[[float], None], people: Path, tmp_path: Path
) -> None:
    begin_with(2.0**60)
    with pytest.raises(Stopped, match=r"5 steps in a row were skipped.*step 5,.*gradients scaled by 3\.6\d+e\+16"):
        train(people, tmp_path / "run", HALF)
    assert not (tmp_path / "run" / "model").exists()


def test_a_first_loss_that_is_not_finite_is_skipped_like_any_other(
    begin_with: Callable[[float], None], people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(8.0)

    def broken_once(self: Any, *inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        loss = forward(self, *inputs, **options)
        return loss * torch.nan if self.step == 1 else loss

    forward = MarginHead.forward
    monkeypatch.setattr(MarginHead, "forward", broken_once)
    train(people, tmp_path / "run", replace(HALF, max_steps=4))
    lines = read_metrics(tmp_path / "run")
    assert [line["skipped_steps"] for line in lines] == [1] * 4
    assert lines[0]["loss"] is None
    assert all(line["loss"] > 0 for line in lines[1:])


def test_over_two_processes_one_overflow_skips_the_step_in_both() -> None:
    one, other = on_processes.run(fp16_ranks.steps, 2)
    assert one["skipped"] == other["skipped"] == [0, 0, 1, 1]
    assert one["scales"] == other["scales"] == [1024.0, 1024.0, 512.0, 512.0]
    assert one["kept"]
    assert other["kept"]
    assert torch.equal(one["backbone"], other["backbone"])


def spoil(faces: Path, share: float = 1.0) -> None:
    photos = sorted(faces.rglob("*.png"))
    for photo in photos[: int(share * len(photos))]:
        photo.write_bytes(b"no picture")


def test_a_set_of_damaged_images_alone_is_no_training(tmp_path: Path) -> None:
    faces = write_people(tmp_path / "faces", 3, 6)
    spoil(faces)
    with pytest.raises(Stopped, match=r"5 steps in a row were skipped.*step 5: too few images.*bad_items\.jsonl"):
        train(faces, tmp_path / "run", replace(SMALL, max_damaged=1.0))
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_without_a_single_update_has_no_model(tmp_path: Path) -> None:
    faces = write_people(tmp_path / "faces", 3, 6)
    spoil(faces)
    with pytest.raises(Stopped, match="none of the 4 steps made an update"):
        train(faces, tmp_path / "run", replace(SMALL, max_damaged=1.0, max_steps=4))
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"accumulate": 8}, {"batch_size": 6, "accumulate": 4}])
def test_parts_of_one_image_are_refused_before_the_first_step(
    settings: dict[str, Any], people: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="leaves fewer than 2 images per part"):
        train(people, tmp_path / "run", replace(SMALL, **settings))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("accumulate", [1, 4])
def test_damaged_images_leave_no_part_of_one_image(accumulate: int, tmp_path: Path) -> None:
    # A third of the images is gone, so that many batches have parts of one image, or of none, as they were planned.
    faces = write_people(tmp_path / "faces", 4, 6)
    for photo in sorted(faces.rglob("*.png"))[::3]:
        photo.write_bytes(b"no picture")
    train(faces, tmp_path / "run", replace(SMALL, accumulate=accumulate, max_damaged=1.0, max_steps=4))
    assert read_metrics(tmp_path / "run")[-1]["step"] == 4


def test_a_batch_of_one_readable_image_is_skipped_and_a_resumed_run_passes_it(tmp_path: Path) -> None:
    faces = write_people(tmp_path / "faces", 2, 2)
    spoil(faces, 0.75)
    with pytest.raises(Stopped, match="too few images"):
        train(faces, tmp_path / "run", replace(SMALL, max_damaged=1.0, max_skipped=2))
    with pytest.raises(Stopped, match="none of the 3 steps"):
        train(faces, tmp_path / "run", replace(SMALL, max_damaged=1.0, max_skipped=4, max_steps=3), resume=True)
