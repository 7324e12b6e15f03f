"""WebDataset shards: tars of `<key>.jpg` and `<key>.cls` or `<key>.json`, read in any order and, fast, in their own.

Shards are files, so each is looked through once and its images are then read wherever they lie: a set of shards is a
source like the others: a run on it is shared out over processes and resumed just as exactly. What streaming
is for, reading large files from end to end, is kept by the order in which an epoch visits the images
(:meth:`ShardSource.epoch_order`).
"""

import bisect
import functools
import glob
import os
import weakref
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, keyed, progress
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.data.feed import sampler
from elasticface.data.formats.cache import Stamp, opened_unchanged, stamp
from elasticface.data.formats.encoded import EncodedImages, count_identities
from elasticface.data.formats.shard_index import name_at, read_shard

SHUFFLE_BUFFER = 1 << 16
"""Images that an epoch's order mixes: about half a gigabyte of faces, which the system keeps in memory meanwhile."""

_OPEN = 64  # shards that a process holds open
_LONG = 8  # shards that take a while to look through
_GROUPED = 0.5  # share of images that follow one of the same identity: then a buffer would mix too few identities


class ShardSource(EncodedImages):
    """The images of WebDataset shards, shard after shard in the order of their names.

    Labels stay as they are in the shards. Opening looks through the tars once, without reading images, and keeps what
    it found in the user's cache folder, good until a shard changes. Files are opened when they are first read from, so
    a source can be pickled and forked.

    Args:
        path: a folder of `.tar` files, one such file, a glob (``shards/*.tar``) or a pattern
            (``shards/faces-{000000..000579}.tar``).
        size: the side in pixels that every image comes out with; images of another size are resized, with one warning.
        cache: keep what was found in the user's cache folder.
        shuffle_buffer: images that an epoch's order mixes, ≥ 1, or None to mix all with all.

    Attributes:
        files: the shards.
        size: as given.
        labels: int64 [N], the images' identities.
        num_classes: C, one more than the largest label. Identities without images are classes; a warning counts them.

    Raises:
        InputError: no shards there, one that cannot be read, is no plain tar or is damaged, an image without a label.
    """

    def __init__(
        self, path: str | Path, size: int = 112, *, cache: bool = True, shuffle_buffer: int | None = SHUFFLE_BUFFER
    ) -> None:
        if shuffle_buffer is not None and shuffle_buffer < 1:
            raise InputError(f"shuffle_buffer must be at least 1 image, got {shuffle_buffer}")
        super().__init__(path, size)
        self._buffer = shuffle_buffer
        self.files = find_shards(path)
        self._stamps = []
        for shard in self.files:
            with files.reading(shard):
                self._stamps.append(stamp(shard))
        with progress.bar(shown=len(self.files) > _LONG) as bar:
            indices = [
                read_shard(shard, cache) for shard in bar.track(self.files, description="looking through shards")
            ]
        counts = [len(index["labels"]) for index in indices]
        self._starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if not self._starts[-1]:
            raise InputError(f"{self._label}: no images in it; shards hold <key>.jpg and <key>.cls, or .json")
        self._first_images = self._starts.tolist()  # for bisect, which is made for lists
        self._offsets = np.concatenate([index["offsets"] for index in indices])
        self._sizes = np.concatenate([index["sizes"] for index in indices])
        self.labels = np.concatenate([index["labels"] for index in indices])
        self.num_classes = count_identities(self.labels, None, self._label)

    def name(self, index: int) -> str:
        """One image's name for a message: its shard and its name in there."""
        path, shard = self._shard(index)
        return name_at(path, shard.descriptor, int(self._offsets[index]))

    def epoch_order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The order in which an epoch visits the images, int64 [N]: a function of seed and epoch alone.

        Shards come in a drawn order, and each from beginning to end, but for an exchange of images that are less than
        ``shuffle_buffer`` apart: at any moment images are read from a stretch of at most twice that length. So a disk
        or a bucket that is slow with single images is read as in a stream. Where all images fit into the buffer, all
        are mixed with all; so they are where each identity's images lie together in the shards, which a buffer cannot
        separate.
        """
        count, buffer = len(self), self._buffer
        if buffer is None or count <= buffer or self._is_grouped:
            return sampler.epoch_order(count, seed, epoch)
        generator = keyed.generator(seed, "shards", epoch)
        shards = generator.permutation(len(self.files))
        stream = np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in shards])
        # The first and the last images of the stream are exchanged as far as those between.
        middles = np.clip(np.arange(count) - buffer / 2, 0, count - buffer)
        return stream[np.argsort(middles + generator.uniform(0, buffer, count), kind="stable")]

    def _bytes(self, index: int) -> bytes:
        path, shard = self._shard(index)
        offset, size = self._offsets.item(index), self._sizes.item(index)
        self._check_size(index, size)
        try:
            data = os.pread(shard.descriptor, size, offset)
        except OSError as error:
            raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from error
        if len(data) != size:
            raise InputError(f"{printable(path)}: has changed since it was opened; start again")
        return data

    @cached_property
    def _is_grouped(self) -> bool:
        return bool(np.mean(self.labels[1:] == self.labels[:-1]) > _GROUPED) if len(self) > 1 else False

    def _shard(self, index: int) -> tuple[Path, "_Opened"]:
        number = bisect.bisect_right(self._first_images, range(len(self))[index]) - 1
        return self.files[number], _opened(self.files[number], self._stamps[number])


def find_shards(path: str | Path) -> list[Path]:
    """The shards that a folder, a file, a glob or a pattern with braces stands for, in the order of their names.

    Raises:
        InputError: there are none.
    """
    name = str(path)
    if "://" in name or name.startswith("pipe:"):
        raise InputError(f"{printable(name)}: shards are read from files; mount the bucket, or copy them to a disk")
    if os.path.isdir(name):
        found = sorted(shard for shard in Path(name).glob("*.tar") if not shard.name.startswith("."))
    elif os.path.exists(name):
        found = [Path(name)]
    elif "{" in name:
        from webdataset.shardlists import expand_urls  # the library's own braces; brings torch

        try:
            found = [Path(url) for url in expand_urls(name)]
        except ValueError as error:
            raise InputError(
                f"{printable(name)}: no pattern of shards ({first_line(error)}); write faces-{{000000..000009}}.tar"
            ) from error
        if absent := next((shard for shard in found if not shard.exists()), None):
            raise InputError(
                f"{printable(name)}: {printable(absent.name)} is not there; fetch it, or change the pattern"
            )
    else:
        found = sorted(map(Path, glob.glob(name)))
    if not found:
        raise InputError(f"{printable(name)}: no shards there; give a folder of .tar files, or a pattern of them")
    return found


def write_shard(path: Path, samples: Iterable[tuple[str, str, bytes, int]]) -> None:
    """Samples as a shard that WebDataset's readers take. The same samples give the same bytes.

    Args:
        path: where to write; the file is whole or absent.
        samples: key, the image's suffix ("jpg"), its bytes, and its label.
    """
    import webdataset

    with (
        files.replacing(path) as temporary,
        temporary.open("wb") as file,
        webdataset.TarWriter(file, encoder=False, mtime=0) as tar,
    ):
        for key, suffix, image, label in samples:
            tar.write({"__key__": key, suffix: image, "cls": str(label).encode()})


class _Opened:
    """An open file, closed when no one reads from it any more."""

    def __init__(self, path: Path, indexed: Stamp) -> None:
        file = opened_unchanged(path, indexed)
        self.descriptor = file.fileno()
        weakref.finalize(self, file.close)


_opened = functools.lru_cache(maxsize=_OPEN)(_Opened)
"""This process's opened files: not a part of the source, so that a source can be sent to other processes."""
