"""The z-buffer: which triangle is seen at each pixel, and where in it."""

import math
from typing import Any

import numba


@numba.njit(cache=True, error_model="numpy")
def rasterise(
    points: Any, triangles: Any, depth: Any, index: Any, weights: Any, facing: int
) -> None:  # pragma: no cover - compiled
    """Write the nearest triangles into the buffers, in place.

    Args:
        points: float32 [V, 3]: x, y in pixels (pixel centres at .5), and nearness: larger is nearer.
        triangles: int32 [T, 3].
        depth: float32 [H, W], the nearest so far.
        index: int32 [H, W], the triangle seen; left alone where nothing is nearer than ``depth``.
        weights: float32 [H, W, 2], weights of its first two corners; the third's is what is missing to 1.
        facing: 1 leaves out triangles whose corners run clockwise with y down, -1 the others, 0 takes all.
    """
    height, width = index.shape
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
        share = 1 / area
        u_x, u_y, u_0 = (y1 - y2) * share, (x2 - x1) * share, (x1 * y2 - x2 * y1) * share
        v_x, v_y, v_0 = (y2 - y0) * share, (x0 - x2) * share, (x2 * y0 - x0 * y2) * share
        for y in range(top, bottom + 1):
            u_row = u_y * (y + 0.5) + u_0
            v_row = v_y * (y + 0.5) + v_0
            entered = False
            for x in range(left, right + 1):
                u = u_x * (x + 0.5) + u_row
                v = v_x * (x + 0.5) + v_row
                w = 1 - u - v
                if u < 0 or v < 0 or w < 0:
                    if entered:
                        break
                    continue
                entered = True
                z = u * z0 + v * z1 + w * z2
                if z > depth[y, x]:
                    depth[y, x] = z
                    index[y, x] = t
                    weights[y, x, 0] = u
                    weights[y, x, 1] = v
