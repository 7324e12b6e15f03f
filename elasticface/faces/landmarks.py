"""Five landmarks a photo, from a CSV file with one line a photo."""

import contextlib
import csv
import math
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable

COLUMNS = tuple("file score x_leye y_leye x_reye y_reye x_nose y_nose x_lmouth y_lmouth x_rmouth y_rmouth".split())
"""What the first line of a landmarks file says, comma-separated."""


def read_landmarks(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The landmarks of every photo that is listed.

    Args:
        path: a CSV file (UTF-8) whose first line names the ``COLUMNS``: the photo's name, the detector's score (which
            is not used), and x and y in pixels of left eye, right eye, nose, left and right mouth corner, left being
            left in the picture. Blank lines are passed over.

    Returns:
        name -> float64 [5, 2] of (x, y), in the file's order, names without a leading ``./``.

    Raises:
        InputError: the file cannot be read, is not UTF-8 or has another first line; a row has too few or too many
            columns, no name, a value that is no finite number, or a name that an earlier row has. Rows are counted as
            lines of the file, the first line being row 1.
    """
    label = printable(path)
    rows: dict[str, int] = {}
    numbers = array("d")
    row = 0
    try:
        with files.opened_text(path) as file:
            reader = csv.reader(file)
            header = next(reader, None)
            if header is None:
                raise InputError(f"{label}: the file is empty; its first line must be {','.join(COLUMNS)}")
            if tuple(column.strip() for column in header) != COLUMNS:
                found = printable(",".join(header)[:100])
                raise InputError(f"{label}, row 1: the first line must be {','.join(COLUMNS)}, not {found}")
            for cells in reader:
                row = reader.line_num
                if len(cells) > 1 or (cells and cells[0].strip()):
                    where = f"{label}, row {row}"
                    name, values = _parse(cells, where)
                    if name in rows:
                        raise InputError(
                            f"{where}: {printable(name, 200)} is listed in row {rows[name]} already; keep one"
                        )
                    rows[name] = row
                    numbers.extend(values)
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}; give a CSV file of landmarks") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{label}, row {_first_row_not_utf8(path)}: not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{label}, row {row + 1}: not CSV ({error}); write the file again") from error
    if not rows:
        raise InputError(f"{label}: no landmarks after the first line; give one line a photo")
    points = np.frombuffer(numbers, dtype=np.float64).reshape(-1, 5, 2)
    return dict(zip(rows, points, strict=True))


def _parse(cells: list[str], where: str) -> tuple[str, list[float]]:
    """A row's name and its ten coordinates."""
    if len(cells) != len(COLUMNS):
        needed = f"{len(COLUMNS)} are needed: {','.join(COLUMNS)}"
        raise InputError(f"{where}: {len(cells)} column{'s' if len(cells) > 1 else ''} where {needed}")
    name = cells[0].removeprefix("./")
    if not name:
        raise InputError(f"{where}: no file name in the first column; name the photo")
    values = []
    for column, cell in zip(COLUMNS[1:], cells[1:], strict=True):
        try:
            value = float(cell)
        except ValueError:
            raise InputError(f"{where}: {column} is {printable(repr(cell), 60)}; it must be a number") from None
        if not math.isfinite(value):
            raise InputError(f"{where}: {column} is {printable(cell.strip(), 60)}; it must be finite, remove the row")
        values.append(value)
    return name, values[1:]  # without the score


def _first_row_not_utf8(path: str | Path) -> int:
    """Reading as text decodes many lines at once and does not tell which one failed."""
    row = 0
    with files.opened(path) as file, contextlib.suppress(UnicodeDecodeError):
        for row, line in enumerate(file, start=1):  # noqa: B007
            line.decode()
    return row
