"""From light to a file: what is behind the person, what is before, and what the camera makes of it."""

import math
from functools import cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.images import alignment
from elasticface.data.images.decoding import decode
from elasticface.data.synthetic.scene import Occluder, Quality

Image = NDArray[np.float32]  # [S, S, 3] linear RGB

_SHARPENED = 4  # pixels of an aligned picture to each side whose mean a camera sharpens against
_GREY = 0.24  # mean of a well exposed face
_WHITE = 1.15  # radiance that becomes white
_STEEP = 1.71  # how bright a film makes the first light that falls on it; from there on its answer bends
_BEND = _STEEP - 1 / _WHITE  # so that white comes out as 1


def background(key: int, size: int) -> Image:
    """A place, linear RGB: a wall with large shapes, folds of a curtain, letters, people behind; often out of focus."""
    r = keyed.generator(key, "synthetic background")
    full, sharp = size, r.random() < 0.5
    size = size if sharp else size // 2
    image = np.empty((size, size, 3), np.float32)
    image[:] = math.exp(r.uniform(math.log(0.01), math.log(0.8))) * _paint(r)
    if r.random() < 0.2:  # of a curtain, or columns and slats
        y, x = _grid(size)
        across = x if r.random() < 0.75 else y
        image *= (1 + r.uniform(0.1, 0.7) * np.sin(across * r.uniform(10, 70) + r.uniform(0, 6)))[..., None]
    things: list[tuple[float, ...]] = []
    for _ in range(int(r.integers(1, 10))):  # furniture, windows, flags, trees
        (at_x, at_y), (width, height) = r.uniform(-0.1, 1.1, 2), r.uniform(0.04, 0.6, 2)
        upright = r.random() < 0.6  # with straight edges
        height *= 1.6 if upright else 1.0
        things.append(_thing(r, at_x, at_y, width, height, upright, size, opacity=r.uniform(0.5, 1)))
    if r.random() < 0.3:
        things += _letters(r, size)
    if r.random() < 0.4:
        things += _people(r, size)
    lights = []
    for _ in range(int(r.integers(2, 8)) if r.random() < 0.15 else 0):  # out of focus
        (at_x, at_y), radius = r.uniform(0, 1, 2), r.uniform(0.02, 0.07)
        lights.append((at_x, at_y, radius, radius, False, 4.0, 1.0, *(r.uniform(0.2, 1) * _tint(r, 0.3))))
    _lay(image, np.array(things, np.float32).reshape(-1, 10), np.float32(1))
    _lay(image, np.array(lights, np.float32).reshape(-1, 10), np.float32(0))
    angle, slope = r.uniform(0, 2 * math.pi), r.uniform(0, 0.8)
    blur = r.uniform(0.3, 0.8) if sharp else math.exp(r.uniform(math.log(0.4), math.log(2.5)))
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur * full / 112), np.float32)
    _light_from_a_side(image, np.float32(slope * math.cos(angle)), np.float32(slope * math.sin(angle)))
    return image if sharp else np.asarray(cv2.resize(image, (full, full), interpolation=cv2.INTER_LINEAR), np.float32)


def _thing(
    r: np.random.Generator,
    x: float,
    y: float,
    width: float,
    height: float,
    upright: bool,
    size: int,
    opacity: float = 1.0,
    colour: NDArray[np.float64] | None = None,
) -> tuple[float, ...]:
    """A shape for :func:`_lay`, of a colour that is drawn where none is given."""
    if colour is None:
        colour = math.exp(r.uniform(math.log(0.004), math.log(0.9))) * _paint(r)
    return (x, y, width, height, upright, max(size * min(width, height) / 3, 1.0), opacity, *colour)


def _letters(r: np.random.Generator, size: int) -> list[tuple[float, ...]]:
    """A line or two of something like writing, on a sign."""
    x, y, height = r.uniform(-0.3, 0.5), r.uniform(0, 0.9), r.uniform(0.02, 0.09)
    ink = math.exp(r.uniform(math.log(0.004), math.log(0.9))) * _paint(r)
    strokes = []
    for line in range(int(r.integers(1, 3))):
        at = x
        for _ in range(int(r.integers(5, 12))):
            thin = height * r.uniform(0.12, 0.25)
            strokes.append(_thing(r, at, y + 2.6 * height * line, thin, height, True, size, colour=ink))
            bar = y + height * (2.6 * line + r.choice([-0.8, 0, 0.8]))
            strokes.append(_thing(r, at + 0.4 * height, bar, 0.4 * height, thin, r.random() < 0.7, size, colour=ink))
            at += height * r.uniform(1.2, 2.2)
    return strokes


def _people(r: np.random.Generator, size: int) -> list[tuple[float, ...]]:
    """Some who stand behind, or many far away: shoulders, heads and hair."""
    crowd = r.random() < 0.3
    figures = []
    for _ in range(int(r.integers(6, 14)) if crowd else int(r.integers(1, 4))):
        x, y, head = r.uniform(-0.1, 1.1), r.uniform(-0.1, 0.9), r.uniform(0.03, 0.08) if crowd else r.uniform(0.1, 0.3)
        skin = np.array([0.42, 0.25, 0.17]) * math.exp(r.uniform(-1.6, 0.3))
        hair = np.array([0.05, 0.03, 0.02]) * math.exp(r.uniform(-2, 1.5))
        figures.append(_thing(r, x, y + 2.6 * head, 1.9 * head, 1.7 * head, False, size))
        figures.append(_thing(r, x, y - 0.35 * head, 0.86 * head, 0.95 * head, False, size, colour=hair))
        figures.append(_thing(r, x, y, 0.75 * head, head, False, size, colour=skin))
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

    A shape [10] has x, y, half its width and height in shares of the side; 1 if it is a rectangle, 0 an ellipse; how
    sharp its edge is; its opacity; and its colour [3].
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


def develop(light: Image, quality: Quality, r: np.random.Generator | None = None) -> NDArray[np.uint8]:
    """The picture that a camera of this quality makes of the light, uint8 RGB [S, S, 3]; ``r`` draws its noise."""
    size = len(light)
    face = sum(cv2.mean(light[size // 4 : -size // 6, size // 4 : -size // 4])) / 3
    gain = (_GREY / max(face, 0.02)) ** quality.metering * math.exp(quality.exposure)
    if quality.blur:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), quality.blur), np.float32)
    grain, channels = _grain(), 3 if quality.saturation else 1  # a grey picture's noise is grey
    starts = np.zeros(size, np.int64) if r is None else r.integers(0, len(grain) - channels * size, size)
    # Contrast around middle grey, and saturation around each pixel's own grey: one affine map of the colours.
    colours = quality.contrast * (quality.saturation * np.eye(3) + (1 - quality.saturation) / 3)
    result = np.empty(light.shape, np.uint8)
    _expose(
        light.reshape(size, -1),
        (gain * quality.white_balance).astype(np.float32),
        (255 * colours).astype(np.float32),
        np.float32(127.5 * (1 - quality.contrast) + 0.5),
        grain,
        starts,
        channels,
        np.float32(0 if r is None else quality.noise),
        result,
    )
    if quality.sharpness:
        side = 2 * round(_SHARPENED * size / alignment.SIZE) + 1
        soft = cv2.blur(result, (side, side))  # a box takes a seventh of the time of a bell
        result = np.asarray(cv2.addWeighted(result, 1 + quality.sharpness, soft, -quality.sharpness, 0), np.uint8)
    if quality.resolution < alignment.SIZE:
        side = quality.resolution * size // alignment.SIZE
        small = cv2.resize(result, (side, side), interpolation=cv2.INTER_AREA)
        result = np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
    if quality.jpeg < 100:
        bgr = cv2.cvtColor(result, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality.jpeg])
        result = decode(data.tobytes(), "the camera's file")
    return np.ascontiguousarray(result)


@numba.njit(cache=True, error_model="numpy")
def _expose(
    light: Any, gain: Any, colours: Any, black: Any, grain: Any, starts: Any, channels: int, noise: Any, result: Any
) -> None:  # pragma: no cover - compiled
    """Light [S, 3·S] times ``gain`` [3] onto the film, its noise and colours, into ``result`` uint8 [S, S, 3].

    The noise of a row is what ``grain`` has from ``starts`` [S] on, in 3 channels or 1.
    """
    one, zero, white = np.float32(1), np.float32(0), np.float32(255)
    steep, bend = np.float32(_STEEP), np.float32(_BEND)
    width = light.shape[1] // 3
    gains, film = np.empty(3 * width, np.float32), np.empty(3 * width, np.float32)
    for n in range(3 * width):
        gains[n] = gain[n % 3]
    of_green, of_blue = min(1, channels - 1), min(2, channels - 1)
    for y in range(light.shape[0]):
        for n in range(3 * width):  # without gaps the compiler takes eight at a time
            lit = light[y, n] * gains[n]
            # The film's shoulder, then a screen's gamma: 2 for 2.2, which a contrast that varies hides.
            film[n] = math.sqrt(min(max(steep * lit / (one + bend * lit), zero), one))
        for x in range(width):
            red, green, blue, at = film[3 * x], film[3 * x + 1], film[3 * x + 2], starts[y] + channels * x
            for c, of_c in ((0, 0), (1, of_green), (2, of_blue)):
                value = colours[c, 0] * red + colours[c, 1] * green + colours[c, 2] * blue + black
                result[y, x, c] = np.uint8(min(max(value + noise * grain[at + of_c], zero), white))


@cache
def _grain() -> NDArray[np.float32]:
    """Noise of unit variance [2¹⁸]; drawing a photo's own takes as long as a fifth of all else in it."""
    return keyed.generator(0, "synthetic film").standard_normal(2**18, np.float32)


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
