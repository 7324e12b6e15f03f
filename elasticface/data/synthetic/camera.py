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

_GREY = 0.24  # mean of a well exposed face
_WHITE = 1.15  # radiance that becomes white
_STEEP = 1.71  # how bright a film makes the first light that falls on it; from there on its answer bends
_BEND = _STEEP - 1 / _WHITE  # so that white comes out as 1


def background(key: int, size: int) -> Image:
    """A blurred place: a wall, or layers of large shapes in muted colours, out of focus; linear RGB."""
    r = keyed.generator(key, "synthetic background")
    full, size = size, size // 2  # it is out of focus
    tone = math.exp(r.uniform(math.log(0.03), math.log(0.8)))
    image = np.empty((size, size, 3), np.float32)
    image[:] = tone * _tint(r, 0.25)
    things = []
    for _ in range(int(r.integers(0, 7))):  # furniture, windows, people, trees
        colour = math.exp(r.uniform(math.log(0.02), math.log(0.9))) * _tint(r, 0.3)
        (x, y), (width, height) = r.uniform(-0.1, 1.1, 2), r.uniform(0.08, 0.7, 2)
        upright = r.random() < 0.6  # with straight edges
        edge = size * min(width, height) / 4
        things.append((x, y, width, 1.6 * height if upright else height, upright, edge, r.uniform(0.5, 1), *colour))
    lights = []
    for _ in range(int(r.integers(2, 8)) if r.random() < 0.2 else 0):  # out of focus
        (x, y), radius = r.uniform(0, 1, 2), r.uniform(0.02, 0.07)
        lights.append((x, y, radius, radius, False, 4.0, 1.0, *(r.uniform(0.2, 1) * _tint(r, 0.3))))
    _lay(image, np.array(things, np.float32).reshape(-1, 10), np.float32(1))
    _lay(image, np.array(lights, np.float32).reshape(-1, 10), np.float32(0))
    y, x = _grid(size)
    angle, slope = r.uniform(0, 2 * math.pi), r.uniform(0, 0.6)
    image *= (1 + slope * (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)))[..., None]
    image[:] = cv2.GaussianBlur(image, (0, 0), math.exp(r.uniform(math.log(0.4), math.log(3.5))) * full / 112)
    large = cv2.resize(np.clip(image, 0.004, 1.6), (full, full), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32)


@numba.njit(cache=True, error_model="numpy")
def _lay(image: Any, shapes: Any, covering: Any) -> None:  # pragma: no cover - compiled
    """Lay shapes over ``image`` [S, S, 3], in place: they cover what is below, or with ``covering`` 0 shine before it.

    A shape [10] has x, y, half its width and height in shares of the side; 1 if it is a rectangle, 0 an ellipse; how
    sharp its edge is; its opacity; and its colour [3].
    """
    size = len(image)
    for n in range(len(shapes)):
        shape = shapes[n]
        for row in range(size):
            down = (np.float32(row) / np.float32(size) - shape[1]) / shape[3]
            for column in range(size):
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
