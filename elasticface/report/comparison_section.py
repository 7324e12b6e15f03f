"""What the terminal, `comparison.json` and the page say of a comparison."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface.benchmarks.units import UNITS
from elasticface.report.figures import FIGURES, INTERVAL_LEVEL, RULES, plain, scientific

if TYPE_CHECKING:
    from elasticface.report.comparison import Comparison, Contrast, Difference

FORMAT_VERSION = 1
HEADINGS = ("A", "B", "A − B", "95 % interval", "p", "McNemar")


def figure_name(difference: "Difference") -> str:
    """What is compared, in words."""
    if difference.figure in FIGURES:
        return FIGURES[difference.figure]
    rate, _, rule = (difference.rate or "TAR at FAR").partition(", ")
    if " at " not in rate:
        return f"{rate} {difference.figure}"
    return f"{rate.split(' at ')[0]} at {scientific(difference.figure)}{rule and ', '}{rule}"


def headings(contrast: "Contrast") -> tuple[str, ...]:
    """Those of HEADINGS that its differences have something for."""
    return HEADINGS if contrast.units == "pairs" else HEADINGS[:-1]


def by_benchmark(comparison: "Comparison") -> list[list["Contrast"]]:
    """The contrasts of each benchmark."""
    groups: dict[tuple[str, str], list[Contrast]] = {}
    for contrast in comparison.contrasts:
        groups.setdefault((contrast.benchmark, contrast.what), []).append(contrast)
    return list(groups.values())


def drawn(contrasts: Sequence["Contrast"]) -> str:
    """What is drawn in those of one benchmark, in words; empty where nothing is."""
    said = (f"drawn {one.draws:,} times are {UNITS[one.units]}" for one in contrasts if one.units and one.draws)
    return next(said, "")


def cells(difference: "Difference") -> tuple[str, ...]:
    """One for each of HEADINGS; rates in %, differences in percentage points."""
    interval = difference.interval
    return (
        f"{100 * difference.first:.2f}",
        f"{100 * difference.second:.2f}",
        _signed(difference.value),
        f"{_signed(interval[0])} to {_signed(interval[1])}" if interval else "–",
        p_value(difference.p_value),
        p_value(difference.mcnemar),
    )


def decided(difference: "Difference") -> bool:
    """Whether the interval of the difference leaves 0 out."""
    return difference.interval is not None and not difference.interval[0] <= 0 <= difference.interval[1]


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def terminal_tables(comparison: "Comparison") -> list[Table]:
    """The differences, a table each two models on a benchmark; and the Borda counts, the highest in bold.

    A difference whose interval leaves 0 out is bold.
    """
    tables = []
    for contrast in comparison.contrasts:
        counted = f"{contrast.benchmark}, {contrast.trials:,} {contrast.what}"
        title = f"{counted}\nA: {contrast.first}\nB: {contrast.second}"
        exact = next((one.mcnemar for one in contrast.differences if one.mcnemar is not None), None)
        caption = f"McNemar's exact test of the accuracy: p {p_value(exact)}" if exact is not None else None
        table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left", box=SIMPLE_HEAD)
        table.add_column("Figure", no_wrap=True)
        shown = HEADINGS[:-1]  # eighty columns have no room for the last
        for heading in shown:
            table.add_column(heading, justify="right", no_wrap=True)
        for difference in contrast.differences:
            row = (figure_name(difference), *cells(difference)[: len(shown)])
            table.add_row(*row, style="bold" if decided(difference) else None)
        tables.append(table)
    return [*tables, *([_borda(comparison)] if comparison.borda else [])]


def terminal_notes(comparison: "Comparison") -> list[str]:
    """What to say beside the tables, a line each."""
    benchmarks: dict[str, list[str]] = {}
    for contrasts in by_benchmark(comparison):
        if said := drawn(contrasts):
            benchmarks.setdefault(said, []).append(contrasts[0].benchmark)
    return [*(f"{', '.join(names)}: {said}" for said, names in benchmarks.items()), *comparison.notes]


def comparison_json(comparison: "Comparison") -> dict[str, Any]:
    """All of it in plain types: rates and differences are fractions, None for what there is not."""
    made: dict[str, Any] = plain(
        {
            "format_version": FORMAT_VERSION,
            "interval_level": INTERVAL_LEVEL,
            "rules": {"TAR at FAR": RULES["at-most"]},
            "units": UNITS,
            **dataclasses.asdict(comparison),
        }
    )
    return made


def _borda(comparison: "Comparison") -> Table:
    over = ", ".join(comparison.borda_benchmarks)
    title = f"Borda count of accuracy, over {over}"
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, min_width=min(len(title), 76))
    table.add_column("Model", overflow="fold")
    table.add_column("Points", justify="right")
    for model, points in ranking(comparison):
        style = "bold" if points == max(comparison.borda.values()) else None
        table.add_row(Text(model), f"{points:g}", style=style)
    return table


def ranking(comparison: "Comparison") -> list[tuple[str, float]]:
    """Models with their points, the highest first."""
    return sorted(comparison.borda.items(), key=lambda pair: -pair[1])


def _signed(fraction: float) -> str:
    text = f"{100 * fraction:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text
