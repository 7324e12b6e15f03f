"""What a conversion writes: a folder of identity folders, RecordIO or shards. Each can be resumed where it stopped."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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


@dataclass(frozen=True)
class Item:
    """One image, read and checked, to be written."""

    index: int  # in the source
    label: int
    data: bytes  # encoded
    suffix: str  # of a file with these bytes, ".jpg"
    carried: bool  # whether they are the source's
    digest: int


class Target(ABC):
    """A format that is written, step by step; what a format has nothing to do for is done here.

    Args:
        folder: where to write.
        names: the identities' [C].
        position: where an earlier writer was; None begins anew.
    """

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 (most have nothing to close)
        """Close what is open."""

    @abstractmethod
    def write(self, step: int, items: Sequence[Item]) -> None:
        """One step's images. A step that is written again replaces what a stopped one has left."""

    def position(self) -> list[int]:
        """Where to resume; all before it is on the disk."""
        return []

    def finish(self, num_classes: int, size: int) -> None:  # noqa: B027 (most have nothing left to do)
        """After the last step."""


class FolderTarget(Target):
    """``<folder>/<identity>/<index>.jpg``."""

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None:
        super().__init__(folder, names, position)
        self._names = folder_names(names)

    def write(self, step: int, items: Sequence[Item]) -> None:
        for item in items:
            path = self._folder / self._names[item.label] / f"{item.index:08}{item.suffix}"
            files.write_bytes(path, item.data, sync=False)

    def position(self) -> list[int]:
        os.sync()  # once for all, where one fsync a file would take milliseconds each
        return []


class RecordIOTarget(Target):
    """``train.rec``, ``train.idx`` and ``property``."""

    def __init__(self, folder: Path, names: Sequence[str], position: Sequence[int] | None) -> None:
        self._writer = RecordIOWriter(folder, position)

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, step: int, items: Sequence[Item]) -> None:
        for item in items:
            self._writer.write(item.data, item.label)

    def position(self) -> list[int]:
        return self._writer.position()

    def finish(self, num_classes: int, size: int) -> None:
        self._writer.finish(num_classes, size)


class ShardTarget(Target):
    """``shard-000000.tar``, a step each."""

    def write(self, step: int, items: Sequence[Item]) -> None:
        if items:
            named = ((f"{item.index:09}", item.suffix[1:], item.data, item.label) for item in items)
            write_shard(self._folder / f"shard-{step:06}.tar", named)


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


def labels_of(made: Source, source: Source) -> Sequence[int]:
    """The label in ``source`` of each label in ``made``: a folder numbers its identities by their names."""
    if isinstance(made.class_names, NumberNames):
        return range(made.num_classes)
    names = folder_names(source.class_names)
    numbers = {names[label]: label for label in range(len(names))}
    return [numbers.get(name, -1) for name in made.class_names]
