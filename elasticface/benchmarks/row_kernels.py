"""The compiled readers of :mod:`elasticface.benchmarks.rows`: bytes to numbers, and where the first wrong row begins.

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
    if at == start or not _is_end(data[at]) or value > LARGEST_ID:
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
def parse_pairs(
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
            if value > LARGEST_ID:
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
        if byte == NEWLINE:
            if column != 3 or row == len(first):
                return row, begin
            first[row], second[row], same[row] = a, b, label
            row += 1
            column, begin = 0, at + 1
        elif byte == _RETURN and data[at + 1] != NEWLINE:
            return row, begin
    return row, -1


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
