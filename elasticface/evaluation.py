"""Models on benchmarks, and what came of it in a folder: `results.json` and `report.html`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elasticface import environment, files, report
from elasticface.benchmarks.pairs import PairBenchmark, PairResult, evaluate_pairs
from elasticface.model import FaceEncoder

RESULTS, REPORT = "results.json", "report.html"


def evaluate(
    encoders: Sequence[FaceEncoder],
    benchmarks: Sequence[PairBenchmark],
    out: Path,
    *,
    flip: bool = True,
    curves: Sequence[dict[str, Any]] | None = None,
    guide: report.Guide | None = None,
) -> list[PairResult]:
    """Measure every model on every benchmark; write ``out/results.json`` and ``out/report.html``.

    Args:
        encoders: the models, to be compared with each other; the report shows faces as the first one sees them.
        benchmarks: of different names.
        out: the folder; it is made if it is not there.
        flip: add the embedding of the mirror image, as the verification protocols do.
        curves: the lines of a run's `metrics.jsonl`, for the report.
        guide: what the report tells beside the figures.

    Returns:
        The figures, benchmark by benchmark.

    Raises:
        InputError: photos that cannot be used, or a model whose embeddings are no numbers.
    """
    results = [evaluate_pairs(encoder, benchmark, flip) for benchmark in benchmarks for encoder in encoders]
    size = encoders[0].card.preprocessing.size
    photos = {benchmark.name: benchmark for benchmark in benchmarks}
    made_with = environment.describe()
    files.write_json(out / RESULTS, report.results_json(results, made_with))
    report.write_report(
        out / REPORT,
        results,
        made_with,
        pictures=lambda result, name: photos[result.benchmark].face(name, size),
        curves=curves,
        guide=guide,
    )
    return results
