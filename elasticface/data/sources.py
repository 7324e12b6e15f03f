"""Where training images come from: what a source is, and how one is opened whatever its format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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


def open_dataset(path: str | Path, **options: Any) -> Source:
    """The training images at ``path``, whatever their format: a folder of identity folders, or synthetic faces.

    Args:
        path: a folder with ``<path>/<identity>/<image>``; or ``synthetic:identities=500,images=16``, for faces rendered
            as they are read, with further keys as in :class:`elasticface.data.synthetic.source.SyntheticFaces`.
        options: what the format takes; for folders ``size``, the images' side in pixels (112); for synthetic faces
            ``cache``, whether to keep images on the disk.

    Raises:
        InputError: nothing there, a format that is not read, an option the format does not have, or what the format's
            own source raises.
    """
    if str(path).partition(":")[0] == "synthetic" and not os.path.exists(path):
        from elasticface.data.synthetic.source import SyntheticFaces  # brings numba

        _check_options("a set of synthetic faces", options, known={"cache"})
        return SyntheticFaces.parse(str(path), **options)
    unread = _format_not_read(path)
    if unread is not None:
        raise InputError(
            f"{path}: {unread}; this version reads folders of identity folders (<identity>/<image>) and synthetic faces"
        )

    from elasticface.data.folder import FolderSource  # brings OpenCV

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


def _format_not_read(path: str | Path) -> str | None:
    """What ``path`` is if it is one of the formats that are known but not read."""
    name = str(path)
    if os.path.isdir(name):
        if all(os.path.exists(os.path.join(name, part)) for part in ("train.rec", "train.idx")):
            return "a RecordIO set (train.rec, train.idx)"
        if any(Path(name).glob("*.tar")) and not any(child.is_dir() for child in Path(name).iterdir()):
            return "a folder of tar shards"
    elif name.endswith((".rec", ".idx")):
        return "a part of a RecordIO set"
    elif name.endswith(".tar"):  # one shard, or a pattern of shards such as faces-*.tar
        return "tar shards"
    return None


def _check_options(kind: str, options: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        raise InputError(f"{kind} has no option {unknown[0]!r}; it knows {', '.join(sorted(known))}")
