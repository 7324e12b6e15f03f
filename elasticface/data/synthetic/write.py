"""Synthetic faces as a folder of files: ``<out>/<person>/<photo>.jpg``, and what is in every photo."""

import contextlib
import csv
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from elasticface.base import environment, files, processes, progress, records
from elasticface.base.errors import InputError, Stopped
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.data.images.decoding import encode
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.source import check_set, person_name, studio
from elasticface.data.synthetic.studio import RENDERER_VERSION

METADATA, RECORD = "metadata.csv", "synthetic.json"

BYTES_PER_IMAGE = 8192
"""Two blocks of a disk: images have about 4 kB on average, and next to none has more than 8."""

CHUNK = 32
"""Photos a task: half a second, next to which it costs little to make an identity with more photos anew for each."""

MOST_WORKERS = 256

_Chunk = tuple[int, Sequence[int]]  # an identity, and which of its photos


@dataclass(frozen=True)
class _Record:
    """What stands in ``synthetic.json``."""

    arguments: dict[str, Any]  # those that the pixels depend on
    renderer: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Summary:
    """What there is now, and what of it was there before."""

    out: Path
    identities: int
    made: int  # images
    kept: int  # images
    bytes: int  # of all images
    changed: bool = True

    def lines(self) -> list[str]:
        """For the terminal."""
        images = self.made + self.kept
        lines = [f"faces: {self.identities:,} people, {images:,} images of 112x112, {decimal(self.bytes)}"]
        if not self.changed:
            lines.append("all of them were there already; nothing was changed")
        elif self.kept:
            lines.append(f"made now: {self.made:,}; kept from an earlier run: {self.kept:,}")
        return lines + [printable(path) for path in (self.out, self.out / METADATA, self.out / RECORD)]


def write_faces(
    out: str | Path,
    *,
    identities: int,
    images_per_identity: int,
    seed: int = 0,
    variation: Variation = Variation(),  # noqa: B008 (frozen)
    first: int = 0,
    workers: int = 2,
) -> Summary:
    """Render a set of faces into ``out/person-000012/0003.jpg``: number 3 of the images of number 12 of the people.

    The pixels are those of :class:`elasticface.data.synthetic.source.SyntheticFaces`, as JPEGs of quality 95 with
    OpenCV's chroma subsampling (4:2:0), as aligned photos are written. ``out/synthetic.json`` has the arguments and
    versions. ``out/metadata.csv`` says what is in every photo, a row each, and is written last: until it is there the
    folder is not whole. A run that was stopped is resumed when it is called again; its folder then has the same bytes
    as that of an unbroken run, and they don't depend on the number of workers.

    Args:
        out: a folder that is not there, empty, or of an earlier call with the same arguments.
        identities: how many people, 1..1,000,000.
        images_per_identity: 1..10,000.
        seed: of everything, ≥ 0.
        variation: how much photos vary.
        first: the first person's number.
        workers: processes that render; 1 does it in this one (see :func:`elasticface.base.processes.run`).

    Raises:
        InputError: an argument out of its range; ``out`` holds something else, or faces of other arguments, or is
            being written by another process; the disk has too little room.
        Stopped: a worker process was killed, or the disk is full after all.
    """
    out = Path(out)
    check_set(identities, images_per_identity, seed, variation, first)
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"workers must be 1 to {MOST_WORKERS}, got {workers}")
    arguments = dict(
        identities=identities, images_per_identity=images_per_identity, seed=seed, first=first, **asdict(variation)
    )
    _is_begun(out, arguments)  # or refused, before anything is made
    numbers, photos = range(first, first + identities), range(images_per_identity)
    chunks, size = _missing(out, numbers, photos)
    missing = sum(len(chunk) for _, chunk in chunks)
    described = (out / METADATA).exists()
    kept = identities * images_per_identity - missing
    if described and not missing:
        return Summary(out, identities, missing, kept, size, changed=False)
    _check_room(out, missing)

    with locked(out):
        try:
            if not _is_begun(out, arguments):  # asked again, now that no other process can change it
                record = _Record(arguments, RENDERER_VERSION, environment.versions())
                files.write_json(out / RECORD, asdict(record))
            files.remove_temporaries(out)
            size += _render(_Job(out, seed, variation), chunks, missing, workers)
            os.sync()  # once for all, where one fsync a file would take milliseconds each
            if not described:
                _write_metadata(out / METADATA, seed, variation, numbers, photos)
        except BaseException as error:
            files.remove_temporaries(out)
            if isinstance(error, OSError) and error.errno in files.NO_ROOM:
                how_to_resume = "what is there is good: make room, then give the same command to resume"
                raise Stopped(f"{printable(out)}: {error.strerror}; {how_to_resume}") from error
            raise
    return Summary(out, identities, missing, kept, size)


@dataclass(frozen=True)
class _Job:
    """What a process needs beside the images' numbers."""

    out: Path
    seed: int
    variation: Variation

    def run(self, chunk: _Chunk) -> tuple[int, int]:
        """Render some photos of an identity. Returns how many, and their bytes."""
        identity, photos = chunk
        size = 0
        for photo in photos:
            data = encode(studio(self.seed, self.variation).image(identity, photo), ".jpg")
            files.write_bytes(self.out / person_name(identity) / _photo_name(photo), data, sync=False)
            size += len(data)
        return len(photos), size


def _render(job: _Job, chunks: Sequence[_Chunk], images: int, workers: int) -> int:
    """Returns the bytes of the images."""
    made = size = 0
    if_killed = f"what is in {printable(job.out)} is good: the same command resumes, perhaps with fewer workers"
    bar = progress.bar("{task.fields[speed]} images/s")
    # Closed at once whatever happens: only then is it certain that no worker is still writing.
    with bar, contextlib.closing(processes.run(job.run, chunks, workers, if_killed)) as runs:
        task, started = bar.add_task("rendering", total=images, speed="–"), time.perf_counter()
        for count, written in runs:
            made, size = made + count, size + written
            bar.update(task, completed=made, speed=f"{made / (time.perf_counter() - started):.0f}")
    return size


def _write_metadata(path: Path, seed: int, variation: Variation, identities: range, photos: range) -> None:
    columns = list(studio(seed, variation).metadata(identities[0], photos[0]))
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file", "identity", "photo", *columns])
        for identity in progress.track(identities, "describing", len(identities)):
            for photo in photos:
                found = studio(seed, variation).metadata(identity, photo)
                name = f"{person_name(identity)}/{_photo_name(photo)}"
                rows.writerow([name, identity, photo, *(found[column] for column in columns)])


def _photo_name(photo: int) -> str:
    return f"{photo:04}.jpg"


def _is_begun(out: Path, arguments: dict[str, Any]) -> bool:
    """Whether ``out`` is of an earlier call with these arguments.

    Raises:
        InputError: it holds something else.
    """
    if not files.holds_something(out):
        return False
    if not (out / RECORD).exists():
        raise InputError(f"{printable(out)}: holds something that is no set of synthetic faces; give a new folder")
    before = records.read(out / RECORD, _Record, "give a new folder")
    changed = records.changes(before.arguments, arguments)
    if before.renderer != RENDERER_VERSION:
        changed.append(f"version of the renderer {before.renderer} -> {RENDERER_VERSION}")
    if changed:
        raise InputError(
            f"{printable(out)}: holds faces of other arguments: {', '.join(changed)}; give the same, or a new folder"
        )
    return True


def _missing(out: Path, identities: range, photos: range) -> tuple[list[_Chunk], int]:
    """The images to make, and the bytes of those there are. An empty file is none: a power cut can leave it."""
    chunks: list[_Chunk] = []
    size = 0
    for identity in identities:
        sizes: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(out / person_name(identity)) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
        lacking: Sequence[int] = photos
        if sizes:
            lacking = [photo for photo in photos if not sizes.get(_photo_name(photo))]
            size += sum(sizes.get(_photo_name(photo), 0) for photo in photos)
        chunks += [(identity, lacking[start : start + CHUNK]) for start in range(0, len(lacking), CHUNK)]
    return chunks, size


def _check_room(out: Path, images: int) -> None:
    needed, room = images * BYTES_PER_IMAGE, files.room(out)
    if needed > room:
        raise InputError(
            f"{printable(out)}: {images:,} images take about {decimal(needed)}, the disk has room for {decimal(room)} "
            f"with {decimal(files.RESERVE)} left free; ask for fewer, or give another disk"
        )
