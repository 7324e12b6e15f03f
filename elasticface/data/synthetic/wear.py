"""What is worn, as meshes that sit on the head: glasses with depth, masks that follow every face, hats and scarves."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from elasticface.data.synthetic import asset, hair
from elasticface.data.synthetic.look import Glasses, Hat
from elasticface.data.synthetic.surface import Patch, attach, grid_triangles, smooth_step, tube

Points = NDArray[np.float32]  # [..., 3]

_AROUND = 28  # points of a lens' outline
_MASK_ROWS, _MASK_COLUMNS = 14, 25
_CHIN_ROWS = 7  # the lowest rows of a mask


@dataclass(frozen=True)
class Mesh:
    """Points [V, 3], triangles [T, 3], and a shade [V] that multiplies the colour."""

    points: Points
    triangles: NDArray[np.int32]
    shade: NDArray[np.float32]


def join(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes)])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate([mesh.shade for mesh in meshes]),
    )


def glasses_on(glasses: Glasses, vertices: Points) -> tuple[Mesh, Mesh]:
    """(frame, lenses) on a head with these vertices: rims and bridge before the eyes, temples to the ears."""
    head = asset.load()
    left, right = vertices[head.left_eye].mean(0), vertices[head.right_eye].mean(0)
    middle = (left + right) / 2
    apart = max(float(np.linalg.norm(left - right)) / 2 + 0.015, glasses.width + 0.045)
    # Far enough before the eyeballs, and where the bridge of the nose carries them.
    front = max(float(vertices[head.left_eye, 2].max()), float(vertices[head.right_eye, 2].max())) + 0.075
    front = max(front, float(vertices[_bridge(), 2].max()) - 0.01)

    def wrap(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
        """Onto the front of the glasses, which is bent around the face."""
        return np.stack([middle[0] + x, middle[1] - 0.03 + y, front - 0.16 * x**2], axis=-1).astype(np.float32)

    angle = np.linspace(0, 2 * np.pi, _AROUND + 1)
    cos, sin = np.cos(angle), np.sin(angle)
    outline_x = np.sign(cos) * np.abs(cos) ** (2 / glasses.squareness) * glasses.width
    outline_y = np.sign(sin) * np.abs(sin) ** (2 / glasses.squareness) * glasses.height
    frame, lenses = [], []
    for side in (-1, 1):
        frame.append(_tube(wrap(side * apart + outline_x, outline_y), glasses.thickness))
        rim = wrap(side * apart + outline_x, outline_y)
        centre = wrap(np.array([side * apart]), np.array([0.0]))
        fan = np.stack([np.zeros(_AROUND), np.arange(1, _AROUND + 1), np.arange(2, _AROUND + 2)], 1).astype(np.int32)
        lenses.append(Mesh(np.concatenate([centre, rim]), fan, np.ones(_AROUND + 2, np.float32)))
        ear = vertices[_ear_root(side)]
        hinge = wrap(np.array([side * (apart + glasses.width)]), np.array([0.35 * glasses.height]))[0]
        # Straight back from the hinge, just outside of the temple, to the top of the ear.
        share = np.linspace(0, 1, 8)[:, None]
        end = np.array([ear[0] + 0.04 * side, max(ear[1], hinge[1] - 0.15), ear[2] - 0.1], np.float32)
        outside = np.maximum(np.abs(end[0]), np.abs(hinge[0]) + 0.05) * side
        path = hinge + share * (end - hinge)
        path[:, 0] = hinge[0] + (outside - hinge[0]) * smooth_step(0, 0.35, share[:, 0])
        frame.append(_tube(path.astype(np.float32), 0.8 * glasses.thickness))
    inner = apart - glasses.width
    x = np.linspace(-inner, inner, 7)
    frame.append(_tube(wrap(x, 0.25 * glasses.height + 0.03 * (1 - (x / inner) ** 2)), glasses.thickness))
    return join(frame), join(lenses)


def mask_on(vertices: Points, key: int) -> Mesh:
    """A mask over mouth and nose, held off the skin and smoothed as cloth is, with loops to the ears."""
    skin = _mask_patch().on(vertices)
    around, depth = np.arctan2(skin[..., 0], skin[..., 2] - 0.3), np.hypot(skin[..., 0], skin[..., 2] - 0.3)
    # A chin may be farther out between two rows than at either.
    depth[-_CHIN_ROWS:-1] = np.maximum(depth[-_CHIN_ROWS:-1], depth[-_CHIN_ROWS - 1 : -2] + 0.02)
    # Cloth spans hollows: each point goes out to the mean of its neighbours, never in.
    for _ in range(12):
        mean = (depth[:-2, 1:-1] + depth[2:, 1:-1] + depth[1:-1, :-2] + depth[1:-1, 2:]) / 4
        depth[1:-1, 1:-1] = np.maximum(depth[1:-1, 1:-1], mean)
    row = np.linspace(0, 1, _MASK_ROWS)[:, None]
    column = np.linspace(-1, 1, _MASK_COLUMNS)[None]
    off = 0.06 + 0.03 * (1 - column**2) * np.sin(np.pi * row)
    pleats = 0.012 * np.sin(2 * np.pi * 3 * row + 0.3 * (key % 7)) * (np.abs(column) < 0.85)
    depth = depth + off + pleats
    points = np.stack([depth * np.sin(around), skin[..., 1], 0.3 + depth * np.cos(around)], axis=-1)
    shade = np.clip(0.97 + 6 * np.gradient(pleats, axis=0), 0.7, 1.15)
    cloth = Mesh(
        points.reshape(-1, 3).astype(np.float32),
        grid_triangles(_MASK_ROWS, _MASK_COLUMNS),
        np.broadcast_to(shade, (_MASK_ROWS, _MASK_COLUMNS)).astype(np.float32).ravel(),
    )
    loops = []
    for side, edge in ((-1, 0), (1, -1)):
        ear = vertices[_ear_root(side)]
        for corner, height in ((points[1, edge], 0.1), (points[-2, edge], -0.25)):
            end = ear + np.array([0.05 * side, height, -0.02])
            path = corner + np.linspace(0, 1, 5)[:, None] * (end - corner)
            path[:, 0] += side * 0.05 * np.sin(np.linspace(0, np.pi, 5))
            loops.append(_tube(path.astype(np.float32), 0.008))
    return join([cloth, *loops])


def hat_on(hat: Hat, vertices: Points) -> Mesh:
    """A cap with its peak, a knitted hat, or a scarf around the face, on a head with these vertices."""
    azimuth = hair.DIRECTIONS
    around = np.abs(np.arctan2(np.sin(azimuth), np.cos(azimuth)))
    if hat.kind == "scarf":
        line = hat.height - 0.15 * smooth_step(0.3, 0.8, around) - 1.9 * smooth_step(0.75, 1.25, around)
    else:
        line = hat.height - 0.42 * smooth_step(0.3, 1.5, around) - 0.25 * smooth_step(1.6, 2.6, around)
    points = hair.shell(vertices, line, hat.thickness)
    folds = 0.9 + 0.1 * np.sin(azimuth * 8 + 3 * np.linspace(0, 1, len(points))[:, None])
    shade = np.where(hat.kind == "cap", 1.0, folds).astype(np.float32)
    crown = Mesh(points.reshape(-1, 3), hair.sheet_triangles(), np.broadcast_to(shade, points.shape[:2]).ravel().copy())
    if hat.kind != "cap":
        return crown
    front = np.flatnonzero(around < 1.05)
    rim, reach = points[-1, front], 0.62 * np.sqrt(1 - (around[front] / 1.1) ** 2)
    out = np.linspace(0, 1, 4)[:, None, None] * reach[None, :, None] * np.array([0, -0.3, 1])
    peak = (rim + out).astype(np.float32)
    below = peak - np.array([0, 0.02, 0], np.float32)
    triangles, shade = grid_triangles(4, len(front)), np.full(4 * len(front), 0.85, np.float32)
    sides = Mesh(peak.reshape(-1, 3), triangles, shade), Mesh(below.reshape(-1, 3), triangles[:, ::-1].copy(), shade)
    return join([crown, *sides])


def _tube(path: Points, radius: float) -> Mesh:
    points, triangles = tube(path, radius)
    return Mesh(points, triangles, np.ones(len(points), np.float32))


@cache
def _bridge() -> NDArray[np.int64]:
    """The vertices of the nose's bridge, which carries glasses."""
    vertices = asset.load().vertices
    return np.flatnonzero(
        (np.abs(vertices[:, 0]) < 0.06) & (np.abs(vertices[:, 1] - 7.22) < 0.06) & (vertices[:, 2] > 1.2)
    )


@cache
def _ear_root(side: int) -> int:
    """The vertex where the top of an ear meets the head; -1 is the subject's right."""
    vertices = asset.load().vertices
    own = np.flatnonzero(hair.ears() & (vertices[:, 0] * side > 0))
    return int(own[np.argmax(vertices[own, 1] + 0.5 * vertices[own, 2])])


@cache
def _mask_patch() -> Patch:
    """The skin under a mask: from the nose's bridge to under the chin, from cheek to cheek."""
    head = asset.load()
    azimuth = np.linspace(-1.0, 1.0, _MASK_COLUMNS)
    # The upper edge falls from the nose to the cheeks, the lower one rises from the chin to the jaw.
    top = 7.08 - 0.22 * np.abs(azimuth) ** 1.3
    bottom = 6.12 + 0.28 * np.abs(azimuth) ** 1.5
    height = top + np.linspace(0, 1, _MASK_ROWS)[:, None] * (bottom - top)
    origins = np.stack([np.zeros_like(height), height, np.full_like(height, 0.3)], axis=-1)
    directions = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], axis=-1)
    inside = (head.inside_mouth > 0.5) | (head.vertices[:, 1] < 5.95)
    return attach(origins, np.broadcast_to(directions, origins.shape), exclude=inside)
