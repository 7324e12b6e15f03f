"""Models on benchmarks, and what came of it in a folder: `results.json`, `scores/` and `report.html`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elasticface.base import environment, files, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.benchmarks.opening import Benchmark, Model, Result, measure, try_on
from elasticface.benchmarks.results import RESULTS
from elasticface.benchmarks.stored import SCORES, References, forget_others, named_in, write_scores
from elasticface.data.images.alignment import SIZE
from elasticface.model.encoder import FaceEncoder
from elasticface.report import page
from elasticface.report.files import REPORT, check_report, results_json
from elasticface.report.pictures import Picture

FEATURES = "features"


def check_folder(out: Path, models: Sequence[Model], benchmarks: Sequence[Benchmark], newest: bool = False) -> None:
    """Refuse a folder whose report or results would be lost: those that are not measured again.

    Args:
        out: where the results go.
        models: as :func:`evaluate` takes them.
        benchmarks: likewise.
        newest: the folder is for the newest checkpoint, so results of an older one are replaced, and named.

    Raises:
        InputError: there are such results, or the report of another command.
    """
    check_report(out, RESULTS)
    names = {model.card.name if isinstance(model, FaceEncoder) else model.name for model in models}
    again = {(benchmark, name) for one in benchmarks for benchmark in one.result_names for name in names}
    lost = [
        f"{printable(model)} on {printable(benchmark)}"
        for benchmark, model in named_in(out)
        if (benchmark, model) not in again
    ]
    if lost and newest:
        progress.say(f"{printable(out)}: the results of {', '.join(lost)} are replaced")
    elif lost:
        raise InputError(
            f"{printable(out)}: holds the results of {', '.join(lost)}, which would be lost; measure that too, give "
            f"another folder with --out, or remove its {RESULTS}"
        )


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

    The scores of pairs, and the samples of the large benchmarks, go to ``out/scores``, for `elasticface compare`. All
    benchmarks are tried on a few photos before the first one is measured; after each one its results are written.

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
        for benchmark in benchmarks:
            for model in models:
                try_on(model, benchmark)
        made_with = environment.describe()
        results: list[Result] = []
        stored: References = []
        benchmark_of: dict[str, Benchmark] = {}  # by the name in its results
        for benchmark in benchmarks:
            for model in models:
                measured = measure(model, benchmark, flip, features or out / FEATURES)
                results += measured
                benchmark_of |= dict.fromkeys((result.benchmark for result in measured), benchmark)
            stored += write_scores(out, results[len(stored) :])
            files.write_json(out / RESULTS, results_json(results, made_with, stored))
        forget_others(out, stored)
        size = next((model.card.preprocessing.size for model in models if isinstance(model, FaceEncoder)), SIZE)

        def picture(result: Result, name: str) -> Picture | None:
            try:
                return benchmark_of[result.benchmark].face(name, size)
            except InputError:  # there were features instead of a model, without images; or the images are gone
                return None

        page.write_report(out / REPORT, results, made_with, pictures=picture, curves=curves, guide=guide)
        return results
