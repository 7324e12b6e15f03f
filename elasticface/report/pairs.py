"""What the report shows of each benchmark of pairs: figures, ROC, DET, scores, slices and the hardest pairs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elasticface.benchmarks.pairwise.slices import FACTORS, Slice
from elasticface.report import plots
from elasticface.report.figures import cosine_threshold, is_best, notes
from elasticface.report.pictures import Hard, Pictures, taken

if TYPE_CHECKING:
    from markupsafe import Markup

    from elasticface.benchmarks.pairwise.pairs import PairResult

Floats = NDArray[np.float64]

HARDEST = 12  # pairs shown of each kind


@dataclass(frozen=True)
class Entry:
    """What the page shows of one result."""

    result: "PairResult"
    look: plots.Look
    best: bool
    roc: tuple[Floats, Floats]  # FARs and the TAR at each
    strip: tuple[float, float, float] | None  # interval and accuracy on the benchmark's common axis, in %
    cosine_threshold: float
    histogram: "Markup"
    genuine: list[Hard]  # lowest scores first
    impostor: list[Hard]  # highest scores first
    false_rejections: int
    false_acceptances: int


@dataclass(frozen=True)
class Factor:
    """What the page shows of the pairs grouped by one factor."""

    name: str
    about: str
    svg: "Markup"
    groups: dict[str, list[Slice | None]]  # name -> a slice a model


def section(
    number: int,
    results: list["PairResult"],
    looks: Mapping[str, plots.Look],
    pictures: Pictures | None,
) -> dict[str, Any]:
    """Everything the template needs for one benchmark."""
    strips = _strips(results)
    histograms = plots.histograms([(r.scores, r.same, cosine_threshold(r)) for r in results], salt=str(number))
    entries: list[Entry] = []
    for result, strip, histogram in zip(results, strips, histograms, strict=True):
        threshold = cosine_threshold(result)
        accepted = result.scores > threshold  # the protocol accepts a distance BELOW the threshold
        wrong = accepted != result.same
        entries.append(
            Entry(
                result=result,
                look=looks[result.model],
                best=is_best(result, results),
                roc=plots.roc_steps(result.scores, result.same),
                strip=strip,
                cosine_threshold=threshold,
                histogram=histogram,
                genuine=_hardest(result, result.same, result.scores, wrong, pictures),
                impostor=_hardest(result, ~result.same, -result.scores, wrong, pictures),
                false_rejections=int((wrong & result.same).sum()),
                false_acceptances=int((wrong & ~result.same).sum()),
            )
        )
    return {
        "name": results[0].benchmark,
        "entries": entries,
        "notes": notes(results),
        "folds": max(len(result.per_fold) for result in results),
        "roc": plots.roc([(entry.look, *entry.roc) for entry in entries], salt=str(number)),
        "det": plots.det([(entry.look, *entry.roc) for entry in entries], salt=str(number)),
        "named": all(result.first for result in results),
        "factors": _factors(results, looks, salt=str(number)),
    }


def _factors(results: list["PairResult"], looks: Mapping[str, plots.Look], salt: str) -> list[Factor]:
    """The slices of all models, by factor and group."""
    factors: dict[str, dict[str, list[Slice | None]]] = {}
    for i, result in enumerate(results):
        for piece in result.slices:
            groups = factors.setdefault(piece.factor, {})
            groups.setdefault(piece.name, [None] * len(results))[i] = piece
    low = min((piece.interval[0] for result in results for piece in result.slices), default=0)
    made = []
    for factor, groups in factors.items():
        lines = [
            (looks[result.model], [(p.accuracy, *p.interval) if p else None for p in models])
            for result, models in zip(results, zip(*groups.values(), strict=True), strict=True)
        ]
        svg = plots.slices(list(groups), lines, low, f"slices/{salt}/{factor}")
        made.append(Factor(factor, FACTORS[factor][2], svg, groups))
    return made


def _hardest(
    result: "PairResult",
    among: NDArray[np.bool_],
    easiness: NDArray[np.float32],
    wrong: NDArray[np.bool_],
    pictures: Pictures | None,
) -> list[Hard]:
    if not result.first:  # results that were read again have no names
        return []
    candidates = np.flatnonzero(among)
    order = np.argsort(easiness[candidates], kind="stable")[:HARDEST]
    pairs = []
    for i in candidates[order]:
        names = (result.first[i], result.second[i])
        pairs.append(Hard((float(result.scores[i]),), names, taken(result, names, pictures), bool(wrong[i])))
    return pairs


def _strips(results: list["PairResult"]) -> list[tuple[float, float, float] | None]:
    """Accuracy and its interval on one axis for all models, in % of its width; None without anything to compare."""
    points = [(*result.intervals.get("accuracy", (math.nan, math.nan)), result.accuracy) for result in results]
    low, high = np.min(points), np.max(points)  # NaN if any is missing
    if len(results) < 2 or not high > low:
        return [None] * len(results)
    margin = 4  # % on either side, so that the dots stay inside
    scaled = margin + (100 - 2 * margin) * (np.array(points) - low) / (high - low)
    return [(round(float(a), 2), round(float(b), 2), round(float(c), 2)) for a, b, c in scaled]
