"""Five landmarks a photo from a CSV file, and the faces that a detector found, with one line a face."""

import contextlib
import csv
import hashlib
import itertools
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.photos import canonical
from elasticface.faces.detector import Face
from elasticface.faces.plausible import check_all

COLUMNS = tuple("file score x_leye y_leye x_reye y_reye x_nose y_nose x_lmouth y_lmouth x_rmouth y_rmouth".split())
"""What the first line of a landmarks file says, comma-separated."""

DETECTED_COLUMNS = (*COLUMNS, "x1", "y1", "x2", "y2", "face")
"""What the first line of a detector's file says: with the box, and the number of the face in its photo."""

_WIDTH = 15  # numbers of a face: score, ten coordinates, box
_LONGEST_ROW = 1 << 14  # characters: a path has up to 2,048, and may be quoted
_LARGEST = 1e6  # of a coordinate, a box or a number of faces, on either side of 0


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


class ListedFaces(Mapping[str, list[Face]]):
    """The faces of photos by the photos' names, in any form of Unicode (:func:`canonical`).

    They are held as one table: a list of millions takes 140 bytes a face.

    Args:
        rows: canonical name -> the rows of its faces, none where a photo has no face.
        table: float64 [R, 15]: score, ten coordinates, box.
        damaged: canonical name -> what is wrong, of photos that could not be read; they are none of ``rows``.
        from_detector: they are from a file that has a row for every photo that was looked at.
    """

    def __init__(
        self,
        rows: Mapping[str, range],
        table: NDArray[np.float64],
        damaged: Mapping[str, str] | None = None,
        from_detector: bool = False,
    ) -> None:
        self._rows, self._table = rows, table
        self.damaged, self.from_detector = damaged or {}, from_detector

    @staticmethod
    def of(landmarks: "Landmarks") -> "ListedFaces":
        """Those of a mapping of any kind."""
        if isinstance(landmarks, ListedFaces):
            return landmarks
        table = array("d")
        rows: dict[str, range] = {}
        for name, found in landmarks.items():
            start = len(table) // _WIDTH
            faces = [_without_box(found)] if isinstance(found, np.ndarray) else found
            for face in faces:
                table.extend([face.score, *face.points.ravel(), *face.box])
            rows[canonical(name)] = range(start, start + len(faces))
        return ListedFaces(rows, _as_rows(table))

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

    def digest(self) -> str:
        """SHA-256 of the names and their faces, whatever their order."""
        found = hashlib.sha256()
        for name, rows in sorted(self._rows.items()):
            found.update(f"{name}\0{len(rows)}\0".encode(errors="surrogatepass"))
            found.update(self._table[rows.start : rows.stop].tobytes())
        return found.hexdigest()

    def count(self, name: str) -> int:
        """How many faces a photo has, without making them."""
        return len(self._rows[canonical(name)])

    @property
    def points(self) -> NDArray[np.float64]:
        """Of all faces, [R, 5, 2]."""
        return self._table[:, 1:11].reshape(-1, 5, 2)


Landmarks = Mapping[str, Sequence[Face]] | Mapping[str, NDArray[np.float64]]
"""A photo's name -> its faces, largest first, or the five points of one, [5, 2]."""


def read_faces(path: str | Path) -> ListedFaces:
    """The faces of every photo that is listed.

    Args:
        path: a CSV file (UTF-8) whose first line names the ``COLUMNS``: the photo's name, the detector's score, and x
            and y in pixels of left eye, right eye, nose, left and right mouth corner, left being left in the upright
            picture. With the ``DETECTED_COLUMNS`` a photo may have several rows, one below the other and numbered from
            1; or one row that says that it has no face, its name and empty fields; or one that says why it could not
            be read, its name, empty fields and the reason in the last. Blank lines are passed over.

    Returns:
        name -> its faces, none where none was found; photos in the file's order, and of each the largest face first,
        whichever order another tool wrote them in. The box is NaN where the file has none.

    Raises:
        InputError: the file cannot be read, is not UTF-8 or has another first line; a row has too few or too many
            columns, no name, a value that is no finite number, a score beyond 0 to 1 or a box without area in a
            detector's file, a name that an earlier row has, or another number than the next one; most rows are no
            faces' landmarks. Rows are counted as lines of the file, the first line being row 1.
    """
    label = printable(path)
    line_of: dict[str, int] = {}
    rows: dict[str, range] = {}
    damaged: dict[str, str] = {}
    columns: tuple[str, ...] = COLUMNS
    table = array("d")
    line, last = 0, None
    try:
        with files.opened_text(path) as file:
            reader = csv.reader(_lines(file, label))
            columns = _header(next(reader, None), label)
            for cells in reader:
                line = reader.line_num
                if len(cells) < 2 and not "".join(cells).strip():
                    continue
                where = f"{label}, row {line}"
                row = _parse(cells, columns, where)
                before = rows.get(row.name, range(len(table) // _WIDTH, len(table) // _WIDTH))
                _check_next(where, row, len(before), line_of.get(row.name), row.name == last)
                table.extend(row.values)
                if row.damage is None:
                    rows[row.name] = range(before.start, len(table) // _WIDTH)
                else:
                    damaged[row.name] = row.damage
                line_of[row.name], last = line, row.name
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}; give a CSV file of landmarks") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{label}, row {_first_row_not_utf8(path)}: not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{label}, row {line + 1}: not CSV ({error}); write the file again") from error
    if not line_of:
        raise InputError(f"{label}: no landmarks after the first line; give one line a photo")
    _sort(rows, _as_rows(table))
    listed = ListedFaces(rows, _as_rows(table), damaged, columns == DETECTED_COLUMNS)
    if len(listed.points):
        check_all(listed.points, str(path))
    return listed


def _sort(rows: Mapping[str, range], table: NDArray[np.float64]) -> None:
    """Put the faces of each photo in ``table`` [R, 15] in order, the largest first."""
    areas = (table[:, 13] - table[:, 11]) * (table[:, 14] - table[:, 12])
    for own in rows.values():
        if len(own) > 1 and (np.diff(areas[own.start : own.stop]) > 0).any():
            order = np.argsort(-areas[own.start : own.stop], kind="stable")
            table[own.start : own.stop] = table[own.start : own.stop][order]


def _lines(file: TextIO, label: str) -> Iterator[str]:
    """The lines of a file, none of which is read whole where it is longer than a row can be."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST_ROW)
        if not line:
            return
        if len(line) == _LONGEST_ROW and not line.endswith("\n"):
            raise InputError(f"{label}, row {number}: longer than {_LONGEST_ROW:,} characters; write the file again")
        yield line


def _header(first: list[str] | None, label: str) -> tuple[str, ...]:
    if first is None:
        raise InputError(f"{label}: the file is empty; its first line must be {','.join(COLUMNS)}")
    columns = tuple(column.strip() for column in first)
    if columns not in (COLUMNS, DETECTED_COLUMNS):
        found = printable(",".join(first)[:100])
        raise InputError(f"{label}, row 1: the first line must be {','.join(COLUMNS)}, not {found}")
    return columns


class _Row(NamedTuple):
    """A row of the file."""

    name: str
    values: list[float] = []  # noqa: RUF012 - score, coordinates and box of its face, if it has one
    number: int = 0  # of the face in its photo
    damage: str | None = None  # why the photo could not be read


def _parse(cells: list[str], columns: tuple[str, ...], where: str) -> _Row:
    if len(cells) != len(columns):
        needed = f"{len(columns)} are needed: {','.join(columns)}"
        raise InputError(f"{where}: {len(cells)} column{'s' if len(cells) > 1 else ''} where {needed}")
    name = canonical(cells[0])
    if not name:
        raise InputError(f"{where}: no file name in the first column; name the photo")
    if columns == DETECTED_COLUMNS and not any(cell.strip() for cell in cells[1:-1]):
        reason = cells[-1].strip()
        if not _is_number(reason):
            return _Row(name, damage=reason or None)
    values = [_number(cell, column, where) for column, cell in zip(columns[1:], cells[1:], strict=True)]
    if columns == COLUMNS:
        return _Row(name, [*values, *[math.nan] * 4], 1)
    score, (x1, y1, x2, y2) = values[0], values[-5:-1]
    if not 0 <= score <= 1:
        raise InputError(f"{where}: score is {score:g}; it must be from 0 to 1")
    if not (x1 < x2 and y1 < y2):
        raise InputError(
            f"{where}: a box from {x1:g}, {y1:g} to {x2:g}, {y2:g} has no area; x1, y1 is its upper left corner and "
            "x2, y2 the lower right one"
        )
    if not values[-1].is_integer():
        raise InputError(f"{where}: face is {printable(cells[-1].strip(), 60)}; it must be a whole number")
    return _Row(name, values[:-1], int(values[-1]))


def _check_next(where: str, row: _Row, count: int, listed: int | None, below: bool) -> None:
    """Refuse a row that does not follow on those before it.

    Args:
        where: the row, for messages.
        row: it.
        count: faces that its photo has in rows before.
        listed: the last of these rows; None where there is none.
        below: whether that one is right above.
    """
    another_face = below and count and row.number > count
    if listed is not None and not another_face:
        raise InputError(f"{where}: {printable(row.name, 200)} is listed in row {listed} already; keep one")
    if row.values and row.number != count + 1:
        raise InputError(f"{where}: face is {row.number}, where {count + 1} comes next; write it again")


def _is_number(cell: str) -> bool:
    with contextlib.suppress(ValueError):
        float(cell)
        return True
    return False


def _number(cell: str, column: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InputError(f"{where}: {column} is {printable(repr(cell), 60)}; it must be a number") from None
    if not abs(value) <= _LARGEST or "_" in cell:  # which Python takes within a number
        raise InputError(
            f"{where}: {column} is {printable(cell.strip(), 60)}; it must be a number from -1e6 to 1e6, remove the row"
        )
    return value


def _without_box(points: NDArray[np.float64]) -> Face:
    return Face(np.full(4, np.nan), 1.0, points)


def _as_rows(table: "array[float]") -> NDArray[np.float64]:
    return np.frombuffer(table, np.float64).reshape(-1, _WIDTH)


def _first_row_not_utf8(path: str | Path) -> int:
    """Reading as text decodes many lines at once and does not tell which one failed."""
    row = 0
    with files.opened(path) as file, contextlib.suppress(UnicodeDecodeError):
        for row, line in enumerate(file, start=1):  # noqa: B007
            line.decode()
    return row
