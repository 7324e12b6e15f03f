"""What `elasticface export` makes of a model: float32 beside int8 in parity, size, speed and accuracy.

Run it as ``python benches/export.py MODEL BENCHMARK --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225``.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, console, machine, markdown, rounded, run, save, spread

from elasticface.base.errors import InputError
from elasticface.base.values import read
from elasticface.benchmarks.opening import open_benchmark
from elasticface.benchmarks.pairwise.lists import PairBenchmark
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.model import FaceEncoder, export, load

OUT = RESULTS / "export.json"
KINDS = ("float32", "int8")
_PARITY = 1000  # faces of the benchmark whose embeddings are compared
_AT_A_TIME = 20  # images between two looks at the clock


def bench(
    model: Path,
    benchmark: Path,
    int8: str = "rendered",
    mean: str = "0.5,0.5,0.5",
    std: str = "0.5,0.5,0.5",
    repeats: int = 15,
    out: Path = OUT,
) -> None:
    """Export a model as float32 and as int8, and measure both on a benchmark of pairs.

    Args:
        model: anything that elasticface.load takes.
        benchmark: a list of pairs, as elasticface evaluate takes it.
        int8: the faces for int8.
        mean: of an .onnx from elsewhere.
        std: likewise.
        repeats: rounds of the clock, float32 and int8 alternating, one image at a time on one thread.
        out: JSON file for the figures; replaced if it is there.
    """
    pairs = open_benchmark(str(benchmark))[0]
    if not isinstance(pairs, PairBenchmark):
        raise InputError(f"{benchmark}: no list of pairs")
    given = (
        {} if model.is_dir() else {"mean": read(mean, list[float], "--mean"), "std": read(std, list[float], "--std")}
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder, f"{kind}.onnx") for kind in KINDS}
        source = load(model, **given)
        sizes = {
            "float32": export(source, paths["float32"]).size,
            "int8": export(source, paths["int8"], int8=int8).size,
        }
        encoders = {kind: load(path) for kind, path in paths.items()}
        names = sorted({*pairs.pairs.first, *pairs.pairs.second})[:_PARITY]
        side = source.card.preprocessing.size
        embeddings = {
            kind: encoder.embed((pairs.face(name, side) for name in names), flip=False)
            for kind, encoder in encoders.items()
        }
        cosines = (embeddings["float32"] * embeddings["int8"]).sum(1)
        seconds = timed(encoders, paths, repeats)
        results = {kind: evaluate_pairs(encoder, pairs) for kind, encoder in encoders.items()}
    figures = save(
        out,
        {
            "model": source.card.name,
            "benchmark": pairs.name,
            "pairs": len(pairs.pairs.same),
            "faces": len(names),
            "sizes": sizes,
            "cosine": {"mean": float(cosines.mean()), "least": float(cosines.min())},
            "seconds": seconds,
            "accuracy": {kind: [result.accuracy, result.accuracy_std] for kind, result in results.items()},
            "threshold": {kind: 1 - result.threshold / 2 for kind, result in results.items()},
        },
    )
    console.print(table(figures))


def timed(encoders: dict[str, FaceEncoder], paths: dict[str, Path], repeats: int) -> dict[str, list[float]]:
    """Seconds an image in each round, the two in turns."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions, inputs = {}, {}
    for kind, encoder in encoders.items():
        sessions[kind] = onnxruntime.InferenceSession(str(paths[kind]), options, providers=["CPUExecutionProvider"])
        network: Any = encoder.network
        side = encoder.card.preprocessing.size
        pixels = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
        inputs[kind] = {network.input: pixels}
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for repeat in range(repeats + 1):
        for kind in KINDS if repeat % 2 else reversed(KINDS):
            start = time.perf_counter()
            for _ in range(_AT_A_TIME):
                sessions[kind].run(None, inputs[kind])
            if repeat:  # the first round pays for allocations
                found[kind].append((time.perf_counter() - start) / _AT_A_TIME)
    return found


def table(figures: dict[str, Any]) -> str:
    """As Markdown, float32 beside int8."""
    seconds, sizes, cosine = figures["seconds"], figures["sizes"], figures["cosine"]
    ratios = [slow / fast for slow, fast in zip(seconds["float32"], seconds["int8"], strict=True)]
    rows = []
    for kind in KINDS:
        accuracy, deviation = figures["accuracy"][kind]
        rows.append(
            [
                kind,
                "1" if kind == "float32" else f"{cosine['mean']:.4f}, least {cosine['least']:.3f}",
                f"{sizes[kind]:,} bytes",
                rounded(statistics.median(1 / value for value in seconds[kind])),
                "1" if kind == "float32" else spread(ratios),
                f"{100 * accuracy:.2f} ± {100 * deviation:.2f} %",
                f"{figures['threshold'][kind]:.3f}",
            ]
        )
    columns = ["", "cosine to float32", "size", "images/s", "speed, in turns", "accuracy", "threshold (cosine)"]
    text = markdown(columns, rows)
    return (
        f"{text}\n\n{figures['model']} on {figures['pairs']:,} pairs of {figures['benchmark']}; cosine over "
        f"{figures['faces']:,} of its faces; one image at a time on one thread of {machine(figures['environment'])}."
    )


if __name__ == "__main__":
    run(bench)
