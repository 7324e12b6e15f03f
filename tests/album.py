"""An album of rendered people, who never lived, in photos as a camera would make them."""

from pathlib import Path

import numpy as np

from elasticface.data.images.decoding import cv2, encode
from elasticface.data.synthetic.source import SyntheticFaces

NOBODY = "nobody.png"


def write_album(root: Path) -> Path:
    """Three people with two photos each in `people/`, 240 x 200 pixels; `two.png` of two of them; one of nobody."""
    source = SyntheticFaces(identities=3, images=2, appearance="frozen", cache=False)

    def put(name: str, *placed: tuple[int, int, int]) -> None:
        photo = np.full((200, 240, 3), 128, np.uint8)
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
    put(NOBODY)
    return root
