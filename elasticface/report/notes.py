"""What is said beside the figures: what was left out, and what was counted on other lists than the published ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elasticface.benchmarks.pairwise.pairs import PairResult
    from elasticface.benchmarks.results import LargeResult

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
    return (*getattr(result, "notes", ()), *left_out(result))  # a list of pairs is nobody's but its own: it has none


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


def terminal_notes(results: Iterable["PairResult | LargeResult"]) -> list[str]:
    """The remarks on all results, a line a note."""
    return [f"{note.benchmark}: {note.text}" for note in notes(results)]
