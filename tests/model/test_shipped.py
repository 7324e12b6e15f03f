"""The model that comes with the package: it is there, small, from rendered faces alone, and knows people apart."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import elasticface
from elasticface.base.errors import InputError
from elasticface.data.synthetic.studio import Studio
from elasticface.faces.finder import FaceFinder
from elasticface.metrics import verification_accuracy
from elasticface.model import shipped
from elasticface.model.encoder import FaceEncoder
from elasticface.model.loading import load
from elasticface.model.storing import place_of


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    return elasticface.load("default")


def test_it_is_small_enough_for_a_wheel() -> None:
    assert sum(path.stat().st_size for path in shipped.FOLDER.iterdir()) <= 8_100_000
    assert {path.name for path in shipped.FOLDER.iterdir()} == {"model.json", "model.safetensors"}


def test_loading_it_waits_for_nothing_that_only_runs_need() -> None:
    late = {"torch.distributed.checkpoint", "torch.distributed.tensor", "matplotlib", "pandas", "numba"}
    code = f"import sys, elasticface; elasticface.load('default'); print(*{late} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_its_card_says_what_it_is_from_and_for(encoder: FaceEncoder) -> None:
    told = encoder.card.training
    assert "no photo of anyone in training" in told["faces"]
    assert told["licence"] == "Apache-2.0"
    assert "access control" in told["not_for"]
    assert told["figures"]["LFW"]["pairs"] == 6000
    low, high = told["figures"]["LFW"]["accuracy_interval"]
    assert low < told["figures"]["LFW"]["accuracy"] < high
    assert encoder.card.calibration is not None
    assert encoder.card.calibration.conditions.detector == FaceFinder().name


def test_it_knows_rendered_people_apart(encoder: FaceEncoder) -> None:
    studio = Studio(seed=2_000_000)
    people, photos = 15, 4
    embeddings = encoder.embed([studio.image(person, photo) for person in range(people) for photo in range(photos)])
    grid = embeddings.reshape(people, photos, -1)
    other = np.roll(grid, 1, axis=0)  # the next person's
    a = np.concatenate([grid[:, :2], grid[:, :2]]).reshape(-1, grid.shape[-1])
    b = np.concatenate([grid[:, 2:], other[:, 2:]]).reshape(-1, grid.shape[-1])
    same = np.repeat([True, False], people * 2)
    order = np.random.default_rng(0).permutation(len(same))
    assert verification_accuracy(a[order], b[order], same[order], folds=4).accuracy > 0.85


def test_a_path_of_that_name_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="default: no such model"):
        load(Path("default"))
    with pytest.raises(InputError, match="no such model"):
        load("./default")


def test_its_calibration_stays_as_it_came() -> None:
    with pytest.raises(InputError, match=r"elasticface export default mine\.onnx"):
        place_of("default")


def test_half_precision_is_half_as_large_and_the_same_to_a_rounding(tmp_path: Path, encoder: FaceEncoder) -> None:
    encoder.save(tmp_path / "single")
    encoder.save(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "single")]
    assert sizes[0] < 0.52 * sizes[1]
    found = load(tmp_path / "half")
    assert isinstance(found.network, torch.nn.Module)
    for name, value in found.network.state_dict().items():  # float16 twice is float16 once
        assert isinstance(encoder.network, torch.nn.Module)
        assert torch.equal(value, encoder.network.state_dict()[name])
