"""What the report shows of a run: the curves in its `metrics.jsonl`."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.report import plots
from elasticface.report.figures import percent

Floats = NDArray[np.float64]


def training(lines: Sequence[dict[str, Any]]) -> list[plots.Plot]:
    """The training plots there is something to show for."""
    curves = []
    for title, key, draw, drawn in (
        ("Loss", "loss", plots.loss, plots.trend),
        ("Learning rate", "lr", plots.learning_rate, plots.thin),
    ):
        points = _points(lines, key)
        if len(points[0]):
            steps, values = drawn(*points)
            says = f"{title} over {int(steps[-1]):,} steps, {values[0]:.3g} at first and {values[-1]:.3g} at last"
            curves.append(plots.Plot(title, says, draw(*points)))

    looks = plots.looks(str(line["benchmark"]) for line in lines if line.get("benchmark") is not None)
    validated = [(look, *_points(lines, "accuracy", name)) for name, look in looks.items()]
    validated = [(look, steps, values) for look, steps, values in validated if len(steps)]
    if validated:
        says = "; ".join(f"{look.name} {percent(values[-1])} % at last" for look, _, values in validated)
        legend = [look for look, _, _ in validated]
        curves.append(plots.Plot("Validation accuracy", says, plots.accuracy(validated), legend))
    return curves


def _points(lines: Iterable[dict[str, Any]], key: str, benchmark: str | None = None) -> tuple[Floats, Floats]:
    """Steps and finite values of one curve. A resumed run repeats a few steps: the last line about a step counts."""
    values = {
        line["step"]: float(line[key])
        for line in lines
        if line.get("benchmark") == benchmark and line.get(key) is not None and math.isfinite(line[key])
    }
    steps = sorted(values)
    return np.array(steps, dtype=np.float64), np.array([values[step] for step in steps], dtype=np.float64)
