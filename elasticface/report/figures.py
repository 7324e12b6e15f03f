"""How figures are written, and what is said beside them: what was left out, and other lists than the published ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elasticface.benchmarks.results import LargeResult
from elasticface.benchmarks.samples import ACCURACY, EER

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult

Results = Sequence["PairResult | LargeResult"]

RULES = {
    "at-most": "the largest TAR whose FAR does not exceed the target",
    "nearest": "the TAR at the observed FAR nearest to the target",
}
FIGURES = {ACCURACY: "accuracy", EER: "equal error rate"}
"""The figures of pairs that are at no target, in words."""


def apart(results: Results) -> tuple[list["PairResult"], list[LargeResult]]:
    """The results on pairs, and those of the large benchmarks."""
    pairs: list[PairResult] = []
    others: list[LargeResult] = []
    for result in results:
        if isinstance(result, LargeResult):
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


# ---------------------------------------------------------------------------------------------- notes

_LEFT_OUT = {
    "damaged_images": "{} missing or damaged",
    "skipped_pairs": "{} skipped",
    "skipped_templates": "{} skipped",
}


@dataclass(frozen=True)
class Note:
    """What is true of one or several models on a benchmark."""

    benchmark: str
    models: tuple[str, ...]  # empty where it is true of all that were measured on it
    remarks: tuple[str, ...]

    @property
    def text(self) -> str:
        """The remarks in a line, the models before them unless they are all."""
        said = "; ".join(self.remarks)
        return f"{', '.join(self.models)}: {said}" if self.models else said


def remarks(result: "PairResult | LargeResult") -> tuple[str, ...]:
    """What is to be said of one result."""
    return (*getattr(result, "notes", ()), *left_out(result))  # results on pairs have no notes


def left_out(result: "PairResult | LargeResult") -> tuple[str, ...]:
    """What one result was measured without."""
    return tuple(
        text.format(counted(result.counts[what], what.partition("_")[2]))
        for what, text in _LEFT_OUT.items()
        if result.counts.get(what)
    )


def counted(number: int, things: str) -> str:
    """A number of things, whose plural ends in s."""
    return f"{number:,} {things if number != 1 else things.removesuffix('s')}"


def notes(results: Iterable["PairResult | LargeResult"]) -> list[Note]:
    """The remarks on all results, each once a benchmark."""
    said: dict[str, dict[str, tuple[str, ...]]] = {}
    for result in results:
        said.setdefault(result.benchmark, {})[result.model] = remarks(result)
    return [note for benchmark, of_models in said.items() for note in once(benchmark, of_models)]


def once(benchmark: str, said: Mapping[str, Sequence[str]]) -> list[Note]:
    """What is said of each model of a benchmark, with those remarks in one note that are of the same models."""
    of_remark: dict[str, list[str]] = {}
    for model, lines in said.items():
        for line in lines:
            of_remark.setdefault(line, []).append(model)
    together: dict[tuple[str, ...], list[str]] = {}
    for line, models in of_remark.items():
        together.setdefault(tuple(models) if len(models) < len(said) else (), []).append(line)
    return [Note(benchmark, models, tuple(lines)) for models, lines in together.items()]
