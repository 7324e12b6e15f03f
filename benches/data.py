"""What reading training images costs, from RecordIO, shards and folders, beside the bare decoding of the same bytes.

Run it as ``python benches/data.py``; ``--help`` lists the options.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import RESULTS, console, machine, markdown, printed, run, save, spread, stored

from elasticface.base.errors import InputError
from elasticface.data import EncodedSource, open_dataset
from elasticface.data.feed.batches import BatchDataset, epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.data.prepare.convert import convert
from elasticface.data.synthetic.write import write_faces

OUT = RESULTS / "data.json"
PHOTOS = 20  # of each person
FORMATS = {"recordio": "RecordIO", "shards": "shards", "folder": "folder"}
WARM_UP = 6  # batches before the clock starts: workers have been forked, and read


def bench(
    images: int = 4000, rounds: int = 9, batch: int = 128, workers: int = 2, out: Path = OUT, markdown: bool = False
) -> None:
    """Measure images a second of one core, and what handing batches over from worker processes takes of it.

    Args:
        images: rendered faces, 112 x 112, JPEG.
        rounds: of each; all formats and the bare decoding take turns.
        batch: images in a batch.
        workers: processes that read.
        out: JSON file for every round; replaced if it is there.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    if images < PHOTOS or rounds < 1 or workers < 1 or not 1 <= batch * 2 * WARM_UP <= images:
        raise InputError(
            f"--images must be {PHOTOS} or more and {2 * WARM_UP} batches, --rounds and --workers 1 or more"
        )
    with tempfile.TemporaryDirectory() as folder:
        sources = write(Path(folder), images)
        count = len(sources["folder"])
        figures = {
            "images": count,
            "batch": batch,
            "workers": workers,
            "bytes": sum(len(sources["folder"].encoded(index)[0]) for index in range(count)) / count,
            "seconds": measure_reading(sources, batch, rounds),
            "loading": {name: measure_loading(sources[name], batch, workers, rounds) for name in FORMATS},
        }
    kept = save(out, figures)
    console.print(printed(COLUMNS, rows(kept)))
    console.print(legend(kept))


def write(folder: Path, images: int) -> dict[str, EncodedSource]:
    """The same faces in every format."""
    write_faces(folder / "faces", identities=images // PHOTOS, images_per_identity=PHOTOS)
    made: dict[str, EncodedSource] = {}
    for name in FORMATS:
        convert(folder / "faces", folder / name, name, per_shard=1000)  # type: ignore[arg-type]
        source = open_dataset(folder / name)
        assert isinstance(source, EncodedSource)
        made[name] = source
    return made


def measure_reading(sources: dict[str, EncodedSource], batch: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor for all images, in a drawn order, from memory or the system's cache."""
    count = len(sources["recordio"])
    order = np.random.default_rng(0).permutation(count).tolist()
    encoded = [np.frombuffer(sources["recordio"].encoded(index)[0], np.uint8) for index in order]

    def bare() -> None:
        for data in encoded:
            cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)

    def reading(source: EncodedSource) -> Callable[[], None]:
        def read() -> None:
            for start in range(0, count, batch):
                indices = order[start : start + batch]
                if hasattr(source, "will_read"):
                    source.will_read(indices)
                for index in indices:
                    source[index]

        return read

    ways = {"bare": bare, **{name: reading(source) for name, source in sources.items()}}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways if number % 2 else reversed(ways):
            with console.status(f"{way}, round {number} of {rounds}"):
                began = time.process_time()  # files are in memory, so nothing is waited for
                ways[way]()
                taken = time.process_time() - began
            if number:  # the first brings files into memory
                seconds[way].append(taken)
    return seconds


def measure_loading(source: EncodedSource, batch: int, workers: int, rounds: int) -> dict[str, list[float]]:
    """Images a second that workers read for themselves, and those that arrive as batches; in turns."""
    rates: dict[str, list[float]] = {"alone": [], "loaded": []}
    for epoch in range(rounds):
        sampler = KeyedBatchSampler(len(source), batch, seed=0, epoch=epoch)
        for way in rates if epoch % 2 else reversed(rates):
            with console.status(f"loading, {way}, round {epoch + 1} of {rounds}"):
                rates[way].append(
                    loaded(source, sampler, workers) if way == "loaded" else alone(source, sampler, workers)
                )
    return rates


def loaded(source: EncodedSource, sampler: KeyedBatchSampler, workers: int) -> float:
    """Through :func:`batches`, doing nothing with them."""
    began, ended, images = 0.0, 0.0, 0
    for number, (_, labels, _, _) in enumerate(epoch_batches(source, sampler, workers, pin_memory=False), 1):
        ended = time.perf_counter()  # of the last batch: before the workers are sent home, once an epoch
        if number == WARM_UP:
            began = ended
        elif number > WARM_UP:
            images += len(labels)
    return images / (ended - began)


def alone(source: EncodedSource, sampler: KeyedBatchSampler, workers: int) -> float:
    """Processes that read their batches as workers do, and throw them away."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(workers + 1)
    shares = [list(sampler)[worker::workers] for worker in range(workers)]
    processes = [context.Process(target=_read, args=(source, share, gate)) for share in shares]
    for process in processes:
        process.start()
    gate.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    return sum(len(batch) for share in shares for batch in share) / (time.perf_counter() - began)


def _read(source: EncodedSource, share: Sequence[list[int]], gate: Any) -> None:
    reader = BatchDataset(source)
    reader.__getitems__((0, share[0]))
    gate.wait()
    for batch in share:
        reader.__getitems__((0, batch))


COLUMNS = ["format", "images/s, one core", "÷ bare decoding", "images/s, alone", "images/s, in batches", "÷ alone"]


def rows(figures: dict[str, Any]) -> list[list[str]]:
    """The cells of the table."""
    seconds, count = figures["seconds"], figures["images"]
    made = [["bare decoding", spread([count / s for s in seconds["bare"]]), "1", "–", "–", "–"]]
    for name, title in FORMATS.items():
        ratios = [bare / own for bare, own in zip(seconds["bare"], seconds[name], strict=True)]
        loading = figures["loading"][name]
        shares = [here / own for here, own in zip(loading["loaded"], loading["alone"], strict=True)]
        rates = [count / s for s in seconds[name]]
        made.append(
            [title, spread(rates), spread(ratios), spread(loading["alone"]), spread(loading["loaded"]), spread(shares)]
        )
    return made


def legend(figures: dict[str, Any]) -> str:
    """What the table doesn't say."""
    rounds = len(figures["seconds"]["bare"])
    return (
        f"{figures['images']:,} rendered faces of 112x112, JPEG of {figures['bytes'] / 1000:.1f} kB on average, in the "
        f"system's cache, in a drawn order; {rounds} rounds. One core: by processor time. Bare decoding: cv2.imdecode "
        f"of the same bytes. Alone: {figures['workers']} processes that read and throw away; in batches of "
        f"{figures['batch']}: as many workers of the DataLoader, nothing done with what arrives. "
        f"{machine(figures['environment'])}."
    )


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    return f"{markdown(COLUMNS, rows(figures))}\n\n{legend(figures)}"


if __name__ == "__main__":
    run(bench)
