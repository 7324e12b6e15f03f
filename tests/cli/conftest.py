"""A folder, a run and a model for the commands' tests."""

from pathlib import Path

import pytest
import torch
from command_line import SMALL, done

from elasticface import backbones
from elasticface.model.encoder import Card, FaceEncoder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on six people."""
    path = tmp_path_factory.mktemp("trained") / "run"
    done("train", people, "--out", path, *SMALL, "--max-steps", "2")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small") / "small"
    FaceEncoder(backbones.create("tiny", 8), Card("small", "tiny", 8)).save(path)
    return path
