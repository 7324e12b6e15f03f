"""One photo: its faces, and the aligned images of those that are wanted."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.data.images.alignment import SIZE, align
from elasticface.data.images.pixels import to_pixels
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detector import Face
from elasticface.faces.finder import FaceFinder


def detect(image: Any, finder: FaceFinder | None = None) -> list[Face]:
    """The faces in a photo, largest first; none is an empty list.

    Args:
        image: a path, the bytes of a file, a PIL image, or an array, uint8 [H, W, 3] RGB.
        finder: with another detector or other settings than :class:`FaceFinder` has by itself.

    Returns:
        Faces in pixels of the upright photo: EXIF orientation is applied to all but arrays, which have none, and AVIF.

    Raises:
        InputError: no image, or a damaged one.
    """
    return (finder or _default_finder()).find(to_pixels(image))


def align_faces(image: Any, faces: Choice = "largest", finder: FaceFinder | None = None) -> NDArray[np.uint8]:
    """The faces in a photo, found and aligned.

    Args:
        image: as in :func:`detect`.
        faces: the "largest" one, the one nearest to the middle ("central"), or "all", largest first.
        finder: as in :func:`detect`.

    Returns:
        uint8 [K, 112, 112, 3] RGB; K is 0 where there is no face.

    Raises:
        InputError: no image, a damaged one, or another choice.
    """
    photo = to_pixels(image)
    found = detect(photo, finder)
    chosen = choose(found, faces, photo.shape[1], photo.shape[0])
    return np.array([align(photo, found[place].points) for place in chosen], np.uint8).reshape(-1, SIZE, SIZE, 3)


@cache
def _default_finder() -> FaceFinder:
    return FaceFinder()
