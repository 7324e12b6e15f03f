"""Kill a writer or the server while people are enrolled and removed: ``python tests/crashes.py --kills 100``.

A writer says each change that was acknowledged, on a pipe, before it begins the next. After every kill each of these is
in the database, and of the one that was on its way all or nothing: a person's three faces or none.
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
from multiprocessing.connection import Connection
from pathlib import Path

from jsonargparse import auto_cli
from unit_vectors import made_up

from elasticface.base.errors import Stopped
from elasticface.gallery import collection as collections
from elasticface.gallery.database import Database
from elasticface.gallery.enrolment import NewFace
from elasticface.gallery.gallery import Gallery

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["elasticface.gallery.gallery"])  # once, and not for every writer
FACES = 3  # of each person
DIMENSIONS = 64
COLLECTION = "crashes"
MESSAGES = 40  # of a writer before it is killed, at most


def write(folder: Path, first: int, said: Connection) -> None:
    """Enrol people for ever from number ``first`` on, remove every fifth again, and say what is done."""
    with contextlib.suppress(Stopped):  # the server was killed
        go_on(Gallery(COLLECTION, database=folder), first, said)


def go_on(gallery: Gallery, first: int, said: Connection) -> None:
    said.send(("begun", first))
    for number in range(first, sys.maxsize):
        said.send(("enrolling", number))
        faces = made_up(1, FACES, DIMENSIONS, seed=number)
        gallery.enrol_embeddings([NewFace(str(number), face.embedding, face.source) for face in faces])
        said.send(("enrolled", number))
        if not number % 5:
            said.send(("removing", number))
            gallery.remove(str(number), erase=not number % 25)
            said.send(("removed", number))


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


def crash(folder: Path, kills: int, seed: int, longest: float) -> dict[str, int]:
    """Kill so many times at random moments, and compare after each. Returns what was counted.

    Raises:
        AssertionError: an acknowledged change is not there, or half of one is.
    """
    chance = random.Random(seed)
    database = Database(folder)
    collections.insert(
        database,
        COLLECTION,
        model="made up",
        print_of_model=bytes(32),
        dimensions=DIMENSIONS,
        preprocessing={},
        detector="none",
        aggregation="best",
    )
    enrolled: set[int] = set()
    counted = {"writer": 0, "server": 0, "both": 0, "acknowledged": 0}
    first = 0
    for kill in range(kills):
        writer = Writer(folder, first)
        writer.wait_for(chance.randint(1, MESSAGES))
        time.sleep(chance.uniform(0, longest))
        what = ("writer", "server", "both")[kill % 3]
        if what != "server":
            writer.process.kill()
        if what != "writer":
            os.kill(int((folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        said = writer.ended()
        on_its_way: set[int] = set()
        for state, number in said:
            first = number + 1
            if state in ("enrolled", "removed"):
                counted["acknowledged"] += 1
                on_its_way.discard(number)
                (enrolled.add if state == "enrolled" else enrolled.discard)(number)
            else:
                on_its_way.add(number)
        database.disconnect()
        if what != "writer":
            database.close()
            database = Database(folder)
        there = faces(database)
        assert all(number == FACES for number in there.values()), there
        assert {*there} ^ enrolled <= on_its_way, (sorted({*there} ^ enrolled), on_its_way)
        enrolled = {*there}
        counted[what] += 1
        print(f"kill {kill + 1}: {what}, {len(said):,} messages, {len(there):,} people there", file=sys.stderr)
    database.close()
    return counted


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


def main(kills: int = 100, seed: int = 0, longest: float = 0.2) -> None:
    """Kill, compare, and say what was counted.

    Args:
        kills: at random moments, of the writer, the server and both in turn.
        seed: of the moments.
        longest: seconds between a writer's last message and its end, at most.
    """
    place = Path(tempfile.mkdtemp(prefix="gallery-", dir="/tmp"))
    place.chmod(0o711)
    try:
        print(json.dumps(crash(place / "db", kills, seed, longest)))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    auto_cli(main)
