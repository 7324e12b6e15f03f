"""The figures, ROCs and DETs of all results, and their differences, as CSV: what the page offers for download."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from elasticface.benchmarks.results import PAIRS, LargeResult, TemplateIdentification
from elasticface.benchmarks.samples import ACCURACY, EER
from elasticface.report.figures import FIGURES, Results, apart

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult
    from elasticface.report.comparison import Comparison

_OF_RULE = {"at-most": "tar", "nearest": "nearest"}  # in the names of PairResult.intervals
_JUDGED = ("difference", "low", "high", "p", "mcnemar")
Curve = tuple[str, str, Iterable[float], Iterable[float]]  # benchmark, model, FARs and the TAR at each


def figures(results: Results) -> str:
    """All figures as CSV: a row a figure, with its 95 % interval where there is one. Rates are fractions in 0..1."""
    pairs, large = apart(results)
    rows: list[Sequence[Any]] = []
    for result in pairs:
        rows += ((PAIRS, result.benchmark, result.model, *figure) for figure in _of_pairs(result))
    for big in large:
        rows += ((big.KIND, big.benchmark, big.model, *figure) for figure in _of_large(big))
    return _csv(("kind", "benchmark", "model", "figure", "target", "value", "low", "high"), rows)


def roc(curves: Iterable[Curve]) -> str:
    """Benchmark, model, FAR and TAR of all points of all ROCs as CSV."""
    points = ((*names, far, tar) for *names, fars, tars in curves for far, tar in zip(fars, tars, strict=True))
    return _csv(("benchmark", "model", "far", "tar"), points)


def det(curves: Iterable[Curve]) -> str:
    """Benchmark, model, false match rate and false non-match rate of all points of all DETs as CSV."""
    points = ((*names, far, 1 - tar) for *names, fars, tars in curves for far, tar in zip(fars, tars, strict=True))
    return _csv(("benchmark", "model", "fmr", "fnmr"), points)


def cmc(results: Iterable[TemplateIdentification]) -> str:
    """Benchmark, model, rank and identification rate of all CMC curves as CSV."""
    points = ((r.benchmark, r.model, rank, rate) for r in results for rank, rate in enumerate(r.cmc, 1))
    return _csv(("benchmark", "model", "rank", "rate"), points)


def open_set(results: Iterable[TemplateIdentification]) -> str:
    """Benchmark, model, FPIR and TPIR of all points of all open-set curves as CSV."""
    points = (
        (r.benchmark, r.model, *point) for r in results for point in zip(r.open_set.fars, r.open_set.tars, strict=True)
    )
    return _csv(("benchmark", "model", "fpir", "tpir"), points)


def differences(comparison: "Comparison") -> str:
    """All differences of two models as CSV, A − B: rates are fractions; empty cells are what there is not."""
    rows: list[Sequence[Any]] = []
    for contrast in comparison.contrasts:
        names = (contrast.benchmark, contrast.first, contrast.second)
        for one in contrast.differences:
            told = (one.value, *(one.interval or ("", "")), one.p_value, one.mcnemar)
            rows.append((*names, *_named(one.rate, one.figure), one.first, one.second, *told))
    return _csv((*("benchmark", "a", "b", "figure", "target", "value of a", "value of b"), *_JUDGED), rows)


def _named(rate: str, figure: str) -> tuple[str, str]:
    """Figure and target, as :func:`figures` calls them."""
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
