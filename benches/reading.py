"""What reading benchmarks costs: IJB-C's list of pairs beside pandas, and packs beside the network that they feed.

Run it as ``python benches/reading.py``; ``--help`` lists the options. pandas is compared where it is installed.
"""

import importlib.util
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
from elasticface.benchmarks.reading import rows
from elasticface.data.images import decoding
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.model.encoder import Card, FaceEncoder

OUT = RESULTS / "reading.json"
TEMPLATES, PAIRS = 23_124, 15_658_489  # of IJB-C
LINES = 1 << 18  # written at a time


def bench(scale: float = 1.0, faces: int = 4000, rounds: int = 5, out: Path = OUT, markdown: bool = False) -> None:
    """Measure what reading IJB-C's list of pairs costs, and what decoding a pack costs beside the network.

    Args:
        scale: of the number of pairs of IJB-C.
        faces: in the pack: rendered ones, 112 x 112, JPEG.
        rounds: of each; ours and the peer take turns.
        out: JSON file for every round; replaced if it is there.
        markdown: measure nothing, print the tables of the JSON file for the docs.
    """
    if markdown:
        print(tables(stored(out)))
        return
    if rounds < 1 or not 0 < scale <= 1 or faces < 40:
        raise InputError("--rounds must be at least 1, --scale in (0, 1], --faces at least 40")
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "pair_file": measure_pair_file(Path(folder), round(PAIRS * scale), rounds),
            "pack": measure_pack(Path(folder), faces, rounds),
        }
    kept = save(out, figures)
    console.print(printed(FILE_COLUMNS, file_rows(kept["pair_file"])))
    console.print(printed(PACK_COLUMNS, pack_rows(kept["pack"])))
    console.print(legend(kept))


def measure_pair_file(folder: Path, pairs: int, rounds: int) -> dict[str, Any]:
    path = folder / "ijbc_template_pair_label.txt"
    rng = np.random.default_rng(0)
    with console.status("writing the pair file"), path.open("w") as file:
        for start in range(0, pairs, LINES):
            count = min(LINES, pairs - start)
            columns = rng.integers(1, TEMPLATES + 1, (2, count)).tolist(), rng.integers(0, 2, count).tolist()
            file.write("".join(f"{a} {b} {same}\n" for a, b, same in zip(*columns[0], columns[1], strict=True)))
    (folder / "few.txt").write_text("1 2 0\n")
    rows.read_pairs(folder / "few.txt")  # compiles
    ways = {"ours": lambda: rows.read_pairs(path)}
    if importlib.util.find_spec("pandas"):
        import pandas

        ways["pandas"] = lambda: pandas.read_csv(path, sep=" ", header=None).values
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 else reversed(ways):
            with console.status(f"pair file: {way}, round {number + 1} of {rounds}"):
                seconds[way].append(_seconds(ways[way]))
    return {"pairs": pairs, "bytes": path.stat().st_size, "seconds": seconds}


def measure_pack(folder: Path, faces: int, rounds: int) -> dict[str, Any]:
    pairs = faces // 20 * 10
    with console.status(f"rendering {faces} faces"):
        source = SyntheticFaces(identities=-(-2 * pairs // 16), images=16)
        encoded = {f"{i}.jpg": decoding.encode(source[i][0], ".jpg") for i in range(2 * pairs)}
    names = list(encoded)
    same = np.arange(pairs) % 2 == 0
    made = PairBenchmark("faces", _Encoded(encoded), Pairs(tuple(names[::2]), tuple(names[1::2]), same, 10), None)
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
        self.network, self.seconds = network.to(memory_format=torch.channels_last), 0.0

    def __call__(self, inputs: Tensor) -> Tensor:
        start = time.perf_counter()
        found: Tensor = self.network(inputs)
        self.seconds += time.perf_counter() - start
        return found


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


FILE_COLUMNS = ["IJB-C's list of pairs", "seconds", "MB/s", "speed-up"]
PACK_COLUMNS = ["a pack through `tiny`", "seconds", "images/s", "share of the whole"]


def file_rows(figures: dict[str, Any]) -> list[list[str]]:
    taken = figures["seconds"]
    peer = taken.get("pandas")
    return [
        [
            {"ours": "ours", "pandas": '`pandas.read_csv(sep=" ")`'}[way],
            spread(seconds),
            spread([figures["bytes"] / 1e6 / s for s in seconds]),
            "–"
            if not peer
            else "1"
            if way == "pandas"
            else spread([p / s for p, s in zip(peer, seconds, strict=True)]),
        ]
        for way, seconds in taken.items()
    ]


def pack_rows(figures: dict[str, Any]) -> list[list[str]]:
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
    """What the tables don't say."""
    file, packs = figures["pair_file"], figures["pack"]
    return (
        f"List of pairs: {file['pairs']:,} rows, {file['bytes'] / 1e6:.0f} MB, in the system's cache. Pack: "
        f"{packs['images']:,} JPEGs of 112 × 112, image and mirror image embedded by `tiny` (random weights), figures "
        f"made; the network runs while threads decode. {machine(figures['environment'])}."
    )


def tables(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    file, packs = figures["pair_file"], figures["pack"]
    parts = markdown(FILE_COLUMNS, file_rows(file)), markdown(PACK_COLUMNS, pack_rows(packs)), legend(figures)
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(bench)
