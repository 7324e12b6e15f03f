"""Text files of millions of rows to arrays: the three row formats of the IJB meta folders.

Compiled, because a pair file has 15.7 million rows. A file is read in blocks of whole rows, so that memory is the
result and one block, and a row that is not as it should be is named by its number and shown.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.data.photos import flaw
from elasticface.errors import InputError
from elasticface.files import printable

Bytes = NDArray[np.uint8]

BLOCK = 1 << 22
"""Bytes that are read at a time; no row is that long."""

_THREADS = 4  # of a pair file, the disk gives no more

_BOM, _BLANKS = b"\xef\xbb\xbf", b" \t\r\n"
_TAB, _NEWLINE, _RETURN, _SPACE, _PLUS, _MINUS, _DOT, _ZERO, _NINE = 9, 10, 13, 32, 43, 45, 46, 48, 57
_LARGEST_ID, _ID_DIGITS = 2**31 - 1, 10
_EXACT_DIGITS = 15  # so many decimal digits are an exact float64, and so is a power of ten up to 22
_POINT_NUMBERS = 11  # ten coordinates and the detector's score
_LARGEST_COORDINATE = 1e6  # pixels, to either side: no photo is larger, and nothing made of it overflows
_POWERS = 10.0 ** np.arange(_EXACT_DIGITS + 1)


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
    landmarks: NDArray[np.float64]  # [N, 5, 2]: x, y in pixels of the image, in the order of elasticface.align
    scores: NDArray[np.float64]  # [N]


def read_pairs(path: Path) -> PairRows:
    """Rows `template template 0|1`, with blanks or tabs between.

    Raises:
        InputError: a file that cannot be read or has no rows, or a row that is not of this kind.
    """
    blocks = _plan(path)
    count = blocks[-1].first + blocks[-1].rows
    pairs = PairRows(np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.bool_))

    def parse(block: _Block) -> None:
        data, span = _read(path, block), slice(block.first, block.first + block.rows)
        rows, bad = _parse_pairs(data, pairs.first[span], pairs.second[span], pairs.same[span])
        if bad >= 0:
            what = f"neither `template template 0` nor `… 1`, ids to {_LARGEST_ID}"
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
    blocks = _plan(path)
    count = blocks[-1].first + blocks[-1].rows
    templates, media = np.empty(count, np.int32), np.empty(count, np.int32)
    names: list[str] = []
    for block in blocks:
        data, span = _read(path, block), slice(block.first, block.first + block.rows)
        bounds = np.empty((block.rows, 2), np.int64)
        rows, bad = _parse_media(data, bounds, templates[span], media[span])
        if bad >= 0:
            what = f"not `name template medium`, ids to {_LARGEST_ID}"
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
    blocks = _plan(path)
    values = np.empty((blocks[-1].first + blocks[-1].rows, _POINT_NUMBERS))
    names: list[str] = []
    wanted = "not `name`, ten coordinates (finite, to a million pixels) and a score, finite and not negative"
    for block in blocks:
        data, numbers = _read(path, block), values[block.first : block.first + block.rows]
        bounds = np.empty((block.rows, 2), np.int64)
        rows, bad = _parse_points(data, bounds, numbers)
        if bad >= 0:
            raise _wrong(path, block.first + rows, data, bad, wanted)
        if rows != block.rows:
            raise _changed(path)
        # What the compiled reader leaves to Python's own: numbers of many digits, and what is no number.
        for row in np.flatnonzero(np.isnan(numbers).any(axis=1)).tolist():
            numbers[row] = _numbers(_line(data, bounds[row, 0]).split()[1:])
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


def _plan(path: Path) -> list[_Block]:
    """The file's blocks of whole rows, without what is blank at its end; at least one row."""
    blocks: list[_Block] = []
    buffer = np.empty(BLOCK, np.uint8)
    try:
        with path.open("rb") as file:
            end = _end_of_text(file)
            begin = at = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(at)
            row = 0
            while at < end:
                count = file.readinto(buffer[: min(BLOCK, end - at)].data)
                if not count:
                    raise _changed(path)
                rows, past = _newlines(buffer[:count])
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
    return blocks


def _read(path: Path, block: _Block) -> Bytes:
    """The block's bytes, a newline at their end."""
    data = np.empty(block.size + 1, np.uint8)
    with path.open("rb") as file:
        file.seek(block.offset)
        count = file.readinto(data[:-1].data)
    data[-1] = _NEWLINE
    return data[:-1] if count and data[count - 1] == _NEWLINE else data


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


def _line(block: Bytes, start: int) -> bytes:
    return block[start:].tobytes().partition(b"\n")[0]


def _wrong(path: Path, row: int, block: Bytes, start: int, what: str) -> InputError:
    """What to say of the row (from 0) that begins at ``start`` of ``block``."""
    shown = printable(_line(block, start)[:100].decode(errors="replace").rstrip())
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


# ---------------------------------------------------------------------------------------------- compiled


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _newlines(data: Bytes) -> tuple[int, int]:
    """How many there are, and where what follows the last one begins."""
    count, stop = 0, len(data)
    for byte in data:
        count += byte == _NEWLINE
    while stop and data[stop - 1] != _NEWLINE:
        stop -= 1
    return count, stop


@numba.njit(cache=True, error_model="numpy", inline="always")
def _is_end(byte: int) -> bool:
    """Whether a word ends before ``byte``."""
    return byte in (_SPACE, _NEWLINE, _TAB, _RETURN)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _past_blanks(data: Bytes, at: int) -> int:
    while data[at] in (_SPACE, _TAB):
        at += 1
    return at


@numba.njit(cache=True, error_model="numpy", inline="always")
def _past_word(data: Bytes, at: int) -> int:
    while not _is_end(data[at]):
        at += 1
    return at


@numba.njit(cache=True, error_model="numpy", inline="always")
def _past_row(data: Bytes, at: int) -> int:
    """Where the next row begins, or -1 if anything but blanks is left of this one."""
    at = _past_blanks(data, at)
    if data[at] == _RETURN:
        at += 1
    return at + 1 if data[at] == _NEWLINE else -1


@numba.njit(cache=True, error_model="numpy", inline="always")
def _integer(data: Bytes, at: int) -> tuple[int, int]:
    """The next word as a number from 0 to the largest int32, or -1; and where it ends."""
    at = _past_blanks(data, at)
    value, start = 0, at
    while _ZERO <= data[at] <= _NINE and value <= _LARGEST_ID:
        value = value * 10 + (data[at] - _ZERO)
        at += 1
    if at == start or not _is_end(data[at]) or value > _LARGEST_ID:
        value = -1
    return value, at


@numba.njit(cache=True, error_model="numpy", inline="always")
def _decimal(data: Bytes, at: int) -> tuple[float, int]:
    """The next word as the nearest float64 if it is plain and short, else NaN; and where it ends."""
    at = _past_blanks(data, at)
    negative = data[at] == _MINUS
    if negative or data[at] == _PLUS:
        at += 1
    mantissa, digits, decimals, point = 0, 0, 0, False
    while True:
        byte = data[at]
        if _ZERO <= byte <= _NINE and digits < _EXACT_DIGITS:
            mantissa = mantissa * 10 + (byte - _ZERO)
            digits += 1
            decimals += point
        elif byte == _DOT and not point:
            point = True
        else:
            break
        at += 1
    if digits == 0 or not _is_end(data[at]):
        return math.nan, _past_word(data, at)
    # Both are exact, so their quotient is rounded once: the nearest (Clinger, 1990).
    value = mantissa / _POWERS[decimals]
    return -value if negative else value, at


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _parse_pairs(
    data: Bytes, first: NDArray[np.int32], second: NDArray[np.int32], same: NDArray[np.bool_]
) -> tuple[int, int]:
    """The rows read, and where the first wrong one begins, or -1. ``data`` ends with a newline.

    One pass over the bytes without a function a word: three times as fast on what is the largest file by far.
    """
    row, column, begin = 0, 0, 0
    value, digits = 0, 0
    a, b = 0, 0
    for at in range(len(data)):
        digit = int(data[at]) - _ZERO
        if 0 <= digit <= 9:
            value = value * 10 + digit
            digits += 1
            continue
        byte = data[at]
        if not _is_end(byte) or digits > _ID_DIGITS:
            return row, begin
        if digits:
            if value > _LARGEST_ID:
                return row, begin
            if column == 0:
                a = value
            elif column == 1:
                b = value
            elif column > 2 or value > 1:
                return row, begin
            else:
                label = value == 1
            column += 1
            value, digits = 0, 0
        if byte == _NEWLINE:
            if column != 3 or row == len(first):
                return row, begin
            first[row], second[row], same[row] = a, b, label
            row += 1
            column, begin = 0, at + 1
        elif byte == _RETURN and data[at + 1] != _NEWLINE:
            return row, begin
    return row, -1


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _parse_media(
    data: Bytes, bounds: NDArray[np.int64], templates: NDArray[np.int32], media: NDArray[np.int32]
) -> tuple[int, int]:
    """Likewise; ``bounds`` [n, 2] gets where each name begins and ends."""
    at, row = 0, 0
    while at < len(data) and row < len(templates):
        start = _past_blanks(data, at)
        stop = _past_word(data, start)
        template, next_at = _integer(data, stop)
        medium, next_at = _integer(data, next_at)
        next_at = _past_row(data, next_at)
        if stop == start or template < 0 or medium < 0 or next_at < 0:
            return row, at
        bounds[row, 0], bounds[row, 1] = start, stop
        templates[row], media[row] = template, medium
        at, row = next_at, row + 1
    return row, -1


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _parse_points(data: Bytes, bounds: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[int, int]:
    """Likewise; ``values`` [n, 11] gets NaN for what is left to Python."""
    at, row = 0, 0
    while at < len(data) and row < len(values):
        start = _past_blanks(data, at)
        stop = _past_word(data, start)
        next_at = stop
        for column in range(_POINT_NUMBERS):
            word = _past_blanks(data, next_at)
            values[row, column], next_at = _decimal(data, word)
            if next_at == word:
                return row, at
        next_at = _past_row(data, next_at)
        if stop == start or next_at < 0:
            return row, at
        bounds[row, 0], bounds[row, 1] = start, stop
        at, row = next_at, row + 1
    return row, -1
