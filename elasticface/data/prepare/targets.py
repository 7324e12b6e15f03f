"""What a conversion writes: a folder of identity folders, RecordIO or shards. Each can be resumed where it stopped."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.formats.encoded import NumberNames
from elasticface.data.formats.recordio_writer import RecordIOWriter
from elasticface.data.formats.shards import write_shard
from elasticface.data.images.photos import flaw
from elasticface.data.sources import Source

CONTENT = "content"
"""What the finished set is called until it gets its own name."""

Sample = tuple[int, bytes, str, int]  # index in the source, encoded image, ".jpg" or ".png", label


class Target(Protocol):
    """Made with the folder, the identities' names and the position to resume from."""

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...
    def write(self, step: int, samples: Sequence[Sample]) -> None:
        """One step's samples. A step that is written again replaces what a stopped one has left."""

    def position(self) -> list[int]:
        """Where to resume; all before it is on the disk."""

    def finish(self, num_classes: int, size: int) -> None:
        """After the last step."""


class FolderTarget:
    """``<folder>/<identity>/<index>.jpg``."""

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None:
        self._folder, self._names = folder, folder_names(names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def write(self, step: int, samples: Sequence[Sample]) -> None:
        for index, data, suffix, label in samples:
            files.write_bytes(self._folder / self._names[label] / f"{index:08}{suffix}", data, sync=False)

    def position(self) -> list[int]:
        os.sync()  # once for all, where one fsync a file would take milliseconds each
        return []

    def finish(self, num_classes: int, size: int) -> None:
        pass


class RecordIOTarget:
    """``train.rec``, ``train.idx`` and ``property``."""

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None:
        self._writer = RecordIOWriter(folder, position)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.__exit__(kind, error, at)

    def write(self, step: int, samples: Sequence[Sample]) -> None:
        for _, data, _, label in samples:
            self._writer.write(data, label)

    def position(self) -> list[int]:
        return self._writer.position()

    def finish(self, num_classes: int, size: int) -> None:
        self._writer.finish(num_classes, size)


class ShardTarget:
    """``shard-000000.tar``, a step each."""

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def write(self, step: int, samples: Sequence[Sample]) -> None:
        if samples:
            named = ((f"{index:09}", suffix[1:], data, label) for index, data, suffix, label in samples)
            write_shard(self._folder / f"shard-{step:06}.tar", named)

    def position(self) -> list[int]:
        return []

    def finish(self, num_classes: int, size: int) -> None:
        pass


TARGETS: dict[str, type[Target]] = {"folder": FolderTarget, "recordio": RecordIOTarget, "shards": ShardTarget}


def folder_names(names: Sequence[str]) -> Sequence[str]:
    """What to call the identities' folders.

    Raises:
        InputError: a name that cannot be a folder's.
    """
    if isinstance(names, NumberNames):
        return _SixDigits(len(names))
    for name in names:
        if flaw(name) is not None or "/" in name or name.startswith(".") or not name:
            raise InputError(f"identity {printable(name, 60)!r}: no name for a folder; rename it")
    return names


class _SixDigits(NumberNames):
    """So that the order of the names is that of the numbers."""

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return f"{int(super().__getitem__(index)):06}"


def labels_of(made: Source, source: Source) -> Mapping[int, int] | Sequence[int]:
    """The label in ``source`` of each label in ``made``: a folder numbers its identities by their names."""
    if isinstance(made.class_names, NumberNames):
        return range(made.num_classes)
    names = folder_names(source.class_names)
    numbers = {names[label]: label for label in range(len(names))}
    return [numbers.get(name, -1) for name in made.class_names]
