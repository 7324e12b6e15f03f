"""What reading a pack costs beside the network that it feeds.

Run it as ``python benches/reading.py``; ``--help`` lists the options.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, console, machine, markdown, printed, run, save, spread, stored
from torch import Tensor

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PairBenchmark, Pairs, open_pairs
from elasticface.benchmarks.pairwise.packing import pack
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data.images import decoding
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.model.encoder import Card, FaceEncoder

OUT = RESULTS / "reading.json"


def bench(faces: int = 4000, rounds: int = 5, out: Path = OUT, markdown: bool = False) -> None:
    """Measure what decoding a pack costs beside the network.

    Args:
        faces: in the pack: rendered ones, 112 x 112, JPEG.
        rounds: of each; bare decoding and the evaluation take turns.
        out: JSON file for every round; replaced if it is there.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    if rounds < 1 or faces < 40:
        raise InputError("--rounds must be at least 1, --faces at least 40")
    with tempfile.TemporaryDirectory() as folder:
        kept = save(out, {"pack": measure_pack(Path(folder), faces, rounds)})
    console.print(printed(COLUMNS, rows_of(kept["pack"])))
    console.print(legend(kept))


def measure_pack(folder: Path, faces: int, rounds: int) -> dict[str, Any]:
    pairs = faces // 20 * 10
    with console.status(f"rendering {faces} faces"):
        source = SyntheticFaces(identities=-(-2 * pairs // 16), images=16)
        encoded = {f"{i}.jpg": decoding.encode(source[i][0], ".jpg") for i in range(2 * pairs)}
    names = list(encoded)
    same = np.arange(pairs) % 2 == 0
    made = PairBenchmark("faces", _Encoded(encoded), Pairs(tuple(names[::2]), tuple(names[1::2]), same, 10))
    pack(made, folder / "faces.bin", 112, overwrite=False)
    benchmark = open_pairs(folder / "faces.bin")
    clock = _Timed(backbones.create("tiny").eval())
    encoder = FaceEncoder(clock, Card("tiny"))
    decode, network, whole = [], [], []
    for number in range(rounds + 1):
        with console.status(f"pack: round {number} of {rounds}"):
            alone = _seconds(lambda: [decoding.decode(data, name) for name, data in encoded.items()])
            clock.seconds = 0.0
            whole_seconds = _seconds(lambda: evaluate_pairs(encoder, benchmark))
        if number:  # the first one warms up
            decode.append(alone)
            network.append(clock.seconds)
            whole.append(whole_seconds)
    return {"images": 2 * pairs, "decode": decode, "network": network, "whole": whole}


class _Encoded(dict[str, bytes]):
    """Encoded images by name, as :class:`elasticface.benchmarks.pairwise.pairs.Images` wants them."""

    @property
    def names(self) -> list[str]:
        return list(self)

    def read(self, name: str) -> bytes:
        return self[name]


class _Timed:
    """A network, and the seconds that it took."""

    def __init__(self, network: torch.nn.Module) -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.seconds = network, 0.0

    def __call__(self, inputs: Tensor) -> Tensor:
        start = time.perf_counter()
        found: Tensor = self.network(inputs)
        self.seconds += time.perf_counter() - start
        return found


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


COLUMNS = ["a pack through `tiny`", "seconds", "images/s", "share of the whole"]


def rows_of(figures: dict[str, Any]) -> list[list[str]]:
    whole = figures["whole"]
    names = {"whole": "evaluation, all of it", "network": "of it the network", "decode": "bare decode, one thread"}
    return [
        [
            said,
            spread(figures[name]),
            spread([figures["images"] / s for s in figures[name]]),
            "–"
            if name == "decode"
            else f"{spread([100 * s / w for s, w in zip(figures[name], whole, strict=True)])} %",
        ]
        for name, said in names.items()
    ]


def legend(figures: dict[str, Any]) -> str:
    """What the table doesn't say."""
    return (
        f"Pack: {figures['pack']['images']:,} JPEGs of 112 × 112, image and mirror image embedded by `tiny` (random "
        f"weights), figures made; the network runs while threads decode. {machine(figures['environment'])}."
    )


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    return f"{markdown(COLUMNS, rows_of(figures['pack']))}\n\n{legend(figures)}"


if __name__ == "__main__":
    run(bench)
