"""Aligned faces by which the ranges of a quantised network's activations are set."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.data.formats.packs import read_pack
from elasticface.data.images import decoding
from elasticface.data.opening import open_dataset
from elasticface.data.sources import EncodedSource

RENDERED = "rendered"
COUNT = 300
"""Faces that are taken. Of a public MobileFaceNet, 128 and 300 rendered ones and LFW's photos give the same cosine."""

_LEAST = 12
_SEED = 20_261_129  # of rendered people, other than a training set has by default


@dataclass(frozen=True)
class Faces:
    """Faces, and what to call them.

    Attributes:
        name: "rendered", or the last part of the path.
        pixels: uint8 [N, size, size, 3] RGB.
    """

    name: str
    pixels: NDArray[np.uint8]


def read_quantization_faces(where: str | Path, size: int) -> Faces:
    """Up to ``COUNT`` faces, evenly spread over all there are.

    Args:
        where: "rendered"; or what :func:`elasticface.data.open_dataset` takes; or a .bin pack.
        size: side in pixels. Rendered faces are resized to it, others must have it.

    Raises:
        InputError: fewer than 12, or faces of another size or damaged.
    """
    number, face = _opened(where, size)
    if number < _LEAST:
        raise InputError(f"{where}: {number} faces; int8 needs {_LEAST} or more, and is the better for {COUNT}")
    wanted = np.unique(np.linspace(0, number - 1, min(number, COUNT)).astype(int)).tolist()
    pixels = np.stack([face(index) for index in progress.track(wanted, "faces for int8", len(wanted))])
    return Faces(RENDERED if str(where) == RENDERED else Path(where).name, pixels)


def _opened(where: str | Path, size: int) -> tuple[int, Callable[[int], NDArray[np.uint8]]]:
    """How many faces there are, and what gives one of them."""
    if str(where) == RENDERED:
        rendered = open_dataset(f"synthetic:identities={COUNT},images=1,seed={_SEED}")
        return len(rendered), lambda index: decoding.fit(rendered[index][0], size)
    if Path(where).suffix == ".bin":
        images, _ = read_pack(where)
        return len(images), lambda index: _aligned(images[index], f"{where}: image {index}", size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* are resized")  # here they are refused
        source = open_dataset(where, size=size)
    assert isinstance(source, EncodedSource)
    return len(source), lambda index: _aligned(source.encoded(index)[0], f"{where}: {source.name(index)}", size)


def _aligned(image: bytes, name: str, size: int) -> NDArray[np.uint8]:
    return decoding.decode_aligned(image, name, size, lambda what: f"{name}: {what}; align it first")
