"""Embeddings of made-up people, to be compared."""

import numpy as np


def photos_of(people: int, photos: int, spread: float = 0.6, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Embeddings [N, 16] and names."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(people, 16)), photos, axis=0) + spread * rng.normal(size=(people * photos, 16))
    names = [f"person_{p:03d}/{k}.png" for p in range(people) for k in range(photos)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), names
