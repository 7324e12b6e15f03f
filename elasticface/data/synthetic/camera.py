"""From light to a file: what is behind the person, what is before, and what the camera makes of it."""

import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from elasticface import align, keyed
from elasticface.data.images import decode
from elasticface.data.synthetic.scene import Occluder, Quality

Image = NDArray[np.float32]  # [S, S, 3] linear RGB

_GREY = 0.24  # mean of a well exposed face
_WHITE = 1.15  # radiance that becomes white


def background(key: int, size: int) -> Image:
    """A blurred place: a wall, or layers of large shapes in muted colours, out of focus; linear RGB."""
    r = keyed.generator(key, "synthetic background")
    full, size = size, size // 2  # it is out of focus
    tone = math.exp(r.uniform(math.log(0.03), math.log(0.8)))
    image = np.empty((size, size, 3), np.float32)
    image[:] = tone * _tint(r, 0.25)
    y, x = _grid(size)
    for _ in range(int(r.integers(0, 7))):  # furniture, windows, people, trees
        colour = math.exp(r.uniform(math.log(0.02), math.log(0.9))) * _tint(r, 0.3)
        centre, extent = r.uniform(-0.1, 1.1, 2), r.uniform(0.08, 0.7, 2)
        if r.random() < 0.6:  # something upright with straight edges
            distance = np.maximum(np.abs(x - centre[0]) / extent[0], np.abs(y - centre[1]) / (1.6 * extent[1]))
        else:
            distance = np.sqrt(((x - centre[0]) / extent[0]) ** 2 + ((y - centre[1]) / extent[1]) ** 2)
        share = np.clip((1 - distance) * size * min(extent) / 4 + 0.5, 0, 1) * r.uniform(0.5, 1)
        image += share[..., None] * (colour.astype(np.float32) - image)
    for _ in range(int(r.integers(2, 8)) if r.random() < 0.2 else 0):  # lights out of focus
        centre, radius = r.uniform(0, 1, 2), r.uniform(0.02, 0.07)
        distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius
        image += (np.clip((1 - distance) * 4, 0, 1) * r.uniform(0.2, 1))[..., None] * _tint(r, 0.3).astype(np.float32)
    angle, slope = r.uniform(0, 2 * math.pi), r.uniform(0, 0.6)
    image *= (1 + slope * (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)))[..., None]
    image[:] = cv2.GaussianBlur(image, (0, 0), math.exp(r.uniform(math.log(0.4), math.log(3.5))) * full / 112)
    large = cv2.resize(np.clip(image, 0.004, 1.6), (full, full), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32)


def hold_before(image: Image, thing: Occluder, light: NDArray[np.float64]) -> None:
    """Put an object between camera and face, in place. ``light`` [3] falls on it."""
    size = len(image)
    y, x = _grid(size)
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    along = (cos * (x - thing.centre[0]) + sin * (y - thing.centre[1])) / thing.size[0]
    across = (cos * (y - thing.centre[1]) - sin * (x - thing.centre[0])) / thing.size[1]
    power = 2 + 6 * (1 - thing.roundness)
    distance = (np.abs(along) ** power + np.abs(across) ** power) ** (1 / power)
    share = np.clip((1 - distance) * size * float(min(thing.size)) / 2 + 0.5, 0, 1)
    shade = 0.8 + 0.25 * np.clip(across, -1, 1) - 0.15 * np.clip(distance, 0, 1) ** 4
    colour = (thing.colour * light).astype(np.float32)
    image += share[..., None] * (colour * shade[..., None] - image)


def develop(light: Image, quality: Quality, r: np.random.Generator) -> NDArray[np.uint8]:
    """The picture that a camera of this quality makes of the light, uint8 RGB [S, S, 3]."""
    size = len(light)
    face = light[size // 4 : -size // 6, size // 4 : -size // 4].mean()
    gain = (_GREY / max(float(face), 0.02)) ** quality.metering * math.exp(quality.exposure)
    image = light * (gain * quality.white_balance).astype(np.float32)
    if quality.blur:
        image = cv2.GaussianBlur(image, (0, 0), quality.blur)
    # A film's shoulder, then a screen's gamma (2 for 2.2, which a contrast that varies hides).
    image = (1 - np.exp(-1.35 * image)) / np.float32(1 - math.exp(-1.35 * _WHITE))
    image = np.sqrt(np.clip(image, 0, 1))
    # Contrast around middle grey, saturation around each pixel's own grey, and 0..255: one affine map of the colours.
    colours = quality.saturation * np.eye(3) + (1 - quality.saturation) / 3
    affine = np.column_stack([quality.contrast * colours, np.full(3, 0.5 - 0.5 * quality.contrast)])
    image = np.asarray(cv2.transform(image, 255 * affine), np.float32)
    if quality.noise:  # of one channel alone in a grey picture
        channels = 3 if quality.saturation else 1
        image += r.standard_normal((*image.shape[:2], channels), np.float32) * np.float32(quality.noise)
    image += 0.5
    result = np.clip(image, 0, 255, out=image).astype(np.uint8)
    if quality.resolution < align.SIZE:
        side = quality.resolution * size // align.SIZE
        small = cv2.resize(result, (side, side), interpolation=cv2.INTER_AREA)
        result = np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
    if quality.jpeg < 100:
        _, data = cv2.imencode(".jpg", result[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality.jpeg])
        result = decode(np.asarray(data, np.uint8), "the camera's file")
    return np.ascontiguousarray(result)


@cache
def _grid(size: int) -> NDArray[np.float32]:
    """y and x in 0..1, [2, size, size]."""
    return np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)


def _tint(r: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """[3] gains around 1: most things are muted, few are colourful."""
    return np.clip(1 + r.normal(0, strength, 3) * r.uniform(0.1, 1), 0.2, 1.8)
