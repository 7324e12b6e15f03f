"""Where a verifier is good and where it isn't: its accuracy by what is in the photos.

A benchmark's folder may hold `metadata.csv`: one row a photo, a column a factor. The pairs are grouped by each factor
that is known here, and every pair is judged by the threshold of its own fold, as the protocol does; a group gets no
threshold of its own.
"""

import csv
import math
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.samples import bootstrap, interval_of, of_groups
from elasticface.benchmarks.units import Units

METADATA_FILE = "metadata.csv"
NUMBERS, WORDS = ("yaw", "heterogeneity"), ("expression", "occlusion")
"""The columns that are looked at beside `file`: yaw in degrees; an identity's multiplier of how much its photos vary;
names of an expression and of what covers the face ("none" for nothing)."""

DEMOGRAPHIC = ("sex", "gender", "age", "ancestry", "ethnicity", "race")
"""Columns that say which group a person belongs to, as words or, for age, in years."""

_MOST_BYTES = 1 << 28  # a million photos with 256 bytes each
_UNCOVERED = ("none", "")
_POSES = (15, 30, 45)  # degrees
_AGES = (20, 35, 50, 65)  # years: up to which the groups go

MOST_GROUPS = 40
"""Of a demographic column; of more it names something else than groups."""

_LONGEST_NAME = 60  # of a group, in characters: it stands under a plot

Metadata = dict[str, dict[str, float] | dict[str, str]]  # column -> photo -> value
Values = NDArray[Any]  # [P] of one column: float64 for NUMBERS, else text
Groups = tuple[list[str], NDArray[np.int64]]  # names [G], and which of them each pair belongs to [P]


@dataclass(frozen=True)
class Slice:
    """The figures of one group of pairs, by one factor. Rates are fractions in 0..1."""

    factor: str  # "pose", a key of FACTORS
    name: str  # "15–30°"
    genuine: int  # pairs
    impostor: int
    accuracy: float  # at the thresholds of the pairs' folds; so depends on how many pairs are genuine, as ever
    interval: tuple[float, float]  # of the accuracy: 95 %, by the bootstrap, or exact binomial over units
    tar: float  # at the same thresholds; NaN without genuine pairs
    far: float  # at the same thresholds; NaN without impostor pairs


def slices(
    first: Collection[str],
    second: Collection[str],
    same: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    metadata: Metadata,
    units: Units | None = None,
) -> tuple[Slice, ...]:
    """The figures of each group of each factor. A factor of which all pairs are in one group is left out.

    Intervals come from the bootstrap over units. Where the units are the pairs themselves, where a resample may lack a
    group, or where its accuracy is the same in all, they are exact binomial ones of as many trials as the group has
    units.

    Args:
        first: the pairs' first photos [P].
        second: the pairs' second photos [P].
        same: True for genuine pairs [P].
        accepted: which pairs were called the same person, at the thresholds of their folds [P].
        metadata: of every photo in a pair, as :func:`read_metadata` gives it.
        units: of the pairs; None takes these for independent.
    """
    groups: list[tuple[str, str, NDArray[np.bool_]]] = []  # factor, name, and which pairs are in it
    for factor, (column, group, _) in FACTORS.items():
        if column in metadata:
            values = metadata[column]
            names, which = group(*(np.array([values[photo] for photo in side]) for side in (first, second)))
            present = np.unique(which)
            if len(present) > 1:
                groups += [(factor, names[g], which == g) for g in present]
    rates = None  # [R, groups], each group's accuracy in each resample
    if groups and units is not None and units.kind != "pairs":
        masks, right, of_pairs = [mask for *_, mask in groups], same == accepted, units
        rates = bootstrap(
            lambda counts: of_groups(masks, right, same, of_pairs, counts), units.number, units.kind
        ).rates
    return tuple(
        _slice(
            factor,
            name,
            same[mask],
            accepted[mask],
            int(mask.sum()) if units is None else len(np.unique([units.first[mask], units.second[mask]])),
            None if rates is None else rates[:, number],
        )
        for number, (factor, name, mask) in enumerate(groups)
    )


def _slice(
    factor: str,
    name: str,
    same: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    units: int,
    accuracies: NDArray[np.float64] | None,
) -> Slice:
    """The figures of one group; ``units`` have a pair in it, ``accuracies`` [R] are its own in each resample."""
    accuracy = int((same == accepted).sum()) / len(same)
    genuine, impostor = int(same.sum()), int((~same).sum())
    return Slice(
        factor=factor,
        name=name,
        genuine=genuine,
        impostor=impostor,
        accuracy=accuracy,
        interval=interval_of(accuracies, round(accuracy * units), units),
        tar=int((accepted & same).sum()) / genuine if genuine else math.nan,
        far=int((accepted & ~same).sum()) / impostor if impostor else math.nan,
    )


# ---------------------------------------------------------------------------------------------- factors


def _by_pose(a: Values, b: Values) -> Groups:
    names = [f"{low}–{high}°" for low, high in zip((0, *_POSES), _POSES, strict=False)] + [f"over {_POSES[-1]}°"]
    return names, np.searchsorted(_POSES, np.maximum(np.abs(a), np.abs(b)), side="left")


def _by_heterogeneity(a: Values, b: Values) -> Groups:
    means = (a + b) / 2
    low, high = np.quantile(means, (1 / 3, 2 / 3))  # pairs that tie stay together, so thirds may be uneven
    return [f"up to {low:.2f}", f"{low:.2f}–{high:.2f}", f"over {high:.2f}"], np.searchsorted((low, high), means)


def _by_expression(a: Values, b: Values) -> Groups:
    return ["the same", "different"], (a != b).astype(np.int64)


def _by_occlusion(a: Values, b: Values) -> Groups:
    return ["none", "one or both"], (~np.isin(a, _UNCOVERED) | ~np.isin(b, _UNCOVERED)).astype(np.int64)


def _by_group(a: Values, b: Values) -> Groups:
    there = set(a.tolist()) | set(b.tolist())
    names = sorted(there - {""}, key=group_order)
    if len(names) > MOST_GROUPS:
        return [""], np.zeros(len(a), np.int64)  # one group is none
    number = {name: place for place, name in enumerate(names)}
    which = [number.get(x, len(names)) if x == y else len(names) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    return [*names, "different or unknown"], np.array(which, np.int64)


def is_group_name(name: str) -> bool:
    """Whether results may have a group of that name: any printable characters, but not very many."""
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def group_of(column: str, value: str) -> str:
    """The group that a cell of a demographic column names: an age in years as a range, "" for none."""
    if column != "age":
        return value
    try:
        years = float(value)
    except ValueError:
        return value  # groups already, in words
    if not 0 <= years < 150:
        return ""
    place = int(np.searchsorted(_AGES, years, side="right"))
    return f"{(0, *_AGES)[place]}–{_AGES[place] - 1}" if place < len(_AGES) else f"{_AGES[-1]} and over"


def group_order(name: str) -> tuple[int, str]:
    """Sorts age groups by years, and words after them by name."""
    first = name.replace("–", " ").partition(" ")[0]
    return (int(first) if first.isdecimal() and len(first) < 4 else 1000, name)


FACTORS: dict[str, tuple[str, Callable[[Values, Values], Groups], str]] = {
    "pose": ("yaw", _by_pose, "the larger yaw of the two photos"),
    "heterogeneity": ("heterogeneity", _by_heterogeneity, "how much the two people's photos vary, in thirds"),
    "expression": ("expression", _by_expression, "the expressions of the two photos"),
    "occlusion": ("occlusion", _by_occlusion, "photos where something covers the face"),
    **{column: (column, _by_group, f"pairs within a group, by {column}") for column in DEMOGRAPHIC},
}
"""Factor -> its column, how it groups pairs, and what it is, in words."""


# ---------------------------------------------------------------------------------------------- metadata.csv


def read_metadata(path: Path, photos: Collection[str]) -> Metadata | None:
    """What is in the photos, from a CSV with the column `file` (a photo's name) and any of ``NUMBERS``, ``WORDS`` and
    ``DEMOGRAPHIC``.

    Args:
        path: the file.
        photos: names; the rows of others are passed over.

    Returns:
        column -> photo -> value, for the known columns that there are. None where there are none, where the file is
        absent, or where it lacks one of ``photos``: then it is about something else.

    Raises:
        InputError: a file with such columns that is too large, no UTF-8 or no CSV, or has a row with too few or too
            many cells; a row of ``photos`` that an earlier row is about already, or with a number that is none, or
            with a group whose name is too long or not printable.
    """
    if not path.is_file():
        return None
    label = printable(path)
    wanted = set(photos)
    found: dict[str, tuple[int, dict[str, Any]]] = {}  # photo -> its row, and its values by column
    try:
        with files.reading(path), files.opened_text(path) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise InputError(f"{label}: more than {_MOST_BYTES:,} bytes; keep the rows of the benchmark's photos")
            rows = _rows(csv.reader(file, strict=True), label)
            _, header = next(rows, (0, []))
            columns = [column for column in (*NUMBERS, *WORDS, *DEMOGRAPHIC) if column in header]
            if not columns or "file" not in header:
                return None
            if len(set(header)) < len(header):
                raise InputError(f"{label}, row 1: two columns have one name; give each its own")
            for row, cells in rows:
                where = f"{label}, row {row}"
                if len(cells) != len(header):
                    raise InputError(f"{where}: {len(cells)} cells where the first line names {len(header)} columns")
                given = dict(zip(header, cells, strict=True))
                name = given["file"].removeprefix("./")
                if name in found:
                    raise InputError(f"{where}: {printable(name, 200)} is in row {found[name][0]} already; keep one")
                if name in wanted:
                    found[name] = row, {column: _value(column, given[column], where) for column in columns}
    except UnicodeDecodeError as error:
        raise InputError(f"{label}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if len(found) < len(wanted):
        return None
    return {column: {name: values[column] for name, (_, values) in found.items()} for column in columns}


def _rows(reader: Any, label: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not blank: where it ends, as a line of the file, and its cells."""
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise InputError(f"{label}, row {reader.line_num}: not CSV ({error}); write the file again") from error


def _value(column: str, cell: str, where: str) -> Any:
    if column not in NUMBERS:
        group = group_of(column, cell.strip())
        if column in DEMOGRAPHIC and group and not is_group_name(group):
            told = f"{column} is {printable(repr(cell[:40]))}"
            raise InputError(f"{where}: {told}; it must be at most {_LONGEST_NAME} printable characters")
        return group
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} is {printable(repr(cell[:40]))}; it must be a finite number")
    return value
