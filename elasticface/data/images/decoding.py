"""Encoded bytes to RGB pixels and back: the one place where image files are opened.

OpenCV does the decoding. What it would let through in silence (a JPEG that was cut short and padded) is looked for
here, and whatever is wrong with an image comes out as one :class:`DamagedImage` that names it.
"""

import errno
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.data.images import heic
from elasticface.data.images.sides import JPEG_EOI, JPEG_SOI, JPEG_SOS, jpeg_markers, sides

# OpenCV reads both variables while it is being imported, so they stand before the import; the user's own values win.
# A file of a few bytes can claim any size in its header: 2²⁶ pixels (67 megapixels) is more than most cameras have, yet
# one such file in a worker does not take the machine down: a pixel takes 6 bytes while it is decoded, 0.4 GB in all
# (9 bytes in a progressive JPEG, 12 to 17 in GIF, JPEG 2000 and AVIF). OpenCV's own limit is 16 times that.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# OpenCV logs what it also reports to the caller; with a DamagedImage raised, the log would only say it twice.
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")

import cv2 as cv2  # re-exported: whoever takes it from here has it with these settings

# OpenCV brings a pool of one thread a core. Images come many at a time from many processes (data workers, ranks), each
# of which would start such a pool, and all of them would fight for the same cores; a face of 112 × 112 gains nothing
# from threads anyway. Here, at import, is the one spot that every worker passes, forked or spawned. It holds for the
# whole process: a program that wants OpenCV's threads for work of its own calls cv2.setNumThreads after this import.
cv2.setNumThreads(0)

MAX_BYTES = 2**26
"""The largest file that is read as an image, 64 MiB: beyond every photo, and small enough for every worker's memory."""

JPEG_QUALITY = 95
"""The quality :func:`encode` writes JPEG with."""

IMAGE_SUFFIXES = heic.SUFFIXES.union(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .mpo .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
"""Suffixes, in lower case, of the files that are taken for images."""

UNREAD_SUFFIXES = frozenset(".arw .cr2 .cr3 .dng .jxl .nef .orf .pef .psd .raf .raw .rw2 .svg .tga".split())
"""Those of pictures that are not read, and are named where they lie among images."""

_OF_THE_PROCESS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of an ``open`` that say nothing about the file: another would fail, too."""

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_ANCILLARY = 0x20  # in the first byte of a PNG chunk's type: one that a decoder may pass over
_USED = frozenset((b"tRNS", b"bKGD", b"eXIf", b"acTL", b"fcTL", b"fdAT"))  # those of them that OpenCV decodes by
_NOT_STUFFED = re.compile(rb"\xff[^\x00]")  # a marker, in the data of a scan


class DamagedImage(InputError):
    """The bytes of one image cannot be made into pixels. The message is one line and begins with the image's name."""


class NoFace(DamagedImage):
    """No face was found in an image, so there is none to be aligned; the message is of the same kind."""


def read(path: str | Path) -> bytes:
    """The bytes of an image file, not decoded.

    Args:
        path: the file.

    Raises:
        DamagedImage: the file is gone, may not be read, is no regular file (a named pipe, a folder, a link in a
            circle, …), or has more than ``MAX_BYTES``; the message begins with its path.
    """
    try:
        # System calls are most of what a small file costs, so there are no more than four.
        descriptor, size = files.open_file(path)
        try:
            if size <= MAX_BYTES:
                data = os.read(descriptor, size + 1)
                if len(data) != size:  # a pipe does not say its size, and a file may grow
                    data += io.BufferedReader(io.FileIO(descriptor, closefd=False)).read(MAX_BYTES)
                    size = len(data)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _OF_THE_PROCESS:
            raise
        raise DamagedImage(f"{files.printable(path)}: cannot be read: {error.strerror}") from error
    if size > MAX_BYTES:
        label = files.printable(path)
        raise DamagedImage(f"{label}: {size:,} bytes, more than the {MAX_BYTES:,} of an image; shrink or remove it")
    return data


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """The pixels of an encoded image, upright (EXIF orientation applied, but not AVIF's rotation), as uint8 RGB.

    Grey and palette images become RGB, CMYK is converted, alpha is dropped, 16 bits a channel keep their upper 8; of an
    animation the first frame is taken.

    Args:
        data: the bytes of a JPEG, PNG, WebP, BMP or any other file that OpenCV reads.
        name: what to call the image in an error.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        DamagedImage: no bytes, not an image, an image that is cut short or broken, or one larger than
            ``OPENCV_IO_MAX_IMAGE_PIXELS`` pixels (2²⁶ unless the environment says otherwise when OpenCV is loaded).
            A JPEG with bytes missing in its middle decodes, as with every libjpeg: it holds no checksum.
    """
    if not _is_plainly_whole(data):
        _refuse_if_cut_short(data, name)
    return _pixels(data, name)


def decode_aligned(data: bytes, name: str, size: int, if_not: Callable[[str], str]) -> NDArray[np.uint8]:
    """The pixels of an aligned face, as :func:`decode` gives them.

    One of another size is refused by its header where that says it: a file of a few bytes may claim a gigabyte.

    Args:
        data: the bytes of the file.
        name: what to call the image where it is damaged.
        size: the side in pixels.
        if_not: what to say of an image of another size; called with "11000x11000 is no aligned face of 112x112".

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        DamagedImage: as ``decode``.
        InputError: an image of another size.
    """
    if not _is_plainly_whole(data):
        _refuse_if_cut_short(data, name)
    found = sides(data)
    if found in (None, (size, size)):
        face = _pixels(data, name)
        height, width, _ = face.shape
        if (width, height) == (size, size):
            return face
        found = width, height
    raise InputError(if_not(f"{found[0]}x{found[1]} is no aligned face of {size}x{size}"))


def _pixels(data: bytes, name: str) -> NDArray[np.uint8]:
    if heic.is_heic(data):
        try:
            return heic.decode_heic(data)
        except ValueError as error:
            raise DamagedImage(f"{name}: the image {error}") from error
    encoded = _without_metadata(memoryview(data), name) if data.startswith(_PNG) else data
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in error.err:
            reason = "claims more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows; shrink or remove it"
        else:
            reason = f"cannot be decoded ({' '.join(error.err.split())}); put it right or remove it"
        raise DamagedImage(f"{name}: the image {reason}") from error
    if image is None:
        raise DamagedImage(f"{name}: not an image, or a damaged one: OpenCV cannot read it; put it right or remove it")
    return cast("NDArray[np.uint8]", image)  # in quotes: making the type anew would take 8 µs an image


def encode(image: NDArray[np.uint8], suffix: str) -> bytes:
    """The bytes of an image file.

    Args:
        image: uint8 [H, W, 3], RGB.
        suffix: ``".jpg"`` (quality 95) or ``".png"`` (lossless).

    Raises:
        ValueError: another suffix, another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"an image to encode is uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if suffix == ".jpg":
        parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    elif suffix == ".png":
        parameters = []
    else:
        raise ValueError(f"images are written as .jpg or .png, not {suffix!r}")
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    return encoded.tobytes()


def suffix_of(data: bytes) -> str | None:
    """The suffix that belongs to an image's bytes, of those that every reader knows: .jpg, .png, .webp; else None."""
    if data.startswith(_JPEG):
        return ".jpg"
    if data.startswith(_PNG):
        return ".png"
    return ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def fit(image: NDArray[np.uint8], size: int = 112) -> NDArray[np.uint8]:
    """The image as ``size`` × ``size`` pixels, stretched if it is not square; the very same array if it has that size.

    Args:
        image: uint8 [H, W, 3].
        size: the side in pixels, ≥ 1.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    # Averaging areas is what keeps shrinking free of aliasing; for growing, OpenCV's area mode is nearest neighbour.
    interpolation = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    return cast("NDArray[np.uint8]", cv2.resize(image, (size, size), interpolation=interpolation))


def _refuse_if_cut_short(data: bytes, name: str) -> None:
    if not data:
        raise DamagedImage(f"{name}: the image is empty (0 bytes); put it right or remove it")
    if (data.startswith(_JPEG) and _jpeg_is_cut_short(data)) or (
        data.startswith(_PNG) and _png_is_cut_short(memoryview(data))
    ):
        raise DamagedImage(f"{name}: the image is cut short after {len(data)} bytes; put it right or remove it")


def _jpeg_is_cut_short(data: bytes) -> bool:
    """Whether a JPEG ends before its end-of-image marker.

    libjpeg paints what is missing grey, and OpenCV notices only where the bytes run out, not where a download was
    padded with zeros or another file follows.
    """
    return next((code for code, _ in jpeg_markers(data) if code in (JPEG_EOI, JPEG_SOI)), None) != JPEG_EOI


_last_header = b"\0"  # of a JPEG, up to the data of its scan. A set's images mostly have the same


def _is_plainly_whole(data: bytes) -> bool:
    """Whether this is a JPEG of one scan that ends with the first marker after the scan's data.

    Most are, and this tells it in a twentieth of the time that decoding takes. Where it is False, nothing is known.
    """
    global _last_header
    header = _last_header
    if not data.startswith(header):
        position = _scan_data(data)
        if position is None:
            return False
        _last_header = header = data[:position]
    found = _NOT_STUFFED.search(data, len(header))
    return found is not None and data[found.end() - 1] == JPEG_EOI


def _scan_data(data: bytes) -> int | None:
    """Where the data of a JPEG's first scan begin, or None where what is before is more than plain segments."""
    position = 2
    try:
        if data[0] != 0xFF or data[1] != JPEG_SOI:
            return None
        while True:
            code = data[position + 1]
            if data[position] != 0xFF or not 0xC0 <= code <= 0xFE or 0xD0 <= code <= JPEG_EOI:
                return None
            position += 2 + (data[position + 2] << 8 | data[position + 3])
            if code == JPEG_SOS:
                return position if position <= len(data) else None
    except IndexError:
        return None


def _png_is_cut_short(data: memoryview) -> bool:
    """Whether a PNG ends before its IEND chunk. OpenCV refuses it too, but libpng complains on stderr first."""
    return next((end for kind, _, end in _png_chunks(data) if kind == b"IEND"), len(data) + 1) > len(data)


def _without_metadata(data: memoryview, name: str) -> bytearray:
    """A PNG without the chunks that no pixel depends on: of a damaged one libpng writes to stderr what it says, such as
    the name of a colour profile, line ends and all.

    Raises:
        DamagedImage: one of the others is not what its checksum says, which libpng refuses too, but not without a line.
    """
    kept = bytearray(_PNG)
    for kind, start, end in _png_chunks(data):
        if kind in _USED or not kind[0] & _ANCILLARY:
            if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise DamagedImage(f"{name}: the image has a wrong checksum; put it right or remove it")
            kept += data[start:end]
    return kept


def _png_chunks(data: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG up to IEND: type, start and end."""
    start = len(_PNG)
    while start + 12 <= len(data):  # a chunk: length, type, its data, checksum
        kind = bytes(data[start + 4 : start + 8])
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
