"""Where training images come from: what a source is, and how one is opened whatever its format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from elasticface.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Source(Protocol):
    """A set of labelled face images, in a fixed order. N images, C identities."""

    @property
    def num_classes(self) -> int:
        """C, how many identities there are."""

    @property
    def class_names(self) -> Sequence[str]:
        """The identities' names [C], in the order of their labels."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Every image's identity, int64 [N], values 0..C-1. Known without opening an image."""

    def __len__(self) -> int:
        """N, how many images there are."""

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], int]:
        """One image, uint8 RGB [H, W, 3], and its label.

        Raises:
            DamagedImage: the image cannot be decoded.
            IndexError: ``index`` beyond the set.
        """


@runtime_checkable
class EncodedSource(Source, Protocol):
    """A source whose images lie somewhere as encoded bytes, to be carried over as they are."""

    def encoded(self, index: int, /) -> tuple[bytes, int]:
        """One image's bytes, JPEG or whatever they are, and its label.

        Raises:
            DamagedImage: the bytes cannot be had.
            IndexError: ``index`` beyond the set.
        """

    def name(self, index: int, /) -> str:
        """What to call the image in a message."""


def open_dataset(path: str | Path, **options: Any) -> Source:
    """The training images at ``path``, whatever their format.

    Args:
        path: one of

            - a folder with ``<path>/<identity>/<image>``;
            - a folder with `train.rec` and, if it is there, `train.idx` and `property`; or a `.rec` itself;
            - a folder of `.tar` shards, one shard, a glob of them or a pattern as ``shard-{000000..000009}.tar``;
            - ``synthetic:identities=500,images=16``, for faces rendered as they are read, with further keys as in
              :class:`elasticface.data.synthetic.source.SyntheticFaces`.
        options: what the format takes: ``size``, the images' side in pixels (112), for all but synthetic faces;
            ``cache``, whether to keep what was found or made in the user's cache folder, for all but a folder of
            images; ``shuffle_buffer`` for shards (:class:`elasticface.data.shards.ShardSource`).

    Raises:
        InputError: nothing there, an option the format does not have, or what the format's own source raises.
    """
    name = str(path)
    if name.partition(":")[0] == "synthetic" and not os.path.exists(path):
        from elasticface.data.synthetic.source import SyntheticFaces  # brings numba

        _check_options("a set of synthetic faces", options, known={"cache"})
        return SyntheticFaces.parse(name, **options)
    if _is_recordio(name):
        from elasticface.data.recordio import RecordIOSource  # brings OpenCV, as the two that follow

        _check_options("a RecordIO set", options, known={"size", "cache"})
        return RecordIOSource(path, **options)
    if _is_shards(name):
        from elasticface.data.shards import ShardSource

        _check_options("a set of shards", options, known={"size", "cache", "shuffle_buffer"})
        return ShardSource(path, **options)
    from elasticface.data.folder import FolderSource

    _check_options("a folder of identity folders", options, known={"size"})
    return FolderSource(path, **options)


def require_identities(source: Source, least: int = 2) -> None:
    """See that ``source`` has at least ``least`` identities: with one there is nothing to tell apart.

    Raises:
        InputError: it has fewer.
    """
    if source.num_classes < least:
        names = ", ".join(repr(name) for name in source.class_names[:3])
        raise InputError(
            f"too few identities: training needs at least {least} to tell apart, the data set holds "
            f"{source.num_classes} ({names}); add folders, one per person"
        )


def _is_recordio(name: str) -> bool:
    if os.path.isdir(name):
        return os.path.exists(os.path.join(name, "train.rec"))
    return name.endswith((".rec", ".idx"))


def _is_shards(name: str) -> bool:
    if os.path.isdir(name):
        # A folder of people may hold a tar, too.
        return any(Path(name).glob("*.tar")) and not any(child.is_dir() for child in Path(name).iterdir())
    return name.endswith(".tar")  # one shard, or a pattern of them


def _check_options(kind: str, options: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        raise InputError(f"{kind} has no option {unknown[0]!r}; it knows {', '.join(sorted(known))}")
