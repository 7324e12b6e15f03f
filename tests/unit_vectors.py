"""Made-up people as embeddings: unit vectors around a centre each."""

import numpy as np
from numpy.typing import NDArray

from elasticface.gallery.storing import NewFace


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def made_up(people: int, faces: int, dimensions: int = 16, spread: float = 0.5, seed: int = 0) -> list[NewFace]:
    rng = np.random.default_rng(seed)
    found = []
    for person in range(people):
        centre = unit(rng.normal(size=dimensions))
        for number in range(faces):
            vector = unit(centre + spread * unit(rng.normal(size=dimensions)))
            found.append(NewFace(f"person {person}", vector, f"{person}/{number}.jpg"))
    return found
