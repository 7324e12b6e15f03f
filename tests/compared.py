"""Embeddings of made-up people, to be compared, and a made-up calibration."""

import numpy as np

from elasticface.model.calibration import Calibration, Conditions, LikelihoodRatio, OperatingPoint


def photos_of(people: int, photos: int, spread: float = 0.6, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Embeddings [N, 16] and names."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(people, 16)), photos, axis=0) + spread * rng.normal(size=(people * photos, 16))
    names = [f"person_{p:03d}/{k}.png" for p in range(people) for k in range(photos)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), names


def made_up(conditions: Conditions | None = None) -> Calibration:
    points = (
        OperatingPoint(0.1, 0.21, 0.0995, (0.08, 0.12), 0.99, (0.98, 1.0), 900),
        OperatingPoint(0.01, 0.35, 0.0099, (0.007, 0.013), 0.95, (0.93, 0.97), 1200),
    )
    return Calibration(
        conditions or Conditions("yunet", "template", True, "float32", (0.5, -1.0)),
        points,
        LikelihoodRatio(12.5, -3.25, 0.11, 40, 39),
        ("lfw",),
        "people",
        79,
        300,
        20_000,
    )
