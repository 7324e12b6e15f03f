"""The checkpoints of a run: which exist, which are whole, which is the best, which are kept.

    checkpoints/step-000001234/    what `torch.distributed.checkpoint` writes: .metadata and a file or more a process
                model.json         the card of the model that it is
                identities.json    whom the class centres are of
                validation.json    {"benchmark", "accuracy"}: the figure that it was validated with, where it was
                checksums.json     {file name: SHA-256} of all the others
    checkpoints/best.json          which has the best figure

While a run is trained, all but :func:`path_of` and :func:`sha256` are called in its first process alone.
"""

import errno
import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable

METADATA, VALIDATION, CHECKSUMS, BEST = ".metadata", "validation.json", "checksums.json", "best.json"

_MOST_CHECKSUM_BYTES = 1 << 26

# Errors of reading that are of the file: it is not there, is no file, or its sectors are gone.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG, errno.EIO}

_NAMED_STEPS = 10  # of a run's checkpoints, in a message
_MOST_DIGITS = 18  # of a step's number

_NAME = re.compile(r"step-(\d{9,})")


@dataclass(frozen=True)
class Validation:
    """The result that ranks checkpoints: accuracy in [0, 1] on a benchmark of that name."""

    benchmark: str
    accuracy: float


def path_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}"


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, whole or damaged; none where there is no such folder."""
    if not folder.is_dir():
        return []
    checkpoints = (path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())
    return sorted(checkpoints, key=step_of, reverse=True)


def newest_whole(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole. Newer ones that are damaged are reported through ``warn``."""
    for path in newest_first(folder):
        problem = damage(path)
        if problem is None:
            return path
        warn(f"{path}: {problem}; going back to the checkpoint before it")
    return None


def chosen(folder: Path, which: str | int, warn: Callable[[str], None]) -> Path:
    """The checkpoint that a user names.

    Args:
        folder: of all checkpoints of a run.
        which: "best" by validation, "last", or the number of a step.
        warn: is told of damaged ones that are newer than the last whole one.

    Raises:
        InputError: there is none of that name, or it is damaged.
    """
    run, there = printable(folder.parent), newest_first(folder)
    if not there:
        raise InputError(f"{run}: no run with checkpoints, so there is none to choose; leave the checkpoint out")
    steps = ", ".join(str(step_of(path)) for path in there[:_NAMED_STEPS])
    if which == "last":
        path = newest_whole(folder, warn)
        if path is None:
            raise InputError(f"{run}: all its checkpoints are damaged; resume the run, which makes new ones")
        return path
    if which == "best":
        path = best(folder)
        if path is None:
            raise InputError(f"{run}: none of its checkpoints was validated; use last, or one of these steps: {steps}")
    elif str(which).isdecimal() and len(str(which)) <= _MOST_DIGITS:
        path = path_of(folder, int(which))
        if path not in there:
            raise InputError(f"{run}: no checkpoint of step {which}; there are those of steps {steps}")
    else:
        named = printable(str(which), 40)
        raise InputError(f"{run}: the checkpoint must be best, last or a step, not {named!r}; there are {steps}")
    problem = damage(path)
    if problem is not None:
        raise InputError(f"{printable(path)}: {problem}; use another checkpoint: {steps}")
    return path


def best(folder: Path) -> Path | None:
    """The checkpoint that is the best now; None where none has a validation result."""
    validated = [(path, result) for path in newest_first(folder) if (result := validation_of(path)) is not None]
    found = _best(validated)
    return found[0] if found else None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None. Files are read in parts, however large.

    Raises:
        OSError: its files cannot be read now, and may be whole: no permission, a disk that does not answer.
    """
    if not (path / CHECKSUMS).exists():
        return f"{CHECKSUMS} is missing"
    try:
        checksums = records.read(path / CHECKSUMS, dict[str, str], most=_MOST_CHECKSUM_BYTES)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            _raise_if_passing(error.__cause__)
        return f"{CHECKSUMS} is damaged"
    if METADATA not in checksums:
        return f"{CHECKSUMS} is damaged"
    if any(name != Path(name).name for name in checksums):
        return f"{CHECKSUMS} is damaged: it names files elsewhere"
    for name, expected in checksums.items():
        try:
            if sha256(path / name) != expected:
                return f"{printable(name)} is damaged: it doesn't have the checksum it was written with"
        except FileNotFoundError:
            return f"{printable(name)} is missing"
        except OSError as error:
            _raise_if_passing(error)
            return f"{printable(name)} cannot be read: {error.strerror}"
    return None


def _raise_if_passing(error: OSError) -> None:
    """Raise what says nothing of the file itself: who takes it for damage goes back to an older checkpoint."""
    if error.errno not in _OF_THE_FILE:
        raise error


def sha256(path: Path) -> str:
    with files.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(path: Path, checksums: dict[str, str], records: Mapping[str, Any]) -> None:
    """Write the records, and then the checksums of all files that a checkpoint consists of.

    Args:
        path: of the checkpoint, which is being written.
        checksums: SHA-256 of files in it by name; those that are missing are computed.
        records: file name -> what is written as JSON.

    Raises:
        OSError: a file with a checksum is not there.
    """
    for name in checksums:
        if not (path / name).exists():
            raise FileNotFoundError(
                0, "what another process wrote is not there; put the run folder on a disk that all processes share"
            )
    for name, record in records.items():
        files.write_json(path / name, record)
    files.write_json(path / CHECKSUMS, {p.name: checksums.get(p.name) or sha256(p) for p in sorted(path.iterdir())})


def add_validation(path: Path, validation: Validation) -> None:
    """Add the result of a checkpoint's validation, and its checksum: the checkpoint is safe before that is measured."""
    files.write_json(path / VALIDATION, asdict(validation))
    checksums = records.read(path / CHECKSUMS, dict[str, str], most=_MOST_CHECKSUM_BYTES)
    files.write_json(path / CHECKSUMS, {**checksums, VALIDATION: sha256(path / VALIDATION)})


def prune(folder: Path, newest: Path, keep: int, keep_best: bool = True) -> None:
    """Remove all but the best checkpoint and the newest ``keep``, and write to `best.json` which is the best.

    Of equal ones the earliest is the best. Only figures of the benchmark that was used last count.

    Args:
        folder: of all checkpoints.
        newest: the one written last. Those of later steps were damaged when the run was resumed: they are removed.
        keep: ≥ 1.
        keep_best: the best one stays, however old, and `best.json` is written; without it neither.
    """
    checkpoints = newest_first(folder)
    current = [path for path in checkpoints if step_of(path) <= step_of(newest)]
    validated = [(path, result) for path in current if (result := validation_of(path)) is not None]
    top = _best(validated) if keep_best else None
    kept = {*current[:keep], *([top[0]] if top else [])}
    for path in checkpoints:
        if path not in kept and path.is_symlink():  # the user has moved it elsewhere: only the link is ours
            path.unlink()
        elif path not in kept:
            # Out of sight first: a checkpoint that is being removed must not pass for one.
            gone = files.temporary_beside(path)
            path.rename(gone)
            shutil.rmtree(gone)
    if top:
        content = {"checkpoint": top[0].name, "step": step_of(top[0]), **asdict(top[1])}
        if _content(folder / BEST) != content:
            files.write_json(folder / BEST, content)


def _best(validated: list[tuple[Path, Validation]]) -> tuple[Path, Validation] | None:
    """The best of these checkpoints, newest first, on the benchmark that was used last; of equal ones the earliest."""
    same = [(path, result) for path, result in validated if result.benchmark == validated[0][1].benchmark]
    return max(reversed(same), key=lambda item: item[1].accuracy, default=None)


def validation_of(path: Path) -> Validation | None:
    """The result of a checkpoint's validation, where it has one."""
    try:
        return records.read(path / VALIDATION, Validation)
    except InputError:  # missing or damaged: no run stops for a figure
        return None


def _content(path: Path) -> dict[str, Any]:
    """A JSON object, an empty one where it is missing or damaged."""
    try:
        return records.read_object(path)
    except InputError:
        return {}


def step_of(path: Path) -> int:
    """The step after which a checkpoint was saved."""
    return int(path.name.removeprefix("step-"))
