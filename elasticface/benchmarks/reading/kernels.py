"""The compiled readers of :mod:`.rows`: bytes to numbers, and where the first wrong row begins.

All of it is in one file: numba renews its cache when the caller's file changes, not the called one's.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

LARGEST_ID = 2**31 - 1
POINT_NUMBERS = 11
"""Of a row of points: ten coordinates and the detector's score."""

NEWLINE = 10
_TAB, _RETURN, _SPACE, _PLUS, _MINUS, _DOT, _ZERO, _NINE = 9, 13, 32, 43, 45, 46, 48, 57
_ID_DIGITS = 10
_SHORT_ROW = 24  # bytes: two words of eight are looked at, and what follows them
_EXACT_DIGITS = 15  # so many decimal digits are an exact float64, and so is a power of ten up to 22
_POWERS = 10.0 ** np.arange(_EXACT_DIGITS + 1)


@numba.njit(cache=True, error_model="numpy", nogil=True)
def newlines(data: Bytes) -> tuple[int, int]:
    """How many there are, and where what follows the last one begins."""
    count, stop = 0, len(data)
    for byte in data:
        count += byte == NEWLINE
    while stop and data[stop - 1] != NEWLINE:
        stop -= 1
    return count, stop


@numba.njit(cache=True, error_model="numpy", inline="always")
def _is_end(byte: int) -> bool:
    """Whether a word ends before ``byte``."""
    return byte in (_SPACE, NEWLINE, _TAB, _RETURN)


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
    return at + 1 if data[at] == NEWLINE else -1


@numba.njit(cache=True, error_model="numpy", inline="always")
def _integer(data: Bytes, at: int) -> tuple[int, int]:
    """The next word as a number from 0 to the largest int32, or -1; and where it ends."""
    at = _past_blanks(data, at)
    value, start = 0, at
    while _ZERO <= data[at] <= _NINE and value <= LARGEST_ID:
        value = value * 10 + (data[at] - _ZERO)
        at += 1
    if not 0 < at - start <= _ID_DIGITS or not _is_end(data[at]) or value > LARGEST_ID:
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


@numba.njit(cache=True, error_model="numpy", inline="always")
def _short_integer(data: Bytes, at: int) -> tuple[int, int]:
    """The word of one to seven digits at ``at``, eight bytes or more before the end; and its length, or 0.

    All eight bytes at once (Lemire, "Quickly parsing eight digits", 2018): no branch for the processor to guess wrong.
    """
    word = np.uint64(0)
    for k in range(8):  # the compiler makes one load of it
        word |= np.uint64(data[np.uint64(at + k)]) << np.uint64(8 * k)
    word ^= np.uint64(0x3030303030303030)  # digits become 0 to 9
    others = (word | (word + np.uint64(0x7676767676767676))) & np.uint64(0x8080808080808080)
    lowest = (others & (~others + np.uint64(1))) >> np.uint64(7)  # 1 << 8·length
    length = (lowest * np.uint64(0x0001020304050607)) >> np.uint64(56)
    word <<= (np.uint64(64) - np.uint64(8) * length) & np.uint64(63)
    word = word * np.uint64(10) + (word >> np.uint64(8))
    low = (word & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
    high = ((word >> np.uint64(16)) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001)
    return int((low + high) >> np.uint64(32)), int(length)


@numba.njit(cache=True, error_model="numpy", nogil=True)
def parse_pairs(
    data: Bytes, first: NDArray[np.int32], second: NDArray[np.int32], same: NDArray[np.bool_]
) -> tuple[int, int]:
    """The rows read, and where the first wrong one begins, or -1. ``data`` ends with a newline.

    It is the largest file by far. Rows with one blank between short ids, as it is released, are read a word at a time;
    any other row by the byte.
    """
    row, at = 0, 0
    while at < len(data):
        if at + _SHORT_ROW <= len(data) and row < len(first):
            a, length = _short_integer(data, at)
            middle = at + length + 1
            b, second_length = _short_integer(data, middle)
            stop = middle + second_length + 1
            label = data[stop]
            plain = (length > 0) & (second_length > 0) & (data[middle - 1] == _SPACE) & (data[stop - 1] == _SPACE)
            if plain & (label >> 1 == _ZERO >> 1) & (data[stop + 1] == NEWLINE):
                first[row], second[row], same[row] = a, b, label != _ZERO
                row, at = row + 1, stop + 2
                continue
        row, next_at = _any_pair(data, at, row, first, second, same)
        if next_at < 0:
            return row, at
        at = next_at
    return row, -1


@numba.njit(cache=True, error_model="numpy")
def _any_pair(
    data: Bytes, begin: int, row: int, first: NDArray[np.int32], second: NDArray[np.int32], same: NDArray[np.bool_]
) -> tuple[int, int]:
    """The row that begins at ``begin``: how many rows there are now, and where the next one begins, or -1."""
    at = begin
    a, at = _integer(data, at)
    b, at = _integer(data, at)
    label, at = _integer(data, at)
    at = _past_row(data, at)
    if a < 0 or b < 0 or not 0 <= label <= 1 or at < 0 or row == len(first):
        return row, -1
    first[row], second[row], same[row] = a, b, label == 1
    return row + 1, at


@numba.njit(cache=True, error_model="numpy", nogil=True)
def parse_media(
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
def parse_points(data: Bytes, bounds: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[int, int]:
    """Likewise; ``values`` [n, 11] gets NaN for what is left to Python."""
    at, row = 0, 0
    while at < len(data) and row < len(values):
        start = _past_blanks(data, at)
        stop = _past_word(data, start)
        next_at = stop
        for column in range(POINT_NUMBERS):
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
