"""Meshes laid over the head: grids that stick to its skin, tubes along paths."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic import asset

Points = NDArray[np.float32]  # [..., 3]


@dataclass(frozen=True)
class Patch:
    """A grid of places on the skin: each node lies in a triangle, so it follows the skin wherever that goes."""

    corners: NDArray[np.int32]  # [R, A, 3] vertices
    weights: NDArray[np.float32]  # [R, A, 3] of the corners

    def on(self, vertices: Points) -> Points:
        """The nodes' points on a head with these vertices, float32 [R, A, 3]."""
        points: Points = _interpolate(vertices, self.corners, self.weights)
        return points


def attach(origins: NDArray[np.floating], directions: NDArray[np.floating], exclude: NDArray[np.bool_]) -> Patch:
    """The patch whose nodes are where rays leave the skin of the average head for good.

    A ray that misses gets the place of the nearest node that has one, in the grid's own steps.

    Args:
        origins: [R, A, 3] inside the head.
        directions: [R, A, 3].
        exclude: [V] vertices whose triangles are looked through.
    """
    head = asset.load()
    skin = head.triangles[head.parts == asset.SKIN]
    skin = skin[~exclude[skin].any(1)]
    shape = origins.shape[:2]
    hits, weights = _leave(
        origins.reshape(-1, 3).astype(np.float64), directions.reshape(-1, 3).astype(np.float64), head.vertices, skin
    )
    found = (hits >= 0).reshape(shape)
    corners = skin[hits].reshape(*shape, 3)
    weights = weights.reshape(*shape, 3)
    have = np.argwhere(found)
    for row, column in np.argwhere(~found):
        nearest = tuple(have[np.argmin((have[:, 0] - row) ** 2 + (have[:, 1] - column) ** 2)])
        corners[row, column], weights[row, column] = corners[nearest], weights[nearest]
    return Patch(corners, weights)


@numba.njit(cache=True, error_model="numpy")
def _leave(origins: Any, directions: Any, vertices: Any, triangles: Any) -> Any:  # pragma: no cover - compiled
    """For each ray the triangle it meets last, or -1, and the weights of its corners (Möller and Trumbore 1997)."""
    hits = np.full(len(origins), -1, np.int64)
    weights = np.zeros((len(origins), 3), np.float32)
    for ray in range(len(origins)):
        ox, oy, oz = origins[ray]
        dx, dy, dz = directions[ray]
        farthest = 0.0
        for t in range(len(triangles)):
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, az = (
                vertices[j, 0] - vertices[i, 0],
                vertices[j, 1] - vertices[i, 1],
                vertices[j, 2] - vertices[i, 2],
            )
            bx, by, bz = (
                vertices[k, 0] - vertices[i, 0],
                vertices[k, 1] - vertices[i, 1],
                vertices[k, 2] - vertices[i, 2],
            )
            px, py, pz = dy * bz - dz * by, dz * bx - dx * bz, dx * by - dy * bx
            volume = ax * px + ay * py + az * pz
            if abs(volume) < 1e-12:
                continue
            sx, sy, sz = ox - vertices[i, 0], oy - vertices[i, 1], oz - vertices[i, 2]
            u = (sx * px + sy * py + sz * pz) / volume
            if u < 0 or u > 1:
                continue
            qx, qy, qz = sy * az - sz * ay, sz * ax - sx * az, sx * ay - sy * ax
            v = (dx * qx + dy * qy + dz * qz) / volume
            if v < 0 or u + v > 1:
                continue
            distance = (bx * qx + by * qy + bz * qz) / volume
            if distance > farthest:
                farthest = distance
                hits[ray] = t
                weights[ray, 0], weights[ray, 1], weights[ray, 2] = 1 - u - v, u, v
    return hits, weights


@cache
def grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """The triangles of a grid, [2·(rows-1)·(columns-1), 3]; nodes are numbered row by row."""
    node = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = node[:-1, :-1].ravel(), node[1:, :-1].ravel(), node[1:, 1:].ravel(), node[:-1, 1:].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def tube(path: Points, radius: float, sides: int = 5) -> tuple[Points, NDArray[np.int32]]:
    """A tube of some radius along a path [N, 3]: its points [N·(sides + 1), 3] and triangles."""
    points = np.empty((len(path), sides + 1, 3), np.float32)
    _rings(path, radius, points)
    return points.reshape(-1, 3), grid_triangles(len(path), sides + 1)


@numba.njit(cache=True, error_model="numpy")
def _rings(path: Any, radius: float, points: Any) -> None:  # pragma: no cover - compiled
    """Around each point of the path a ring that stands upright on it."""
    count, sides = points.shape[0], points.shape[1] - 1
    for n in range(count):
        before, after = max(n - 1, 0), min(n + 1, count - 1)
        fx, fy, fz = (
            path[after, 0] - path[before, 0],
            path[after, 1] - path[before, 1],
            path[after, 2] - path[before, 2],
        )
        length = math.sqrt(fx * fx + fy * fy + fz * fz) + 1e-9
        fx, fy, fz = fx / length, fy / length, fz / length
        if abs(fy) < 0.9:
            rx, ry, rz = -fz, 0.0, fx  # forward × up
        else:
            rx, ry, rz = fy, -fx, 0.0  # forward × front
        length = math.sqrt(rx * rx + ry * ry + rz * rz) + 1e-9
        rx, ry, rz = rx / length, ry / length, rz / length
        ux, uy, uz = ry * fz - rz * fy, rz * fx - rx * fz, rx * fy - ry * fx
        for side in range(sides + 1):
            cos, sin = math.cos(2 * math.pi * side / sides), math.sin(2 * math.pi * side / sides)
            points[n, side, 0] = path[n, 0] + radius * (cos * rx + sin * ux)
            points[n, side, 1] = path[n, 1] + radius * (cos * ry + sin * uy)
            points[n, side, 2] = path[n, 2] + radius * (cos * rz + sin * uz)


def smooth_step(start: float, end: float, x: Any) -> Any:
    """The smoothstep from 0 at ``start`` to 1 at ``end``; falling if ``end`` is below."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, error_model="numpy")
def _interpolate(vertices: Any, corners: Any, weights: Any) -> Any:  # pragma: no cover - compiled
    rows, columns = corners.shape[:2]
    result = np.empty((rows, columns, 3), np.float32)
    for row in range(rows):
        for column in range(columns):
            for axis in range(3):
                total = 0.0
                for corner in range(3):
                    total += weights[row, column, corner] * vertices[corners[row, column, corner], axis]
                result[row, column, axis] = total
    return result


def smooth_noise(purpose: str, rows: int, columns: int, along: float, across: float) -> NDArray[np.float32]:
    """Periodic noise in 0..1 with mean 0.5, smooth over ``along`` rows and ``across`` columns."""
    field = smooth_field(purpose, rows, columns, along, across)
    noise: NDArray[np.float32] = (1 / (1 + np.exp(-1.3 * field / field.std()))).astype(np.float32)
    return noise


def smooth_field(purpose: str, rows: int, columns: int, along: float, across: float) -> NDArray[np.float64]:
    """Periodic normal deviates [rows, columns] of mean 0 under a Gaussian with these standard deviations."""
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    blur = np.exp(-2 * np.pi**2 * ((along * fy) ** 2 + (across * fx) ** 2))
    white = keyed.generator(0, purpose).standard_normal((rows, columns))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(white) * blur, s=(rows, columns)))
