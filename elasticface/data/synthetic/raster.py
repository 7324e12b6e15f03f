"""Points to pixels, and the z-buffer: which triangle is seen where."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Triangles = NDArray[np.int32]  # [T, 3]

_BACKGROUND = np.float32(-1e9)
_OVERLAP = np.float32(1e-5)  # by which a triangle reaches over its edges, so that rounding leaves no pinholes in them


class Buffers(NamedTuple):
    """Visibility at twice the picture's resolution."""

    depth: Array  # [2S, 2S]
    triangle: NDArray[np.int32]  # [2S, 2S], -1 where nothing is seen
    weights: Array  # [2S, 2S, 2], of the first two corners where a triangle is seen


def buffers(size: int) -> Buffers:
    """Empty buffers for a picture of ``size`` pixels a side."""
    side = 2 * size
    return Buffers(
        np.full((side, side), _BACKGROUND, np.float32),
        np.full((side, side), -1, np.int32),
        np.empty((side, side, 2), np.float32),
    )


@numba.njit(cache=True, error_model="numpy")
def rasterise(
    points: Any, triangles: Any, depth: Any, index: Any, weights: Any, facing: int
) -> None:  # pragma: no cover - compiled
    """Write the nearest triangles into the buffers, in place.

    Args:
        points: float32 [V, 3]: x, y in pixels (pixel centres at .5), and nearness: larger is nearer.
        triangles: int32 [T, 3].
        depth: float32 [H, W], the nearest so far.
        index: int32 [H, W], the triangle seen; left alone where nothing is nearer than ``depth``. None where only the
            depth is asked for, which takes three quarters of the time.
        weights: float32 [H, W, 2], weights of its first two corners; the third's is what is missing to 1. None with
            ``index``.
        facing: 1 leaves out triangles whose corners run clockwise with y down, -1 the others, 0 takes all.
    """
    height, width = depth.shape
    one, half = np.float32(1), np.float32(0.5)
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = points[i, 0], points[i, 1]
        x1, y1 = points[j, 0], points[j, 1]
        x2, y2 = points[k, 0], points[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or area * facing > 0:
            continue
        left = max(0, math.ceil(min(x0, x1, x2) - 0.5))
        right = min(width - 1, math.floor(max(x0, x1, x2) - 0.5))
        top = max(0, math.ceil(min(y0, y1, y2) - 0.5))
        bottom = min(height - 1, math.floor(max(y0, y1, y2) - 0.5))
        if left > right or top > bottom:
            continue
        z0, z1, z2 = points[i, 2], points[j, 2], points[k, 2]
        share = one / area
        u_x, u_y = (y1 - y2) * share, (x2 - x1) * share
        v_x, v_y = (y2 - y0) * share, (x0 - x2) * share
        # Weights are counted from the third corner: from the picture's, float32 would lose what decides on an edge.
        start = np.float32(left) + half - x2
        for y in range(top, bottom + 1):
            down = np.float32(y) + half - y2
            u, v = u_x * start + u_y * down, v_x * start + v_y * down
            if index is None:
                for x in range(left, right + 1):
                    z = u * (z0 - z2) + v * (z1 - z2) + z2
                    nearer = (min(u, v, one - u - v) >= -_OVERLAP) & (z > depth[y, x])
                    depth[y, x] = z if nearer else depth[y, x]
                    u += u_x
                    v += v_x
                continue
            entered = False
            for x in range(left, right + 1):
                if min(u, v, one - u - v) >= -_OVERLAP:
                    entered = True
                    z = u * (z0 - z2) + v * (z1 - z2) + z2
                    if z > depth[y, x]:
                        depth[y, x] = z
                        index[y, x] = t
                        weights[y, x, 0] = u
                        weights[y, x, 1] = v
                elif entered:
                    break
                u += u_x
                v += v_x


def cast_shadows(
    meshes: list[tuple[Array, NDArray[np.int32], int]], frame: Array, reach: float, size: int = 112
) -> Array:
    """The shadow map of a lamp, float32 [size, size]: how near to it is what it sees first; rows go up.

    Args:
        meshes: points [V, 3], triangles [T, 3], and 1 where those alone that face the lamp cast shadows, 0 for all.
        frame: [3, 3], the map's right and up, and the direction to the lamp.
        reach: half the width that the map shows, decimetres.
        size: in pixels.
    """
    seen = np.full((size, size), _BACKGROUND, np.float32)
    scale = np.float32(size / (2 * reach))
    to_pixels = np.array([scale, scale, 1], np.float32)
    middle = np.array([size / 2, size / 2, 0], np.float32)
    for points, triangles, facing in meshes:
        pixels = rotate(points, frame * to_pixels[:, None], middle)
        rasterise(pixels, triangles, seen, None, None, -facing)  # with rows that go up corners run the other way
    return seen


def rotate(points: Array, frame: Array, shift: Array | None = None) -> Array:
    """points · frameᵀ + shift without BLAS, whose sums differ from machine to machine."""
    result = np.empty_like(points)
    _rotate_into(points, frame, np.zeros(3, np.float32) if shift is None else shift, result)
    return result


@numba.njit(cache=True, error_model="numpy")
def _rotate_into(points: Any, frame: Any, shift: Any, result: Any) -> None:  # pragma: no cover - compiled
    for axis in range(3):
        of_x, of_y, of_z, start = frame[axis, 0], frame[axis, 1], frame[axis, 2], shift[axis]
        for n in range(len(points)):
            result[n, axis] = of_x * points[n, 0] + of_y * points[n, 1] + of_z * points[n, 2] + start


@numba.njit(cache=True, error_model="numpy")
def project(points: Any, distance: float, matrix: Any) -> Any:  # pragma: no cover - compiled
    """Perspective onto the plane through the head's centre, then an affine map of that plane.

    Args:
        points: [V, >= 3] in camera space.
        distance: of the camera.
        matrix: [2, 3], from the plane (y down) to pixels.

    Returns:
        float32 [V, 3] of x, y and nearness.
    """
    result = np.empty((len(points), 3), np.float32)
    for n in range(len(points)):
        near = 1 / (distance - points[n, 2])
        x, y = points[n, 0] * distance * near, -points[n, 1] * distance * near
        for axis in range(2):
            result[n, axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2]
        result[n, 2] = near
    return result
