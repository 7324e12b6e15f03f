"""What the tests of galleries share: one embedded server, an empty database for each test, and made-up embeddings."""

import pytest
import torch

from elasticface import backbones
from elasticface.gallery.database import Database
from elasticface.model.encoder import Card, FaceEncoder


@pytest.fixture(scope="session", autouse=True)
def _needs_the_database(opened: Database) -> None:
    """Where there can be none, all of these tests are skipped."""


@pytest.fixture(scope="session")
def other_encoder() -> FaceEncoder:
    torch.manual_seed(1)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))
