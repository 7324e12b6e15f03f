"""Photos and their landmarks in, a folder of aligned faces out."""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from elasticface.base import files, processes, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import DamagedImage, decode, encode
from elasticface.data.images.photos import Photos, canonical, flaw, identity_of
from elasticface.data.sources import LARGEST_SIDE
from elasticface.faces import aligned
from elasticface.faces.aligned import Summary, label_of
from elasticface.faces.begun import SETTINGS, begun
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detect_folder import detected, settings_of
from elasticface.faces.detector import Face
from elasticface.faces.finder import FaceFinder
from elasticface.faces.landmarks import Landmarks, ListedFaces
from elasticface.faces.plausible import implausible

CHUNK = 64
"""Photos a task: some tenths of a second, next to which handing a task to another process costs nothing."""

FACES = "faces.csv"
"""Where the faces are listed that were found on the way."""

_OURS = (FACES, aligned.FILE, SETTINGS)


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
    images do not depend on the number of workers. ``out/settings.json`` says how the folder was begun.

    Args:
        photos: where to read.
        out: where to write: a folder that is not there or empty, and not inside the photos' own.
        landmarks: photo's name -> its faces, largest first, or [5, 2] of one, (x, y) in its pixels. Names match
            exactly, a leading ``./`` and the form of Unicode (NFC or NFD) apart. Without any the faces are looked for,
            and what is found is kept in ``out/faces.csv``.
        size: side of the aligned images in pixels, 1 to 4096.
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
        InputError: a setting out of range, or another one than ``out`` was begun with; ``out`` holds something; two
            photos that would become one file, of photos that have landmarks if these are given; nothing at all to
            align.
        Stopped: a worker process was killed.
    """
    out = Path(out)
    if not 1 <= size <= LARGEST_SIDE or workers < 1 or format not in ("jpg", "png"):
        raise InputError(
            f"size must be 1 to {LARGEST_SIDE}, workers at least 1 and format jpg or png, not size {size}, workers "
            f"{workers}, format {format}"
        )
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(photos.path)):
        raise InputError(f"{printable(out)}: lies where the photos are; give a folder outside {printable(photos.path)}")
    photos.check_forms()
    if landmarks is None:  # before faces are looked for, which takes the time; whose photo has one is not known yet
        _targets(dict.fromkeys(photos.of(only)[0], 1), f".{format}")
    files.check_writable(out)
    finder = (finder or FaceFinder()) if landmarks is None else None
    listed = ListedFaces.of(landmarks or {})
    settings = settings_of(photos, finder, only) | {
        "landmarks": listed.digest() if finder is None else None,
        "faces": faces,
        "size": size,
        "format": format,
    }
    with begun(out, settings, resume, "holds something already; resume, or give a new folder"):
        if finder is not None:
            listed = detected(photos, out / FACES, finder, workers=workers, only=only, resume=resume)
        plan = _Plan.of(photos, listed, only, faces, f".{format}")
        files.remove_temporaries(out)
        (out / aligned.FILE).unlink(missing_ok=True)
        made = {name for name, paths in plan.targets.items() if _are_there(out, paths)}
        todo = [name for name in plan.targets if name not in made]
        skipped = _align_all(_Job(photos, out, size, f".{format}", faces), listed, todo, workers)
        summary = Summary(
            size=size,
            format=format,
            aligned=sum(len(plan.targets[name]) for name in todo) - len(skipped),
            kept=sum(len(plan.targets[name]) for name in made),
            skipped=dict(sorted((plan.unreadable | skipped).items())),
            without_landmarks=plan.without_landmarks,
            without_face=plan.without_face,
            without_photo=plan.without_photo,
            missing_identities=plan.missing_identities,
            detector=None if finder is None else finder.name,
        )
        if summary.aligned + summary.kept == 0:
            (out / FACES).unlink(missing_ok=True)
            raise InputError(_nothing_to_align(photos, plan, summary))
        # One fsync a file took 7 ms where aligning it took 1.5, so the images were written without. All are on the disk
        # before the summary is, which stands for a folder that is whole.
        os.sync()
        aligned.write(out, summary)
        return summary


@dataclass(frozen=True)
class _Plan:
    """What is to become of every photo and every row of landmarks."""

    names: list[str]  # photos that are asked for
    listed: list[str]  # rows of landmarks for these
    targets: dict[str, list[PurePosixPath]]  # photo -> its files below the output folder, one a face
    unreadable: dict[str, str]  # photo -> why it was left out, or could not be read when faces were looked for
    without_landmarks: list[str]
    without_face: list[str]
    without_photo: list[str]
    missing_identities: list[str]

    @staticmethod
    def of(photos: Photos, faces: ListedFaces, only: Collection[str] | None, choice: Choice, suffix: str) -> "_Plan":
        names, left_out = photos.of(only)
        wanted = None if only is None else frozenset(map(canonical, only))
        listed = [row for row in faces if wanted is None or identity_of(row) in wanted]
        damaged = {name: why for name in names if (why := faces.damaged.get(canonical(name))) is not None}
        counts = {name: faces.count(name) for name in names if name in faces}
        rows_used = {canonical(name) for name in (*counts, *left_out)}
        return _Plan(
            names=names,
            listed=listed,
            targets=_targets({name: n if choice == "all" else 1 for name, n in counts.items() if n}, suffix),
            unreadable=left_out | damaged,
            without_landmarks=[name for name in names if name not in counts and name not in damaged],
            without_face=[name for name, count in counts.items() if not count],
            without_photo=sorted(row for row in listed if row not in rows_used),
            missing_identities=photos.missing(only),
        )


def _align_all(job: "_Job", listed: ListedFaces, todo: Sequence[str], workers: int) -> dict[str, str]:
    """Align the faces of some photos. Returns why which photos or faces were skipped."""
    skipped: dict[str, str] = {}
    try:
        # Closed at once whatever happens: only then is it certain that no worker is still writing.
        if_killed = f"what is in {printable(job.out)} is good: resume with fewer workers"
        with (
            progress.bar(shown=bool(todo)) as bar,
            contextlib.closing(processes.run(job.run, _Chunks(todo, listed), workers, if_killed)) as runs,
        ):
            task = bar.add_task("aligning", total=len(todo))
            for done, reasons in runs:
                skipped |= reasons
                bar.advance(task, done)
    except BaseException:
        files.remove_temporaries(job.out)
        raise
    return skipped


class _Chunks(Sequence[list[tuple[str, list[Face]]]]):
    """Photos with their faces, which are made for one task at a time."""

    def __init__(self, names: Sequence[str], listed: ListedFaces) -> None:
        self._names, self._listed = names, listed

    def __len__(self) -> int:
        return -(-len(self._names) // CHUNK)

    def __getitem__(self, number: Any) -> Any:
        if number >= len(self):
            raise IndexError(number)
        return [(name, self._listed[name]) for name in self._names[number * CHUNK : (number + 1) * CHUNK]]


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
            count = len(faces) if self.choice == "all" else 1
            yield from ((label_of(name, number), damage) for number in range(count))
            return
        height, width = image.shape[:2]
        for number, place in enumerate(choose(faces, self.choice, width, height)):
            face = faces[place]
            try:
                below = _below(name, self.suffix, number)
                reason = flaw(str(below)) or implausible(face.points, width, height)
                if reason is None:
                    data = encode(align(image, face.points, self.size), self.suffix)
                    files.write_bytes(self.out / below, data, sync=False)
                    continue
            except ValueError as error:
                reason = str(error)
            yield label_of(name, number), reason


def _targets(counts: Mapping[str, int], suffix: str) -> dict[str, list[PurePosixPath]]:
    """Each photo's paths below the output folder, one a face; all different, and none a folder of another."""
    targets = {name: [_below(name, suffix, number) for number in range(count)] for name, count in counts.items()}
    owners: dict[PurePosixPath, str] = {}
    for name, paths in targets.items():
        if paths[0].parts[0] in _OURS:
            raise InputError(f"{printable(name)}: would lie where {paths[0].parts[0]} is to be; rename its folder")
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


def _are_there(out: Path, paths: Sequence[PurePosixPath]) -> bool:
    """Whether a photo's aligned faces are. An empty file is none: that is what a power cut can leave."""
    return all(os.path.isfile(out / path) and os.path.getsize(out / path) > 0 for path in paths)


def _nothing_to_align(photos: Photos, plan: _Plan, summary: Summary) -> str:
    names, listed = plan.names, plan.listed
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


def _below(name: str, suffix: str, number: int) -> PurePosixPath:
    """Where the aligned face goes; ``number`` counts the photo's faces from 0."""
    path = PurePosixPath(name)
    return path.with_name(f"{path.stem}_face{number + 1}{suffix}") if number else path.with_suffix(suffix)
