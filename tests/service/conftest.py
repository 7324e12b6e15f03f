"""What the tests of the service share: photos of rendered people, a small model, and the application around it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from album import NOBODY
from calibrated import calibrated as made_calibrated
from gallery_requests import create
from starlette.testclient import TestClient

from elasticface.gallery.database import Database
from elasticface.model.encoder import FaceEncoder
from elasticface.service.app import create_app
from elasticface.service.keys import new_key
from elasticface.service.limits import Limits


@pytest.fixture(scope="session")
def photos(album: Path) -> dict[str, bytes]:
    """Two photos of one person, one of another, one of two people and one of nobody."""
    paths = {"a": "people/person 0/0.png", "b": "people/person 0/1.png", "other": "people/person 1/0.png"}
    return {name: (album / path).read_bytes() for name, path in (paths | {"two": "two.png", "nobody": NOBODY}).items()}


@pytest.fixture(scope="session")
def calibrated(encoder: FaceEncoder) -> FaceEncoder:
    """Names everybody at a false match rate of 0.1, and nobody at 1e-4."""
    return made_calibrated(encoder, (1e-1, -1.0), (1e-3, 0.5), (1e-4, 1.5))


@pytest.fixture(scope="session")
def serving(encoder: FaceEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services with some limits; each sends the key."""
    opened: list[TestClient] = []

    def made(model: FaceEncoder = encoder, **limits: float) -> TestClient:
        key, text = new_key(tmp_path_factory.mktemp("keys", numbered=True) / "own")
        client = TestClient(create_app(model, key, limits=Limits(**limits), gallery=False), headers={"X-API-Key": text})
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
def enrolling(database: Database, encoder: FaceEncoder, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services on the test's own database."""
    opened: list[TestClient] = []
    assert database.server is not None
    folder = database.server.folder

    def made(model: FaceEncoder = encoder, place: str | Path = folder, **limits: float) -> TestClient:
        key, text = new_key(tmp_path / f"keys-{len(opened)}")
        app = create_app(model, key, limits=Limits(**limits), database=place)
        client = TestClient(app, headers={"X-API-Key": text})
        opened.append(client.__enter__())
        return client

    yield made
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def friends(enrolling: Callable[..., TestClient]) -> TestClient:
    """Of a service with an empty collection of this name."""
    client = enrolling()
    assert create(client, "friends").status_code == 201
    return client


@pytest.fixture
def noise() -> bytes:
    return np.random.default_rng(3).bytes(3000)
