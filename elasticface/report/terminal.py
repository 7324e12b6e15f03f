"""What a terminal shows of results and of a comparison: tables, and the notes beside them."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface.benchmarks.results import LargeResult
from elasticface.report import comparison_section, large, plots
from elasticface.report.figures import RULES, Results, apart, by_benchmark, fars_of, notes, percent, scientific

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult
    from elasticface.report.comparison import Comparison


def terminal_table(results: Sequence["PairResult"]) -> Table:
    """One row a benchmark and model: accuracy ± standard deviation over the folds, EER, TAR at each FAR; all in %.

    TAR follows the rule "at-most". Where a benchmark has several models, the best of each column is bold, or all that
    are.
    """
    fars = fars_of(results)
    table = Table(caption=f"All in %. TAR at FAR: {RULES['at-most']}.", caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("Benchmark", overflow="fold")
    table.add_column("Model", overflow="fold")
    for heading in ("Accuracy", "EER", *(f"TAR at\n{scientific(far)}" for far in fars)):
        table.add_column(heading, justify="right", no_wrap=True)
    for benchmark, rows in by_benchmark(results).items():
        tars = [[result.tar_at_far.get("at-most", {}).get(far, math.nan) for far in fars] for result in rows]
        merits = [(row.accuracy, -row.eer, *of_row) for row, of_row in zip(rows, tars, strict=True)]
        known = [[merit for merit in column if math.isfinite(merit)] for column in zip(*merits, strict=True)]
        for i, result in enumerate(rows):
            accuracy = f"{percent(result.accuracy)} ± {percent(result.accuracy_std)}"
            cells = (accuracy, *map(percent, (result.eer, *tars[i])))
            bold = [len(column) > 1 and merit == max(column) for merit, column in zip(merits[i], known, strict=True)]
            table.add_row(
                *(Text(name) for name in (benchmark if i == 0 else "", result.model)),  # Text: [brackets] are no markup
                *(Text(cell, style="bold" if best else "") for cell, best in zip(cells, bold, strict=True)),
                end_section=i == len(rows) - 1,
            )
    return table


def terminal_tables(results: Results) -> list[Table]:
    """A table of the results on pairs, where there are any, and one for each kind of figure of the large benchmarks."""
    pairs, others = apart(results)
    return [*([terminal_table(pairs)] if pairs else []), *_of_large(others)]


def _of_large(results: Iterable[LargeResult]) -> list[Table]:
    """For each kind of benchmark and of rate one table: a row a benchmark and model, a column a target; in %.

    Where a benchmark has several models, the highest of each column is bold, or all that are.
    """
    made = []
    for kind, of_kind in large.by(results, lambda result: result.KIND).items():
        for name in dict.fromkeys(group.name for result in of_kind for group in result.groups()):
            benchmarks = large.by(of_kind, lambda result: result.benchmark)
            parts = [large.table(name, rows, plots.looks(r.model for r in of_kind)) for rows in benchmarks.values()]
            targets = sorted({target for part in parts for target in part.targets}, key=float)
            title = f"{kind}: {name}, in %"
            table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, min_width=len(title))
            table.add_column("Benchmark", overflow="fold")
            table.add_column("Model", overflow="fold")
            for target in targets:
                table.add_column(target, justify="right", no_wrap=True)
            for benchmark, part in zip(benchmarks, parts, strict=True):
                for i, row in enumerate(part.rows):
                    rates = [
                        Text(
                            f"{100 * row.group.rates[t]:.2f}" if t in row.group.rates else "–",
                            style="bold" if t in row.best else "",
                        )
                        for t in targets
                    ]
                    # Text: a name in [brackets] is not markup
                    table.add_row(Text(benchmark if i == 0 else ""), Text(row.result.model), *rates)
            made.append(table)
    return made


def terminal_notes(results: Iterable["PairResult | LargeResult"]) -> list[str]:
    """The remarks on all results, a line a note."""
    return [f"{note.benchmark}: {note.text}" for note in notes(results)]


def comparison_tables(comparison: "Comparison") -> list[Table]:
    """The differences, a table each two models on a benchmark; and the Borda counts, the highest in bold.

    A difference whose interval leaves 0 out is bold.
    """
    tables = []
    for contrast in comparison.contrasts:
        counted = f"{contrast.benchmark}, {contrast.trials:,} {contrast.what}"
        title = f"{counted}\nA: {contrast.first}\nB: {contrast.second}"
        exact = next((one.mcnemar for one in contrast.differences if one.mcnemar is not None), None)
        caption = (
            f"McNemar's exact test of the accuracy: p {comparison_section.p_value(exact)}"
            if exact is not None
            else None
        )
        table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left", box=SIMPLE_HEAD)
        table.add_column("Figure", no_wrap=True)
        shown = comparison_section.HEADINGS[:-1]  # eighty columns have no room for the last
        for heading in shown:
            table.add_column(heading, justify="right", no_wrap=True)
        for difference in contrast.differences:
            row = (comparison_section.figure_name(difference), *comparison_section.cells(difference)[: len(shown)])
            table.add_row(*row, style="bold" if comparison_section.decided(difference) else None)
        tables.append(table)
    return [*tables, *([_borda(comparison)] if comparison.borda else [])]


def comparison_notes(comparison: "Comparison") -> list[str]:
    """What to say beside the tables, a line each."""
    benchmarks: dict[str, list[str]] = {}
    for contrasts in comparison_section.by_benchmark(comparison):
        if said := comparison_section.drawn(contrasts):
            benchmarks.setdefault(said, []).append(contrasts[0].benchmark)
    return [*(f"{', '.join(names)}: {said}" for said, names in benchmarks.items()), *comparison.notes]


def _borda(comparison: "Comparison") -> Table:
    over = ", ".join(comparison.borda_benchmarks)
    title = f"Borda count of accuracy, over {over}"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, min_width=min(len(title), 76))
    table.add_column("Model", overflow="fold")
    table.add_column("Points", justify="right")
    for model, points in comparison_section.ranking(comparison):
        style = "bold" if points == max(comparison.borda.values()) else None
        table.add_row(Text(model), f"{points:g}", style=style)
    return table
