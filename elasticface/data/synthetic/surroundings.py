"""What is behind the person, and what is held before the face."""

import math
from functools import cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.images import alignment
from elasticface.data.synthetic.scene import Occluder

Image = NDArray[np.float32]  # [S, S, 3] linear RGB

Shape = tuple[float, ...]
"""x, y, half the width and height in shares of the picture's side; 1 for a rectangle, 0 for an ellipse; how sharp the
edge is; the opacity; and the colour [3]."""
_SHAPE = 10  # numbers


def background(key: int, size: int) -> Image:
    """A place, float32 [size, size, 3]: a wall with large shapes, a curtain, letters, people; in half of them in focus.

    Args:
        key: which place.
        size: pixels a side.
    """
    r = keyed.generator(key, "synthetic background")
    full, sharp = size, r.random() < 0.5
    size = size if sharp else size // 2  # what is out of focus has no detail
    image = np.empty((size, size, 3), np.float32)
    image[:] = _log_uniform(r, 0.01, 0.8) * _paint(r)
    if r.random() < 0.2:  # folds of a curtain, or columns and slats
        y, x = _grid(size)
        across = x if r.random() < 0.75 else y
        image *= (1 + r.uniform(0.1, 0.7) * np.sin(across * r.uniform(10, 70) + r.uniform(0, 6)))[..., None]
    things = _furniture(r, size)
    if r.random() < 0.3:
        things += _letters(r, size)
    if r.random() < 0.4:
        things += _people(r, size)
    lamps = _lamps(r) if r.random() < 0.15 else []
    _lay(image, np.array(things, np.float32).reshape(-1, _SHAPE), np.float32(1))
    _lay(image, np.array(lamps, np.float32).reshape(-1, _SHAPE), np.float32(0))
    angle, slope = r.uniform(0, 2 * math.pi), r.uniform(0, 0.8)
    blur = r.uniform(0.3, 0.8) if sharp else _log_uniform(r, 0.4, 2.5)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * full / alignment.SIZE), np.float32)
    _light_from_a_side(image, np.float32(slope * math.cos(angle)), np.float32(slope * math.sin(angle)))
    return image if sharp else np.asarray(cv2.resize(image, (full, full), interpolation=cv2.INTER_LINEAR), np.float32)


def _furniture(r: np.random.Generator, size: int) -> list[Shape]:
    """Large things: furniture, windows, flags, trees."""
    things = []
    for _ in range(int(r.integers(1, 10))):
        (x, y), (width, height) = r.uniform(-0.1, 1.1, 2), r.uniform(0.04, 0.6, 2)
        upright = r.random() < 0.6  # with straight edges
        height *= 1.6 if upright else 1.0
        things.append(_thing(x, y, width, height, upright, size, opacity=r.uniform(0.5, 1), colour=_colour(r)))
    return things


def _lamps(r: np.random.Generator) -> list[Shape]:
    """Lights far away, as discs without a sharp edge."""
    lamps = []
    for _ in range(int(r.integers(2, 8))):
        (x, y), radius = r.uniform(0, 1, 2), r.uniform(0.02, 0.07)
        lamps.append((x, y, radius, radius, False, 4.0, 1.0, *(r.uniform(0.2, 1) * _tint(r, 0.3))))
    return lamps


def _thing(
    x: float,
    y: float,
    width: float,
    height: float,
    upright: bool,
    size: int,
    colour: NDArray[np.float64],
    opacity: float = 1.0,
) -> Shape:
    """A shape for :func:`_lay` with an edge of some pixels, sharper the larger the shape."""
    return (x, y, width, height, upright, max(size * min(width, height) / 3, 1.0), opacity, *colour)


def _letters(r: np.random.Generator, size: int) -> list[Shape]:
    """A line or two of something like writing, on a sign."""
    x, y, height = r.uniform(-0.3, 0.5), r.uniform(0, 0.9), r.uniform(0.02, 0.09)
    ink = _colour(r)
    strokes = []
    for line in range(int(r.integers(1, 3))):
        at = x
        for _ in range(int(r.integers(5, 12))):
            thin = height * r.uniform(0.12, 0.25)
            strokes.append(_thing(at, y + 2.6 * height * line, thin, height, True, size, ink))
            bar = y + height * (2.6 * line + r.choice([-0.8, 0, 0.8]))
            strokes.append(_thing(at + 0.4 * height, bar, 0.4 * height, thin, r.random() < 0.7, size, ink))
            at += height * r.uniform(1.2, 2.2)
    return strokes


def _people(r: np.random.Generator, size: int) -> list[Shape]:
    """Some who stand behind, or many far away: shoulders, heads and hair."""
    crowd = r.random() < 0.3
    figures = []
    for _ in range(int(r.integers(6, 14)) if crowd else int(r.integers(1, 4))):
        x, y, head = r.uniform(-0.1, 1.1), r.uniform(-0.1, 0.9), r.uniform(0.03, 0.08) if crowd else r.uniform(0.1, 0.3)
        skin = np.array([0.42, 0.25, 0.17]) * math.exp(r.uniform(-1.6, 0.3))
        hair = np.array([0.05, 0.03, 0.02]) * math.exp(r.uniform(-2, 1.5))
        figures.append(_thing(x, y + 2.6 * head, 1.9 * head, 1.7 * head, False, size, _colour(r)))
        figures.append(_thing(x, y - 0.35 * head, 0.86 * head, 0.95 * head, False, size, hair))
        figures.append(_thing(x, y, 0.75 * head, head, False, size, skin))
    return figures


@numba.njit(cache=True, error_model="numpy")
def _light_from_a_side(image: Any, right: Any, down: Any) -> None:  # pragma: no cover - compiled
    """Brighten ``image`` [S, S, 3] by these shares from one side to the other, in place; neither black nor glaring."""
    size = len(image)
    half, least, most = np.float32(0.5), np.float32(0.001), np.float32(1.6)
    for row in range(size):
        for column in range(size):
            gain = right * (np.float32(column) / np.float32(size) - half)
            gain += down * (np.float32(row) / np.float32(size) - half)
            for c in range(3):
                image[row, column, c] = min(max(image[row, column, c] * (1 + gain), least), most)


@numba.njit(cache=True, error_model="numpy")
def _lay(image: Any, shapes: Any, covering: Any) -> None:  # pragma: no cover - compiled
    """Lay shapes over ``image`` [S, S, 3], in place: they cover what is below, or with ``covering`` 0 shine before it.

    ``shapes`` [N, 10] have the numbers of a :data:`Shape` each.
    """
    size = len(image)
    for n in range(len(shapes)):
        shape = shapes[n]
        reach = 1 + np.float32(0.5) * covering / shape[5]  # where its edge ends
        top, bottom = max(0, int((shape[1] - reach * shape[3]) * size)), int((shape[1] + reach * shape[3]) * size) + 2
        left, right = max(0, int((shape[0] - reach * shape[2]) * size)), int((shape[0] + reach * shape[2]) * size) + 2
        for row in range(top, min(bottom, size)):
            down = (np.float32(row) / np.float32(size) - shape[1]) / shape[3]
            for column in range(left, min(right, size)):
                along = (np.float32(column) / np.float32(size) - shape[0]) / shape[2]
                distance = max(abs(along), abs(down)) if shape[4] > 0 else math.hypot(along, down)
                share = min(max((1 - distance) * shape[5] + 0.5 * covering, 0.0), 1.0) * shape[6]
                for c in range(3):
                    image[row, column, c] += share * (shape[7 + c] - covering * image[row, column, c])


def hold_before(image: Image, thing: Occluder, light: NDArray[np.float64]) -> None:
    """Put an object between camera and face, in place. ``light`` [3] falls on it."""
    size = len(image)
    # What is farther from its centre than its corners, and a pixel, is not touched.
    reach = math.hypot(*thing.size) + 2 / size
    low, high = ((size * np.clip(thing.centre + side, 0, 1)).astype(int) for side in (-reach, reach))
    part = slice(low[1], high[1] + 1), slice(low[0], high[0] + 1)
    (y, x), below = _grid(size)[:, *part], image[part]
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    along = (cos * (x - thing.centre[0]) + sin * (y - thing.centre[1])) / thing.size[0]
    across = (cos * (y - thing.centre[1]) - sin * (x - thing.centre[0])) / thing.size[1]
    power = 2 + 6 * (1 - thing.roundness)
    distance = (np.abs(along) ** power + np.abs(across) ** power) ** (1 / power)
    share = np.clip((1 - distance) * size * float(min(thing.size)) / 2 + 0.5, 0, 1)
    shade = 0.8 + 0.25 * np.clip(across, -1, 1) - 0.15 * np.clip(distance, 0, 1) ** 4
    colour = (thing.colour * light).astype(np.float32)
    below += share[..., None] * (colour * shade[..., None] - below)


@cache
def _grid(size: int) -> NDArray[np.float32]:
    """y and x in 0..1, [2, size, size]."""
    return np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)


def _tint(r: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """[3] gains around 1: most things are muted, few are colourful."""
    return np.clip(1 + r.normal(0, strength, 3) * r.uniform(0.1, 1), 0.2, 1.8)


def _paint(r: np.random.Generator) -> NDArray[np.float64]:
    """[3] of a wall, cloth or sign: one in four is vivid, most often blue or red."""
    if r.random() < 0.75:
        return _tint(r, 0.35)
    strong, others = (2, 2, 0, 0, 1)[r.integers(5)], r.uniform(0.1, 0.6, 3)
    others[strong] = 1
    return others


def _colour(r: np.random.Generator) -> NDArray[np.float64]:
    """[3] of anything, from nearly black to nearly white."""
    return _log_uniform(r, 0.004, 0.9) * _paint(r)


def _log_uniform(r: np.random.Generator, low: float, high: float) -> float:
    return math.exp(r.uniform(math.log(low), math.log(high)))
