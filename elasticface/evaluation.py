"""Models on benchmarks, and what came of it in a folder: `results.json`, `scores/` and `report.html`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elasticface.base import environment, files
from elasticface.base.errors import InputError
from elasticface.base.locks import locked
from elasticface.benchmarks.opening import Benchmark, Model, Result, measure
from elasticface.benchmarks.stored import RESULTS, SCORES, forget_others, write_scores
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
        features: where the embeddings of the large benchmarks are kept, so that a stopped evaluation resumes; a folder
            in ``out`` unless given.
        curves: the lines of a run's `metrics.jsonl`, for the report.
        guide: what the report tells beside the figures.

    Returns:
        The figures, benchmark by benchmark.

    Raises:
        InputError: photos that cannot be used, a model whose embeddings are no numbers, or another process that
            evaluates into ``out``.
    """
    with locked(out / SCORES):
        kept = features or out / FEATURES
        results: list[Result] = []
        sources: dict[str, Benchmark] = {}
        for benchmark in benchmarks:
            for model in models:
                found = measure(model, benchmark, flip, kept)
                results += found
                sources |= dict.fromkeys((result.benchmark for result in found), benchmark)
        size = next((model.card.preprocessing.size for model in models if isinstance(model, FaceEncoder)), 112)

        def picture(result: Result, name: str) -> Picture | None:
            try:
                return sources[result.benchmark].face(name, size)
            except InputError:  # features came in the place of a model, without images; or these are gone meanwhile
                return None

        made_with = environment.describe()
        stored = write_scores(out, results)
        files.write_json(out / RESULTS, results_json(results, made_with, stored))
        forget_others(out, stored)
        page.write_report(
            out / REPORT,
            results,
            made_with,
            pictures=picture,
            curves=curves,
            guide=guide,
        )
        return results
