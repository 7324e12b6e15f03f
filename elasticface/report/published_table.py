"""One's own figures under the paper's table: the rows that are published, then a row a model."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from elasticface.benchmarks.published import COLUMNS, ROWS, SOURCE, Column, columns_of
from elasticface.benchmarks.results import LargeResult
from elasticface.report.figures import Results, joined_notes, left_out, percent

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult

_ALTERED = {  # options of results that the protocols have on -> what is done without
    "add_mirror_image": "image alone",
    "keep_norm": "norm removed",
    "weigh_by_detector_score": "not weighted by detector score",
}


class Figure(NamedTuple):
    """One measured rate."""

    value: float
    interval: tuple[float, float] | None
    departures: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One figure of the table, in %."""

    text: str  # "" where there is none
    interval: tuple[float, float] | None = None  # fractions
    best: bool = False  # of one's own in this column, where there are several
    leads: bool = False  # of all in this column, where there are several, to two decimals
    marked: bool = False  # not measured as published: it is neither the best nor leads


@dataclass(frozen=True)
class PublishedTable:
    """The paper's rows above one's own, over the columns that have a figure."""

    columns: tuple[Column, ...]
    published: list[tuple[str, list[Cell]]]
    own: list[tuple[str, list[Cell]]]  # model -> its figures
    marks: list[tuple[str, str]]  # a benchmark with marked cells, and what was not as published there
    source: str = SOURCE

    @property
    def headings(self) -> list[tuple[str, int]]:
        """The benchmarks, and how many columns each has."""
        titles = itertools.groupby(column.title for column in self.columns)
        return [(title, len(list(same))) for title, same in titles]


def table(results: Results) -> PublishedTable | None:
    """The table with a row for each model that was measured on one of its benchmarks; None where none was.

    A benchmark is known by its name, regardless of case and punctuation. IJB's TAR is that at the nearest FAR, which is
    how the field reads it, and MegaFace's the largest with the FAR at most. A column without any figure is left out.
    What was not measured on the published lists or by the published protocol is marked, and no rival of what was.
    """
    measured: dict[str, dict[int, Figure]] = {}
    for result in results:
        for i in columns_of(result.benchmark):
            found = _figure(result, COLUMNS[i])
            if found and math.isfinite(found.value):
                measured.setdefault(result.model, {}).setdefault(i, found)
    if not measured:
        return None
    own = [[cells[i] for cells in measured.values() if i in cells] for i in range(len(COLUMNS))]
    rivals = [[figure.value for figure in figures if not figure.departures] for figures in own]
    printed = [[float(text) for row in ROWS.values() if (text := row[i])] for i in range(len(COLUMNS))]
    columns = [i for i in range(len(COLUMNS)) if own[i] or printed[i]]

    def leads(i: int, figure: float) -> bool:
        shown = [*printed[i], *(round(100 * value, 2) for value in rivals[i])]
        return len(shown) > 1 and figure == max(shown)

    def published(i: int, text: str | None) -> Cell:
        return Cell(text, leads=leads(i, float(text))) if text else Cell("")

    def cell(i: int, cells: Mapping[int, Figure]) -> Cell:
        if i not in cells:
            return Cell("")
        value, interval, departures = cells[i]
        if departures:
            return Cell(percent(value), interval, marked=True)
        best = len(rivals[i]) > 1 and value == max(rivals[i])
        return Cell(percent(value), interval, best, leads(i, round(100 * value, 2)))

    return PublishedTable(
        columns=tuple(COLUMNS[i] for i in columns),
        published=[(name, [published(i, row[i]) for i in columns]) for name, row in ROWS.items()],
        own=[(model, [cell(i, cells) for i in columns]) for model, cells in measured.items()],
        marks=_marks(measured),
    )


def _marks(measured: Mapping[str, Mapping[int, Figure]]) -> list[tuple[str, str]]:
    departures_of: dict[str, dict[str, tuple[str, ...]]] = {}
    for i, column in enumerate(COLUMNS):
        for model, cells in measured.items():
            if i in cells:
                departures_of.setdefault(column.title, {})[model] = cells[i].departures
    notes = {title: joined_notes(title, of_models) for title, of_models in departures_of.items()}
    return [(title, ". ".join(note.text for note in of)) for title, of in notes.items() if of]


def _figure(result: "PairResult | LargeResult", column: Column) -> Figure | None:
    """What ``result`` has for ``column``; None where it is a result of another kind."""
    if isinstance(result, LargeResult):
        for group in result.groups():
            if group.name == column.rate and column.target in group.rates:
                interval = group.intervals.get(column.target)
                return Figure(group.rates[column.target], interval, departures(result, column))
        return None
    if column.rate:
        return None
    return Figure(result.accuracy, result.intervals.get("accuracy"), departures(result, column))


def departures(result: "PairResult | LargeResult", column: Column) -> tuple[str, ...]:
    """In what ``result`` was not measured as the figures published in ``column`` were, as far as it tells."""
    other = []
    for what, published in column.counts.items():
        noisy = result.counts.get(f"noisy_{what}")
        if (number := result.counts.get(what, 0) + (noisy or 0)) != published:
            among = "" if noisy is None else " with the noisy ones"
            other.append(f"{number:,} {what}{among} where {column.title} has {published:,}")
    if isinstance(result, LargeResult):
        other += result.departures
        altered = [words for option, words in _ALTERED.items() if result.options.get(option) is False]
    else:
        other, altered = other[:1], _altered(result)  # of other pairs, others are genuine
    return (*other, *left_out(result), *altered)


def _altered(result: "PairResult") -> list[str]:
    from elasticface.benchmarks.pairwise.lists import FOLDS
    from elasticface.benchmarks.pairwise.pairs import PROTOCOL  # it needs cv2

    def protocol(images: str) -> str:
        return PROTOCOL.format(images=images, folds=len(result.per_fold))

    alone = "image alone"
    if result.protocol not in (protocol(alone), protocol("image and mirror image added")):
        return ["measured in another way"]
    folds = len(result.per_fold)
    return [*([alone] if result.protocol == protocol(alone) else []), *([f"{folds} folds"] if folds != FOLDS else [])]
