"""Aligned faces by which the ranges of a quantised network's activations are set."""

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
        InputError: fewer than 12, or faces of another size.
    """
    number, face = _opened(where, size)
    if number < _LEAST:
        raise InputError(f"{where}: {number} faces; int8 needs {_LEAST} or more, and is the better for {COUNT}")
    wanted = np.unique(np.linspace(0, number - 1, min(number, COUNT)).astype(int)).tolist()
    pixels = np.stack([face(index) for index in progress.track(wanted, "faces for int8", len(wanted))])
    return Faces(RENDERED if str(where) == RENDERED else Path(where).name, pixels)


def _opened(where: str | Path, size: int) -> tuple[int, Callable[[int], NDArray[np.uint8]]]:
    """How many faces there are, and what gives one of them."""
    if Path(where).suffix == ".bin":
        encoded, _ = read_pack(where)

        def of_pack(index: int) -> NDArray[np.uint8]:
            name = f"{where}: image {index}"
            return decoding.decode_aligned(encoded[index], name, size, lambda what: f"{name}: {what}; align it first")

        return len(encoded), of_pack
    rendered = f"synthetic:identities={COUNT},images=1,seed={_SEED}"
    source = open_dataset(rendered) if str(where) == RENDERED else open_dataset(where, size=size)
    return len(source), lambda index: decoding.fit(source[index][0], size)
