"""Embeddings of many images, on disk: made once, block by block, so that a stopped evaluation can be resumed.

A cache is a folder with `features.npy` (float32 [N, D], a row an image) and `progress.json`, which says what it is of,
the checksum of each block that is done, and which images had no pixels to embed. `progress.json` is rewritten after
each block, once the block is on the disk: a kill at any moment costs that block alone. It can be removed at any time.

Images that had no pixels are looked at again whenever the cache is opened. Where one has some now, its whole block is
embedded again: the other faces of a batch change an embedding's last bits, and the result is to be that of a run that
had the image from the start.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from elasticface.base import files, progress
from elasticface.base.ahead import map_ahead
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import locked
from elasticface.benchmarks.reading.npy import map_floats, write_header
from elasticface.data.images.decoding import DamagedImage
from elasticface.model.encoder import FaceEncoder
from elasticface.model.onnx import OnnxNetwork, external_files

FEATURES, PROGRESS = "features.npy", "progress.json"
BLOCK = 2048
"""Images between two notes of progress; a multiple of the batch, so that batches are the same after a stop."""

_BATCH = 64
_NAMED = 5  # damaged images that are named on the terminal; all of them are in progress.json
_FORMAT = 1

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings of N images, not normalised."""

    rows: Floats  # [N, D], a memory map; zeros where there was nothing to embed
    usable: NDArray[np.bool_]  # [N], False for an image that is missing or damaged
    damaged: dict[str, str]  # name -> what is wrong with it
    given: bool = False  # they came ready-made: how is not known
    source: str = "the features"  # where they are, for messages


@dataclass(frozen=True)
class FeatureFiles:
    """Ready-made features in the place of a model: what they are depends on the benchmark.

    Args:
        path: a `.npy` file with a row an image of the benchmark, or a folder of MegaFace's matrix files.
        suffix: what stands between an image's name and `.bin` in such a folder, where there is more than one.
    """

    path: Path
    suffix: str | None = None

    @property
    def name(self) -> str:
        return os.path.basename(os.path.realpath(self.path)).removesuffix(".npy")


def embed_to(
    folder: Path,
    encoder: FaceEncoder,
    names: Sequence[str],
    face: Callable[[int], NDArray[np.uint8]],
    what: Sequence[bytes],
    *,
    flip: bool,
    title: str,
    before: Callable[[], object] = lambda: None,
    block: int = BLOCK,
) -> Features:
    """The embeddings of ``names``, from the cache below ``folder`` as far as it has them.

    Args:
        folder: where caches are kept, one for each combination of model, images and ``flip``.
        encoder: the model.
        names: of the images [N].
        face: the aligned face of image i, uint8 [size, size, 3] RGB; raises DamagedImage where there is none. It is
            called from several threads.
        what: what else makes the embeddings what they are: where the images come from, how they are aligned.
        flip: add the embedding of the mirror image.
        title: what to call the work on the terminal.
        before: called once before any ``face``, where one is asked for at all; it may raise InputError.
        block: images between two notes of progress.

    Raises:
        InputError: no room, a model whose embeddings are no numbers, images that are not of its size, or another
            process that makes the same embeddings.
    """
    key = _fingerprint(encoder, names, what, flip)
    with locked(folder / key[:24]):
        cache = _Cache(folder / key[:24], key, (len(names), encoder.card.embedding_size), block)
        if cache.to_do or cache.unusable:
            before()
        _look_again(cache, face)
        with progress.bar() as bar:
            task = bar.add_task(title, total=len(names), completed=cache.done)
            for number in cache.to_do:
                cache.add(number, *_embed(encoder, cache.span(number), names, face, flip))
                bar.update(task, completed=cache.done)
    damaged = cache.damaged
    for name, why in list(damaged.items())[:_NAMED]:
        progress.say(f"skipped: {printable(why or name)}")
    if len(damaged) > _NAMED:
        progress.say(f"… and {len(damaged) - _NAMED} more, see {printable(cache.folder / PROGRESS)}")
    usable = np.ones(len(names), np.bool_)
    usable[cache.unusable] = False
    return Features(cache.read(), usable, damaged, source=printable(cache.folder))


def open_features(path: Path, count: int, images: str) -> Floats:
    """Ready-made features from a `.npy` file, as a memory map [N, D].

    Args:
        path: the file; nothing in it is unpickled or evaluated.
        count: N.
        images: what has that many images, for messages.

    Raises:
        InputError: no such file, not float32 [N, D], or cut short.
    """
    label = printable(path)
    try:
        found = map_floats(path)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{label}: cannot be read: {why}; give a .npy with a row an image of {images}") from error
    except ValueError as error:
        raise InputError(f"{label}: {error}") from error
    if len(found) != count:
        raise InputError(f"{label}: {len(found)} rows where {images} has {count} images; a row an image, in its order")
    return found


# ---------------------------------------------------------------------------------------------- the cache


@dataclass
class _Left:
    """What is known of a cache's rows."""

    checksums: list[int | None]  # of each block; None where it is not there
    unusable: dict[int, tuple[str, str]] = field(default_factory=dict)  # row of such a block -> name and reason


class _Cache:
    """The folder of one set of embeddings. What is not as it was left is taken for not there."""

    def __init__(self, folder: Path, key: str, shape: tuple[int, int], block: int) -> None:
        self.folder, self._key, self._shape, self._block = folder, key, shape, block
        folder.mkdir(parents=True, exist_ok=True)
        left = left_over(folder, key, shape, block)
        self._left = left or _Left([None] * -(-shape[0] // block))
        if left is not None:
            return
        needed = shape[0] * shape[1] * np.dtype(np.float32).itemsize
        if needed > files.room(folder):
            raise InputError(f"{printable(folder)}: no room for {needed / 1e9:.1f} GB of features; give --features DIR")
        (folder / PROGRESS).unlink(missing_ok=True)
        with files.replacing(folder / FEATURES) as temporary, temporary.open("wb") as file:
            write_header(file, np.float32, shape)
            # All of the room at once: a disk that is full when a row is written through the map is no error but SIGBUS.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, file.tell() + needed)
            else:
                file.truncate(file.tell() + needed)

    @property
    def to_do(self) -> list[int]:
        """Numbers of the blocks that are not there."""
        return [number for number, checksum in enumerate(self._left.checksums) if checksum is None]

    @property
    def done(self) -> int:
        """Rows that are there."""
        return self._shape[0] - sum(len(self.span(number)) for number in self.to_do)

    @property
    def unusable(self) -> list[int]:
        """Rows that are there and have no image."""
        return sorted(self._left.unusable)

    @property
    def damaged(self) -> dict[str, str]:
        return dict(self._left.unusable[row] for row in self.unusable)

    def block_of(self, row: int) -> int:
        return row // self._block

    def span(self, number: int) -> range:
        """The rows of a block."""
        return range(number * self._block, min((number + 1) * self._block, self._shape[0]))

    def add(self, number: int, rows: Floats, damaged: dict[int, tuple[str, str]]) -> None:
        """One block: on the disk first, then in the note of progress."""
        features, span = map_floats(self.folder / FEATURES, "r+"), self.span(number)
        features[span.start : span.stop] = rows
        features.flush()
        self._left.checksums[number] = zlib.crc32(rows.tobytes())
        self._left.unusable |= damaged
        self._note()

    def say_again(self, reasons: dict[int, str], readable: set[int]) -> None:
        """Note why rows have no image, and which blocks are to be embedded again since theirs can be read now.

        It is noted before the first of these blocks is written, so that a kill in between costs that block alone.
        """
        before = self._left.unusable
        self._left.unusable = {
            row: (name, reasons.get(row, why))
            for row, (name, why) in before.items()
            if self.block_of(row) not in readable
        }
        for number in readable:
            self._left.checksums[number] = None
        if self._left.unusable != before:
            self._note()

    def read(self) -> Floats:
        return map_floats(self.folder / FEATURES)

    def _note(self) -> None:
        note = {
            "format": _FORMAT,
            "key": self._key,
            "shape": self._shape,
            "block": self._block,
            "checksums": self._left.checksums,
            "unusable": [[row, *self._left.unusable[row]] for row in self.unusable],
        }
        files.write_json(self.folder / PROGRESS, note)


def left_over(folder: Path, key: str, shape: tuple[int, int], block: int) -> _Left | None:
    """What an earlier run has left of these embeddings, block by block; None where that is nothing of use."""
    try:
        note = json.loads(files.read_text(folder / PROGRESS))
        if (note["format"], note["key"], note["block"], *note["shape"]) != (_FORMAT, key, block, *shape):
            return None
        features = map_floats(folder / FEATURES)
        if features.shape != shape:
            return None
        starts, noted = range(0, shape[0], block), list(note["checksums"])
        found = _Left([None] * len(starts))
        for number, (start, checksum) in enumerate(zip(starts, noted, strict=False)):
            rows = features[start : start + block]
            if checksum is not None and zlib.crc32(np.ascontiguousarray(rows).data) != checksum:
                last = start + len(rows) - 1
                progress.say(f"{printable(folder)}: rows {start} to {last} are damaged, and are embedded again")
            else:
                found.checksums[number] = checksum
        for row, name, why in note["unusable"]:
            if type(row) is int and row in range(shape[0]) and found.checksums[row // block] is not None:
                found.unusable[row] = str(name), str(why)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # not there, or not as it was written
        return None
    return found


def _look_again(cache: _Cache, face: Callable[[int], NDArray[np.uint8]]) -> None:
    """Look at the images that had no pixels when their block was made: they may have been put right since."""
    readable: set[int] = set()
    reasons: dict[int, str] = {}

    def look(row: int) -> tuple[int, str | None]:
        try:
            face(row)
        except DamagedImage as error:
            return row, str(error)
        return row, None

    rows = (row for row in cache.unusable if cache.block_of(row) not in readable)  # one of a block is enough
    for row, why in map_ahead(look, rows):
        if why is None:
            readable.add(cache.block_of(row))
        else:
            reasons[row] = why
    cache.say_again(reasons, readable)


def _embed(
    encoder: FaceEncoder,
    span: range,
    names: Sequence[str],
    face: Callable[[int], NDArray[np.uint8]],
    flip: bool,
) -> tuple[Floats, dict[int, tuple[str, str]]]:
    """The rows of ``span``, and which of them have no image; threads decode while the model computes."""
    damaged: dict[int, tuple[str, str]] = {}
    there: list[int] = []

    def faces() -> Iterator[NDArray[np.uint8]]:
        for row, found in zip(span, map_ahead(face, span, caught=DamagedImage), strict=True):
            if isinstance(found, DamagedImage):
                damaged[row] = (names[row], str(found))
            else:
                there.append(row)
                yield found

    rows = np.zeros((len(span), encoder.card.embedding_size), np.float32)
    embeddings = encoder.embed(faces(), flip, normalize=False, batch_size=_BATCH)
    rows[np.array(there, dtype=np.intp) - span.start] = embeddings
    return rows, damaged


# ---------------------------------------------------------------------------------------------- fingerprints


def _fingerprint(encoder: FaceEncoder, names: Sequence[str], what: Sequence[bytes], flip: bool) -> str:
    """What tells these embeddings from all others, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    parts = [
        json.dumps([_FORMAT, flip, asdict(encoder.card)], sort_keys=True, default=str).encode(),
        model_bytes(encoder),
        "\n".join(names).encode(errors="surrogateescape"),
        *what,
    ]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def model_bytes(encoder: FaceEncoder) -> bytes:
    """A digest of the model: of its weights, of its files, or of what it makes of one image where it has neither."""
    digest = hashlib.sha256()
    network: Any = encoder.network
    if isinstance(network, nn.Module):
        for name, value in sorted(network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(network, OnnxNetwork):
        with files.opened(network.path) as file:
            digest = hashlib.file_digest(file, "sha256")
        for name in external_files(network.path):
            with files.opened(network.path.parent / name) as file:
                digest.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
        digest.update(network.output.encode())
    else:
        size = encoder.card.preprocessing.size
        image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        digest.update(encoder.embed(image, flip=False, normalize=False).tobytes())
    return digest.digest()
