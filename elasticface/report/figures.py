"""How figures are written, and what is said beside them: what was left out, and other lists than the published ones."""

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from elasticface.benchmarks.results import LargeResult
from elasticface.benchmarks.samples import ACCURACY, EER

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult

Results = Sequence["PairResult | LargeResult"]
R = TypeVar("R", bound="PairResult | LargeResult")
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

RULES = {
    "at-most": "the largest TAR whose FAR does not exceed the target",
    "nearest": "the TAR at the observed FAR nearest to the target",
}
FIGURES = {ACCURACY: "accuracy", EER: "equal error rate"}
"""The figures of pairs that are at no target, in words."""


def apart(results: Results) -> tuple[list["PairResult"], list[LargeResult]]:
    """The results on pairs, and those of the large benchmarks."""
    return (
        [result for result in results if not isinstance(result, LargeResult)],
        [result for result in results if isinstance(result, LargeResult)],
    )


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items of each key, both in the order in which they come."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def by_benchmark(results: Iterable[R]) -> dict[str, list[R]]:
    return grouped(results, lambda result: result.benchmark)


def cosine_threshold(result: "PairResult") -> float:
    """The squared L2 distance of unit vectors is d = 2 − 2 cos, so cos = 1 − d / 2."""
    return 1 - result.threshold / 2


def fars_of(results: Iterable["PairResult"]) -> list[str]:
    return sorted({far for result in results for rates in result.tar_at_far.values() for far in rates}, key=float)


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}" if math.isfinite(fraction) else "–"


def interval(bounds: tuple[float, float] | None) -> str:
    return f"{percent(bounds[0])} – {percent(bounds[1])}" if bounds else ""


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
    departures = result.departures if isinstance(result, LargeResult) else ()
    # Of an enrolment the notes have a sentence.
    return (*departures, *result.notes, *(left_out(result) if result.enrolment is None else ()))


def left_out(result: "PairResult | LargeResult") -> tuple[str, ...]:
    """What one result was measured without."""
    if result.enrolment is not None and result.enrolment.failures:
        failed = counted(result.enrolment.failures, "images")
        return (f"{failed} not enrolled, --undetected {result.enrolment.undetected}",)
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
    return [
        note
        for benchmark, rows in by_benchmark(results).items()
        for note in joined_notes(benchmark, {row.model: remarks(row) for row in rows})
    ]


def joined_notes(benchmark: str, remarks_of: Mapping[str, Sequence[str]]) -> list[Note]:
    """The remarks on each model of a benchmark, with those in one note that are on the same models."""
    models_of = {
        remark: tuple(model for model, own in remarks_of.items() if remark in own)
        for remark in dict.fromkeys(itertools.chain(*remarks_of.values()))
    }
    together = grouped(models_of, lambda remark: models_of[remark] if len(models_of[remark]) < len(remarks_of) else ())
    return [Note(benchmark, models, tuple(lines)) for models, lines in together.items()]
