"""Under what conditions a model is used: what its calibration is bound to."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from elasticface.model.calibration import UNKNOWN_DETECTOR, Conditions
from elasticface.model.encoder import FaceEncoder
from elasticface.model.onnx import OnnxNetwork

_IMAGES, _NUMBERS = 2, 8  # of a fingerprint: images, and numbers of each one's embedding


def conditions_of(encoder: FaceEncoder, detector: str = UNKNOWN_DETECTOR, flip: bool = True) -> Conditions:
    """The conditions of similarities that ``encoder`` gives.

    Args:
        encoder: embeds two small images for its fingerprint.
        detector: the name of what finds the faces, as :class:`elasticface.faces.FaceFinder` has it.
        flip: whether the embedding of the mirror image is added.
    """
    size = encoder.card.preprocessing.size
    return Conditions(detector, f"ArcFace's template, {size}x{size}", flip, _precision(encoder), fingerprint(encoder))


def fingerprint(encoder: FaceEncoder) -> tuple[float, ...]:
    """The first numbers of the embeddings of fixed images, each embedding scaled to a root mean square of 1.

    So one network has one fingerprint as torch module and as exported file, on any device; float32 differs by less than
    1e-4, int8 by .1 and more, another network by 1.
    """
    found = encoder.embed(_fixed_images(encoder.card.preprocessing.size), flip=False)
    numbers = np.nan_to_num(found[:, :_NUMBERS] * np.sqrt(found.shape[1]))
    return tuple(round(float(number), 4) for number in numbers.ravel())


def _fixed_images(size: int) -> NDArray[np.uint8]:
    """Soft coloured patterns by formula, [2, size, size, 3]: no generator whose stream may change."""
    y, x = np.mgrid[0:size, 0:size] / size
    images = np.empty((_IMAGES, size, size, 3), np.uint8)
    for number in range(_IMAGES):
        for channel in range(3):
            along, across = 1 + number + channel, 2 + 2 * number - channel
            wave = np.sin(2 * np.pi * (along * x + across * y) + number) + np.cos(2 * np.pi * across * x * y + channel)
            images[number, ..., channel] = np.clip(np.rint(128 + 50 * wave), 0, 255)
    return images


def _precision(encoder: FaceEncoder) -> str:
    """The type of the weights, or what an .onnx says of itself; float32 for a function of one's own."""
    if isinstance(encoder.network, OnnxNetwork):
        return encoder.network.precision
    if isinstance(encoder.network, nn.Module):
        kind = next((parameter.dtype for parameter in encoder.network.parameters()), None)
        return "float32" if kind is None else str(kind).removeprefix("torch.")
    return "float32"
