"""Faces into a collection: one by one, or a folder of people, photo by photo, and what became of each."""

import csv
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from elasticface.base import files, processes, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.decoding import DamagedImage
from elasticface.data.images.photos import Photos, as_text, person_of
from elasticface.faces.detect_folder import CHUNK
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.gallery.collection import (
    Collection,
    checked_name,
)
from elasticface.gallery.database import Connections
from elasticface.gallery.prepared import Prepared, digest_of, prepare
from elasticface.gallery.rules import Rules
from elasticface.gallery.storing import ALREADY, NewFace, enrolled_already, store

if TYPE_CHECKING:
    from elasticface.model.encoder import FaceEncoder


@dataclass
class Enrolment:
    """What became of every photo.

    Attributes:
        enrolled: names of photos whose face was enrolled.
        already: of those that were enrolled before.
        refused: name -> why it was not enrolled.
        left_out: name -> why, of files and folders that were taken for no photo.
    """

    enrolled: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str | None) -> None:
        """Note one photo; a ``reason`` of None: it was enrolled."""
        if reason is None:
            self.enrolled.append(name)
        elif reason == ALREADY:
            self.already.append(name)
        else:
            self.refused[name] = reason

    def lines(self) -> list[str]:
        """For the terminal: counts, and the first of those that were not enrolled or left out."""
        lines = [f"faces enrolled: {len(self.enrolled):,}"]
        if self.already:
            lines.append(f"photos that were enrolled already: {len(self.already):,}")
        for what, names in (("photos not enrolled", sorted(self.refused.items())), ("left out", self.left_out.items())):
            lines += with_examples(what, [f"{name}: {why}" for name, why in names])
        return lines

    def write(self, path: Path) -> None:
        """A CSV file with a line a photo: its name, `enrolled`, `already`, `refused` or `left out`, and why."""
        rows = [(name, "enrolled", "") for name in self.enrolled]
        rows += [(name, "already", "") for name in self.already]
        rows += [(name, "refused", why) for name, why in self.refused.items()]
        rows += [(name, "left out", why) for name, why in self.left_out.items()]
        with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("photo", "outcome", "reason"))
            table.writerows(sorted((as_text(name), outcome, why) for name, outcome, why in rows))


def enrol_photos(
    database: Connections,
    collection: Collection,
    photos: Photos,
    encoder: "FaceEncoder",
    finder: FaceFinder,
    rules: Rules,
    *,
    person: str | None = None,
    workers: int = 2,
) -> Enrolment:
    """Enrol the people of a folder: ``<person>/<photo>``, or a single photo named for the person beside such folders.

    Some photos at a time are one transaction. A photo of which the person has a face already is passed over before its
    faces are looked for, so that what was stopped or killed goes on when it is started again.

    Args:
        database, collection: into which.
        photos: where to read.
        encoder, finder: those of the collection.
        rules: which faces are good enough.
        person: whose photos all of them are; None: as their folders say.
        workers: processes that look for faces.

    Raises:
        InputError: no photo, or one that lies deeper; ``workers`` below 1.
        Stopped: a worker process was killed, the database is gone or its disk is full.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    if person is not None:
        person = checked_name(person, "person")
    if not photos.names:
        raise InputError(f"{printable(photos.path)}: no photo in it; give a folder of people, each a folder of photos")
    if person is None:
        photos.check_people()
    done = Enrolment(refused=dict(photos.left_out), left_out=photos.passed_over())
    chunks = [photos.names[start : start + CHUNK] for start in range(0, len(photos.names), CHUNK)]
    job = _Job(photos, finder, rules, encoder.card.preprocessing.size, database, collection, person)
    runs = processes.run(job.run, chunks, workers, "what was enrolled is kept: start it again with fewer workers")
    with progress.bar("not enrolled {task.fields[refused]}") as bar, closing(runs):
        task = bar.add_task("enrolling", total=len(photos.names), refused=0)
        for prepared in runs:
            for name, reason in store_prepared(database, collection, encoder, prepared, job.whose):
                done.add(name, reason)
            bar.update(task, advance=len(prepared), refused=len(done.refused))
    return done


def store_prepared(
    database: Connections,
    collection: Collection,
    encoder: "FaceEncoder",
    prepared: Sequence[Prepared],
    person_of: Callable[[str], str],
) -> list[tuple[str, str | None]]:
    """Embed what was found in some photos and enrol it. Returns the outcome of each, as :func:`store` has it."""
    embeddings = encoder.embed([one.aligned for one in prepared if one.aligned is not None])
    outcomes = store_embedded(database, collection, prepared, embeddings, person_of)
    return [(one.name, outcome) for one, outcome in zip(prepared, outcomes, strict=True)]


def store_embedded(
    database: Connections,
    collection: Collection,
    prepared: Sequence[Prepared],
    embeddings: Iterable[NDArray[Any]],
    person_of: Callable[[str], str],
) -> list[str | None]:
    """Enrol what was found in some photos, all of it in one transaction. Of a photo a person has one face: where one is
    enrolled already, no other is, whichever was chosen.

    Args:
        database, collection: into which.
        prepared: the photos; those without a face to enrol have their reason.
        embeddings: of the faces, one each: float [D], of length 1 or zero.
        person_of: whom a photo of that name shows.

    Returns:
        The outcome of each photo, as :func:`store` has it.
    """
    outcomes: list[str | None] = [one.reason for one in prepared]
    new: dict[int, NewFace] = {}
    given = iter(embeddings)
    for number, one in enumerate(prepared):
        if one.aligned is None:
            continue
        embedding = next(given)
        try:
            person = checked_name(person_of(one.name), "person")
        except InputError as error:
            outcomes[number] = str(error)
            continue
        if embedding.any():
            new[number] = NewFace(person, embedding, one.name, one.photo, one.box, one.score, aligned=one.aligned)
        else:
            outcomes[number] = "the model's embedding of it is zero"
    whose = {number: (prepared[number].photo, face.person) for number, face in new.items()}
    for number in enrolled_already(database, collection, whose):
        outcomes[number] = ALREADY
        del new[number]
    for number, outcome in zip(new, store(database, collection, [*new.values()]), strict=True):
        outcomes[number] = outcome
    return outcomes


@dataclass(frozen=True)
class _Job:
    """What a process needs beside the photos' names."""

    photos: Photos
    finder: FaceFinder
    rules: Rules
    size: int
    database: Connections
    collection: Collection
    person: str | None

    def whose(self, name: str) -> str:
        return self.person or person_of(name)

    def run(self, names: Sequence[str]) -> list[Prepared]:
        """What is in some photos; those that are enrolled already are not looked at."""
        read: dict[str, bytes] = {}
        found: list[Prepared] = []
        for name in names:
            try:
                read[name] = self.photos.read(name)
            except DamagedImage as error:
                found.append(Prepared(name, reason=str(error).removeprefix(f"{printable(name)}: ")))
        whose = {name: (digest_of(data), self.whose(name)) for name, data in read.items()}
        already = enrolled_already(self.database, self.collection, whose)
        for name, data in read.items():
            if name in already:
                found.append(Prepared(name, reason=ALREADY))
            else:
                found.append(prepare(data, name, self.finder, self.rules, self.size))
        return found
