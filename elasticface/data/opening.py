"""A data set opened, whatever its format. Each format's modules are imported only when a set of it is opened."""

import os
from pathlib import Path
from typing import Any

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.sources import Source


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
            images; ``shuffle_buffer`` for shards (:class:`elasticface.data.formats.shards.ShardSource`).

    Raises:
        InputError: nothing there, an option the format does not have, or what the format's own source raises.
    """
    name = str(path)
    if name.partition(":")[0] == "synthetic" and not os.path.exists(path):
        from elasticface.data.synthetic.source import SyntheticFaces  # brings numba

        _check_options("a set of synthetic faces", options, known={"cache"})
        return SyntheticFaces.parse(name, **options)
    if _is_recordio(name):
        from elasticface.data.formats.recordio import RecordIOSource  # brings OpenCV, as the two that follow

        _check_options("a RecordIO set", options, known={"size", "cache"})
        return RecordIOSource(path, **options)
    if _is_shards(name):
        from elasticface.data.formats.shards import ShardSource

        _check_options("a set of shards", options, known={"size", "cache", "shuffle_buffer"})
        return ShardSource(path, **options)
    from elasticface.data.formats.folder import FolderSource

    _check_options("a folder of identity folders", options, known={"size"})
    try:
        return FolderSource(path, **options)
    except InputError as error:
        if not _has_shards(name):
            raise
        pattern = printable(Path(name) / "*.tar")
        raise InputError(f"{error}; or, to read the .tar shards there, give {pattern}") from error


def _is_recordio(name: str) -> bool:
    if os.path.isdir(name):
        return os.path.exists(os.path.join(name, "train.rec"))
    return name.endswith((".rec", ".idx"))


def _is_shards(name: str) -> bool:
    if os.path.isdir(name):
        # A folder of people may hold a tar, too; hidden folders are those of tools.
        folders = (child.name for child in Path(name).iterdir() if child.is_dir())
        return _has_shards(name) and all(folder.startswith(".") for folder in folders)
    return name.endswith(".tar")  # one shard, or a pattern of them


def _has_shards(folder: str) -> bool:
    return any(not shard.name.startswith(".") for shard in Path(folder).glob("*.tar"))


def _check_options(kind: str, options: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        raise InputError(f"{kind} has no option {unknown[0]!r}; it knows {', '.join(sorted(known))}")
