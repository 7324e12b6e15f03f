"""An image as a caller has it (a path, bytes, a PIL image, an array) to pixels."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images import decoding

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_TAKEN = "a path, the bytes of a file, a PIL image or an array, uint8 [H, W, 3] RGB"


def to_pixels(image: Any, name: str = "image") -> NDArray[np.uint8]:
    """The pixels of an image, upright (EXIF orientation applied), as uint8 RGB.

    Args:
        image: a path, the bytes of a file, a PIL image, or an array, uint8 [H, W, 3] RGB.
        name: what to call the image in an error; a path is called by itself.

    Returns:
        uint8 [H, W, 3], H and W ≥ 1; the very array where one is given.

    Raises:
        InputError: anything else, or an image that is damaged.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise InputError(f"{name}: an array of {image.dtype} {list(image.shape)}; give uint8 [H, W, 3] RGB")
        return image
    if isinstance(image, str | os.PathLike):
        name = printable(os.fspath(image))
        return decoding.decode(decoding.read(Path(image)), name)
    if isinstance(image, bytes | bytearray | memoryview):
        return decoding.decode(bytes(image), name)
    pil = sys.modules.get("PIL.Image")  # no one has a PIL image who has not imported it
    if pil is not None and isinstance(image, pil.Image):
        return _of_pil(image, name)
    raise InputError(f"{name}: {type(image).__name__} is no image; give {_TAKEN}")


def _of_pil(image: "PilImage", name: str) -> NDArray[np.uint8]:
    from PIL import ImageOps

    if image.width * image.height == 0:
        raise InputError(f"{name}: a PIL image without pixels")
    if image.mode in ("I", "F"):
        raise InputError(f"{name}: a PIL image of mode {image.mode}, whose white is unknown; convert it to 8 bits")
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # the upper 8 bits, as of files; PIL's own conversion clips
            return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(upright.convert("RGB"), np.uint8)
    except (OSError, ValueError) as error:  # PIL reads pixels when they are first needed, and not of a closed image
        raise decoding.DamagedImage(f"{name}: a damaged image: {' '.join(str(error).split())}") from error
