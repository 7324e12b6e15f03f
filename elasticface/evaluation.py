"""Models on benchmarks, and what came of it in a folder: `results.json`, `scores/` and `report.html`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elasticface.base import environment, files
from elasticface.base.errors import InputError
from elasticface.base.locks import locked
from elasticface.benchmarks.opening import Benchmark, Model, Result, measure
from elasticface.benchmarks.stored import RESULTS, SCORES, forget_others, write_scores
from elasticface.data.images.alignment import SIZE
from elasticface.model.encoder import FaceEncoder
from elasticface.report import page
from elasticface.report.files import results_json
from elasticface.report.pictures import Picture

REPORT, FEATURES = "report.html", "features"


def evaluate(
    models: Sequence[Model],
    benchmarks: Sequence[Benchmark],
    out: Path,
    *,
    flip: bool = True,
    features: Path | None = None,
    curves: Sequence[dict[str, Any]] | None = None,
    guide: page.Guide | None = None,
) -> list[Result]:
    """Measure every model on every benchmark; write ``out/results.json`` and ``out/report.html``.

    The scores of pairs, and the samples of the large benchmarks, go to ``out/scores``, for `elasticface compare`.

    Args:
        models: to be compared with each other; the report shows faces as the first encoder sees them.
        benchmarks: of different names.
        out: the folder; it is made if it is not there.
        flip: add the embedding of the mirror image, as the verification protocols do; on pairs.
        features: the folder that keeps the embeddings of the large benchmarks, so that a stopped evaluation resumes;
            by default one in ``out``.
        curves: the lines of a run's `metrics.jsonl`, for the report.
        guide: what the report tells beside the figures.

    Returns:
        The figures, benchmark by benchmark.

    Raises:
        InputError: photos that cannot be used, a model whose embeddings are no numbers, or another process that
            evaluates into ``out``.
    """
    with locked(out / SCORES):
        results: list[Result] = []
        benchmark_of: dict[str, Benchmark] = {}  # by the name in its results
        for benchmark in benchmarks:
            for model in models:
                measured = measure(model, benchmark, flip, features or out / FEATURES)
                results += measured
                benchmark_of |= dict.fromkeys((result.benchmark for result in measured), benchmark)
        size = next((model.card.preprocessing.size for model in models if isinstance(model, FaceEncoder)), SIZE)

        def picture(result: Result, name: str) -> Picture | None:
            try:
                return benchmark_of[result.benchmark].face(name, size)
            except InputError:  # there were features instead of a model, without images; or the images are gone
                return None

        made_with = environment.describe()
        stored = write_scores(out, results)
        files.write_json(out / RESULTS, results_json(results, made_with, stored))
        forget_others(out, stored)
        page.write_report(out / REPORT, results, made_with, pictures=picture, curves=curves, guide=guide)
        return results
