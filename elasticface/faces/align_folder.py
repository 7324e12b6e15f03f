"""Photos and their landmarks in, a folder of aligned faces out."""

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, processes, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.data.images import decoding
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import DamagedImage, cv2, decode, encode
from elasticface.data.images.photos import Photos
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detect_folder import detect_photos
from elasticface.faces.detector import Face
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.faces.landmarks import canonical, read_faces
from elasticface.faces.plausible import implausible

CHUNK = 64
"""Photos a task: some tenths of a second, next to which handing a task to another process costs nothing."""

SUMMARY = "align.json"
"""Where the summary is kept."""

FACES = "faces.csv"
"""Where the faces are listed that were found on the way."""

Landmarks = Mapping[str, Sequence[Face] | NDArray[np.float64]]  # a photo's name -> its faces, or [5, 2]


@dataclass(frozen=True)
class Summary:
    """What became of every photo and every row of landmarks."""

    size: int
    format: str
    aligned: int = 0  # made in this run
    kept: int = 0  # found there, from an earlier run
    skipped: dict[str, str] = field(default_factory=dict)  # name -> why it could not be aligned
    without_landmarks: list[str] = field(default_factory=list)  # photos that are not listed
    without_face: list[str] = field(default_factory=list)  # photos in which none was found
    without_photo: list[str] = field(default_factory=list)  # rows of landmarks
    missing_identities: list[str] = field(default_factory=list)  # asked for by `only`, and no photo of them is there
    detector: str | None = None  # what found the faces, where that was done on the way

    def lines(self) -> list[str]:
        """For the terminal: what was done, and of every kind of gap how many there are and the first few."""
        lines = [f"faces aligned to {self.size}x{self.size} {self.format}: {self.aligned:,}"]
        if self.kept:
            lines.append(f"faces aligned before and kept: {self.kept:,}")
        lines += with_examples("photos skipped", [f"{name}: {why}" for name, why in self.skipped.items()])
        lines += with_examples("photos without a face", self.without_face)
        lines += with_examples("photos without landmarks", self.without_landmarks)
        lines += with_examples("landmarks without a photo", self.without_photo)
        lines += with_examples("identities without a photo", self.missing_identities)
        return lines


def align_photos(
    photos: Photos,
    out: str | Path,
    landmarks: Landmarks | None = None,
    *,
    size: int = 112,
    format: Literal["jpg", "png"] = "jpg",
    workers: int = 2,
    only: Collection[str] | None = None,
    resume: bool = False,
    faces: Choice = "largest",
    finder: FaceFinder | None = None,
) -> Summary:
    """Warp every photo that has landmarks onto the template, into ``out/<its name>``.

    The names keep their folders and get the format's suffix; of several faces in a photo the second becomes
    ``<name>_face2``, and so on. ``out/align.json``, the summary, is written last: a folder that has it is whole. The
    images do not depend on the number of workers.

    Args:
        photos: where to read.
        out: where to write: a folder that is not there or empty, and not inside the photos' own.
        landmarks: photo's name -> its faces, largest first, or [5, 2] of one, (x, y) in its pixels. Names match
            exactly, a leading ``./`` and the form of Unicode (NFC or NFD) apart. Without any the faces are looked for,
            and what is found is kept in ``out/faces.csv``.
        size: side of the aligned images in pixels, ≥ 1.
        format: ``"jpg"`` (quality 95) or ``"png"``.
        workers: processes that read, warp and write; 1 does it in this one. Like everything that starts processes, more
            need a caller whose main module is guarded by ``if __name__ == "__main__":``.
        only: the identities to keep: the first parts of the photos' names.
        resume: ``out`` may hold what an earlier run with the same settings made; that is kept and not made again.
        faces: which of a photo's faces: as :func:`elasticface.faces.choice.choose` takes it.
        finder: looks for faces; :class:`elasticface.faces.finder.FaceFinder` as it is by itself where none is given.

    Returns:
        The counts, and whatever could not be aligned by name. Damaged photos and landmarks that fix no transform are
        skipped, not raised.

    Raises:
        InputError: a setting out of range; ``out`` holds something; two photos that would become one file; nothing at
            all to align.
        Stopped: a worker process was killed.
    """
    out = Path(out)
    if size < 1 or workers < 1 or format not in ("jpg", "png"):
        raise InputError(
            f"size and workers must be at least 1 and format jpg or png, not size {size}, workers {workers}, "
            f"format {format}"
        )
    _check_out(photos, out, resume)
    detector = None  # what looks for the faces, if anything does
    if landmarks is None:
        finder = finder or FaceFinder()
        detector = finder.name
        if not (out / FACES).exists():
            detect_photos(photos, out / FACES, finder, workers=workers, only=only, resume=resume)
        landmarks = read_faces(out / FACES)
    identities = None if only is None else frozenset(only)

    def wanted(name: str) -> bool:
        return identities is None or _identity(name) in identities

    names = [name for name in photos.names if wanted(name)]
    listed = [row for row in landmarks if wanted(row.removeprefix("./"))]
    row_of = {canonical(row): row for row in listed}
    rows = {name: row_of.pop(key) for name in names if (key := canonical(name)) in row_of}
    counts = {name: _count(landmarks[row], faces) for name, row in rows.items()}
    targets = _targets({name: count for name, count in counts.items() if count}, f".{format}")
    with locked(out):
        if resume:
            files.remove_temporaries(out)
            (out / SUMMARY).unlink(missing_ok=True)
        made = _made_before(out, targets, size) if resume else set()
        skipped = {name: reason for name, reason in photos.left_out.items() if wanted(name)}
        left_out = len(skipped)

        job = _Job(photos, out, size, f".{format}", faces)
        todo = [name for name in targets if name not in made]
        chunks = [[(name, _faces_of(landmarks[rows[name]])) for name in part] for part in _parts(todo)]
        try:
            # Closed at once whatever happens: only then is it certain that no worker is still writing.
            if_killed = f"what is in {printable(out)} is good: resume with fewer workers"
            with (
                progress.bar(shown=bool(todo)) as bar,
                contextlib.closing(processes.run(job.run, chunks, workers, if_killed)) as runs,
            ):
                task = bar.add_task("aligning", total=len(todo))
                for chunk, reasons in runs:
                    skipped |= reasons
                    bar.advance(task, chunk)
        except BaseException:
            files.remove_temporaries(out)
            raise
        failed = len(skipped) - left_out
        summary = Summary(
            size=size,
            format=format,
            aligned=sum(counts[name] for name in todo) - failed,
            kept=sum(counts[name] for name in made),
            skipped=dict(sorted(skipped.items())),
            without_landmarks=[name for name in names if name not in counts],
            without_face=[name for name, count in counts.items() if not count],
            without_photo=sorted(row for row in row_of.values() if row.removeprefix("./") not in skipped),
            missing_identities=sorted((identities or set()) - {_identity(name) for name in names}),
            detector=detector,
        )
        if summary.aligned + summary.kept == 0:
            if detector is not None:
                (out / FACES).unlink()
            raise InputError(_nothing_to_align(photos, listed, names, summary))
        # One fsync a file took 7 ms where aligning it took 1.5, so the images were written without. All are on the disk
        # before the summary is, which stands for a folder that is whole.
        os.sync()
        files.write_json(out / SUMMARY, asdict(summary))
        return summary


def read_identities(path: str | Path) -> set[str]:
    """The names in a text file, one a line; blank lines, and lines that begin with ``#``, are passed over.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or names no one.
    """
    text = files.read_text(Path(path), "give a text file with one identity a line")
    lines = (line.strip() for line in text.splitlines())
    names = {line for line in lines if line and not line.startswith("#")}
    if not names:
        raise InputError(f"{printable(path)}: names no identity; give one a line")
    return names


@dataclass(frozen=True)
class _Job:
    """What a process needs beside the photos' names and landmarks."""

    photos: Photos
    out: Path
    size: int
    suffix: str
    choice: Choice

    def run(self, chunk: Sequence[tuple[str, list[Face]]]) -> tuple[int, dict[str, str]]:
        """Align the faces of some photos. Returns how many photos, and why which photos or faces were skipped."""
        return len(chunk), {label: reason for name, faces in chunk for label, reason in self._align(name, faces)}

    def _align(self, name: str, faces: list[Face]) -> Iterator[tuple[str, str]]:
        try:
            image = decode(self.photos.read(name), printable(name))
        except DamagedImage as error:
            damage = str(error).removeprefix(f"{printable(name)}: ")
            yield from ((_label(name, number), damage) for number in range(_count(faces, self.choice)))
            return
        height, width = image.shape[:2]
        for number, place in enumerate(choose(faces, self.choice, width, height)):
            face = faces[place]
            try:
                reason = implausible(face.points, width, height)
                if reason is None:
                    data = encode(align(image, face.points, self.size), self.suffix)
                    files.write_bytes(_target(self.out, name, self.suffix, number), data, sync=False)
                    continue
            except ValueError as error:
                reason = str(error)
            except cv2.error as error:  # OpenCV 4 warps no image with a side above 32,767
                reason = f"OpenCV cannot warp it: {' '.join(str(error).split())}"
            yield _label(name, number), reason


def _faces_of(found: Sequence[Face] | NDArray[np.float64]) -> list[Face]:
    """The faces of a photo, of one without a box where only its points are known."""
    return [Face(np.full(4, np.nan), 1.0, found)] if isinstance(found, np.ndarray) else list(found)


def _count(found: Sequence[Face] | NDArray[np.float64], choice: Choice) -> int:
    """How many of a photo's faces are wanted."""
    there = 1 if isinstance(found, np.ndarray) else len(found)
    return there if choice == "all" else min(there, 1)


def _label(name: str, number: int) -> str:
    return f"{name} (face {number + 1})" if number else name


def _check_out(photos: Photos, out: Path, resume: bool) -> None:
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(photos.path)):
        raise InputError(f"{printable(out)}: lies where the photos are; give a folder outside {printable(photos.path)}")
    if files.holds_something(out) and not resume:
        raise InputError(f"{printable(out)}: holds something already; resume, or give a new folder")
    files.check_writable(out)


def _targets(counts: Mapping[str, int], suffix: str) -> dict[str, list[PurePosixPath]]:
    """Each photo's paths below the output folder, one a face; all different, and none a folder of another."""
    targets = {name: [_below(name, suffix, number) for number in range(count)] for name, count in counts.items()}
    owners: dict[PurePosixPath, str] = {}
    for name, paths in targets.items():
        for path in paths:
            if (other := owners.setdefault(path, name)) != name:
                raise InputError(
                    f"{printable(other)} and {printable(name)} would both become {printable(path.as_posix())}; "
                    "rename or remove one"
                )
    for name, paths in targets.items():
        for folder in paths[0].parents:
            if folder in owners:
                raise InputError(
                    f"{printable(owners[folder])} would become {printable(folder.as_posix())}, which is the folder of "
                    f"{printable(name)}; rename one"
                )
    return targets


def _made_before(out: Path, targets: Mapping[str, Sequence[PurePosixPath]], size: int) -> set[str]:
    """The photos whose aligned faces are there. An empty file is none: that is what a power cut can leave."""
    made: set[str] = set()
    for name, paths in targets.items():
        for path in (out / path for path in paths):
            for suffix in (".jpg", ".png"):
                other = path.with_suffix(suffix)
                if other != path and other.exists():
                    raise InputError(
                        f"{printable(other)}: made in another format; resume with that, or give a new folder"
                    )
        if all((out / path).is_file() and (out / path).stat().st_size > 0 for path in paths):
            if not made:
                _check_size(out / paths[0], size)
            made.add(name)
    return made


def _check_size(path: Path, size: int) -> None:
    height, width = decode(decoding.read(path, printable(path)), printable(path)).shape[:2]
    if (height, width) != (size, size):
        raise InputError(
            f"{printable(path)}: has {width}x{height} pixels, not {size}x{size}; resume with that size, "
            "or give a new folder"
        )


def _nothing_to_align(photos: Photos, listed: Sequence[str], names: Sequence[str], summary: Summary) -> str:
    counts = f"{len(photos)} photos ({len(names)} of them asked for), {len(listed)} rows of landmarks for these"
    if summary.skipped:
        name, reason = next(iter(summary.skipped.items()))
        why = f"{len(summary.skipped)} could not be used, such as {printable(name)}: {reason}"
    elif summary.without_face:
        why = f"no face was found in {len(summary.without_face)} of them"
    elif names and listed:
        why = f"photos have names like {printable(names[0])}, landmarks like {printable(listed[0])}; make them the same"
    else:
        why = "see that the folder or tar, the landmarks and the list of identities belong together"
    return f"{printable(photos.path)}: no photo could be aligned: {counts}; {why}"


def _target(out: Path, name: str, suffix: str, number: int) -> Path:
    return out / _below(name, suffix, number)


def _below(name: str, suffix: str, number: int) -> PurePosixPath:
    """Where the aligned face goes; ``number`` counts the photo's faces from 0."""
    path = PurePosixPath(name)
    return path.with_name(f"{path.stem}_face{number + 1}{suffix}") if number else path.with_suffix(suffix)


def _identity(name: str) -> str:
    return name.split("/", 1)[0]


def _parts(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    remaining = iter(names)
    while part := tuple(itertools.islice(remaining, CHUNK)):
        yield part
