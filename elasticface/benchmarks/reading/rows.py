"""Text files of millions of rows to arrays: the three row formats of the IJB meta folders.

``numpy.fromstring`` parses, a block of rows at a time, so that memory is the result and one block. It knows no rows;
that each row has its numbers is seen from the separators. A row that is wrong is named by its number and shown: where a
block is refused, bisection finds its first wrong row.
"""

import bisect
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.photos import flaw

BLOCK = 1 << 22
"""Bytes that are read at a time; no row is that long."""

MOST_PAIRS, MOST_IMAGES = 1 << 28, 1 << 24
"""Rows that are read: 17 and 36 times those of IJB-C, 2.4 GB of pairs and 1.5 GB of points."""

_BOM, _BLANKS = b"\xef\xbb\xbf", b" \t\r\n"
_LARGEST_ID = 2**31 - 1
_LARGEST_COORDINATE = 1e6  # pixels, to either side: no photo is larger, and nothing made of it overflows

_IDS, _DECIMALS = b"0123456789", b"0123456789+-.eE"  # all characters of such numbers

Parse = Callable[[bytes], NDArray[Any] | None]
"""From the text of rows to their numbers [rows, columns], or None where any row is wrong."""


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
    what = f"neither `template template 0` nor `… 1`, ids to {_LARGEST_ID}"
    blocks = [_table(path, row, text, text, _pairs, what) for row, text in _blocks(path, MOST_PAIRS)]
    first, second, same = (np.concatenate([block[:, column] for block in blocks]) for column in range(3))
    return PairRows(first, second, same.astype(np.bool_))


def read_media(path: Path) -> MediaRows:
    """Rows `name template medium`.

    Raises:
        InputError: as above, or a name that leads out of the folder of images.
    """
    names, ids = _named_rows(path, _media, f"not `name template medium`, ids to {_LARGEST_ID}")
    return MediaRows(names, ids[:, 0].copy(), ids[:, 1].copy())


def read_points(path: Path) -> PointRows:
    """Rows `name x y x y x y x y x y score`.

    Raises:
        InputError: as above, or a number that is not finite, a coordinate beyond a million pixels, or a negative score.
    """
    what = "not `name`, ten coordinates (finite, to a million pixels) and a score, finite and not negative"
    names, values = _named_rows(path, _points, what)
    return PointRows(names, values[:, :10].reshape(-1, 5, 2), values[:, 10].copy())


def _named_rows(path: Path, parse: Parse, what: str) -> tuple[list[str], NDArray[Any]]:
    """The names of all rows, and the numbers after them."""
    names: list[str] = []
    blocks = []
    for row, text in _blocks(path, MOST_IMAGES):
        words = [line.partition(b" ") for line in _evenly_spaced(text).split(b"\n")]
        blocks.append(_table(path, row, text, b"\n".join(numbers for _, _, numbers in words), parse, what))
        for number, (name, _, _) in enumerate(words):
            try:
                names.append(name.decode())
                why = flaw(names[-1])
            except UnicodeDecodeError:
                raise _wrong(path, row, text, number, "the name is not UTF-8") from None
            if why is not None:
                raise _wrong(path, row, text, number, f"{why}, which no image's name may be")
    return names, np.concatenate(blocks)


def _blocks(path: Path, most: int) -> Iterator[tuple[int, bytes]]:
    """The number of the first row, from 1, and whole rows; without what is blank at the end of the file.

    Raises:
        InputError: the file cannot be read, has no row or more than ``most``, or changes while it is read.
    """
    row, blank = 1, None  # numbers: of the next row, and of the first blank row
    try:
        with files.opened(path) as file:
            before = os.fstat(file.fileno())
            file.seek(len(_BOM) if file.read(len(_BOM)) == _BOM else 0)
            while block := file.read(BLOCK):
                rest = file.readline(BLOCK)
                if len(rest) == BLOCK and not rest.endswith(b"\n"):
                    raise InputError(f"{printable(path)}: a row of more than {BLOCK:,} bytes; is it a text file?")
                block += rest
                text = block.rstrip(_BLANKS)
                if text and blank is not None:
                    yield blank, b""  # a blank row among others: its reader refuses it
                rows = text.count(b"\n") + bool(text)
                if row + rows - 1 > most:
                    raise InputError(f"{printable(path)}: more than {most:,} rows; is it the file of the protocol?")
                if text:
                    yield row, text
                row += rows
                if blank is None and block.count(b"\n") > rows:
                    blank = row
            after = os.fstat(file.fileno())
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{printable(path)}: it changed while it was read; read it again when it is complete")
    if row == 1:
        raise InputError(f"{printable(path)}: the file is empty; fetch it again")


def _table(path: Path, row: int, text: bytes, numbers: bytes, parse: Parse, what: str) -> NDArray[Any]:
    """The ``numbers`` of the rows in ``text``, the first of which is row ``row`` of the file."""
    table = parse(numbers)
    if table is None:
        rows = numbers.split(b"\n")
        wrong = bisect.bisect_left(range(len(rows)), True, key=lambda last: parse(b"\n".join(rows[: last + 1])) is None)
        raise _wrong(path, row, text, wrong, what)
    return table


def _pairs(text: bytes) -> NDArray[Any] | None:
    table = _ids(text, 3)
    return table if table is not None and table[:, 2].max() <= 1 else None


def _media(text: bytes) -> NDArray[Any] | None:
    return _ids(text, 2)


def _ids(text: bytes, columns: int) -> NDArray[Any] | None:
    table = _numbers(text, columns, _IDS, np.int64)  # larger numbers become the largest
    return table.astype(np.int32) if table is not None and table.max() <= _LARGEST_ID else None


def _points(text: bytes) -> NDArray[Any] | None:
    table = _numbers(text, 11, _DECIMALS, np.float64)
    if table is None or np.abs(table[:, :10]).max() > _LARGEST_COORDINATE:
        return None
    return table if np.isfinite(table).all() and table[:, 10].min() >= 0 else None


def _numbers(text: bytes, columns: int, characters: bytes, dtype: type) -> NDArray[Any] | None:
    """The numbers of rows, [rows, columns]; None where any row is wrong."""
    rows = text.count(b"\n") + 1
    separators = (b" " * (columns - 1) + b"\n") * rows
    if text.translate(None, characters) + b"\n" != separators:
        text = _evenly_spaced(text)
        if text.translate(None, characters) + b"\n" != separators:
            return None
    try:
        with warnings.catch_warnings(action="error", category=DeprecationWarning):
            numbers: NDArray[Any] = np.fromstring(text, dtype, sep=" ")
    except (ValueError, DeprecationWarning):  # by the version of numpy: a word that does not begin with a number
        return None
    # No row has more words than columns, and a word is one number or several ("1-2"): the total is right only if every
    # row is.
    return numbers.reshape(rows, columns) if len(numbers) == rows * columns else None


def _evenly_spaced(text: bytes) -> bytes:
    """``text`` with one blank between words, none before and after a row, and a bare newline at its end."""
    text = text.replace(b"\t", b" ").replace(b"\r\n", b"\n")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text.replace(b" \n", b"\n").replace(b"\n ", b"\n").lstrip(b" ")


def _wrong(path: Path, row: int, text: bytes, number: int, what: str) -> InputError:
    """What to say of the row of that number, from 0, in ``text``, which begins with row ``row`` of the file."""
    shown = printable(text.split(b"\n")[number][:100].decode(errors="replace").strip())
    return InputError(f"{printable(path)}, row {row + number}: {what}: {shown or 'a blank row'}")
