"""What a terminal shows of a calibration."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from elasticface.benchmarks.units import NOUNS
from elasticface.recognition.calibration import Measured
from elasticface.recognition.groups import Differential, Rate
from elasticface.report.figures import interval, percent, scientific


def tables(measured: Measured) -> list[Table]:
    """The operating points, and for each column of metadata.csv the groups at the lowest false match rate."""
    points = Table(box=SIMPLE_HEAD, caption="Intervals are 95 %, over people.", caption_justify="left")
    points.add_column("FMR")
    for heading in ("Threshold", "FMR observed, interval", "Genuine accepted, %", "Independent\nimpostors"):
        points.add_column(heading, justify="right")
    for point in measured.calibration.points:
        low, high = (scientific(f"{end:.2g}") for end in point.fmr_interval)
        points.add_row(
            scientific(str(point.fmr)),
            f"{point.threshold:.4f}",
            f"{scientific(f'{point.observed_fmr:.2g}')}  ({low} – {high})",
            f"{percent(point.acceptance)}  ({interval(point.acceptance_interval)})",
            f"{point.independent:,}",
        )
    lowest = min(point.fmr for point in measured.calibration.points)
    return [points, *(_groups(one) for one in measured.differentials if one.fmr == lowest)]


def lines(measured: Measured) -> list[str]:
    """What was measured on, and the likelihood ratio."""
    found = measured.calibration
    told = [
        f"{found.genuine:,} genuine and {found.impostors:,} impostor comparisons of {found.people:,} "
        f"{NOUNS[found.units]}; detector: {found.conditions.detector}"
    ]
    if (ratio := found.likelihood) is not None:
        told.append(
            f"log likelihood ratio = {ratio.slope:.2f} · similarity {ratio.offset:+.2f}; "
            f"Cllr {ratio.cllr:.3f} bits on the {ratio.held_out:,} that it was not fitted on"
        )
    return told


def _groups(differential: Differential) -> Table:
    title = f"By {differential.column}, at the threshold {differential.threshold:.4f} (FMR {differential.fmr:g})"
    worst = [_ratio(differential.fmr_worst_over_mean), _ratio(differential.fnmr_worst_over_mean)]
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", min_width=len(title))
    table.add_column(differential.column)
    for heading in ("FMR", "FNMR, %", "Impostors", "Genuine"):
        table.add_column(heading, justify="right")
    for group in differential.groups:
        fmr = "–" if group.fmr.value is None else scientific(f"{group.fmr.value:.2g}")
        if group.fmr.interval is not None:
            fmr += "  ({} – {})".format(*(scientific(f"{end:.2g}") for end in group.fmr.interval))
        fnmr = "–" if group.fnmr.value is None else percent(group.fnmr.value)
        if group.fnmr.interval is not None:
            fnmr += f"  ({interval(group.fnmr.interval)})"
        table.add_row(group.name, fmr, fnmr, f"{group.impostors:,}", f"{group.genuine:,}")
    table.add_section()
    table.add_row("worst / geometric mean", *worst, "", "")
    return table


def _ratio(rate: Rate) -> str:
    if rate.value is None:
        return "–"
    return f"{rate.value:.2f}" + ("  ({:.2f} – {:.2f})".format(*rate.interval) if rate.interval else "")
