"""Five landmarks a photo from a CSV file, and the faces that a detector found, with one line a face."""

import contextlib
import csv
import math
import unicodedata
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.faces.detector import Face
from elasticface.faces.plausible import check_all

COLUMNS = tuple("file score x_leye y_leye x_reye y_reye x_nose y_nose x_lmouth y_lmouth x_rmouth y_rmouth".split())
"""What the first line of a landmarks file says, comma-separated."""

DETECTED_COLUMNS = (*COLUMNS, "x1", "y1", "x2", "y2", "face")
"""What the first line of a detector's file says: with the box, and the number of the face in its photo."""


_WIDTH = 15  # numbers of a face: score, ten coordinates, box


def read_landmarks(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The landmarks of every photo that is listed; of several faces in one, those of its first.

    Args:
        path: as in :func:`read_faces`.

    Returns:
        name -> float64 [5, 2] of (x, y), in the file's order, without photos in which no face was found.

    Raises:
        InputError: as :func:`read_faces`.
    """
    return {name: faces[0].points for name, faces in read_faces(path).items() if faces}


def canonical(name: str) -> str:
    """A photo's name without a leading ``./`` and in Unicode's form NFC.

    File systems and tools differ in how they store letters with accents: the same name may have other bytes.
    """
    return unicodedata.normalize("NFC", name.removeprefix("./"))


class ListedFaces(Mapping[str, list[Face]]):
    """The faces of photos by the photos' names, in any form of Unicode (:func:`canonical`).

    They are held as one table: a list of millions takes 140 bytes a face.

    Args:
        rows: canonical name -> the rows of its faces, none where a photo has no face.
        table: float64 [R, 15]: score, ten coordinates, box.
    """

    def __init__(self, rows: Mapping[str, range], table: NDArray[np.float64]) -> None:
        self._rows, self._table = rows, table

    def __getitem__(self, name: str) -> list[Face]:
        rows = self._rows[canonical(name)]
        found = self._table[rows.start : rows.stop]
        return [Face(row[11:], float(row[0]), row[1:11].reshape(5, 2)) for row in found]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical(name) in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def points(self) -> NDArray[np.float64]:
        """Of all faces, [R, 5, 2]."""
        return self._table[:, 1:11].reshape(-1, 5, 2)


def read_faces(path: str | Path) -> ListedFaces:
    """The faces of every photo that is listed.

    Args:
        path: a CSV file (UTF-8) whose first line names the ``COLUMNS``: the photo's name, the detector's score, and x
            and y in pixels of left eye, right eye, nose, left and right mouth corner, left being left in the upright
            picture. With the ``DETECTED_COLUMNS`` a photo may have several rows, one below the other and numbered from
            1, or one row that says that it has no face: its name and empty fields. Blank lines are passed over.

    Returns:
        name -> its faces, none where none was found; in the file's order. The box is NaN where the file has none.

    Raises:
        InputError: the file cannot be read, is not UTF-8 or has another first line; a row has too few or too many
            columns, no name, a value that is no finite number, a name that an earlier row has, or another number than
            the next one; most rows are no faces' landmarks. Rows are counted as lines of the file, the first line being
            row 1.
    """
    label = printable(path)
    line_of: dict[str, int] = {}
    rows: dict[str, range] = {}
    table = array("d")
    line, last = 0, None
    try:
        with files.opened_text(path) as file:
            reader = csv.reader(file)
            columns = _header(next(reader, None), label)
            for cells in reader:
                line = reader.line_num
                if len(cells) < 2 and not "".join(cells).strip():
                    continue
                where = f"{label}, row {line}"
                name, values, number = _parse(cells, columns, where)
                faces = rows.get(name, range(len(table) // _WIDTH, len(table) // _WIDTH))
                if name in rows and (number <= len(faces) or name != last):
                    raise InputError(
                        f"{where}: {printable(name, 200)} is listed in row {line_of[name]} already; keep one"
                    )
                if values and number != len(faces) + 1:
                    raise InputError(f"{where}: face is {number}, where {len(faces) + 1} comes next; write it again")
                table.extend(values)
                rows[name] = range(faces.start, len(table) // _WIDTH)
                line_of[name], last = line, name
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}; give a CSV file of landmarks") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{label}, row {_first_row_not_utf8(path)}: not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{label}, row {line + 1}: not CSV ({error}); write the file again") from error
    if not rows:
        raise InputError(f"{label}: no landmarks after the first line; give one line a photo")
    found = ListedFaces(rows, np.frombuffer(table, np.float64).reshape(-1, _WIDTH))
    if len(found.points):
        check_all(found.points, str(path))
    return found


def _header(first: list[str] | None, label: str) -> tuple[str, ...]:
    if first is None:
        raise InputError(f"{label}: the file is empty; its first line must be {','.join(COLUMNS)}")
    columns = tuple(column.strip() for column in first)
    if columns not in (COLUMNS, DETECTED_COLUMNS):
        found = printable(",".join(first)[:100])
        raise InputError(f"{label}, row 1: the first line must be {','.join(COLUMNS)}, not {found}")
    return columns


def _parse(cells: list[str], columns: tuple[str, ...], where: str) -> tuple[str, list[float], int]:
    """A row's photo; score, coordinates and box of its face, or nothing; and the number of that face, 0 without one."""
    if len(cells) != len(columns):
        needed = f"{len(columns)} are needed: {','.join(columns)}"
        raise InputError(f"{where}: {len(cells)} column{'s' if len(cells) > 1 else ''} where {needed}")
    name = canonical(cells[0])
    if not name:
        raise InputError(f"{where}: no file name in the first column; name the photo")
    if columns == DETECTED_COLUMNS and not any(cell.strip() for cell in cells[1:]):
        return name, [], 0
    values = [_number(cell, column, where) for column, cell in zip(columns[1:], cells[1:], strict=True)]
    if columns == COLUMNS:
        return name, [*values, *[math.nan] * 4], 1
    return name, values[:-1], int(values[-1])


def _number(cell: str, column: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InputError(f"{where}: {column} is {printable(repr(cell), 60)}; it must be a number") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} is {printable(cell.strip(), 60)}; it must be finite, remove the row")
    return value


def _first_row_not_utf8(path: str | Path) -> int:
    """Reading as text decodes many lines at once and does not tell which one failed."""
    row = 0
    with files.opened(path) as file, contextlib.suppress(UnicodeDecodeError):
        for row, line in enumerate(file, start=1):  # noqa: B007
            line.decode()
    return row
