"""One's own figures under the paper's table: the rows that are published, then a row a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from elasticface import plots
from elasticface.benchmarks.published import ACCURACY, COLUMNS, FAR, ROWS, SOURCE, Column, column_of
from elasticface.benchmarks.results import TemplateVerification
from elasticface.report_figures import Results, percent


@dataclass(frozen=True)
class Cell:
    """One figure of the table, in %."""

    text: str  # "" where there is none
    interval: tuple[float, float] | None = None  # fractions
    best: bool = False  # of one's own in this column, where there are several
    leads: bool = False  # of all in this column, to two decimals


@dataclass(frozen=True)
class PublishedTable:
    """The paper's rows above one's own, over the columns that there are."""

    columns: tuple[Column, ...]
    published: list[tuple[str, list[Cell]]]
    own: list[tuple[plots.Look, list[Cell]]]
    source: str = SOURCE


def table(results: Results, looks: Mapping[str, plots.Look]) -> PublishedTable | None:
    """The table with a row for each model that was measured on one of its benchmarks; None where none was.

    A benchmark is known by its name, regardless of case and punctuation. IJB's TAR is that at the nearest FAR, which is
    how the field reads it.
    """
    measured: dict[str, dict[int, tuple[float, tuple[float, float] | None]]] = {}
    for result in results:
        at = column_of(result.benchmark)
        if at is None:
            continue
        of_model = measured.setdefault(result.model, {})
        if isinstance(result, TemplateVerification):
            rate = result.tar_at_far["nearest"].get(FAR, math.nan)
            found = rate, result.intervals["nearest"].get(FAR)
            fits = COLUMNS[at].figure != ACCURACY
        else:
            accuracy = getattr(result, "accuracy", math.nan)  # the other large benchmarks have none
            found = accuracy, getattr(result, "intervals", {}).get("accuracy")
            fits = COLUMNS[at].figure == ACCURACY
        if fits and math.isfinite(found[0]):
            of_model.setdefault(at, found)
    measured = {model: cells for model, cells in measured.items() if cells}
    if not measured:
        return None
    columns = range(len(COLUMNS))
    own = {i: [cells[i][0] for cells in measured.values() if i in cells] for i in columns}
    printed = {i: [float(row[i] or "nan") for row in ROWS.values()] for i in columns}
    top = {
        i: max([*(v for v in printed[i] if math.isfinite(v)), *(round(100 * v, 2) for v in own[i])], default=math.nan)
        for i in columns
    }

    def cell(i: int, cells: Mapping[int, tuple[float, tuple[float, float] | None]]) -> Cell:
        if i not in cells:
            return Cell("")
        value, interval = cells[i]
        best = len(own[i]) > 1 and value == max(own[i])
        return Cell(percent(value), interval, best, round(100 * value, 2) == top[i])

    return PublishedTable(
        columns=COLUMNS,
        published=[
            (name, [Cell(text or "", leads=text is not None and float(text) == top[i]) for i, text in enumerate(row)])
            for name, row in ROWS.items()
        ],
        own=[(looks[model], [cell(i, cells) for i in columns]) for model, cells in measured.items()],
    )
