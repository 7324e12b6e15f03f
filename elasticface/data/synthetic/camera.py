"""From light to a picture: exposure, film, noise, sharpening, resolution and the file that a camera writes."""

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
from elasticface.data.synthetic.scene import Quality

Image = NDArray[np.float32]  # [S, S, 3] linear RGB

_SHARPENED = 4  # pixels of an aligned picture to each side whose mean a camera sharpens against
_GREY = 0.24  # mean of a well exposed face
_WHITE = 1.15  # radiance that becomes white
_STEEP = 1.71  # how bright a film makes the first light that falls on it; from there on its answer bends
_BEND = _STEEP - 1 / _WHITE  # so that white comes out as 1


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
        light.reshape(size, -1),  # [S, 3·S]: without gaps the compiler takes eight at a time
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
    """Light [S, 3·S] times ``gain`` [3] onto the film, in its colours and with its noise, into ``result``.

    Args:
        light: float32, a row of the picture each.
        gain: of each colour.
        colours: float32 [3, 3], what each colour of the picture has of the film's, grey levels.
        black: grey levels added to it, with a half that rounding down wants.
        grain: noise of unit variance; a row's is what comes from ``starts`` [S] on.
        starts: see ``grain``.
        channels: of the noise, 3 or 1.
        noise: its standard deviation, grey levels.
        result: uint8 [S, S, 3].
    """
    one, zero, white = np.float32(1), np.float32(0), np.float32(255)
    steep, bend = np.float32(_STEEP), np.float32(_BEND)
    width = light.shape[1] // 3
    gains, film = np.empty(3 * width, np.float32), np.empty(3 * width, np.float32)
    for n in range(3 * width):
        gains[n] = gain[n % 3]
    of_green, of_blue = min(1, channels - 1), min(2, channels - 1)
    for y in range(light.shape[0]):
        for n in range(3 * width):
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
    """Noise of unit variance [2¹⁸], cut anew for each photo: drawing its own would take a fifth as long as all else."""
    return keyed.generator(0, "synthetic film").standard_normal(2**18, np.float32)
