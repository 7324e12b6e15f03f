"""What several tests need: a few made-up people in folders, small enough to train on in seconds."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elasticface.data.images import decoding

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
