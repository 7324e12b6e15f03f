"""Text files of millions of rows to arrays: the three row formats of the IJB meta folders.

Compiled, because a pair file has 15.7 million rows: they take 0.1 to 0.2 s, where pandas takes 0.5, pyarrow 0.6, polars
0.7 and numpy 1.9, and none of these tells which row is wrong. A file is read in blocks of whole rows, so that memory is
the result and one block; a row that is not as it should be is named by its number and shown.
"""

import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.reading.kernels import (
    LARGEST_ID,
    NEWLINE,
    POINT_NUMBERS,
    Bytes,
    newlines,
    parse_media,
    parse_pairs,
    parse_points,
)
from elasticface.data.images.photos import flaw

BLOCK = 1 << 22
"""Bytes that are read at a time; no row is that long."""

MOST_PAIRS, MOST_IMAGES = 1 << 28, 1 << 24
"""Rows that are read: 17 and 36 times those of IJB-C, 2.4 GB of pairs and 1.5 GB of points."""

_THREADS = 4  # of a pair file, the disk gives no more

_BOM, _BLANKS = b"\xef\xbb\xbf", b" \t\r\n"
_BETWEEN = re.compile(rb"[ \t]+")
_LARGEST_COORDINATE = 1e6  # pixels, to either side: no photo is larger, and nothing made of it overflows


@dataclass(frozen=True, eq=False)
class PairRows:
    """The rows of a file of pairs, [P] each."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MediaRows:
    """The rows of a file of images with their template and medium, [N] each."""

    names: list[str]
    templates: NDArray[np.int32]
    media: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PointRows:
    """The rows of a file of images with five points and a detector score."""

    names: list[str]  # [N]
    landmarks: NDArray[np.float64]  # [N, 5, 2]: x, y in pixels of the image, in the order of the template
    scores: NDArray[np.float64]  # [N]


def read_pairs(path: Path) -> PairRows:
    """Rows `template template 0|1`, with blanks or tabs between.

    Raises:
        InputError: a file that cannot be read or has no rows, or a row that is not of this kind.
    """
    blocks = _plan(path, MOST_PAIRS)
    count = blocks[-1].first + blocks[-1].rows
    pairs = PairRows(np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.bool_))

    def parse(block: _Block) -> None:
        data, span = _read(path, block), slice(block.first, block.first + block.rows)
        rows, bad = parse_pairs(data, pairs.first[span], pairs.second[span], pairs.same[span])
        if bad >= 0:
            what = f"neither `template template 0` nor `… 1`, ids to {LARGEST_ID}"
            raise _wrong(path, block.first + rows, data, bad, what)
        if rows != block.rows:
            raise _changed(path)

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for _ in pool.map(parse, blocks):  # in order: the first wrong row is the one that is named
            pass
    return pairs


def read_media(path: Path) -> MediaRows:
    """Rows `name template medium`.

    Raises:
        InputError: as above, or a name that leads out of the folder of images.
    """
    blocks = _plan(path, MOST_IMAGES)
    count = blocks[-1].first + blocks[-1].rows
    templates, media = np.empty(count, np.int32), np.empty(count, np.int32)
    names: list[str] = []
    for block in blocks:
        data, span = _read(path, block), slice(block.first, block.first + block.rows)
        bounds = np.empty((block.rows, 2), np.int64)
        rows, bad = parse_media(data, bounds, templates[span], media[span])
        if bad >= 0:
            what = f"not `name template medium`, ids to {LARGEST_ID}"
            raise _wrong(path, block.first + rows, data, bad, what)
        if rows != block.rows:
            raise _changed(path)
        _append_names(path, names, data, bounds)
    return MediaRows(names, templates, media)


def read_points(path: Path) -> PointRows:
    """Rows `name x y x y x y x y x y score`.

    Raises:
        InputError: as above, or a number that is not finite, a coordinate beyond a million pixels, or a negative score.
    """
    blocks = _plan(path, MOST_IMAGES)
    values = np.empty((blocks[-1].first + blocks[-1].rows, POINT_NUMBERS))
    names: list[str] = []
    wanted = "not `name`, ten coordinates (finite, to a million pixels) and a score, finite and not negative"
    for block in blocks:
        data, numbers = _read(path, block), values[block.first : block.first + block.rows]
        bounds = np.empty((block.rows, 2), np.int64)
        rows, bad = parse_points(data, bounds, numbers)
        if bad >= 0:
            raise _wrong(path, block.first + rows, data, bad, wanted)
        if rows != block.rows:
            raise _changed(path)
        # What the compiled reader leaves to Python's own: numbers of many digits, and what is no number.
        text = data.tobytes()
        for row in np.flatnonzero(np.isnan(numbers).any(axis=1)).tolist():
            start = int(bounds[row, 0])
            line = text[start : text.index(b"\n", start)].rstrip(b"\r")
            numbers[row] = _numbers(_BETWEEN.split(line.strip(b" \t"))[1:])  # not at what else Python takes for blank
        beyond = ~np.isfinite(numbers)
        beyond[:, :-1] |= np.abs(numbers[:, :-1]) > _LARGEST_COORDINATE
        beyond[:, -1] |= numbers[:, -1] < 0
        if beyond.any():
            row = int(np.flatnonzero(beyond.any(axis=1))[0])
            raise _wrong(path, block.first + row, data, bounds[row, 0], wanted)
        _append_names(path, names, data, bounds)
    return PointRows(names, values[:, :-1].reshape(-1, 5, 2), values[:, -1].copy())


# ---------------------------------------------------------------------------------------------- blocks and messages


@dataclass(frozen=True)
class _Block:
    """Whole rows of a file."""

    offset: int
    size: int
    first: int  # row, from 0
    rows: int


def _plan(path: Path, most: int) -> list[_Block]:
    """The file's blocks of whole rows, without what is blank at its end; from one row to ``most``."""
    blocks: list[_Block] = []
    buffer = np.empty(BLOCK, np.uint8)
    try:
        with files.opened(path) as file:
            end = _end_of_text(file)
            begin = at = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(at)
            row = 0
            while at < end:
                count = file.readinto(buffer[: min(BLOCK, end - at)].data)
                if not count:
                    raise _changed(path)
                rows, past = newlines(buffer[:count])
                if at + count >= end:  # the last row has no newline within the text
                    blocks.append(_Block(begin, end - begin, row, rows + 1))
                elif rows:
                    blocks.append(_Block(begin, at + past - begin, row, rows))
                    begin, row = at + past, row + rows
                elif at - begin > BLOCK:
                    raise InputError(f"{printable(path)}: a row of more than {BLOCK:,} bytes; is it a text file?")
                at += count
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    if not blocks:
        raise InputError(f"{printable(path)}: the file is empty; fetch it again")
    if blocks[-1].first + blocks[-1].rows > most:
        raise InputError(f"{printable(path)}: more than {most:,} rows; is it the file of the protocol?")
    return blocks


def _read(path: Path, block: _Block) -> Bytes:
    """The block's bytes, a newline at their end."""
    data = np.empty(block.size + 1, np.uint8)
    try:
        with files.opened(path) as file:
            file.seek(block.offset)
            count = file.readinto(data[:-1].data)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    if count != block.size:
        raise _changed(path)
    data[-1] = NEWLINE
    return data[:-1] if data[-2] == NEWLINE else data


def _end_of_text(file: BinaryIO) -> int:
    """Where the last thing that is not blank ends; the file's position is its beginning then."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        text = file.read(end - start).rstrip(_BLANKS)
        if text:
            end = start + len(text)
            break
        end = start
    file.seek(0)
    return end


def _changed(path: Path) -> InputError:
    return InputError(f"{printable(path)}: it changed while it was read; read it again when it is complete")


def _wrong(path: Path, row: int, block: Bytes, start: int, what: str) -> InputError:
    """What to say of the row (from 0) that begins at ``start`` of ``block``."""
    line = block[start : start + 100].tobytes().partition(b"\n")[0]
    shown = printable(line.decode(errors="replace").rstrip())
    return InputError(f"{printable(path)}, row {row + 1}: {what}: {shown or 'a blank row'}")


def _append_names(path: Path, names: list[str], block: Bytes, bounds: NDArray[np.int64]) -> None:
    """The names at ``bounds`` [n, 2] of ``block``, each fit to be one below a folder."""
    data = block.tobytes()
    # One look at the block for what makes a name unfit; only where it is found, one at each name.
    doubtful = any(mark in data for mark in (b"..", b"/", b"\\", b"\0"))
    ascii_text = data.decode("ascii") if data.isascii() else None
    for start, stop in bounds.tolist():
        try:
            name = data[start:stop].decode() if ascii_text is None else ascii_text[start:stop]
        except UnicodeDecodeError:
            raise _wrong(path, len(names), block, start, "the name is not UTF-8") from None
        if doubtful and (why := flaw(name)) is not None:
            raise _wrong(path, len(names), block, start, f"{why}, which no image's name may be")
        names.append(name)


def _numbers(words: list[bytes]) -> list[float]:
    """Python's own reading; NaN for what is no number, and for what only Python takes for one."""
    values = []
    for word in words:
        try:
            values.append(math.nan if b"_" in word else float(word))
        except ValueError:
            values.append(math.nan)
    return values
