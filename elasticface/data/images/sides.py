"""How large an encoded image says it is, from its header: known before any pixel takes memory.

imagesize 2.0.1 is not used: it misreads the oldest BMP and a GIF with a side above 32,767, knows no bare JPEG 2000
codestream, and believes a damaged PNG header.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator

JPEG_TEM, JPEG_SOI, JPEG_EOI, JPEG_SOS = 0x01, 0xD8, 0xD9, 0xDA
# In a JPEG's entropy-coded data 0xFF is followed by 0x00 (a stuffed byte), by RST0…RST7, or by more 0xFF (fill).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 … SOF15 (ITU T.81, table B.1)
_TIFF_SIDES, _TIFF_TYPES = (256, 257), {3: "H", 4: "L"}  # tags of width and height; SHORT, LONG
_BOXES = 1 << 16  # bytes in which AVIF and JPEG 2000 say their size; metadata may come before it

Sides = tuple[int, int]


def sides(data: bytes) -> Sides | None:
    """Width and height that the header of an image claims, before any EXIF orientation; None where it does not say.

    Args:
        data: the bytes of a PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or JPEG 2000 file. Of other formats nothing is known,
            and no more of one whose header is damaged.
    """
    for magic, read in _READERS.items():
        if magic.match(data):
            try:
                found = read(data)
            except struct.error:  # the header is cut short
                return None
            return found if found is not None and min(found) > 0 else None
    return None


def jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """The code of each of a JPEG's markers after the first, and where what follows it begins (ITU T.81, B.1.1).

    Goes from marker to marker by the segments' lengths, so those of a thumbnail inside an EXIF segment are passed over.
    """
    position = 2
    while found := _JPEG_MARKER.search(data, position):
        position = found.end()
        code = data[position - 1]
        yield code, position
        if code != JPEG_TEM:
            position += int.from_bytes(data[position : position + 2], "big")


def _png(data: bytes) -> Sides | None:
    if zlib.crc32(data[12:29]) != struct.unpack_from(">L", data, 29)[0]:  # of IHDR
        return None
    width, height = struct.unpack_from(">LL", data, 16)
    return width, height


def _jpeg(data: bytes) -> Sides | None:
    for code, segment in jpeg_markers(data):
        if code in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, segment + 3)
            return width, height
        if code in (JPEG_SOI, JPEG_EOI, JPEG_SOS):
            break
    return None


def _webp(data: bytes) -> Sides | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, high_byte, height, height_byte = struct.unpack_from("<HBHB", data, 24)
        return (high_byte << 16 | width) + 1, (height_byte << 16 | height) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<L", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp(data: bytes) -> Sides | None:
    (size,) = struct.unpack_from("<L", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ll", data, 18)
    return width, abs(height)  # a negative height: rows from the top


def _gif(data: bytes) -> Sides | None:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _tiff(data: bytes) -> Sides | None:
    order = "<" if data.startswith(b"I") else ">"
    (start,) = struct.unpack_from(order + "L", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    found: dict[int, int] = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in _TIFF_SIDES and kind in _TIFF_TYPES:
            (value,) = struct.unpack_from(order + _TIFF_TYPES[kind], data, entry + 8)
            found.setdefault(tag, value)
    return (found[256], found[257]) if len(found) == 2 else None


def _avif(data: bytes) -> Sides | None:
    """The largest of the image, its tiles, its alpha and its thumbnails."""
    found = [struct.unpack_from(">LL", data, match.end() + 4) for match in re.finditer(b"ispe", data[:_BOXES])]
    return max(((width, height) for width, height in found), key=lambda both: both[0] * both[1], default=None)


def _jpeg2000(data: bytes) -> Sides | None:
    at = data.find(b"\xff\x4f\xff\x51", 0, _BOXES)  # start of codestream, SIZ (ITU T.800, A.5.1)
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">LLLL", data, at + 8)
    return right - left, bottom - top


_READERS: dict[re.Pattern[bytes], Callable[[bytes], Sides | None]] = {
    re.compile(rb"\xff\xd8\xff"): _jpeg,
    re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR", re.DOTALL): _png,
    re.compile(rb"RIFF.{4}WEBP", re.DOTALL): _webp,
    re.compile(rb"BM"): _bmp,
    re.compile(rb"GIF8[79]a"): _gif,
    re.compile(rb"II\*\0|MM\0\*"): _tiff,
    re.compile(rb".{4}ftyp", re.DOTALL): _avif,
    re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"): _jpeg2000,
}
