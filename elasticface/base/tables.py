"""Text tables of millions of rows to arrays: columns of numbers and words, with blanks or tabs between them.

A regular expression and the range of each number say what a row is. pandas reads the file in blocks of whole rows, so
that memory is the result and a few blocks. A block that is not of such rows, or that pandas refuses, is read row by row
by the expression alone, and the first wrong row is named by its number and shown.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.ahead import map_ahead
from elasticface.base.errors import InputError
from elasticface.base.files import printable

BLOCK = 1 << 22
"""Bytes that are read at a time; no row is that long."""

_AHEAD = 4  # blocks that wait at most
_SHOWN = 100  # bytes of a wrong row
_MOST_DIGITS = 20  # of a whole number: more than an int64 has
_BOM, _BLANKS = b"\xef\xbb\xbf", b" \t\r\n"
_EXPRESSIONS = {
    int: rb"[0-9]+",
    float: rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    str: rb"[^ \t\r\n]+",
}


@dataclass(frozen=True)
class Column:
    """A column of words (UTF-8), or of numbers in a range.

    Args:
        dtype: of the array: ``object`` for words, ``np.float64``, or an integer type or bool for whole numbers.
        least: of the numbers; of whole ones, which have no sign, at least 0.
        largest: of the numbers; of whole ones, it fits into an int64.
    """

    dtype: Any
    least: float = 0
    largest: float = 0

    @property
    def kind(self) -> type:
        """``str``, ``float`` or ``int``."""
        return {"O": str, "f": float}.get(np.dtype(self.dtype).kind, int)


def read_columns(path: Path, columns: Sequence[Column], most: int, wrong: str, advice: str) -> list[NDArray[Any]]:
    """The columns of a file of N rows, [N] each. A byte order mark and blank lines at the end are passed over.

    Args:
        path: the file.
        columns: of a row, in this order.
        most: rows that are read; a file of more is refused before it takes the memory.
        wrong: what is wrong with a row that is not so: ``"not `name number`"``.
        advice: what to do about a file that is not as it should be: ``"fetch it again"``.

    Raises:
        InputError: a file that cannot be read, has no row, too many or a wrong one, or that changes meanwhile.
    """
    rows = _Rows(columns)
    try:
        blocks = list(map_ahead(rows.read, _blocks(path, most), _AHEAD))
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}; {advice}") from error
    except _WrongRow as error:
        raise InputError(f"{printable(path)}, row {error.number}: {wrong}: {error.shown}; {advice}") from None
    if not blocks:
        raise InputError(f"{printable(path)}: the file is empty; {advice}")
    # Column by column, so that only one of them is there twice.
    return [np.concatenate([block.pop() for block in blocks]) for _ in columns][::-1]


class _WrongRow(Exception):
    def __init__(self, number: int, line: bytes) -> None:
        super().__init__(number)
        self.number, self.shown = number, printable(line[:_SHOWN].decode(errors="replace").strip()) or "a blank row"


def _blocks(path: Path, most: int) -> Iterator[tuple[int, bytes]]:
    """The number of a row, from 1, and the bytes of it and some that follow, ``\\n`` between them."""
    number = 1
    with files.opened(path) as file:
        before = _stamp(file)
        rest = file.read(len(_BOM)).removeprefix(_BOM)
        while part := file.read(BLOCK):
            rest += part
            stop = rest.rfind(b"\n", 0, len(rest.rstrip(_BLANKS))) + 1  # blank rows wait for what may follow them
            if len(rest) - stop > BLOCK:
                raise InputError(f"{printable(path)}: a row of more than {BLOCK:,} bytes; is it a text file?")
            if stop:
                block = rest[:stop].replace(b"\r\n", b"\n")[:-1]
                yield number, block
                number += block.count(b"\n") + 1
                rest = rest[stop:]
            if number > most:  # with the row in ``rest``
                raise InputError(f"{printable(path)}: more than {most:,} rows; is it the right file?")
        if rest := rest.rstrip(_BLANKS):
            yield number, rest.replace(b"\r\n", b"\n")
        if _stamp(file) != before:
            raise InputError(f"{printable(path)}: it changed while it was read; read it again when it is complete")


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """What is another one when a file has been written to."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


class _Rows:
    """Rows of ``columns``, from text to arrays."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        row = rb"[ \t]*" + rb"[ \t]+".join(b"(%b)" % _EXPRESSIONS[column.kind] for column in columns) + rb"[ \t]*"
        self._row = re.compile(row)
        self._no_row = re.compile(rb"^(?!%b$)" % row, re.MULTILINE)
        self._only_digits = all(column.kind is int for column in columns)

    def read(self, numbered: tuple[int, bytes]) -> list[NDArray[Any]]:
        """The columns of a block.

        Raises:
            _WrongRow: there is one.
        """
        number, block = numbered
        found = self._by_pandas(block) if self._is_plain(block) else None
        return self._one_by_one(number, block) if found is None else found

    def _is_plain(self, block: bytes) -> bool:
        """Whether pandas sees in ``block`` what the expression does, if it takes it."""
        if self._only_digits:  # much faster; pandas refuses rows that have not as many words as the first
            first = block.partition(b"\n")[0]
            return not block.translate(None, b"0123456789 \t\n") and self._row.fullmatch(first) is not None
        return not block.startswith(_BOM) and self._no_row.search(block) is None

    def _by_pandas(self, block: bytes) -> list[NDArray[Any]] | None:
        """The columns of a plain block, or None where a row is wrong."""
        import pandas

        read_as = {int: np.int64, float: np.float64, str: object}
        try:
            frame = pandas.read_csv(
                io.BytesIO(block),
                sep=r"\s+",
                header=None,
                names=range(len(self._columns)),
                index_col=False,
                dtype={number: read_as[column.kind] for number, column in enumerate(self._columns)},
                na_filter=False,
                quoting=csv.QUOTE_NONE,
                encoding="utf-8",
                low_memory=False,
            )
        except (ValueError, OverflowError):
            return None
        found = [frame[number].to_numpy() for number in frame]
        in_range = (
            column.kind is str or bool(((values >= column.least) & (values <= column.largest)).all())
            for column, values in zip(self._columns, found, strict=True)
        )
        if len(frame) != block.count(b"\n") + 1 or not all(in_range):
            return None
        return [values.astype(column.dtype) for column, values in zip(self._columns, found, strict=True)]

    def _one_by_one(self, number: int, block: bytes) -> list[NDArray[Any]]:
        rows: list[list[Any]] = []
        for line in block.split(b"\n"):
            match = self._row.fullmatch(line)
            values = [None] if match is None else list(map(_value, self._columns, match.groups()))
            if None in values:
                raise _WrongRow(number + len(rows), line)
            rows.append(values)
        return [
            np.array(values, column.dtype)
            for column, values in zip(self._columns, zip(*rows, strict=True), strict=True)
        ]


def _value(column: Column, word: bytes) -> str | float | None:
    """What a word says, or None if it is not UTF-8, or out of the range."""
    if column.kind is str:
        try:
            return word.decode()
        except UnicodeDecodeError:
            return None
    value = float(word) if column.kind is float else int(word.lstrip(b"0")[:_MOST_DIGITS] or b"0")
    return value if column.least <= value <= column.largest else None
