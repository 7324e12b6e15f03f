"""What the terminal and the page say of a comparison."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elasticface.benchmarks.units import UNITS
from elasticface.report.figures import FIGURES, grouped, percent, scientific

if TYPE_CHECKING:
    from elasticface.report.comparison import Comparison, Contrast, Difference

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


def grouped_contrasts(comparison: "Comparison") -> list[list["Contrast"]]:
    """The contrasts of each benchmark."""
    return [*grouped(comparison.contrasts, lambda contrast: (contrast.benchmark, contrast.what)).values()]


def drawn(contrasts: Sequence["Contrast"]) -> str:
    """How the contrasts of one benchmark were resampled, in words; empty where they were not."""
    said = (
        f"{one.draws:,} bootstrap resamples over {UNITS[one.units]}" for one in contrasts if one.units and one.draws
    )
    return next(said, "")


def cells(difference: "Difference") -> tuple[str, ...]:
    """One for each of HEADINGS; rates in %, differences in percentage points."""
    interval = difference.interval
    return (
        percent(difference.first),
        percent(difference.second),
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


def ranking(comparison: "Comparison") -> list[tuple[str, float]]:
    """Models with their points, the highest first."""
    return sorted(comparison.borda.items(), key=lambda pair: -pair[1])


def _signed(fraction: float) -> str:
    text = f"{100 * fraction:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text
