"""What the tests of decisions share: photos of rendered people, and a small model that was never trained."""

from pathlib import Path

import pytest
import torch
from album import write_album

from elasticface import backbones
from elasticface.model.encoder import Card, FaceEncoder


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def encoder() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))
