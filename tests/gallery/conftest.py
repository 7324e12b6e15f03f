"""What the tests of galleries share: one embedded server, an empty database for each test, and made-up embeddings."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import embedded
import pytest
import torch
from album import write_album

from elasticface import backbones
from elasticface.gallery.database import Database
from elasticface.model.encoder import Card, FaceEncoder


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder for databases: of a short path, and one that the server's system user can enter where root tests."""
    folder = Path(tempfile.mkdtemp(prefix="gallery-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def opened(place: Path) -> Iterator[Database]:
    database = embedded.opened(place / "gallery")
    yield database
    database.close()


@pytest.fixture
def database(opened: Database) -> Database:
    """The session's, without any collection."""
    with opened.transaction() as cursor:
        cursor.execute("DROP SCHEMA elasticface CASCADE")
    opened.disconnect()
    return opened


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def encoder() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))


@pytest.fixture(scope="session")
def other_encoder() -> FaceEncoder:
    torch.manual_seed(1)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))


@pytest.fixture(autouse=True)
def _no_address_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
