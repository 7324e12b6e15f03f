"""Kill writers or the server while people are enrolled and removed: ``python tests/crashes.py kills --kills 100``; fill
the disk meanwhile: ``python tests/crashes.py full FOLDER``.

A writer says each change that was acknowledged, on a pipe, before it begins the next. After every kill each of these is
in the database, and of those that were on their way all or nothing: a person's three faces or none. Two writers work at
the same time, on people of their own.
"""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from unit_vectors import made_up

from elasticface.base import environment
from elasticface.base.errors import Stopped
from elasticface.base.files import write_json
from elasticface.gallery import collection as collections
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.storing import NewFace
from elasticface.model.encoder import Preprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["elasticface.gallery.gallery"])  # once, and not for every writer
FACES = 3  # of each person
DIMENSIONS = 64
COLLECTION = "crashes"
MESSAGES = 40  # of a writer before it is killed, at most
WRITERS = 2  # at the same time
BALLAST = 48  # MiB that are on the disk before it is filled, and removed afterwards: room to recover in


def write(folder: Path, first: int, said: Connection) -> None:
    """Enrol people for ever from number ``first`` on, remove every fifth again, and say what is done."""
    with contextlib.suppress(Stopped):  # the server was killed
        go_on(Gallery(COLLECTION, database=folder), first, said)


def go_on(gallery: Gallery, first: int, said: Connection) -> None:
    said.send(("begun", first))
    for number in range(first, sys.maxsize, WRITERS):
        said.send(("enrolling", number))
        gallery.enrol_embeddings(faces_of(number))
        said.send(("enrolled", number))
        if not number % 5:
            said.send(("removing", number))
            removed = gallery.remove(str(number), erase=not number % 25)
            said.send(("removed", number))
            if "the database ended meanwhile" in removed.remains:  # it has said so, and does not raise
                return


def faces_of(number: int) -> list[NewFace]:
    """Those of a person."""
    faces = made_up(1, FACES, DIMENSIONS, seed=number)
    return [NewFace(str(number), face.embedding, face.source) for face in faces]


class Writer:
    """A process that writes, and what it says, which is read as it comes: else it would wait for that."""

    def __init__(self, folder: Path, first: int) -> None:
        heard, says = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=write, args=(folder, first, says))
        self.process.start()
        says.close()
        assert heard.recv() == ("begun", first)
        self.said: list[tuple[str, int]] = []
        self._reader = threading.Thread(target=self._read, args=(heard,))
        self._reader.start()

    def _read(self, heard: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.said.append(heard.recv())

    def wait_for(self, messages: int) -> None:
        """Until it has said so many."""
        while len(self.said) < messages and self.process.is_alive():
            time.sleep(0.005)

    def ended(self) -> list[tuple[str, int]]:
        """Wait for its end. Returns all that it said."""
        self.process.join()
        self._reader.join()
        return self.said


def made(folder: Path) -> Database:
    """A database with the collection, of nobody yet."""
    database = Database(folder)
    collections.insert(
        database,
        COLLECTION,
        model="made up",
        print_of_model=bytes(32),
        dimensions=DIMENSIONS,
        preprocessing=asdict(Preprocessing()),
        detector="none",
        aggregation="best",
    )
    return database


def crash(folder: Path, kills: int, seed: int, longest: float) -> list[dict[str, Any]]:
    """Kill so many times at random moments, and compare after each. Returns what each kill met.

    Raises:
        AssertionError: an acknowledged change is not there, or half of one is.
    """
    chance = random.Random(seed)
    database = made(folder)
    enrolled: set[int] = set()
    met: list[dict[str, Any]] = []
    first = 0
    for kill in range(kills):
        writers = [Writer(folder, first + number) for number in range(WRITERS)]
        writers[0].wait_for(chance.randint(1, MESSAGES))
        time.sleep(chance.uniform(0, longest))
        what = ("writers", "server", "both")[kill % 3]
        if what != "server":
            for writer in writers:
                writer.process.kill()
        if what != "writers":
            os.kill(int((folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        acknowledged = 0
        on_their_way: set[int] = set()
        for state, number in (message for writer in writers for message in writer.ended()):
            first = max(first, number + 1)
            if state in ("enrolled", "removed"):
                acknowledged += 1
                on_their_way.discard(number)
                (enrolled.add if state == "enrolled" else enrolled.discard)(number)
            else:
                on_their_way.add(number)
        database.disconnect()
        if what != "writers":
            database.close()
            database = Database(folder)
        there = faces(database)
        assert all(number == FACES for number in there.values()), there
        assert {*there} ^ enrolled <= on_their_way, (sorted({*there} ^ enrolled), on_their_way)
        done = len({number for number in on_their_way if (number in there) != (number in enrolled)})
        enrolled = {*there}
        met.append({"killed": what, "acknowledged": acknowledged, "begun": len(on_their_way), "done": done})
        print(f"kill {kill + 1}: {met[-1]}, {len(there):,} people there", file=sys.stderr)
    database.close()
    return met


def fill(folder: Path) -> dict[str, Any]:
    """Enrol until the disk of ``folder`` is full, make room, and compare. Returns what was met.

    Raises:
        AssertionError: an acknowledged change is not there, or half of one is.
    """
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(BALLAST * 2**20))
    database = made(folder / "db")
    gallery = Gallery(COLLECTION, database=database)
    enrolled: set[int] = set()
    said = ""
    while not said:
        try:
            gallery.enrol_embeddings(faces_of(len(enrolled)))
            enrolled.add(len(enrolled))
        except Stopped as error:
            said = str(error)
    database.close()
    ballast.unlink()
    database = Database(folder / "db")
    there = faces(database)
    database.close()
    assert all(number == FACES for number in there.values()), there
    assert {*there} ^ enrolled <= {len(enrolled)}, sorted({*there} ^ enrolled)
    return {
        "bytes": shutil.disk_usage(folder).total,
        "acknowledged": len(enrolled),
        "there": len(there),
        "said": said.replace(str(folder), "FOLDER"),
    }


def faces(database: Database) -> dict[int, int]:
    """How many faces each person has, by number; the collection's own counts say the same.

    What the server was doing for a writer that was killed it still does: once that has ended, it is there or not.
    """
    with database.no_transaction() as cursor:
        others = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        while cursor.execute(others).fetchone() is not None:
            time.sleep(0.01)
    with database.transaction() as cursor:
        cursor.execute(
            "SELECT name, (SELECT count(*) FROM face WHERE face.person = person.id), "
            "(SELECT people FROM collection), (SELECT faces FROM collection), (SELECT count(*) FROM face) FROM person"
        )
        rows = cursor.fetchall()
    assert all((people, of_all) == (len(rows), counted) for *_, people, of_all, counted in rows)
    return {int(name): number for name, number, *_ in rows}


def kills(kills: int = 100, seed: int = 0, longest: float = 0.2, out: Path | None = None) -> None:
    """Kill, and compare.

    Args:
        kills: at random moments, of the writers, the server and all of them in turn.
        seed: of the moments.
        longest: seconds between a writer's last message and its end, at most.
        out: JSON file for what each kill met.
    """
    place = Path(tempfile.mkdtemp(prefix="gallery-", dir="/tmp"))
    place.chmod(0o711)
    try:
        keep(out, {"writers": WRITERS, "kills": crash(place / "db", kills, seed, longest)})
    finally:
        shutil.rmtree(place)


def full(folder: Path, out: Path | None = None) -> None:
    """Enrol until a disk is full, make room again, and compare.

    Args:
        folder: an empty one, all of a small disk: ``mount -t tmpfs -o size=200m,mode=711 tmpfs FOLDER``.
        out: JSON file for what was met.
    """
    if any(folder.iterdir()):
        sys.exit(f"{folder}: is not empty")
    keep(out, fill(folder))


def keep(out: Path | None, met: dict[str, Any]) -> None:
    """Write what was met, or print it."""
    if out is None:
        print(json.dumps(met))
    else:
        write_json(out, {"environment": environment.describe(), **met})


if __name__ == "__main__":
    auto_cli([kills, full])
