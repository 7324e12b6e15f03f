"""Figures as files that programs read: `results.json`, `comparison.json`, and CSV for the page to offer."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.results import (
    FORMAT_VERSION,
    LARGE_ELSEWHERE,
    PAIRS,
    PAIRS_ELSEWHERE,
    RESULTS,
    LargeResult,
    TemplateIdentification,
)
from elasticface.benchmarks.samples import ACCURACY, EER
from elasticface.benchmarks.units import UNITS
from elasticface.report.figures import FIGURES, RULES, Results, apart, cosine_threshold

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult
    from elasticface.report.comparison import Comparison

INTERVAL_LEVEL = 0.95  # of all intervals
COMPARISON_VERSION = 1  # of comparison.json

REPORT, COMPARISON, SELECTION = "report.html", "comparison.json", "select.json"
_RECORDS = {RESULTS: "an evaluation", COMPARISON: "a comparison", SELECTION: "a selection"}
"""The file beside each command's report."""

_OF_RULE = {"at-most": "tar", "nearest": "nearest"}  # in the names of PairResult.intervals
_JUDGED = ("difference", "low", "high", "p", "mcnemar")
Curve = tuple[str, str, Iterable[float], Iterable[float]]  # benchmark, model, x and y of each point


def check_report(out: Path, own: str) -> None:
    """Refuse a folder with the report of another command, which would be replaced.

    Args:
        out: the folder.
        own: which of the records the command writes beside its report.

    Raises:
        InputError: there is the record of another one.
    """
    for name, what in _RECORDS.items():
        if name != own and (out / name).exists():
            raise InputError(f"{printable(out)}: its {REPORT} is that of {what}; give another folder with --out")


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
    figures = [_figures(result) for result in results]
    for one, reference in zip(figures, stored or [None] * len(figures), strict=True):
        if reference:
            one["stored"] = reference
    return _plain_object(
        format_version=FORMAT_VERSION,
        rules=RULES,
        interval_level=INTERVAL_LEVEL,
        results=figures,
        versions=environment.get("versions", environment),
        environment=environment,
    )


def _figures(result: "PairResult | LargeResult") -> dict[str, Any]:
    """Its kind, and all of its fields that are not kept elsewhere."""
    if isinstance(result, LargeResult):
        kind, elsewhere, more = result.KIND, LARGE_ELSEWHERE, dict[str, float]()
    else:
        kind, elsewhere, more = PAIRS, PAIRS_ELSEWHERE, {"threshold_cosine": cosine_threshold(result)}
    names = [field.name for field in dataclasses.fields(result) if field.name not in elsewhere]
    return {"kind": kind, **{name: getattr(result, name) for name in names}, **more}


def comparison_json(comparison: "Comparison") -> dict[str, Any]:
    """All of it in plain types: rates and differences are fractions, None for what there is not."""
    return _plain_object(
        format_version=COMPARISON_VERSION,
        interval_level=INTERVAL_LEVEL,
        rules={"TAR at FAR": RULES["at-most"]},
        units=UNITS,
        **dataclasses.asdict(comparison),
    )


def _plain_object(**entries: Any) -> dict[str, Any]:
    return {name: plain(value) for name, value in entries.items()}


def plain(value: Any) -> Any:
    """``value`` in the types JSON has. What is not finite becomes None, what JSON does not know becomes its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def figures_csv(results: Results) -> str:
    """All figures as CSV: a row a figure, with its 95 % interval where there is one. Rates are fractions in 0..1."""
    pairs, large = apart(results)
    rows = [
        *((PAIRS, result.benchmark, result.model, *figure) for result in pairs for figure in _of_pairs(result)),
        *((result.KIND, result.benchmark, result.model, *figure) for result in large for figure in _of_large(result)),
    ]
    return _csv(("kind", "benchmark", "model", "figure", "target", "value", "low", "high"), rows)


def curves_csv(axes: tuple[str, str], curves: Iterable[Curve]) -> str:
    """Benchmark, model and both coordinates of all points of all curves as CSV."""
    points = ((*names, x, y) for *names, xs, ys in curves for x, y in zip(xs, ys, strict=True))
    return _csv(("benchmark", "model", *axes), points)


def cmc_csv(results: Iterable[TemplateIdentification]) -> str:
    """The rate at each rank."""
    return curves_csv(("rank", "rate"), [(r.benchmark, r.model, range(1, len(r.cmc) + 1), r.cmc) for r in results])


def open_set_csv(results: Iterable[TemplateIdentification]) -> str:
    return curves_csv(("fpir", "tpir"), [(r.benchmark, r.model, r.open_set.fars, r.open_set.tars) for r in results])


def differences_csv(comparison: "Comparison") -> str:
    """All differences of two models as CSV, A − B: rates are fractions; empty cells are what there is not."""
    rows: list[Sequence[Any]] = []
    for contrast in comparison.contrasts:
        names = (contrast.benchmark, contrast.first, contrast.second)
        for one in contrast.differences:
            told = (one.value, *(one.interval or ("", "")), one.p_value, one.mcnemar)
            rows.append((*names, *_named(one.rate, one.figure), one.first, one.second, *told))
    return _csv((*("benchmark", "a", "b", "figure", "target", "value of a", "value of b"), *_JUDGED), rows)


def _named(rate: str, figure: str) -> tuple[str, str]:
    """Figure and target, as :func:`figures_csv` calls them."""
    return (FIGURES[figure], "") if figure in FIGURES else (rate or "TAR at FAR, at-most", figure)


def _of_pairs(result: "PairResult") -> Iterable[Sequence[Any]]:
    yield FIGURES[ACCURACY], "", result.accuracy, *result.intervals.get(ACCURACY, ("", ""))
    yield "accuracy, standard deviation over folds", "", result.accuracy_std, "", ""
    yield FIGURES[EER], "", result.eer, *result.intervals.get(EER, ("", ""))
    for rule, rates in result.tar_at_far.items():
        for far, tar in rates.items():
            yield f"TAR at FAR, {rule}", far, tar, *result.intervals.get(f"{_OF_RULE[rule]}@{far}", ("", ""))


def _of_large(result: LargeResult) -> Iterable[Sequence[Any]]:
    for group in result.groups():
        for target, rate in group.rates.items():
            yield group.name, target, rate, *group.intervals.get(target, ("", ""))


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()
