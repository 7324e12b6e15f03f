"""What a terminal shows of a calibration."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from elasticface.benchmarks.units import NOUNS
from elasticface.recognition.calibration import Measured
from elasticface.recognition.groups import Differential, Rate
from elasticface.report.figures import interval, percent, scientific

_CAPTION = (
    "FMR: the share of comparisons of different people that are taken for one person. Genuine accepted: the share of "
    "one person's that are, in %. Intervals are 95 %, over people."
)


def tables(measured: Measured) -> list[Table]:
    """The operating points, and for each column of metadata.csv the groups at the lowest false match rate."""
    points = Table(box=SIMPLE_HEAD, caption=_CAPTION, caption_justify="left")
    points.add_column("FMR", no_wrap=True)
    for heading in ("its interval", "threshold", "genuine\naccepted", "its interval", "impostors,\nindep."):
        points.add_column(heading, justify="right", no_wrap=True)
    for point in measured.calibration.points:
        points.add_row(
            scientific(str(point.fmr)),
            _between(point.fmr_interval),
            f"{point.threshold:.4f}",
            percent(point.acceptance),
            interval(point.acceptance_interval),
            f"{point.independent:,}",
        )
    lowest = min(point.fmr for point in measured.calibration.points)
    return [points, *(_groups(one) for one in measured.differentials if one.fmr == lowest)]


def lines(measured: Measured) -> list[str]:
    """What was measured on, and the likelihood ratio."""
    found = measured.calibration
    told = [
        f"{found.genuine:,} genuine and {found.impostors:,} impostor comparisons of {found.unit_count:,} "
        f"{NOUNS[found.units]}; detector: {found.conditions.detector}"
    ]
    if (ratio := found.likelihood) is not None:
        told.append(
            f"log likelihood ratio = {ratio.slope:.2f} · similarity {'-' if ratio.offset < 0 else '+'} "
            f"{abs(ratio.offset):.2f}; "
            f"Cllr {ratio.cllr:.3f} bits on the {ratio.held_out:,} that it was not fitted on"
        )
    return told


def _groups(differential: Differential) -> Table:
    title = f"By {differential.column}, at the threshold {differential.threshold:.4f} (FMR {differential.fmr:g})"
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", min_width=len(title))
    table.add_column(differential.column, no_wrap=True)
    for heading in ("FMR", "its interval", "FNMR, %", "its interval", "impostors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in differential.groups:
        table.add_row(
            group.name,
            "–" if group.fmr.value is None else _rate(group.fmr.value),
            _between(group.fmr.interval),
            "–" if group.fnmr.value is None else percent(group.fnmr.value),
            interval(group.fnmr.interval),
            f"{group.impostors:,}",
        )
    table.add_section()
    worst = differential.fmr_worst_over_mean, differential.fnmr_worst_over_mean
    table.add_row("worst / mean", *(cell for rate in worst for cell in _ratio(rate)))
    return table


def _rate(share: float) -> str:
    return scientific(f"{share:.1e}") if share else "0"


def _between(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{_rate(bounds[0])} – {_rate(bounds[1])}"


def _ratio(rate: Rate) -> tuple[str, str]:
    if rate.value is None:
        return "–", ""
    return f"{rate.value:.2f}", "{:.2f} – {:.2f}".format(*rate.interval) if rate.interval else ""
