"""What several tests need: a few made-up people in folders, small enough to train on in seconds."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import embedded
import hypothesis
import numpy as np
import pytest

from elasticface.data.images import decoding

if TYPE_CHECKING:
    from elasticface.gallery.database import Database
    from elasticface.model.encoder import FaceEncoder

# How long an example takes says nothing on a machine that has other work.
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")

LONGEST_FIRST = ("test_loop_processes.py", "test_faults.py", "training", "heads")
"""Files and folders whose tests take longest: two workers end together where no long file comes last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((rank for rank, part in enumerate(LONGEST_FIRST) if part in item.path.parts), len(LONGEST_FIRST))

    items.sort(key=rank)


def write_people(folder: Path, people: int, photos: int, size: int = 112, seed: int = 0) -> Path:
    """``<folder>/person_NN/person_NN_000K.png``: a pattern of its own for each person, and noise for each photo."""
    rng = np.random.default_rng(seed)
    for person in range(people):
        name = f"person_{person:02d}"
        (folder / name).mkdir(parents=True)
        pattern = np.kron(rng.uniform(40, 215, (7, 7, 3)), np.ones((size // 7, size // 7, 1)))
        for photo in range(1, photos + 1):
            noisy = np.clip(pattern + rng.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8)
            (folder / name / f"{name}_{photo:04d}.png").write_bytes(decoding.encode(noisy, ".png"))
    return folder


def write_pairs(folder: Path, people: int, photos: int, folds: int = 2) -> Path:
    """`pairs.txt` of all genuine pairs with a person's first photo, and as many impostor pairs, folds contiguous."""
    genuine = [f"person_{p:02d}\t1\t{k}" for p in range(people) for k in range(2, photos + 1)]
    impostor = [
        f"person_{p:02d}\t{k}\tperson_{(p + (k % people or 1)) % people:02d}\t1"
        for p in range(people)
        for k in range(2, photos + 1)
    ]
    lines = [f"{folds}\t{len(genuine) // folds}"]
    for fold in range(folds):
        lines += genuine[fold::folds] + impostor[fold::folds]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is kept in the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("ELASTICFACE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people of five photos, with pairs."""
    return write_pairs(write_people(tmp_path_factory.mktemp("people") / "faces", 6, 5), 6, 5)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real faces and public models; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ELASTICFACE_SHARED", Path(__file__).parent.parent.parent / "shared"))
    if not (folder / "faces" / "lfw").is_dir():
        pytest.skip(f"needs real faces: {folder} is not there (ELASTICFACE_SHARED names another place)")
    return folder


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of rendered people."""
    from album import write_album

    return write_album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def encoder() -> "FaceEncoder":
    """A small model, of 16 numbers a face."""
    import torch

    from elasticface import backbones
    from elasticface.model.encoder import Card, FaceEncoder

    torch.manual_seed(0)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder for databases: of a short path, and one that the server's system user can enter where root tests."""
    folder = Path(tempfile.mkdtemp(prefix="gallery-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def opened(place: Path) -> "Iterator[Database]":
    """An embedded database, one for all tests of a process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)  # no address from outside
        database = embedded.opened(place / "gallery")
        yield database
        database.close()


@pytest.fixture
def database(opened: "Database") -> "Database":
    """The session's, without any collection."""
    with opened.transaction() as cursor:
        cursor.execute("DROP SCHEMA elasticface CASCADE")
    opened.disconnect()
    return opened
