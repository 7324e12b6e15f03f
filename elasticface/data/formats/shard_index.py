"""Where the images of a shard lie and whom they show. A shard is a plain tar of `<key>.jpg` and `<key>.cls` or `.json`.

That is WebDataset's layout: the entries of a sample follow each other, and an entry's suffix begins at the first dot of
its name. Of an entry of any other kind (links, devices, sparse files, names that lead elsewhere) nothing is read.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.formats.cache import ArrayCache
from elasticface.data.formats.encoded import MOST_IDENTITIES
from elasticface.data.images.decoding import IMAGE_SUFFIXES
from elasticface.data.images.photos import flaw
from elasticface.data.images.tars import members

LABELS = ("cls", "json")
"""Suffixes of what says whom an image shows; of two, the first counts."""

KEYS = ("label", "class", "cls")
"""Under which of them a JSON object has the identity's number; a bare number does, too."""

Index = dict[str, NDArray[np.int64]]  # offsets, sizes, labels: [n] each, in the shard's order

_KEPT = ("offsets", "sizes", "labels")  # in the cache
_MOST_LABEL = 1 << 16  # bytes of a .cls or .json
_IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)


def read_shard(path: Path, cache: bool = True) -> Index:
    """The images of a shard, without reading one. What is found is kept in the user's cache folder.

    Raises:
        InputError: the file cannot be read, is no plain tar, or is damaged; an image without a label or with two; a
            label that is none.
    """
    known = ArrayCache("shard 1", [path], cache)
    if (found := known.load(_KEPT)) is None:
        with files.reading(path), files.opened(path) as file:
            rows = list(_samples(path, file.fileno()))
        table = np.array(rows, np.int64).reshape(-1, 3)
        found = {name: table[:, column].copy() for column, name in enumerate(_KEPT)}
        known.save(found)
    return found


def name_at(path: Path, descriptor: int, offset: int) -> str:
    """What to call the image whose bytes begin at ``offset``: its name is in the block before."""
    try:
        header = os.pread(descriptor, tarfile.BLOCKSIZE, offset - tarfile.BLOCKSIZE)
        name = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except (OSError, ValueError, tarfile.TarError):
        name = f"the image at byte {offset:,}"
    return f"{printable(path)}: {printable(name, 200)}"


def _samples(path: Path, descriptor: int) -> Iterator[tuple[int, int, int]]:
    """Offset, size and label of each sample's image."""
    key: str | None = None
    sample: dict[str, tuple[int, int]] = {}
    for member in members(path):
        if not member.isreg() or member.issparse() or flaw(member.name) is not None:
            continue
        folder, slash, base = member.name.rpartition("/")
        stem, dot, suffix = base.partition(".")
        if not stem or not dot:
            continue
        this, suffix = f"{folder}{slash}{stem}", suffix.lower()
        if this != key:
            if key is not None:
                yield from _sample(path, descriptor, key, sample)
            key, sample = this, {}
        if suffix in sample:
            raise InputError(
                f"{printable(path)}: {printable(member.name, 200)} is there twice in a row; pack the shard again"
            )
        if suffix in _IMAGES or suffix in LABELS:
            sample[suffix] = (member.offset_data, member.size)
    if key is not None:
        yield from _sample(path, descriptor, key, sample)


def _sample(
    path: Path, descriptor: int, key: str, sample: dict[str, tuple[int, int]]
) -> Iterator[tuple[int, int, int]]:
    images = [suffix for suffix in sample if suffix in _IMAGES]
    if not images:
        return
    label = f"{printable(path)}: {printable(key, 200)}"
    if len(images) > 1:
        raise InputError(f"{label} has two images, .{images[0]} and .{images[1]}; remove one")
    label_suffix = next((suffix for suffix in LABELS if suffix in sample), None)
    if label_suffix is None:
        raise InputError(
            f"{label}.{images[0]} has no {printable(key, 200)}.cls or .json beside it that says whom it shows; samples "
            "are <key>.jpg and <key>.cls, one after the other"
        )
    offset, size = sample[label_suffix]
    if size > _MOST_LABEL:
        raise InputError(f"{label}.{label_suffix}: {size:,} bytes, where a label has at most {_MOST_LABEL:,}")
    number = _number(os.pread(descriptor, size, offset), label_suffix)
    if number is None:
        raise InputError(
            f"{label}.{label_suffix}: holds no identity; a .cls is a whole number from 0 to {MOST_IDENTITIES - 1:,}, "
            'a .json is {"label": 12} or {"class": 12}'
        )
    yield (*sample[images[0]], number)


def _number(content: bytes, suffix: str) -> int | None:
    """The identity that a .cls or .json tells, or None."""
    if suffix == "cls":
        text = content.strip()
        number = int(text) if text.isdigit() and len(text) < 10 else None
    else:
        try:
            number = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None
        if isinstance(number, dict):
            number = next((number[key] for key in KEYS if key in number), None)
    good = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < MOST_IDENTITIES
    return number if good else None
