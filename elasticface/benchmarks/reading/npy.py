"""Features in a `.npy` file, mapped, or written row by row.

A header is matched, never evaluated: a stranger may have written it.
"""

import os
import re
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from elasticface.base import files

_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}  # the format's version -> bytes of its header's length
_MOST_HEADER = 1 << 12  # numpy's own has 128 bytes or 64
# What numpy's writers make of a plain array, with blanks up to a multiple of 64.
_HEADER = re.compile(rb"{'descr': '([<>|][a-z]\d{1,3})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), } *\n")
_ROWS_AND_COLUMNS = re.compile(r"([1-9]\d{0,17}), ([1-9]\d{0,17})")


def map_floats(
    path: Path, mode: Literal["r", "r+"] = "r", kind: type[np.floating[Any]] = np.float32
) -> np.memmap[Any, np.dtype[Any]]:
    """The float32 [N, D] in a `.npy` file as a memory map, N and D >= 1; or an array of another ``kind``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds anything else, is cut short or has more in it. The message doesn't name it.
    """
    wanted_kind = np.dtype(kind)
    with path.open("r+b") if mode == "r+" else files.opened(path) as file:
        start = file.read(len(_MAGIC) + 2)
        width = _LENGTHS.get(start[len(_MAGIC) :], 0) if start.startswith(_MAGIC) else 0
        length = int.from_bytes(file.read(width), "little")
        header = file.read(min(length, _MOST_HEADER))
        found = _HEADER.fullmatch(header) if length == len(header) else None
        if found is None:
            raise ValueError(f"not an array that can be mapped; write it with numpy.save, as {wanted_kind} [N, D]")
        kind_found, order, sides = (group.decode() for group in found.groups())
        shape = _ROWS_AND_COLUMNS.fullmatch(sides)
        if kind_found != wanted_kind.newbyteorder("<").str or shape is None:
            raise ValueError(f"{_in_words(kind_found)} [{sides.rstrip(', ')}]; features are {wanted_kind} [N, D]")
        rows, columns = map(int, shape.groups())
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
        wanted = offset + rows * columns * wanted_kind.itemsize
        if size != wanted:
            raise ValueError(
                f"not an array that can be mapped: {size:,} bytes where [{sides}] takes {wanted:,}; make the file again"
            )
        layout: Literal["F", "C"] = "F" if order == "True" else "C"
        return np.memmap(file, wanted_kind, mode, offset, (rows, columns), layout)


def write_header(file: IO[bytes], kind: type[np.floating[Any]], shape: tuple[int, int]) -> None:
    """What precedes the rows of a `.npy` file, which the caller then writes.

    Written through a map, a full disk would end the process by SIGBUS, without a word.
    """
    header = {"descr": np.dtype(kind).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _in_words(kind: str) -> str:
    try:
        return str(np.dtype(kind))
    except TypeError:
        return kind
