"""How fast photos become faces and embeddings, beside the bare detector and the bare network.

Run it as ``python benches/photos.py PHOTOS MODEL --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225``. One process does
everything; the kinds of work take turns over the same photos.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, console, machine, markdown, run, save, spread

from elasticface.base.files import printable
from elasticface.base.values import read
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import decode
from elasticface.data.images.photos import Photos
from elasticface.faces.align_folder import align_photos
from elasticface.faces.detect_folder import detect_photos
from elasticface.faces.finder import FaceFinder
from elasticface.faces.yunet import YuNet
from elasticface.model import load
from elasticface.recognition.embed_folder import embed_photos

OUT = RESULTS / "photos.json"
BARE, FOUND, DETECT, ALIGN = "YuNet alone, one look at each photo", "`FaceFinder`", "`detect`", "`align`"
NETWORK, BOTH, EMBED = "the network alone", "`FaceFinder` and the network", "`embed`"


def bench(
    photos: Path,
    model: Path,
    mean: str = "0.5,0.5,0.5",
    std: str = "0.5,0.5,0.5",
    count: int = 300,
    repeats: int = 5,
    out: Path = OUT,
) -> None:
    """Measure seconds a photo of each kind of work, in turns.

    Args:
        photos: a folder or tar of photos with a face each.
        model: an .onnx embedder.
        mean: of its input.
        std: likewise.
        count: photos, spread evenly over all.
        repeats: rounds.
        out: JSON file for the figures; replaced if it is there.
    """
    encoder = load(model, mean=read(mean, list[float], "--mean"), std=read(std, list[float], "--std"))
    some = Photos(photos)
    some.names = some.names[:: max(len(some) // count, 1)][:count]
    finder, bare = FaceFinder(), YuNet()

    def pixels(name: str) -> np.ndarray:
        return decode(some.read(name), printable(name))

    found = {name: finder.find(pixels(name)) for name in some.names}
    faces = [align(pixels(name), face.points) for name in some.names for face in found[name][:1]]

    def in_folder(work: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            work(Path(folder) / "out")

    kinds: dict[str, Callable[[], object]] = {
        BARE: lambda: [bare.candidates(pixels(name)) for name in some.names],
        FOUND: lambda: [finder.find(pixels(name)) for name in some.names],
        DETECT: lambda: in_folder(lambda path: detect_photos(some, path.with_suffix(".csv"), workers=1)),
        ALIGN: lambda: in_folder(lambda path: align_photos(some, path, workers=1)),
        NETWORK: lambda: encoder.embed(faces),
        EMBED: lambda: in_folder(lambda path: embed_photos(some, path, encoder, faces="largest", workers=1)),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(repeats):
        for kind in list(kinds)[:: 1 if repeat % 2 else -1]:
            start = time.perf_counter()
            kinds[kind]()
            seconds[kind].append((time.perf_counter() - start) / len(some))
    side = max(pixels(some.names[0]).shape)
    figures = {"model": encoder.card.name, "photos": len(some), "side": side, "seconds": seconds}
    console.print(table(save(out, figures)))


def table(figures: dict[str, Any]) -> str:
    """As Markdown: photos a second, and the speed as a share of what is in it."""
    seconds = {kind: np.array(rounds) for kind, rounds in figures["seconds"].items()}
    seconds[BOTH] = seconds[FOUND] + seconds[NETWORK]
    of = {FOUND: BARE, DETECT: FOUND, ALIGN: FOUND, EMBED: BOTH}
    rows = [
        [
            kind,
            spread((1 / seconds[kind]).tolist()),
            f"{spread((seconds[of[kind]] / seconds[kind]).tolist(), 2)} of {of[kind]}" if kind in of else "",
        ]
        for kind in (BARE, FOUND, DETECT, ALIGN, NETWORK, BOTH, EMBED)
    ]
    return (
        f"{markdown(['', 'photos/s', 'speed, in turns'], rows)}\n\n{figures['photos']:,} photos of {figures['side']} "
        f"pixels, one process; {figures['model']}, two embeddings a face; {machine(figures['environment'])}."
    )


if __name__ == "__main__":
    run(bench)
