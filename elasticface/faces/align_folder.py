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
from elasticface.data.images.decoding import DamagedImage, decode, encode
from elasticface.data.images.photos import Photos

CHUNK = 64
"""Photos a task: some tenths of a second, next to which handing a task to another process costs nothing."""

EXAMPLES = 5

Landmarks = Mapping[str, NDArray[np.float64]]  # a photo's name -> [5, 2]


@dataclass(frozen=True)
class Summary:
    """What became of every photo and every row of landmarks."""

    size: int
    format: str
    aligned: int = 0  # made in this run
    kept: int = 0  # found there, from an earlier run
    skipped: dict[str, str] = field(default_factory=dict)  # name -> why it could not be aligned
    without_landmarks: list[str] = field(default_factory=list)  # photos
    without_photo: list[str] = field(default_factory=list)  # rows of landmarks
    missing_identities: list[str] = field(default_factory=list)  # asked for by `only`, and no photo of them is there

    def lines(self) -> list[str]:
        """For the terminal: what was done, and of every kind of gap how many there are and the first few."""
        lines = [f"photos aligned to {self.size}x{self.size} {self.format}: {self.aligned:,}"]
        if self.kept:
            lines.append(f"photos aligned before and kept: {self.kept:,}")
        lines += _with_examples("photos skipped", [f"{name}: {why}" for name, why in self.skipped.items()])
        lines += _with_examples("photos without landmarks", self.without_landmarks)
        lines += _with_examples("landmarks without a photo", self.without_photo)
        lines += _with_examples("identities without a photo", self.missing_identities)
        return lines


def align_photos(
    photos: Photos,
    out: str | Path,
    landmarks: Landmarks,
    *,
    size: int = 112,
    format: Literal["jpg", "png"] = "jpg",
    workers: int = 2,
    only: Collection[str] | None = None,
    resume: bool = False,
) -> Summary:
    """Warp every photo that has landmarks onto the template, into ``out/<its name>``.

    The names keep their folders and get the format's suffix. ``out/align.json``, the summary, is written last: a folder
    that has it is whole. The images do not depend on the number of workers.

    Args:
        photos: where to read.
        out: where to write: a folder that is not there or empty, and not inside the photos' own.
        landmarks: photo's name -> [5, 2], (x, y) in its pixels. Names match exactly, a leading ``./`` apart.
        size: side of the aligned images in pixels, ≥ 1.
        format: ``"jpg"`` (quality 95) or ``"png"``.
        workers: processes that read, warp and write; 1 does it in this one. Like everything that starts processes, more
            need a caller whose main module is guarded by ``if __name__ == "__main__":``.
        only: the identities to keep: the first parts of the photos' names.
        resume: ``out`` may hold what an earlier run with the same settings made; that is kept and not made again.

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

    identities = None if only is None else frozenset(only)

    def wanted(name: str) -> bool:
        return identities is None or _identity(name) in identities

    landmarks = {name.removeprefix("./"): points for name, points in landmarks.items()}
    landmarks = {name: points for name, points in landmarks.items() if wanted(name)}
    names = [name for name in photos.names if wanted(name)]
    with_landmarks = [name for name in names if name in landmarks]
    targets = _targets(with_landmarks, f".{format}")
    with locked(out):
        if resume:
            files.remove_temporaries(out)
            (out / "align.json").unlink(missing_ok=True)
        made = _made_before(out, targets, size) if resume else set()
        skipped = {name: reason for name, reason in photos.left_out.items() if wanted(name)}

        job = _Job(photos, out, size, f".{format}")
        todo = [name for name in with_landmarks if name not in made]
        chunks = [[(name, landmarks[name]) for name in part] for part in _parts(todo)]
        try:
            # Closed at once whatever happens: only then is it certain that no worker is still writing.
            if_killed = f"what is in {printable(out)} is good: resume with fewer workers"
            with (
                progress.bar(shown=bool(todo)) as bar,
                contextlib.closing(processes.run(job.run, chunks, workers, if_killed)) as runs,
            ):
                task = bar.add_task("aligning", total=len(todo))
                for results in runs:
                    skipped |= {name: reason for name, reason in results if reason is not None}
                    bar.advance(task, len(results))
        except BaseException:
            files.remove_temporaries(out)
            raise
        failed = sum(name in skipped for name in todo)
        summary = Summary(
            size=size,
            format=format,
            aligned=len(todo) - failed,
            kept=len(made),
            skipped=dict(sorted(skipped.items())),
            without_landmarks=[name for name in names if name not in landmarks],
            without_photo=sorted(landmarks.keys() - names - skipped.keys()),
            missing_identities=sorted((identities or set()) - {_identity(name) for name in names}),
        )
        if summary.aligned + summary.kept == 0:
            raise InputError(_nothing_to_align(photos, landmarks, names, summary))
        # One fsync a file took 7 ms where aligning it took 1.5, so the images were written without. All are on the disk
        # before the summary is, which stands for a folder that is whole.
        os.sync()
        files.write_json(out / "align.json", asdict(summary))
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

    def run(self, chunk: Sequence[tuple[str, NDArray[np.float64]]]) -> list[tuple[str, str | None]]:
        """Align some photos. Returns for each its name, and why it was skipped if it was."""
        return [(name, self._align(name, points)) for name, points in chunk]

    def _align(self, name: str, points: NDArray[np.float64]) -> str | None:
        import cv2

        try:
            image = decode(self.photos.read(name), printable(name))
            if (reason := _unusable(points, image)) is not None:
                return reason
            with np.errstate(all="ignore"):  # absurd coordinates overflow to what `align` refuses
                face = align(image, points, self.size)
        except DamagedImage as error:
            return str(error).removeprefix(f"{printable(name)}: ")
        except ValueError as error:
            return str(error)
        except cv2.error as error:  # OpenCV 4 warps no image with a side above 32,767
            return f"OpenCV cannot warp it: {' '.join(str(error).split())}"
        files.write_bytes(_target(self.out, name, self.suffix), encode(face, self.suffix), sync=False)
        return None


def _unusable(points: NDArray[np.float64], image: NDArray[np.uint8]) -> str | None:
    """What makes five landmarks a picture of nothing, though they fix a transform."""
    height, width = image.shape[:2]
    x, y = points[:, 0], points[:, 1]
    if max(np.ptp(x), np.ptp(y)) < 2:
        return "the landmarks span less than two pixels; they must be in pixels of the photo"
    if not np.any((x >= 0) & (x < width) & (y >= 0) & (y < height)):
        return f"the landmarks lie outside the photo, which has {width}x{height} pixels"
    return None


def _check_out(photos: Photos, out: Path, resume: bool) -> None:
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(photos.path)):
        raise InputError(f"{printable(out)}: lies where the photos are; give a folder outside {printable(photos.path)}")
    if files.holds_something(out) and not resume:
        raise InputError(f"{printable(out)}: holds something already; resume, or give a new folder")
    files.check_writable(out)


def _targets(names: Sequence[str], suffix: str) -> dict[str, PurePosixPath]:
    """Each photo's path below the output folder; all different, and none a folder of another."""
    targets = {name: _below(name, suffix) for name in names}
    owners: dict[PurePosixPath, str] = {}
    for name, target in targets.items():
        if (other := owners.setdefault(target, name)) != name:
            raise InputError(
                f"{printable(other)} and {printable(name)} would both become {printable(target.as_posix())}; "
                "rename or remove one"
            )
    for name, target in targets.items():
        for folder in target.parents:
            if folder in owners:
                raise InputError(
                    f"{printable(owners[folder])} would become {printable(folder.as_posix())}, which is the folder of "
                    f"{printable(name)}; rename one"
                )
    return targets


def _made_before(out: Path, targets: Mapping[str, PurePosixPath], size: int) -> set[str]:
    """The photos whose aligned image is there. An empty file is none: that is what a power cut can leave."""
    made: set[str] = set()
    for name, target in targets.items():
        path = out / target
        for suffix in (".jpg", ".png"):
            other = path.with_suffix(suffix)
            if other != path and other.exists():
                raise InputError(f"{printable(other)}: made in another format; resume with that, or give a new folder")
        if path.is_file() and path.stat().st_size > 0:
            if not made:
                _check_size(path, size)
            made.add(name)
    return made


def _check_size(path: Path, size: int) -> None:
    height, width = decode(decoding.read(path, printable(path)), printable(path)).shape[:2]
    if (height, width) != (size, size):
        raise InputError(
            f"{printable(path)}: has {width}x{height} pixels, not {size}x{size}; resume with that size, "
            "or give a new folder"
        )


def _nothing_to_align(photos: Photos, landmarks: Landmarks, names: Sequence[str], summary: Summary) -> str:
    counts = f"{len(photos)} photos ({len(names)} of them asked for), {len(landmarks)} rows of landmarks for these"
    if summary.skipped:
        name, reason = next(iter(summary.skipped.items()))
        why = f"{len(summary.skipped)} could not be used, such as {printable(name)}: {reason}"
    elif names and landmarks:
        row = next(iter(landmarks))
        why = f"photos have names like {printable(names[0])}, landmarks like {printable(row)}; make them the same"
    else:
        why = "see that the folder or tar, the landmarks and the list of identities belong together"
    return f"{printable(photos.path)}: no photo could be aligned: {counts}; {why}"


def _target(out: Path, name: str, suffix: str) -> Path:
    return out / _below(name, suffix)


def _below(name: str, suffix: str) -> PurePosixPath:
    return PurePosixPath(name).with_suffix(suffix)


def _identity(name: str) -> str:
    return name.split("/", 1)[0]


def _parts(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    remaining = iter(names)
    while part := tuple(itertools.islice(remaining, CHUNK)):
        yield part


def _with_examples(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = ["  …"] if len(names) > EXAMPLES else []
    return [f"{what}: {len(names):,}", *(f"  {printable(name)}" for name in names[:EXAMPLES]), *more]
