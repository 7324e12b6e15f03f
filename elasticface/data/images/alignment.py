"""Five landmarks -> a 112×112 face: the similarity transform onto the ArcFace template.

The template and the bilinear warp with black borders are what public models of the ArcFace family were trained on
(Deng et al., "ArcFace", 2019, section 3.1); another template costs them whole points of accuracy.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZE = 112

_LONGEST_SIDE = 32_766  # of an image that OpenCV 4 warps

# Left eye, right eye, nose, left and right mouth corner as seen in the picture: (x, y) in pixels of a 112×112 image.
TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(landmarks: ArrayLike, size: int = SIZE) -> NDArray[np.float64]:
    """The least-squares similarity (rotation, uniform scale, translation; never a reflection) onto the template.

    With points as complex numbers it is z -> a·z + b, and a = Σ conj(p)·q / Σ |p|² over the centred points: the optimum
    that Umeyama (1991) finds by an SVD.

    Args:
        landmarks: [..., 5, 2] pixel coordinates (x, y) in the photo, in the template's order.
        size: side of the aligned image in pixels; the template scales with it.

    Returns:
        [..., 2, 3] matrices that map photo coordinates to aligned coordinates.

    Raises:
        ValueError: another shape, a coordinate that is not finite, or five points in one place.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape[-2:] != (5, 2):
        raise ValueError(f"landmarks must be [..., 5, 2], got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("landmarks must be finite numbers")
    if in_one_place(points).any():
        raise ValueError("the five landmarks lie in one place")
    source = points[..., 0] + 1j * points[..., 1]
    target = (TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]) * (size / SIZE)
    source_mean = source.mean(-1, keepdims=True)
    centred = source - source_mean
    a = (np.conj(centred) * (target - target.mean())).sum(-1) / (np.abs(centred) ** 2).sum(-1)
    b = target.mean() - a * source_mean[..., 0]
    rows = [[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def in_one_place(landmarks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether five points [..., 5, 2] lie in one place, as where no face was found: they fix no transform."""
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    spread = (np.abs(points - points.mean(-1, keepdims=True)) ** 2).sum(-1)
    # Relative to the coordinates: five equal points leave only the rounding of their mean.
    return np.asarray(spread <= 1e-12 * (1 + np.abs(points) ** 2).sum(-1))


def align(image: NDArray[np.uint8], landmarks: ArrayLike | Sequence[float], size: int = SIZE) -> NDArray[np.uint8]:
    """The aligned face of one photo.

    Args:
        image: [H, W, 3] uint8, any channel order.
        landmarks: [5, 2] or ten numbers x, y, x, y, …, in pixels of ``image``.
        size: side of the result in pixels.

    Returns:
        [size, size, 3] uint8; black where the photo ends.

    Raises:
        ValueError: landmarks that fix no transform (see :func:`similarity`), or span more than 32,766 pixels.
    """
    return warp(image, similarity(np.asarray(landmarks, dtype=np.float64).reshape(5, 2), size), size)


def warp(image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """What an affine map of an image's coordinates brings into a square, bilinear.

    Args:
        image: [H, W, 3] uint8, any channel order.
        matrix: [2, 3].
        size: side of the square in pixels.

    Returns:
        [size, size, 3] uint8; black where the image ends.

    Raises:
        ValueError: the square takes more of the image than OpenCV can warp.
    """
    import cv2

    if max(image.shape[:2]) > _LONGEST_SIDE:
        image, matrix = cut_out(image, matrix, size)
        if max(image.shape[:2]) > _LONGEST_SIDE:
            raise ValueError(f"the landmarks span more than {_LONGEST_SIDE:,} pixels")
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(warped, dtype=np.uint8)


def cut_out(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, margin: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of an image that :func:`warp` needs, with ``margin`` pixels around it, and the map [2, 3] of the part's
    own coordinates."""
    corners = through(inverse(matrix), np.array([(0, 0), (size, 0), (0, size), (size, size)], np.float64))
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0)) - margin, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + margin, (left, top), (width - 1, height - 1)).astype(int)
    shifted = np.column_stack([matrix[:, :2], through(matrix, np.array([left, top], np.float64))])
    return image[top : bottom + 1, left : right + 1], shifted


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of an affine map [2, 3]."""
    linear = np.linalg.inv(matrix[:, :2]).astype(np.float64)
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def through(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [..., 2] under an affine map [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def central_square(image: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.uint8]:
    """The largest square in the middle of a photo, resized: what stands for a face where none was found.

    Args:
        image: [H, W, 3] uint8, any channel order.
        size: side of the result in pixels.

    Returns:
        [size, size, 3] uint8.
    """
    import cv2

    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    resized = cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)
