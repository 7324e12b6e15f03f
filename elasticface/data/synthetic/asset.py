"""The head that every synthetic face is made of: geometry, shape targets, masks and baked light, read from one file.

`tools/build_head.py` makes that file; PROVENANCE.md beside it says from what, and under which licence.
"""

import functools
import io
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("head.npy.xz")
"""An .xz of .npy arrays one after the other: the first holds the names of those that follow."""

SKIN, EYE, TEETH, TONGUE, LASHES = 1, 2, 3, 4, 5
"""What a triangle is a part of."""

TEXTURE_HEIGHT, TEXTURE_WIDTH = 320, 384
"""Texels of the stored masks; a texel is 1 mm high and, on a cheek, about as wide."""

AXIS_Z, HALF_ANGLE, TOP, BOTTOM = 0.3, 2.0, 8.6, 5.3
"""The cylinder that the texture is wrapped around, in decimetres: its axis is x = 0, z = AXIS_Z, it reaches from height
BOTTOM to TOP, and HALF_ANGLE radians to either side of the nose."""

# Everything is stored in whole steps. Those of the geometry are the last decimal of the source, so nothing is lost.
VERTEX_STEPS = 10_000  # a decimetre
TARGET_STEPS = 1_000  # a decimetre
UV_STEPS = 65_536
OCCLUSION_STEPS = 255
MASK_STEPS = 15

_CHUNK = 1024  # triangles drawn at once: few enough for the cache, many enough for numpy


@dataclass(frozen=True, eq=False)
class Head:
    """A head with neck and shoulders, unposed and with a plain face. One object for all: its arrays are read-only.

    Lengths are decimetres; x goes to the subject's left, y up, z to the front. V vertices, T triangles, K targets that
    move M vertices between them.

    Attributes:
        vertices: float32 [V, 3], mirror-symmetrical in x.
        triangles: int32 [T, 3], counter-clockwise seen from outside; lashes are sheets without one.
        parts: uint8 [T], ``SKIN``, ``EYE``, ``TEETH``, ``TONGUE`` or ``LASHES``.
        uv: float32 [V, 2], cylindrical texture coordinates: u from behind the subject's right ear (0) over the nose
            (0.5) to behind the left ear (1), v from above the crown (0) down to the shoulders (1). The back of the head
            and what is lower lies outside of [0, 1]; a few triangles at the very back reach over the seam of u.
        target_names: K names such as ``eyes/l-eye-scale-incr``, ``asym/…``, ``macro/…`` and ``expr/jawOpen``.
        target_starts: int32 [K + 1]; target k owns the entries from ``target_starts[k]`` to ``target_starts[k + 1]``.
        target_vertices: uint16 [M], the vertices a target moves, ascending within it.
        target_deltas: int16 [M, 3], where to, in steps of 1 / ``TARGET_STEPS`` decimetre.
        occlusion: float32 [V], how much of the sky around its normal a vertex sees: 0 hidden … 1 open.
        lips, eyelids: float32 [TEXTURE_HEIGHT, TEXTURE_WIDTH], masks of the texture in 0 … 1; eyelids are their edges.
        inside_mouth: float32 [V], 1 on the skin of the mouth's cavity, 0 elsewhere.
        left_eye, right_eye: int64 [n], the vertices of the subject's left and right eyeball.
        nose_tip, left_mouth, right_mouth: one vertex each; left is the subject's.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    parts: NDArray[np.uint8]
    uv: NDArray[np.float32]
    target_names: tuple[str, ...]
    target_starts: NDArray[np.int32]
    target_vertices: NDArray[np.uint16]
    target_deltas: NDArray[np.int16]
    occlusion: NDArray[np.float32]
    lips: NDArray[np.float32]
    eyelids: NDArray[np.float32]
    inside_mouth: NDArray[np.float32]
    left_eye: NDArray[np.int64]
    right_eye: NDArray[np.int64]
    nose_tip: int
    left_mouth: int
    right_mouth: int

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @functools.cached_property
    def _targets(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.target_names)}

    def target(self, name: str) -> int:
        """The number of a target.

        Raises:
            KeyError: there is none of that name.
        """
        try:
            return self._targets[name]
        except KeyError:
            raise KeyError(f"the head has no target {name!r}") from None


@functools.cache
def load() -> Head:
    """The head that comes with the package.

    Raises:
        RuntimeError: its file is missing or damaged.
    """
    return read(FILE)


def read(path: Path) -> Head:
    """The head in a file that `tools/build_head.py` wrote.

    Raises:
        RuntimeError: the file is missing or damaged.
    """
    try:
        stored = unpack(path.read_bytes())
        return Head(
            vertices=(stored["vertices"] / VERTEX_STEPS).astype(np.float32),
            triangles=stored["triangles"].astype(np.int32),
            parts=stored["parts"].astype(np.uint8),
            uv=(stored["uv"] / UV_STEPS).astype(np.float32),
            target_names=tuple(name.decode() for name in stored["target_names"].tolist()),
            target_starts=np.cumsum([0, *stored["target_counts"]], dtype=np.int32),
            target_vertices=stored["target_vertices"].astype(np.uint16),
            target_deltas=stored["target_deltas"].astype(np.int16),
            occlusion=(stored["occlusion"] / OCCLUSION_STEPS).astype(np.float32),
            lips=(stored["lips"] / MASK_STEPS).astype(np.float32),
            eyelids=(stored["eyelids"] / MASK_STEPS).astype(np.float32),
            inside_mouth=(stored["inside_mouth"] / MASK_STEPS).astype(np.float32),
            left_eye=stored["left_eye"].astype(np.int64),
            right_eye=stored["right_eye"].astype(np.int64),
            nose_tip=int(stored["nose_tip"]),
            left_mouth=int(stored["left_mouth"]),
            right_mouth=int(stored["right_mouth"]),
        )
    # The .xz holds a SHA-256 of its content, so damage shows as an LZMAError; the rest would be another file.
    except (OSError, lzma.LZMAError, EOFError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RuntimeError(f"{path}: a damaged installation ({reason}); install elasticface again") from error


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of such a file by name, as they are stored, in the file's order.

    Raises:
        lzma.LZMAError: the bytes are not a whole .xz, or not those it was closed over.
        ValueError, EOFError: what is in it are not arrays.
    """
    stream = io.BytesIO(lzma.decompress(data, format=lzma.FORMAT_XZ))
    names = np.load(stream, allow_pickle=False)
    return {name.decode(): np.load(stream, allow_pickle=False) for name in names.tolist()}


@functools.cache
def position_map(
    head: Head, height: int = TEXTURE_HEIGHT, width: int = TEXTURE_WIDTH
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where the texels of the skin's texture lie on the unposed head.

    Args:
        head: the head, such as :func:`load` gives.
        height, width: of the texture; a texel's centre has u = (column + ½) / width and v = (row + ½) / height.

    Returns:
        float32 [height, width, 3] positions in decimetres, 0 where there is no skin; and bool [height, width], where
        there is. Where skin lies over skin it is the outer one. Read-only: they are kept for the next call.
    """
    skin = head.triangles[head.parts == SKIN]
    triangles = skin[off_seam(skin, head.uv)]
    found, weights = rasterise(texture_points(head.vertices, head.uv, height, width), triangles, height, width)
    covered = found >= 0
    positions = np.zeros((height, width, 3), dtype=np.float32)
    corners = head.vertices[triangles[found[covered]]]  # [n, corner, 3]
    positions[covered] = (corners * weights[covered][:, :, None]).sum(1)
    for result in (positions, covered):
        result.flags.writeable = False
    return positions, covered


def texture_points(
    vertices: NDArray[np.floating], uv: NDArray[np.floating], height: int, width: int
) -> NDArray[np.float64]:
    """Vertices as the texture's cylinder sees them: [V, 3] of column, row and distance from the axis."""
    x, z = vertices[:, 0].astype(np.float64), vertices[:, 2] - AXIS_Z
    return np.stack([uv[:, 0] * width, uv[:, 1] * height, np.sqrt(x * x + z * z)], 1, dtype=np.float64)


def off_seam(triangles: NDArray[np.int32], uv: NDArray[np.floating]) -> NDArray[np.bool_]:
    """[T], which triangles do not reach over the seam at the back, where u jumps from one end to the other."""
    u = uv[triangles, 0]
    return np.asarray(u.max(1) - u.min(1) < 0.5)


def rasterise(
    points: NDArray[np.float64], triangles: NDArray[np.int32], height: int, width: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The triangle nearest to the viewer at each pixel's centre, whichever way it faces.

    Slower than the renderer's own, but without compilation, in float64, and the same to the last bit everywhere:
    `tools/build_head.py` draws with it too.

    Args:
        points: [V, 3] of column, row (the first pixel reaches from 0 to 1 in both) and nearness: the largest wins.
        triangles: [T, 3].
        height, width: of the picture in pixels.

    Returns:
        int32 [height, width], the triangle's number or -1 where there is none; and float64 [height, width, 3], the
        weights of its corners.
    """
    nearest = np.full(height * width, -np.inf)
    found = np.full(height * width, -1, dtype=np.int32)
    weights = np.zeros((height * width, 3))
    for start in range(0, len(triangles), _CHUNK):
        corners = points[triangles[start : start + _CHUNK]]  # [t, corner, 3]
        low = np.maximum(np.ceil(corners[:, :, :2].min(1) - 0.5), 0).astype(np.int64)
        high = np.minimum(np.floor(corners[:, :, :2].max(1) - 0.5), [width - 1, height - 1]).astype(np.int64)
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
        # All pixels of all triangles' boxes, one after the other.
        columns, rows = np.maximum(high - low + 1, 0).T
        counts = np.where(area == 0, 0, columns * rows)
        owner = np.repeat(np.arange(len(corners)), counts)
        row, column = np.divmod(np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner], columns[owner])
        pixel = (row + low[owner, 1]) * width + column + low[owner, 0]
        x, y = column + (low[:, 0] + 0.5 - c[:, 0])[owner], row + (low[:, 1] + 0.5 - c[:, 1])[owner]
        of_a = ((b - c)[owner, 1] * x - (b - c)[owner, 0] * y) / area[owner]
        of_b = ((c - a)[owner, 1] * x - (c - a)[owner, 0] * y) / area[owner]
        inside = np.flatnonzero((of_a >= 0) & (of_b >= 0) & (of_a + of_b <= 1))
        owner, pixel, of_a, of_b = owner[inside], pixel[inside], of_a[inside], of_b[inside]
        of_c = 1 - of_a - of_b
        near = of_a * a[owner, 2] + of_b * b[owner, 2] + of_c * c[owner, 2]
        np.maximum.at(nearest, pixel, near)
        seen = near == nearest[pixel]
        found[pixel[seen]] = owner[seen] + start
        weights[pixel[seen]] = np.stack([of_a[seen], of_b[seen], of_c[seen]], 1)
    return found.reshape(height, width), weights.reshape(height, width, 3)
