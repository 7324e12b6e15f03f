"""Settings whose effect could depend on the number of processes: two make what one makes, and resume bit for bit."""

from dataclasses import asdict, replace
from pathlib import Path

import on_processes
import pytest
import small_run
import torch
import train_ranks
from safetensors.torch import load_file

from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics

# In float64: in float32 rounding grows to 1e-3 in three steps.
PLAIN = replace(small_run.SMALL, precision="64", sync_batchnorm=True, max_steps=6, epochs=4)
STOP = 4  # within the second epoch of three steps
CASES = {
    "adamw and ema": replace(PLAIN, optimizer="adamw", lr=0.001, weight_decay=0.1, ema=0.8),
    "augmentation and people's photos": replace(
        PLAIN, augmentation="own_parts:noisy", images_per_identity=2, loss="elastic-arc+"
    ),
    "expected draws": replace(PLAIN, loss="elastic-arc+", draws="expected"),
    "class weights and people whom processes share": replace(
        PLAIN, class_weights="effective:0.9", images_per_identity=4, batch_size=12, loss="magface"
    ),
}


@pytest.fixture(scope="module")
def faces(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the six people some with fewer photos, so that weights differ."""
    folder = tmp_path_factory.mktemp("uneven") / "faces"
    for person in sorted(people.glob("person_*")):
        (folder / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[: 5 - int(person.name[-1]) % 2]:
            (folder / person.name / photo.name).symlink_to(photo)
    return folder


@pytest.fixture(scope="module")
def together(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of two processes."""
    folder = tmp_path_factory.mktemp("together")
    settings = {name: asdict(config) for name, config in CASES.items()}
    on_processes.run(train_ranks.whole_and_resumed, 2, str(faces), str(folder), STOP, settings, timeout=400)
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_make_the_losses_and_the_model_of_one(
    name: str, together: Path, faces: Path, tmp_path: Path
) -> None:
    train(faces, tmp_path / "alone", CASES[name])
    assert len(losses(tmp_path / "alone")) == PLAIN.max_steps
    assert losses(together / f"{name}-whole") == pytest.approx(losses(tmp_path / "alone"), rel=1e-6)
    one, two = weights(tmp_path / "alone"), weights(together / f"{name}-whole")
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_resume_in_the_same_bits(name: str, together: Path) -> None:
    whole, resumed = together / f"{name}-whole", together / f"{name}-resumed"
    assert losses(whole) == losses(resumed)
    one, other = weights(whole), weights(resumed)
    assert all(torch.equal(one[key], other[key]) for key in one)
