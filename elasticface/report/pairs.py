"""What the report shows of each benchmark of pairs: figures, ROC, DET, scores, slices and the hardest pairs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elasticface.benchmarks.hardest import Hardest, HardTrial, lowest
from elasticface.benchmarks.pairwise.slices import FACTORS, Slice
from elasticface.report import plots
from elasticface.report.figures import cosine_threshold, counted, notes
from elasticface.report.pictures import Gallery, Pictures, gallery

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult

Floats = NDArray[np.float64]
Looks = Mapping[str, plots.Look]


@dataclass(frozen=True)
class Entry:
    """What the page shows of one result."""

    result: "PairResult"
    best: bool  # no other of several models has a higher accuracy
    roc: tuple[Floats, Floats]  # FARs and the TAR at each
    strip: tuple[float, float, float] | None  # interval and accuracy on the benchmark's common axis, in %
    cosine_threshold: float
    errors: int  # pairs on the wrong side of the threshold
    galleries: list[Gallery]  # genuine pairs, impostor pairs; none where the photos have no names


@dataclass(frozen=True)
class Factor:
    """What the page shows of the pairs grouped by one factor."""

    name: str
    about: str
    plot: plots.Plot
    groups: dict[str, list[Slice | None]]  # name -> a slice a model


def section(number: int, results: list["PairResult"], looks: Looks, pictures: Pictures | None) -> dict[str, Any]:
    """Everything the template needs for one benchmark."""
    name, salt = results[0].benchmark, str(number)
    highest = max(result.accuracy for result in results)
    entries: list[Entry] = []
    for result, strip in zip(results, _strips(results), strict=True):
        threshold = cosine_threshold(result)
        accepted = result.scores > threshold  # the protocol accepts a distance BELOW the threshold
        wrong = accepted != result.same
        entries.append(
            Entry(
                result=result,
                best=len(results) > 1 and result.accuracy == highest,
                roc=plots.roc_steps(result.scores, result.same, result.enrolled),
                strip=strip,
                cosine_threshold=threshold,
                errors=int(wrong.sum()),
                galleries=_galleries(result, wrong, pictures),
            )
        )
    lines = [(looks[entry.result.model], *entry.roc) for entry in entries]
    return {
        "name": name,
        "entries": entries,
        "notes": notes(results),
        "folds": max(len(result.per_fold) for result in results),
        "plots": [*plots.roc_and_det(lines, name, salt), *_histograms(results, salt)],
        "named": all(result.first for result in results),
        "factors": _factors(results, looks, salt),
    }


def _histograms(results: list["PairResult"], salt: str) -> list[plots.Plot]:
    legend = [plots.Look(kind, kind) for kind in ("genuine", "impostor")]
    scored = [(r.scores[r.enrolled], r.same[r.enrolled], cosine_threshold(r)) for r in results]
    drawn = plots.histograms(scored, salt)
    return [
        plots.Plot(
            title=f"Scores: {result.model}" if len(results) > 1 else "Scores",
            says=f"Histogram of cosine similarity for {result.model} on {result.benchmark}: genuine and impostor "
            f"pairs, decision threshold {cosine_threshold(result):.3f}.",
            svg=svg,
            legend=legend,
        )
        for result, svg in zip(results, drawn, strict=True)
    ]


def _factors(results: list["PairResult"], looks: Looks, salt: str) -> list[Factor]:
    """The slices of all models, by factor and group."""
    factors: dict[str, dict[str, list[Slice | None]]] = {}
    for i, result in enumerate(results):
        for piece in result.slices:
            groups = factors.setdefault(piece.factor, {})
            groups.setdefault(piece.name, [None] * len(results))[i] = piece
    low = min((piece.interval[0] for result in results for piece in result.slices), default=0)
    legend = [looks[result.model] for result in results]
    made = []
    for factor, groups in factors.items():
        about = FACTORS[factor][2]
        says = (
            f"Accuracy on {results[0].benchmark} by {factor}, {about}: a point with its interval for each group and "
            "model; the table below has the figures."
        )
        lines = [
            (look, [(p.accuracy, *p.interval) if p else None for p in models])
            for look, models in zip(legend, zip(*groups.values(), strict=True), strict=True)
        ]
        svg = plots.slices(list(groups), lines, low, f"slices/{salt}/{factor}")
        made.append(Factor(factor, about, plots.Plot(factor.capitalize(), says, svg, legend, about), groups))
    return made


def _galleries(result: "PairResult", wrong: NDArray[np.bool_], pictures: Pictures | None) -> list[Gallery]:
    """Genuine pairs with the lowest scores, and impostor pairs with the highest."""
    if not result.first:  # results that were read again have no names
        return []
    made = []
    for kind, error, among, easiness in (
        ("genuine", "rejected", result.same, result.scores),
        ("impostor", "accepted", ~result.same, -result.scores),
    ):
        errors, failed = int((wrong & among).sum()), int((wrong & among & ~result.enrolled).sum())
        said = f"{counted(errors, 'pairs')} falsely {error}" if errors else f"none falsely {error}; these come closest"
        if failed:
            said += f", {failed:,} of them without a face to compare, which are not shown"
        pairs = np.flatnonzero(among & result.enrolled)
        trials = [
            HardTrial((float(result.scores[i]),), (result.first[i], result.second[i]), bool(wrong[i]))
            for i in pairs[lowest(easiness[pairs])]
        ]
        hardest = Hardest(f"{kind.capitalize()}: {said}", error, ("", ""), tuple(trials))
        made.append(gallery(result, hardest, f"{kind} pair", pictures))
    return made


def _strips(results: list["PairResult"]) -> list[tuple[float, float, float] | None]:
    """Accuracy and its interval on one axis for all models, in % of its width; None without anything to compare."""
    points = [(*result.intervals.get("accuracy", (math.nan, math.nan)), result.accuracy) for result in results]
    low, high = np.min(points), np.max(points)  # NaN if any is missing
    if len(results) < 2 or not high > low:
        return [None] * len(results)
    margin = 4  # % on either side, so that the dots stay inside
    scaled = margin + (100 - 2 * margin) * (np.array(points) - low) / (high - low)
    return [(round(float(a), 2), round(float(b), 2), round(float(c), 2)) for a, b, c in scaled]
