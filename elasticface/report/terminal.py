"""What a terminal shows of results and of a comparison: tables, and the notes beside them."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface.base.files import printable
from elasticface.benchmarks.results import LargeResult
from elasticface.report import large
from elasticface.report.comparison_section import (
    HEADINGS,
    cells,
    decided,
    drawn,
    figure_name,
    grouped_contrasts,
    p_value,
    ranking,
)
from elasticface.report.figures import RULES, Results, apart, by_benchmark, fars_of, grouped, notes, percent, scientific

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult
    from elasticface.report.comparison import Comparison


def terminal_tables(results: Results) -> list[Table]:
    """A table of the results on pairs, where there are any, and one for each kind of figure of the large benchmarks."""
    pairs, others = apart(results)
    return [*([terminal_table(pairs)] if pairs else []), *_of_large(others)]


def terminal_table(results: Sequence["PairResult"]) -> Table:
    """One row a benchmark and model: accuracy ± standard deviation over the folds, EER, TAR at each FAR; all in %.

    TAR follows the rule "at-most". Where a benchmark has several models, the best of each column is bold, or all that
    are.
    """
    fars = fars_of(results)
    headings = ["Accuracy", "EER", *(f"TAR at\n{scientific(far)}" for far in fars)]
    table = _table(headings, caption=f"All in %. TAR at FAR: {RULES['at-most']}.", caption_justify="left")
    for benchmark, rows in by_benchmark(results).items():
        tars = [[result.tar_at_far.get("at-most", {}).get(far, math.nan) for far in fars] for result in rows]
        merits = [(row.accuracy, -row.eer, *of_row) for row, of_row in zip(rows, tars, strict=True)]
        known = [[merit for merit in column if math.isfinite(merit)] for column in zip(*merits, strict=True)]
        for i, result in enumerate(rows):
            accuracy = f"{percent(result.accuracy)} ± {percent(result.accuracy_std)}"
            cells = (accuracy, *map(percent, (result.eer, *tars[i])))
            bold = [len(column) > 1 and merit == max(column) for merit, column in zip(merits[i], known, strict=True)]
            _add_row(table, benchmark if i == 0 else "", result.model, zip(cells, bold, strict=True))
        table.add_section()
    return table


def _of_large(results: Sequence[LargeResult]) -> list[Table]:
    """For each kind of benchmark and of rate one table: a row a benchmark and model, a column a target; in %.

    Where a benchmark has several models, the highest of each column is bold, or all that are.
    """
    made = []
    for kind, of_kind in grouped(results, lambda result: result.KIND).items():
        parts = [(name, part) for name, rows in by_benchmark(of_kind).items() for part in large.tables(rows)]
        for rate, of_rate in grouped(parts, lambda named: named[1].name).items():
            targets = sorted({target for _, part in of_rate for target in part.targets}, key=float)
            title = f"{kind}: {rate}, in %"
            table = _table(targets, title=title, title_justify="left", min_width=len(title))
            for benchmark, part in of_rate:
                for i, row in enumerate(part.rows):
                    cells = [(percent(row.group.rates.get(t, math.nan)), t in row.best) for t in targets]
                    _add_row(table, benchmark if i == 0 else "", row.model, cells)
            made.append(table)
    return made


def _table(headings: Iterable[str], **options: Any) -> Table:
    """A table of benchmarks, models and their figures."""
    table = Table(box=SIMPLE_HEAD, **options)
    for heading in ("Benchmark", "Model"):
        table.add_column(heading, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _add_row(table: Table, benchmark: str, model: str, cells: Iterable[tuple[str, bool]]) -> None:
    """A row of figures, each with whether it is bold."""
    names = Text(printable(benchmark)), Text(printable(model))  # Text: a name in [brackets] is not markup
    table.add_row(*names, *(Text(cell, style="bold" if bold else "") for cell, bold in cells))


def terminal_notes(results: Iterable["PairResult | LargeResult"]) -> list[str]:
    """The remarks on all results, a line a note."""
    return [printable(f"{note.benchmark}: {note.text}") for note in notes(results)]


def comparison_tables(comparison: "Comparison") -> list[Table]:
    """The differences, a table each two models on a benchmark; and the Borda counts, the highest in bold.

    A difference whose interval leaves 0 out is bold.
    """
    tables = []
    for contrast in comparison.contrasts:
        counted = f"{contrast.benchmark}, {contrast.trials:,} {contrast.what}"
        exact = [p_value(one.mcnemar) for one in contrast.differences if one.mcnemar is not None]
        table = Table(
            title=Text(f"{counted}\nA: {contrast.first}\nB: {contrast.second}"),
            title_justify="left",
            caption=f"McNemar's exact test of the accuracy: p {exact[0]}" if exact else None,
            caption_justify="left",
            box=SIMPLE_HEAD,
        )
        table.add_column("Figure", no_wrap=True)
        shown = HEADINGS[:-1]  # eighty columns have no room for the last
        for heading in shown:
            table.add_column(heading, justify="right", no_wrap=True)
        for difference in contrast.differences:
            row = (figure_name(difference), *cells(difference)[: len(shown)])
            table.add_row(*row, style="bold" if decided(difference) else None)
        tables.append(table)
    return [*tables, *([_borda(comparison)] if comparison.borda else [])]


def comparison_notes(comparison: "Comparison") -> list[str]:
    """What to say beside the tables, a line each."""
    resampled = grouped(grouped_contrasts(comparison), drawn)
    said = [f"{', '.join(of[0].benchmark for of in groups)}: {how}" for how, groups in resampled.items() if how]
    return [*said, *comparison.notes]


def _borda(comparison: "Comparison") -> Table:
    title = f"Borda count of accuracy, over {', '.join(comparison.borda_benchmarks)}"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, min_width=min(len(title), 76))
    table.add_column("Model", overflow="fold")
    table.add_column("Points", justify="right")
    for model, points in ranking(comparison):
        style = "bold" if points == max(comparison.borda.values()) else None
        table.add_row(Text(model), f"{points:g}", style=style)
    return table
