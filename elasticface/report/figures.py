"""Figures out: a terminal table, a dictionary for JSON, and what their parts look like in words."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elasticface.benchmarks.results import FORMAT_VERSION, PAIRS, LargeResult, as_dictionary
from elasticface.benchmarks.samples import ACCURACY, EER
from elasticface.report import large

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult

Results = Sequence["PairResult | LargeResult"]

RULES = {
    "at-most": "the largest TAR whose FAR does not exceed the target",
    "nearest": "the TAR at the observed FAR nearest to the target",
}
FIGURES = {ACCURACY: "accuracy", EER: "equal error rate"}
"""The figures of pairs that are at no target, in words."""

INTERVAL_LEVEL = 0.95  # of PairResult.intervals


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
    return [*([terminal_table(pairs)] if pairs else []), *large.terminal_tables(others)]


def results_json(
    results: Results, environment: Mapping[str, Any], stored: Sequence[Mapping[str, str] | None] | None = None
) -> dict[str, Any]:
    """Figures, protocol, rules, counts, models and versions, in plain types: None for NaN, no raw scores.

    Each result says its ``"kind"``, on which its figures depend.

    Args:
        results: what the benchmarks gave.
        environment: versions and hardware, kept under ``"environment"``; its ``"versions"`` also stand by themselves.
        stored: for each result, where its scores are (``benchmarks.stored.write_scores``); None leaves that out.
    """
    figures = [
        as_dictionary(result) if isinstance(result, large.LARGE) else _pair_figures(result) for result in results
    ]
    for one, reference in zip(figures, stored or [None] * len(figures), strict=True):
        if reference:
            one["stored"] = dict(reference)
    made: dict[str, Any] = plain(
        {
            "format_version": FORMAT_VERSION,
            "rules": RULES,
            "interval_level": INTERVAL_LEVEL,
            "results": figures,
            "versions": environment.get("versions", environment),
            "environment": environment,
        }
    )
    return made


def _pair_figures(result: "PairResult") -> dict[str, Any]:
    return {
        "kind": PAIRS,
        "model": result.model,
        "benchmark": result.benchmark,
        "protocol": result.protocol,
        "counts": result.counts,
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "per_fold": result.per_fold,
        "threshold": result.threshold,  # on squared L2 distance
        "threshold_cosine": cosine_threshold(result),
        "eer": result.eer,
        "tar_at_far": result.tar_at_far,
        "intervals": result.intervals,
        "intervals_by": result.intervals_by,
        "slices": [dataclasses.asdict(piece) for piece in result.slices],
    }


def apart(results: Results) -> tuple[list["PairResult"], list[LargeResult]]:
    """The results on pairs, and those of the large benchmarks."""
    pairs: list[PairResult] = []
    others: list[LargeResult] = []
    for result in results:
        if isinstance(result, large.LARGE):
            others.append(result)
        else:
            pairs.append(result)
    return pairs, others


def by_benchmark(results: Iterable["PairResult"]) -> dict[str, list["PairResult"]]:
    groups: dict[str, list[PairResult]] = {}
    for result in results:
        groups.setdefault(result.benchmark, []).append(result)
    return groups


def is_best(result: "PairResult", rivals: Sequence["PairResult"]) -> bool:
    return len(rivals) > 1 and result.accuracy == max(rival.accuracy for rival in rivals)


def cosine_threshold(result: "PairResult") -> float:
    """The squared L2 distance of unit vectors is d = 2 − 2 cos, so cos = 1 − d / 2."""
    return 1 - result.threshold / 2


def fars_of(results: Iterable["PairResult"]) -> list[str]:
    return sorted({far for result in results for rates in result.tar_at_far.values() for far in rates}, key=float)


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}" if math.isfinite(fraction) else "–"


def interval(bounds: tuple[float, float]) -> str:
    return f"{percent(bounds[0])} – {percent(bounds[1])}"


def scientific(far: str) -> str:
    """A rate as a terminal shows it, 0.001 as 1e-3."""
    mantissa, exponent = f"{float(far):e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def plain(value: Any) -> Any:
    """``value`` in the types JSON has. What is not finite becomes None, what JSON does not know becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
