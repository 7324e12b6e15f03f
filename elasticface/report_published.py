"""One's own figures under the paper's table: the rows that are published, then a row a model."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elasticface import plots, report_large
from elasticface.benchmarks.published import COLUMNS, ROWS, SOURCE, Column, columns_of
from elasticface.benchmarks.results import LargeResult
from elasticface.report_figures import Results, percent

if TYPE_CHECKING:
    from elasticface.benchmarks.pairs import PairResult

Figure = tuple[float, tuple[float, float] | None]  # with its interval


@dataclass(frozen=True)
class Cell:
    """One figure of the table, in %."""

    text: str  # "" where there is none
    interval: tuple[float, float] | None = None  # fractions
    best: bool = False  # of one's own in this column, where there are several
    leads: bool = False  # of all in this column, where there are several, to two decimals


@dataclass(frozen=True)
class PublishedTable:
    """The paper's rows above one's own, over the columns that have a figure."""

    columns: tuple[Column, ...]
    published: list[tuple[str, list[Cell]]]
    own: list[tuple[plots.Look, list[Cell]]]
    source: str = SOURCE

    @property
    def headings(self) -> list[tuple[str, int]]:
        """The benchmarks, and how many columns each has."""
        titles = itertools.groupby(column.title for column in self.columns)
        return [(title, len(list(same))) for title, same in titles]


def table(results: Results, looks: Mapping[str, plots.Look]) -> PublishedTable | None:
    """The table with a row for each model that was measured on one of its benchmarks; None where none was.

    A benchmark is known by its name, regardless of case and punctuation. IJB's TAR is that at the nearest FAR, which is
    how the field reads it, and MegaFace's the largest with the FAR at most. A column without any figure is left out.
    """
    measured: dict[str, dict[int, Figure]] = {}
    for result in results:
        for i in columns_of(result.benchmark):
            found = _figure(result, COLUMNS[i])
            if found and math.isfinite(found[0]):
                measured.setdefault(result.model, {}).setdefault(i, found)
    if not measured:
        return None
    own = [[cells[i][0] for cells in measured.values() if i in cells] for i in range(len(COLUMNS))]
    printed = [[float(text) for row in ROWS.values() if (text := row[i])] for i in range(len(COLUMNS))]
    columns = [i for i in range(len(COLUMNS)) if own[i] or printed[i]]

    def leads(i: int, figure: float) -> bool:
        rivals = [*printed[i], *(round(100 * value, 2) for value in own[i])]
        return len(rivals) > 1 and figure == max(rivals)

    def published(i: int, text: str | None) -> Cell:
        return Cell(text, leads=leads(i, float(text))) if text else Cell("")

    def cell(i: int, cells: Mapping[int, Figure]) -> Cell:
        if i not in cells:
            return Cell("")
        value, interval = cells[i]
        best = len(own[i]) > 1 and value == max(own[i])
        return Cell(percent(value), interval, best, leads(i, round(100 * value, 2)))

    return PublishedTable(
        columns=tuple(COLUMNS[i] for i in columns),
        published=[(name, [published(i, row[i]) for i in columns]) for name, row in ROWS.items()],
        own=[(looks[model], [cell(i, cells) for i in columns]) for model, cells in measured.items()],
    )


def _figure(result: "PairResult | LargeResult", column: Column) -> Figure | None:
    """What ``result`` has for ``column``; None where it is a result of another kind."""
    if isinstance(result, report_large.LARGE):
        for group in result.groups():
            if group.name == column.rate and column.target in group.rates:
                return group.rates[column.target], group.intervals.get(column.target)
        return None
    return None if column.rate else (result.accuracy, result.intervals.get("accuracy"))
