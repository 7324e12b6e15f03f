"""What the tests of faces share: rendered faces, which no one ever had, in photos of any size."""

from collections.abc import Callable

import numpy as np
import pytest

from elasticface.data.images.decoding import cv2
from elasticface.data.synthetic.source import SyntheticFaces

Photo = np.ndarray


@pytest.fixture(scope="session")
def rendered() -> list[Photo]:
    """Aligned faces of four people, uint8 [112, 112, 3]."""
    source = SyntheticFaces(identities=4, images=1, appearance="frozen", cache=False)
    return [source[index][0] for index in range(4)]


@pytest.fixture(scope="session")
def photo_of() -> Callable[..., Photo]:
    """A grey photo of the given size with faces pasted into it: each as (face, its side, x, y)."""

    def make(height: int, width: int, *placed: tuple[Photo, int, int, int]) -> Photo:
        photo = np.full((height, width, 3), 128, np.uint8)
        for face, side, x, y in placed:
            kind = cv2.INTER_AREA if side < 112 else cv2.INTER_CUBIC
            photo[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=kind)
        return photo

    return make
