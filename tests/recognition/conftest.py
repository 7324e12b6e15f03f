"""Photos of rendered people, and a small model that was never trained, for the tests of decisions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from elasticface import backbones
from elasticface.data.images.decoding import cv2, encode
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.model.encoder import Card, FaceEncoder


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with two photos each, 240 x 200 pixels; one photo of two people; one of nobody."""
    root = tmp_path_factory.mktemp("album")
    source = SyntheticFaces(identities=3, images=2, appearance="frozen", cache=False)
    grey = np.full((200, 240, 3), 128, np.uint8)

    def put(name: str, *placed: tuple[int, int, int]) -> None:
        photo = grey.copy()
        for index, side, x in placed:
            face = cv2.resize(source[index][0], (side, side), interpolation=cv2.INTER_CUBIC)
            photo[20 : 20 + side, x : x + side] = face
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(photo, ".png"))

    for person in range(3):
        for photo in range(2):
            put(f"people/person {person}/{photo}.png", (2 * person + photo, 150, 40))
    put("two.png", (0, 100, 10), (2, 120, 115))
    put("nobody.png")
    return root


@pytest.fixture(scope="session")
def encoder() -> FaceEncoder:
    torch.manual_seed(0)
    return FaceEncoder(backbones.create("tiny", 16).eval(), Card("small", "tiny", 16))
