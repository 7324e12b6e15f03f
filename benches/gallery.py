"""A gallery of made-up people: how fast they are enrolled, exact and approximate searches, recall, disk and memory.

Run it as ``python benches/gallery.py``. Embeddings are unit vectors around a centre for each person. The database
stays in ``--folder``, and each part's figures in ``--out`` at once: stopped, the same command goes on.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, console, machine, markdown, run, save, status_bytes, stored
from numpy.typing import NDArray

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import write_json
from elasticface.gallery import collection as collections
from elasticface.gallery import index, search
from elasticface.gallery.collection import Collection
from elasticface.gallery.database import Database
from elasticface.gallery.stats import stats
from elasticface.gallery.storing import NewFace, store
from elasticface.model.encoder import Preprocessing

OUT = RESULTS / "gallery.json"
NAME = "bench"
SPREAD = 0.9  # of a face around its person's centre: faces of one person then have a cosine of 0.55
PEOPLE_AT_ONCE = 200  # enrolled in one transaction

Floats = NDArray[np.float32]


def bench(
    faces: int = 1_000_000,
    people: int = 200_000,
    dimensions: int = 512,
    searches: int = 200,
    folder: Path = Path("/tmp/elasticface-bench"),
    out: Path = OUT,
    markdown: bool = False,
) -> None:
    """Enrol, search exactly, index, search by the index.

    Args:
        faces: in all; the same number for every person.
        people: that they are of.
        dimensions: of an embedding.
        searches: of enrolled people, and as many of strangers.
        folder: of the embedded database; it stays.
        out: JSON file for the figures.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    if people < 1 or faces % people or searches < 1:
        raise InputError("--faces must be a multiple of --people, and --searches at least 1")
    settings = {"faces": faces, "people": people, "dimensions": dimensions, "searches": searches}
    kept = stored(out) if out.exists() else {}
    figures: dict[str, Any] = kept if {name: kept.get(name) for name in settings} == settings else dict(settings)
    database = Database(folder)
    try:
        collection = opened(database, dimensions)
        each = faces // people
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "enrolment": lambda: enrol(database, collection, people, each, figures, out),
            "exact": lambda: searched(database, people, each, dimensions, searches, exact=True),
            "index": lambda: indexed(database),
            "approximate": lambda: searched(database, people, each, dimensions, searches, exact=False),
        }
        for name, measure in parts.items():
            if name not in figures or (name == "enrolment" and not figures[name].get("finished")):
                figures[name] = measure()
                figures = save(out, {key: value for key, value in figures.items() if key != "environment"})
    finally:
        database.close()
    console.print(table(figures))


def opened(database: Database, dimensions: int) -> Collection:
    """The collection, made where it is not there."""
    there = [one for one in collections.every(database) if one.name == NAME]
    if there:
        return there[0]
    return collections.insert(
        database,
        NAME,
        model="made up",
        print_of_model=bytes(32),
        dimensions=dimensions,
        preprocessing=asdict(Preprocessing()),
        detector="none",
        aggregation="best",
    )


def unit(rows: NDArray[Any]) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def faces_of(person: int, each: int, dimensions: int) -> Floats:
    """[each + 1, D] of one person: those enrolled, and one that is searched for."""
    rng = np.random.default_rng(person)
    centre = unit(rng.normal(size=dimensions))
    return unit(centre + SPREAD * unit(rng.normal(size=(each + 1, dimensions))))


def enrol(
    database: Database, collection: Collection, people: int, each: int, figures: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Enrol those that are not there; the seconds of earlier runs count."""
    done = {"seconds": 0.0, "faces": 0, **figures.get("enrolment", {})}
    first = opened(database, collection.dimensions).people
    for start in progress.track(batches(first, people), "enrolling", -(-(people - first) // PEOPLE_AT_ONCE)):
        new = [
            NewFace(f"person {person}", vector, f"{person}/{number}.jpg")
            for person in range(start, min(start + PEOPLE_AT_ONCE, people))
            for number, vector in enumerate(faces_of(person, each, collection.dimensions)[:each])
        ]
        began = time.perf_counter()
        store(database, collection, new)
        done["seconds"] += time.perf_counter() - began
        done["faces"] += len(new)
        write_json(out, {**figures, "enrolment": done})
    (told,) = [one for one in stats(database) if one.collection.name == NAME]
    return {**done, "finished": True, "bytes": told.size}


def batches(first: int, people: int) -> Iterator[int]:
    yield from range(first, people, PEOPLE_AT_ONCE)


def searched(
    database: Database, people: int, each: int, dimensions: int, searches: int, *, exact: bool
) -> dict[str, Any]:
    """Searches for people who are enrolled and for strangers: milliseconds, and what was found."""
    rng = np.random.default_rng(0)
    persons = rng.choice(people, searches)
    probes = {
        "enrolled": [faces_of(int(person), each, dimensions)[each] for person in persons],
        "strangers": [faces_of(people + number, 0, dimensions)[0] for number in range(searches)],
    }
    limit, search.EXACT_UP_TO = search.EXACT_UP_TO, 0
    found: dict[str, Any] = {}
    try:
        search.search(database, NAME, probes["enrolled"][0][None], 1, exact=exact)  # what is read first is not timed
        for kind, vectors in probes.items():
            milliseconds, first = [], []
            for vector in progress.track(vectors, f"searching {kind}", len(vectors)):
                began = time.perf_counter()
                (one,) = search.search(database, NAME, vector[None], 1, exact=exact)
                milliseconds.append(1000 * (time.perf_counter() - began))
                first.append(one.candidates[0].person if one.candidates else "")
            found[kind] = {"milliseconds": milliseconds, "first": first}
    finally:
        search.EXACT_UP_TO = limit
    with database.transaction() as cursor:
        found["server_bytes"] = status_bytes("VmHWM", cursor.connection.info.backend_pid)
    return found


def indexed(database: Database) -> dict[str, Any]:
    """Make the index."""
    began = time.perf_counter()
    recall = index.reindex(database, NAME)
    assert recall is not None
    (told,) = [one for one in stats(database) if one.collection.name == NAME]
    return {"seconds": time.perf_counter() - began, "bytes": told.size, "recall": recall.as_json()}


def table(figures: dict[str, Any]) -> str:
    """For the docs."""
    enrolment, index_ = figures["enrolment"], figures["index"]
    recall = index_["recall"]
    rows = [
        [
            f"enrolment, {PEOPLE_AT_ONCE} people a transaction",
            f"{enrolment['faces'] / enrolment['seconds']:,.0f} faces/s",
        ],
        [
            "size on the disk, without and with the HNSW index",
            f"{enrolment['bytes'] / 1e9:.2f}, {index_['bytes'] / 1e9:.2f} GB",
        ],
        ["HNSW index: made and measured in", f"{index_['seconds']:,.0f} s"],
        [
            "recall@1 as `reindex` measures it",
            f"{recall['rate']:.3f} ({recall['interval'][0]:.3f} – {recall['interval'][1]:.3f})",
        ],
    ]
    for name in ("exact", "approximate"):
        for kind in ("enrolled", "strangers"):
            times = np.percentile(figures[name][kind]["milliseconds"], [50, 99])
            rows.append([f"{name} search, {kind}: p50, p99", f"{times[0]:.1f}, {times[1]:.1f} ms"])
    for kind in ("enrolled", "strangers"):
        same = np.mean(np.equal(figures["exact"][kind]["first"], figures["approximate"][kind]["first"]))
        rows.append([f"recall@1 against brute force, {kind}", f"{same:.3f}"])
    rows.append(["memory of the server's process, at most", f"{figures['approximate']['server_bytes'] / 1e6:,.0f} MB"])
    head = f"{figures['faces']:,} faces of {figures['people']:,} people, {figures['dimensions']} numbers each"
    return f"{markdown([head, ''], rows)}\n\n{machine(figures['environment'])}."


if __name__ == "__main__":
    run(bench)
