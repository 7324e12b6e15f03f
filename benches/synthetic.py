"""What rendering a synthetic face costs here: the start, a person's head, a photo of it, memory. One thread.

Run it as ``python benches/synthetic.py``; ``--help`` lists the options.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import RESULTS, console, markdown, printed, run, save, spread, status_bytes, stored

from elasticface.base.errors import InputError

OUT = RESULTS / "synthetic.json"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
FIRST_PHOTO = "from elasticface.data.synthetic.studio import Studio; Studio(0).image(0, 0)"


@dataclass(frozen=True)
class Round:
    """One round: every person is made, then photographed. Seconds by the clock, and of the processor."""

    people: list[float]  # [P] seconds a person's head and skin
    people_cpu: list[float]
    photos: list[float]  # [P] seconds for all photos of a person
    photos_cpu: list[float]


@dataclass(frozen=True)
class Memory:
    """Bytes resident at the peak: with the modules loaded, and at the end."""

    loaded: int
    total: int


def bench(
    people: int = 8, photos: int = 32, rounds: int = 7, starts: int = 5, out: Path = OUT, markdown: bool = False
) -> None:
    """Measure the renderer on one thread: how long to the first photo, and what persons and photos then cost.

    A start is a fresh process, from its beginning to its end with one photo in between: first with an empty folder for
    compiled code (NUMBA_CACHE_DIR), then with the same folder full. Persons and photos are measured in a process of
    its own that has compiled everything; given are the median and the range, over starts, people or rounds.

    Args:
        people: made anew in each round.
        photos: of each person and round.
        rounds: timed rounds, after one that is not.
        starts: with an empty folder, and as many with a full one.
        out: JSON file for every round; replaced if it is there.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    if min(people, photos, rounds, starts) < 1:
        raise InputError("--people, --photos, --rounds and --starts must be at least 1")
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as folder, environment(**ONE_THREAD):
        for number in range(starts):
            with console.status("starting"), environment(NUMBA_CACHE_DIR=f"{folder}/{number}"):
                cold.append(start())
                warm.append(start())
        with (
            console.status("photographing"),
            environment(NUMBA_CACHE_DIR=f"{folder}/0"),  # so that the compiler takes neither time nor memory
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
        ):
            taken, memory = process.submit(measure, people, photos, rounds).result()
    figures = {
        "people": people,
        "photos": photos,
        "unit": "seconds",
        "start_compiling": cold,
        "start_compiled": warm,
        "rounds": [asdict(this) for this in taken],
        "memory": memory and asdict(memory),
    }
    kept = save(out, figures)
    console.print(printed(COLUMNS, rows(kept)))
    console.print(legend(kept))


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """What processes find that are started in here."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def start() -> dict[str, float]:
    """Seconds of a fresh process that takes one photo."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST_PHOTO], check=True)
    elapsed, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"clock": elapsed, "cpu": cpu}


def measure(people: int, photos: int, rounds: int) -> tuple[list[Round], Memory | None]:
    """To be called in a fresh process."""
    import cv2

    from elasticface.data.synthetic.studio import Studio

    cv2.setNumThreads(1)
    loaded = status_bytes("VmHWM")
    taken = []
    for number in range(rounds + 1):
        this, studio = Round([], [], [], []), Studio(0)
        for person in range(people):
            with timed(this.people, this.people_cpu):
                studio.sitter(person)
            with timed(this.photos, this.photos_cpu):
                for photo in range(photos):
                    studio.image(person, photo)
        if number:  # the first round loads what is compiled
            taken.append(this)
    return taken, Memory(loaded, status_bytes("VmHWM")) if loaded else None


@contextmanager
def timed(clock: list[float], processor: list[float]) -> Iterator[None]:
    began, cpu = time.perf_counter(), time.process_time()
    yield
    clock.append(time.perf_counter() - began)
    processor.append(time.process_time() - cpu)


COLUMNS = ["what", "by the clock", "of the processor"]


def rows(figures: dict[str, Any]) -> list[list[str]]:
    """The cells of the table."""
    rounds = figures["rounds"]
    starts = [
        [what, *(spread([s[kind] for s in figures[name]]) for kind in ("clock", "cpu"))]
        for what, name in (
            ("start, s", "start_compiled"),
            ("first start, s", "start_compiling"),
        )
    ]
    heads = [spread([1000 * s for this in rounds for s in this[name]]) for name in ("people", "people_cpu")]
    images = figures["people"] * figures["photos"]
    rates = [spread([images / sum(this[name]) for this in rounds]) for name in ("photos", "photos_cpu")]
    return [
        *starts,
        ["a person, ms", *heads],
        ["photos/s", *rates],
    ]


def legend(figures: dict[str, Any]) -> str:
    """What the table doesn't say."""
    memory, described = figures["memory"], figures["environment"]
    told = (
        f" Memory: {memory['total'] / 2**20:,.0f} MiB at the peak, {memory['loaded'] / 2**20:,.0f} MiB of them for the "
        "modules alone."
        if memory
        else ""
    )
    return (
        f"One thread. Start: a fresh process until its first photo is taken; the very first compiles; median (range) "
        f"of {len(figures['start_compiled'])}. A person: head and skin, {figures['people']} people in "
        f"{len(figures['rounds'])} rounds. Photos: of people already made, {figures['photos']} of each a round.{told} "
        f"{described['processor']}, numba {described['versions']['numba']}."
    )


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    return f"{markdown(COLUMNS, rows(figures))}\n\n{legend(figures)}"


if __name__ == "__main__":
    run(bench)
