"""What is done after every step, in which order; what a failed validation cannot lose; and hooks of the user's own."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import small_run
import torch
from conftest import write_pairs, write_people
from safetensors.torch import load_file

from elasticface.base.errors import InputError
from elasticface.data import open_dataset
from elasticface.model import checkpoint_folder
from elasticface.training import hooks
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

SMALL = replace(small_run.SMALL, epochs=3)


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    return write_pairs(write_people(tmp_path / "benchmark", 6, 5, seed=1), 6, 5)


@pytest.fixture(scope="module")
def unbroken(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing went wrong in, validated on `benchmark`."""
    folder = tmp_path_factory.mktemp("unbroken")
    benchmark = write_pairs(write_people(folder / "benchmark", 6, 5, seed=1), 6, 5)
    train(people, folder / "run", replace(SMALL, validate=str(benchmark)))
    return folder / "run"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def saved(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint_folder.newest_first(run / "checkpoints")]


def test_a_hook_is_called_after_every_step_with_what_the_step_did(people: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    def note(state: TrainState, run: RunFolder) -> None:
        assert run.path == tmp_path / "run"
        seen.append((state.step, state.outcome.loss))

    train(people, tmp_path / "run", SMALL, hooks=[note])
    assert seen == [(line["step"], line["loss"]) for line in read_metrics(tmp_path / "run")]


def test_a_hook_that_embeds_changes_nothing(people: Path, tmp_path: Path) -> None:
    def embed(state: TrainState, run: RunFolder) -> None:
        run.encoder(state).embed(np.zeros((2, 112, 112, 3), np.uint8))
        assert not state.backbone.training

    settings = replace(SMALL, max_steps=4)
    train(people, tmp_path / "plain", settings)
    train(people, tmp_path / "embedding", settings, hooks=[embed])
    one, other = (weights(tmp_path / run) for run in ("plain", "embedding"))
    assert all((one[name] == other[name]).all() for name in one)


def test_a_source_is_trained_on_like_the_folder_that_it_was_opened_from(people: Path, tmp_path: Path) -> None:
    for data, run in ((people, "folder"), (open_dataset(people), "source")):
        train(data, tmp_path / run, replace(SMALL, max_steps=2))
    one, other = (weights(tmp_path / run) for run in ("folder", "source"))
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.parametrize("error", [InputError("gone"), MemoryError("no memory"), OSError(5, "Input/output error")])
def test_whatever_goes_wrong_in_a_validation_the_epoch_before_it_is_saved(
    error: Exception, unbroken: Path, people: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, validate=str(benchmark))

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(hooks, "evaluate_pairs", fail)
        with pytest.raises(type(error)):
            train(people, tmp_path / "run", settings)
    assert saved(tmp_path / "run") == [3]
    train(people, tmp_path / "run", settings, resume=True)
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines if "benchmark" in line] == [3, 6, 9]
    assert [line.get("accuracy") for line in lines] == [line.get("accuracy") for line in read_metrics(unbroken)]


def test_a_benchmark_that_cannot_be_measured_is_refused_before_the_first_step(
    people: Path, benchmark: Path, tmp_path: Path
) -> None:
    for photo in benchmark.rglob("*.png"):  # not aligned, and no landmarks beside them
        cv2.imwrite(str(photo), np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(InputError, match="align"):
        train(people, tmp_path / "run", replace(SMALL, validate=str(benchmark)))
    assert read_metrics(tmp_path / "run") == []


def test_a_benchmark_that_vanishes_loses_no_epoch(people: Path, benchmark: Path, tmp_path: Path) -> None:
    def vanish(state: TrainState, run: RunFolder) -> None:
        if state.step == 2:
            shutil.rmtree(benchmark)

    with pytest.raises((InputError, OSError)):
        train(people, tmp_path / "run", replace(SMALL, validate=str(benchmark)), hooks=[vanish])
    assert saved(tmp_path / "run") == [3]


def test_float64_validates_and_resumes_to_the_same_bits(people: Path, benchmark: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, epochs=2, precision="64", validate=str(benchmark))
    train(people, tmp_path / "unbroken", settings)
    train(people, tmp_path / "run", replace(settings, max_steps=4))
    train(people, tmp_path / "run", settings, resume=True)
    logged = [
        [(line["step"], line.get("loss")) for line in read_metrics(tmp_path / run) if "loss" in line]
        for run in ("unbroken", "run")
    ]
    assert logged[0] == logged[1]
    one, other = (weights(tmp_path / run) for run in ("unbroken", "run"))
    assert all((one[name] == other[name]).all() for name in one)


def test_the_mean_of_several_benchmarks_or_a_named_one_says_which_is_best(
    people: Path, benchmark: Path, tmp_path: Path
) -> None:
    settings = replace(SMALL, validate=[str(people), str(benchmark)], keep_checkpoints=9)
    train(people, tmp_path / "run", settings)
    lines = [line for line in read_metrics(tmp_path / "run") if "benchmark" in line]
    assert [line["benchmark"] for line in lines] == ["faces", "benchmark"] * 3
    accuracies = [(faces["accuracy"], other["accuracy"]) for faces, other in zip(lines[::2], lines[1::2], strict=True)]
    checkpoints = checkpoint_folder.newest_first(tmp_path / "run" / "checkpoints")[::-1]
    for path, both in zip(checkpoints, accuracies, strict=True):
        expected = checkpoint_folder.Validation("mean of benchmark, faces", sum(both) / 2)
        assert checkpoint_folder.validation_of(path) == expected

    train(people, tmp_path / "named", replace(settings, best_by="benchmark"))
    newest = checkpoint_folder.newest_first(tmp_path / "named" / "checkpoints")[0]
    assert checkpoint_folder.validation_of(newest) == checkpoint_folder.Validation("benchmark", accuracies[-1][1])


def test_a_run_that_is_resumed_is_validated_on_benchmarks_of_other_names_at_once(
    people: Path, benchmark: Path, tmp_path: Path
) -> None:
    run, settings = tmp_path / "run", replace(SMALL, max_steps=3)
    measured: list[list[str]] = []
    for validate in ([benchmark], [people, benchmark], [benchmark, people]):
        train(people, run, replace(settings, validate=[str(path) for path in validate]), resume=True)
        measured.append([line["benchmark"] for line in read_metrics(run) if "benchmark" in line])
    assert measured == [["benchmark"], ["faces", "benchmark"], ["faces", "benchmark"]]
    newest = checkpoint_folder.newest_first(run / "checkpoints")[0]
    result = checkpoint_folder.validation_of(newest)
    assert result is not None
    assert result.benchmark == "mean of benchmark, faces"


def test_images_a_second_are_without_the_time_of_a_validation(
    people: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, lost = hooks.evaluate_pairs, 0.0

    def slow(*given: Any, **options: Any) -> Any:
        nonlocal lost
        lost += 1e6
        return evaluate(*given, **options)

    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + lost, monotonic=time.monotonic)
    monkeypatch.setattr(hooks, "time", clock)
    monkeypatch.setattr(hooks, "evaluate_pairs", slow)
    train(people, tmp_path / "run", replace(SMALL, epochs=2, validate=str(benchmark)))
    assert min(line["images_per_second"] for line in read_metrics(tmp_path / "run") if "loss" in line) > 0.1


def test_a_validation_that_fails_in_its_second_benchmark_is_made_up_for_once(
    people: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, validate=[str(people), str(benchmark)])
    evaluate = hooks.evaluate_pairs

    def fail(encoder: Any, one: Any, **options: Any) -> Any:
        if one.name == "benchmark":
            raise OSError(5, "Input/output error")
        return evaluate(encoder, one, **options)

    with monkeypatch.context() as patch:
        patch.setattr(hooks, "evaluate_pairs", fail)
        with pytest.raises(OSError, match="Input/output"):
            train(people, tmp_path / "run", settings)
    train(people, tmp_path / "run", settings, resume=True)
    lines = [line for line in read_metrics(tmp_path / "run") if "benchmark" in line]
    assert [(line["step"], line["benchmark"]) for line in lines] == [
        (step, name) for step in (3, 6, 9) for name in ("faces", "benchmark")
    ]


def test_what_is_passed_on_has_no_path_of_this_machine(people: Path, benchmark: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.csv"
    weights.write_text(
        "name,weight\n" + "".join(f"{path.name},1\n" for path in sorted(people.iterdir()) if path.is_dir())
    )
    config = replace(SMALL, max_steps=1, class_weights=str(weights), validate=[str(benchmark)])
    train(people, tmp_path / "first", config)
    train(people, tmp_path / "run", replace(config, init=str(tmp_path / "first")))
    told = (tmp_path / "run" / "model" / "model.json").read_text()
    assert str(tmp_path) not in told
    assert str(benchmark.parent) not in told
    training = json.loads(told)["training"]
    assert (training["init"], training["class_weights"], training["validate"]) == (
        "first",
        "weights.csv",
        [benchmark.name],
    )
