"""What the tests of the service share: photos of rendered people, a small model, and the application around it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from album import NOBODY, write_album
from starlette.testclient import TestClient

from elasticface import backbones
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.service.app import create_app
from elasticface.service.keys import new_key
from elasticface.service.limits import Limits


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def photos(album: Path) -> dict[str, bytes]:
    """Two photos of one person, one of another, one of two people and one of nobody."""
    paths = {"a": "people/person 0/0.png", "b": "people/person 0/1.png", "other": "people/person 1/0.png"}
    return {name: (album / path).read_bytes() for name, path in (paths | {"two": "two.png", "nobody": NOBODY}).items()}


@pytest.fixture(scope="session")
def encoder() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))


@pytest.fixture(scope="session")
def serving(encoder: FaceEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services with some limits; each sends the key."""
    opened: list[TestClient] = []

    def made(model: FaceEncoder = encoder, **limits: float) -> TestClient:
        key, text = new_key(tmp_path_factory.mktemp("keys", numbered=True) / "own")
        client = TestClient(create_app(model, key, limits=Limits(**limits)), headers={"X-API-Key": text})
        opened.append(client.__enter__())
        return client

    yield made
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(serving: Callable[..., TestClient]) -> TestClient:
    """Of a service as it is by itself."""
    return serving()


@pytest.fixture
def noise() -> bytes:
    return np.random.default_rng(3).bytes(3000)
