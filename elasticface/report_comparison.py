"""What the terminal, `comparison.json` and the page say of a comparison."""

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface.benchmarks.units import UNITS
from elasticface.report_figures import INTERVAL_LEVEL, RULES, plain, scientific

if TYPE_CHECKING:
    from elasticface.comparison import Comparison, Contrast, Difference

FORMAT_VERSION = 1
ACCURACY = "accuracy"
HEADINGS = ("A", "B", "A − B", "95 % interval", "p", "McNemar")


def figure_name(difference: "Difference") -> str:
    """What is compared, in words."""
    return ACCURACY if difference.figure == ACCURACY else f"TAR at {scientific(difference.figure)}"


def cells(difference: "Difference") -> tuple[str, ...]:
    """One for each of HEADINGS; rates in %, differences in percentage points."""
    interval = difference.interval
    return (
        f"{100 * difference.first:.2f}",
        f"{100 * difference.second:.2f}",
        _signed(difference.value),
        f"{_signed(interval[0])} – {_signed(interval[1])}" if interval else "–",
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
    """The differences, bold where the interval leaves 0 out; and the Borda counts, the highest in bold."""
    units = "; ".join(f"{contrast.benchmark}: {UNITS[contrast.units]}" for contrast in _one_a_benchmark(comparison))
    drawn = f"Drawn {comparison.draws:,} times with replacement: {units}."
    table = Table(
        caption=f"In % and percentage points. TAR at FAR: {RULES['at-most']}. {drawn} p: paired bootstrap.",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for heading in ("Benchmark", "A, B", "Figure"):
        table.add_column(heading, overflow="fold")
    exact = any(contrast.units == "pairs" for contrast in comparison.contrasts)
    shown = HEADINGS if exact else HEADINGS[:-1]
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    before = None
    for contrast in comparison.contrasts:
        for i, difference in enumerate(contrast.differences):
            names = (
                contrast.benchmark if contrast.benchmark != before else "",
                f"{contrast.first}\n{contrast.second}" if i == 0 else "",
                figure_name(difference),
            )
            before = contrast.benchmark
            row = (*names, *cells(difference)[: len(shown)])
            table.add_row(  # Text: a name in [brackets] is not markup
                *map(Text, row),
                style="bold" if decided(difference) else None,
                end_section=i == len(contrast.differences) - 1,
            )
    return [table, *([_borda(comparison)] if comparison.borda else [])]


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
    table = Table(
        title="Borda count",
        title_justify="left",
        caption=f"How many of the others each model beats in accuracy, half for a tie, summed over {over}.",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("Model", overflow="fold")
    table.add_column("Points", justify="right")
    for model, points in ranking(comparison):
        style = "bold" if points == max(comparison.borda.values()) else None
        table.add_row(Text(model), f"{points:g}", style=style)
    return table


def ranking(comparison: "Comparison") -> list[tuple[str, float]]:
    """Models with their points, the highest first."""
    return sorted(comparison.borda.items(), key=lambda pair: -pair[1])


def _one_a_benchmark(comparison: "Comparison") -> list["Contrast"]:
    return list({contrast.benchmark: contrast for contrast in reversed(comparison.contrasts)}.values())[::-1]


def _signed(fraction: float) -> str:
    text = f"{100 * fraction:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text
