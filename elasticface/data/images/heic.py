"""HEIC, as phones write it: read where pillow-heif is installed, which OpenCV cannot."""

import os

import numpy as np
from numpy.typing import NDArray

SUFFIXES = frozenset([".heic", ".heif"])

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_OF_ANY_CODEC = (b"mif1", b"msf1")  # AVIF has these too; the compatible brands after them say which


def is_heic(data: bytes) -> bool:
    """Whether an image begins as HEIC does (ISO/IEC 23008-12, section 10.2)."""
    if data[4:8] != b"ftyp":
        return False
    brand = data[8:12]
    return brand in _BRANDS or (brand in _OF_ANY_CODEC and any(other in data[16:64] for other in _BRANDS))


def decode_heic(data: bytes) -> NDArray[np.uint8]:
    """The pixels, upright, uint8 [H, W, 3] RGB.

    Raises:
        ValueError: pillow-heif is missing, the image is damaged, or it has more pixels than an image may have; the
            message says which, and what to do.
    """
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("is HEIC; pip install elasticface[heic], or convert it to JPEG") from None
    try:
        image = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
        width, height = image.size
        if width * height > int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]):
            raise ValueError(f"has {width}x{height} pixels, more than OPENCV_IO_MAX_IMAGE_PIXELS; shrink or remove it")
        return np.asarray(image.to_pillow().convert("RGB"), np.uint8)  # the orientation is applied by the decoder
    except (OSError, RuntimeError, SyntaxError, EOFError) as error:
        raise ValueError(f"cannot be decoded ({' '.join(str(error).split())}); put it right or remove it") from error
