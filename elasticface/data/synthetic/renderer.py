"""Surfaces and light in, linear RGB out. Each pixel of the picture is shaded once per material that is seen in it.

Visibility is found at twice the picture's resolution; the (up to four) samples of a pixel that show the same material
are averaged *before* shading, and the materials then mixed by how many samples each has. So edges are smooth at the
price of one shading a pixel.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.data.synthetic.raster import rasterise
from elasticface.data.synthetic.shading import (
    ATTRIBUTES,
    COVER,
    EYE,
    HAIR,
    LASHES,
    MATERIALS,
    NORMAL,
    OPENNESS,
    RIM,
    SKIN,
    TEETH,
    TONGUE,
    eye_colour,
    hair_colour,
    radiance,
    skin_colour,
)

Array = NDArray[np.float32]

_BACKGROUND = np.float32(-1e9)


class Buffers(NamedTuple):
    """Visibility at twice the picture's resolution."""

    depth: Array  # [2S, 2S]
    triangle: NDArray[np.int32]  # [2S, 2S], -1 where nothing is seen
    weights: Array  # [2S, 2S, 2]


def buffers(size: int) -> Buffers:
    """Empty buffers for a picture of ``size`` pixels a side."""
    side = 2 * size
    return Buffers(
        np.full((side, side), _BACKGROUND, np.float32),
        np.full((side, side), -1, np.int32),
        np.zeros((side, side, 2), np.float32),
    )


def cast_shadows(
    meshes: list[tuple[Array, NDArray[np.int32], int]], frame: Array, reach: float, size: int = 112
) -> Array:
    """The shadow map of meshes (points [V, 3], triangles) under a lamp with this frame, float32 [size, size]."""
    seen = np.full((size, size), _BACKGROUND, np.float32)
    index = np.full((size, size), -1, np.int32)
    weights = np.empty((size, size, 2), np.float32)
    scale = np.float32(size / (2 * reach))
    for points, triangles, facing in meshes:
        local = rotate(points, frame)
        local[:, :2] = (local[:, :2] + np.float32(reach)) * scale
        rasterise(local, triangles, seen, index, weights, -facing)
    return seen


def rotate(points: Array, frame: Array) -> Array:
    """points · frameᵀ without BLAS, whose sums differ from machine to machine."""
    result = np.empty_like(points)
    _rotate_into(points, frame, result)
    return result


@numba.njit(cache=True, error_model="numpy")
def _rotate_into(points: Any, frame: Any, result: Any) -> None:  # pragma: no cover - compiled
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for axis in range(3):
            result[n, axis] = frame[axis, 0] * x + frame[axis, 1] * y + frame[axis, 2] * z


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


@numba.njit(cache=True, error_model="numpy")
def draw_surfaces(
    image: Any, seen: Any, attributes: Any, triangles: Any, parts: Any, materials: Any, light: Any, distance: float
) -> None:  # pragma: no cover - compiled
    """Shade what the buffers show onto ``image``, float32 [S, S, 3] linear RGB, in place."""
    size = len(image)
    sums = np.zeros((MATERIALS, ATTRIBUTES), np.float32)
    counts = np.zeros(MATERIALS, np.int64)
    colour, normal, wrap = np.zeros(3), np.zeros(3), np.zeros(3)
    for y in range(size):
        for x in range(size):
            covered = _gather(seen, x, y, attributes, triangles, parts, sums, counts)
            if covered == 0:
                continue
            for c in range(3):
                image[y, x, c] *= 1 - covered / 4
            for part in range(MATERIALS):
                count = counts[part]
                if count == 0:
                    continue
                counts[part] = 0
                mean = sums[part]
                for a in range(ATTRIBUTES):
                    mean[a] /= count
                for axis in range(3):
                    normal[axis] = mean[NORMAL + axis]
                openness = mean[OPENNESS]
                if part == SKIN:
                    gloss = skin_colour(mean, colour, normal, materials)
                    squarings = 4
                    wrap[0], wrap[1], wrap[2] = 0.34, 0.16, 0.10
                elif part == EYE:
                    openness = eye_colour(mean, colour, normal, materials)
                    gloss, squarings = 0.9, 8
                    wrap[0], wrap[1], wrap[2] = 0.2, 0.12, 0.1
                else:
                    wrap[0], wrap[1], wrap[2] = 0.1, 0.1, 0.1
                    gloss, squarings = 0.2, 5
                    if part == TEETH:
                        colour[0], colour[1], colour[2] = 0.58, 0.54, 0.45
                        openness = 0.45 + 0.4 * openness
                    elif part == TONGUE:
                        colour[0], colour[1], colour[2] = 0.34, 0.11, 0.10
                        openness = 0.4 * openness
                    elif part == RIM:
                        for c in range(3):
                            colour[c] = materials.rim[c]
                        gloss = 0.8
                    else:
                        for c in range(3):
                            colour[c] = materials.fabric[c] * mean[COVER]
                        gloss = 0.0
                length = math.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-9
                for axis in range(3):
                    normal[axis] /= length
                radiance(colour, normal, mean, openness, wrap, gloss, squarings, light, distance)
                for c in range(3):
                    image[y, x, c] += colour[c] * (count / 4)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _gather(
    seen: Any, x: int, y: int, attributes: Any, triangles: Any, parts: Any, sums: Any, counts: Any
) -> int:  # pragma: no cover - compiled
    """Add up the attributes of a pixel's four samples by material; returns how many samples show anything.

    ``counts`` must be zero for all materials; whoever reads a material's sum sets its count back to zero.
    """
    covered = 0
    for row in (2 * y, 2 * y + 1):
        for column in (2 * x, 2 * x + 1):
            t = seen.triangle[row, column]
            if t < 0:
                continue
            u, v = seen.weights[row, column, 0], seen.weights[row, column, 1]
            w = np.float32(1) - u - v
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            part = parts[t]
            if counts[part] == 0:
                for a in range(ATTRIBUTES):
                    sums[part, a] = u * attributes[i, a] + v * attributes[j, a] + w * attributes[k, a]
            else:
                for a in range(ATTRIBUTES):
                    sums[part, a] += u * attributes[i, a] + v * attributes[j, a] + w * attributes[k, a]
            counts[part] += 1
            covered += 1
    return covered


@numba.njit(cache=True, error_model="numpy")
def draw_sheet(
    image: Any,
    seen: Any,
    attributes: Any,
    triangles: Any,
    kind: int,
    layer: float,
    materials: Any,
    light: Any,
    distance: float,
) -> None:  # pragma: no cover - compiled
    """Mix a translucent sheet (HAIR, LASHES or LENS) that the buffers show over ``image``, in place.

    Hair is lit as strands (Kajiya and Kay 1989): by the sine to the tangent. ``layer`` is 0 at the scalp .. 1 outside.
    """
    size = len(image)
    sums = np.zeros((1, ATTRIBUTES), np.float32)
    counts = np.zeros(1, np.int64)
    parts = np.zeros(len(triangles), np.uint8)
    colour, normal, wrap = np.zeros(3), np.zeros(3), np.full(3, 0.1)
    for y in range(size):
        for x in range(size):
            covered = _gather(seen, x, y, attributes, triangles, parts, sums, counts)
            if covered == 0:
                continue
            counts[0] = 0
            mean = sums[0]
            for a in range(ATTRIBUTES):
                mean[a] /= covered
            if kind == HAIR:
                alpha = hair_colour(mean, colour, layer, materials, light, distance)
            elif kind == LASHES:
                alpha = 0.55
                colour[0], colour[1], colour[2] = 0.006, 0.005, 0.004
            else:
                alpha = materials.lens[3]
                for c in range(3):
                    colour[c] = materials.lens[c]
                for axis in range(3):
                    normal[axis] = mean[NORMAL + axis]
                before = colour[0]
                radiance(colour, normal, mean, 1.0, wrap, 1.0, 8, light, distance)
                alpha = min(1.0, alpha + max(0.0, colour[0] - 2 * before) * 0.5)
            alpha *= covered / 4
            for c in range(3):
                image[y, x, c] += alpha * (colour[c] - image[y, x, c])
