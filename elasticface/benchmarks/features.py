"""Embeddings of many images, on disk: made once, block by block, so that a stopped evaluation goes on.

A cache is a folder with `features.npy` (float32 [N, D], a row an image) and `progress.json`, which says what it is of,
how many rows are done, the checksum of each block, and which images had no pixels to embed. `progress.json` is written
anew after each block, once the block is on the disk: a kill at any moment costs that block alone. It can be removed at
any time.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from elasticface import files, progress
from elasticface.ahead import map_ahead
from elasticface.data.images import DamagedImage
from elasticface.errors import InputError
from elasticface.files import printable
from elasticface.model import FaceEncoder
from elasticface.onnx_network import OnnxNetwork

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
        return self.path.resolve().name.removesuffix(".npy")


def embed_to(
    folder: Path,
    encoder: FaceEncoder,
    names: Sequence[str],
    face: Callable[[int], NDArray[np.uint8]],
    what: Sequence[bytes],
    *,
    flip: bool,
    title: str,
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
        block: images between two notes of progress.

    Raises:
        InputError: no room, a model whose embeddings are no numbers, or images that are not of its size.
    """
    key = _fingerprint(encoder, names, what, flip)
    cache = _Cache(folder / key[:24], key, (len(names), encoder.card.embedding_size), block)
    for done in _blocks_to_do(cache, title, len(names), block):
        span = range(done, min(done + block, len(names)))
        cache.add(done, *_embed(encoder, span, names, face, flip))
    damaged = cache.damaged
    for name, why in list(damaged.items())[:_NAMED]:
        progress.console.print(f"skipped: {why or name}", markup=False, soft_wrap=True)
    if len(damaged) > _NAMED:
        progress.console.print(f"… and {len(damaged) - _NAMED} more, see {cache.folder / PROGRESS}", markup=False)
    usable = np.ones(len(names), np.bool_)
    usable[cache.unusable] = False
    return Features(cache.read(), usable, damaged)


def open_features(path: Path, count: int, images: str) -> Floats:
    """Ready-made features from a `.npy` file, as a memory map [N, D].

    Args:
        path: the file; nothing in it is unpickled.
        count: N.
        images: what has that many images, for messages.

    Raises:
        InputError: no such file, not float32 [N, D], or cut short.
    """
    label = printable(path)
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror or error}") from error
    except (ValueError, SyntaxError, TypeError, OverflowError, KeyError, MemoryError, RecursionError) as error:
        raise InputError(f"{label}: not an array that can be mapped: {' '.join(str(error).split())[:200]}") from error
    if found.dtype != np.dtype("<f4") or found.ndim != 2 or found.shape[1] < 1:
        raise InputError(f"{label}: {found.dtype} {list(found.shape)}; features are float32 [N, D]")
    if len(found) != count:
        raise InputError(f"{label}: {len(found)} rows where {images} has {count} images; a row an image, in its order")
    return found


# ---------------------------------------------------------------------------------------------- the cache


class _Cache:
    """The folder of one set of embeddings. What is not as it was left is taken for not there."""

    def __init__(self, folder: Path, key: str, shape: tuple[int, int], block: int) -> None:
        self.folder, self._key, self._shape, self._block = folder, key, shape, block
        self._checksums: list[int] = []
        self._unusable: dict[int, tuple[str, str]] = {}  # row -> name and reason
        folder.mkdir(parents=True, exist_ok=True)
        if self._restore():
            return
        needed = shape[0] * shape[1] * np.dtype(np.float32).itemsize
        if needed > files.room(folder):
            raise InputError(f"{printable(folder)}: no room for {needed / 1e9:.1f} GB of features; give --features DIR")
        (folder / PROGRESS).unlink(missing_ok=True)
        with files.replacing(folder / FEATURES) as temporary:
            np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape).flush()

    @property
    def done(self) -> int:
        """Rows that are there."""
        return min(len(self._checksums) * self._block, self._shape[0])

    @property
    def unusable(self) -> list[int]:
        return list(self._unusable)

    @property
    def damaged(self) -> dict[str, str]:
        return dict(self._unusable.values())

    def add(self, start: int, rows: Floats, damaged: dict[int, tuple[str, str]]) -> None:
        """The next block: on the disk first, then in the note of progress."""
        features = np.lib.format.open_memmap(self.folder / FEATURES, mode="r+")
        features[start : start + len(rows)] = rows
        features.flush()
        self._checksums.append(zlib.crc32(rows.tobytes()))
        self._unusable |= damaged
        self._note()

    def read(self) -> Floats:
        return np.lib.format.open_memmap(self.folder / FEATURES, mode="r")

    def _note(self) -> None:
        note = {
            "format": _FORMAT,
            "key": self._key,
            "shape": self._shape,
            "block": self._block,
            "checksums": self._checksums,
            "unusable": [[row, *said] for row, said in self._unusable.items()],
        }
        files.write_json(self.folder / PROGRESS, note)

    def _restore(self) -> bool:
        """Take over what an earlier run has left, up to the first block that is not as it was."""
        try:
            note = json.loads((self.folder / PROGRESS).read_text("utf-8"))
            features = self.read()
            if (note["format"], note["key"], note["block"]) != (_FORMAT, self._key, self._block):
                return False
            if tuple(note["shape"]) != self._shape or features.shape != self._shape or features.dtype != np.float32:
                return False
            for number, checksum in enumerate(note["checksums"]):
                rows = features[number * self._block : (number + 1) * self._block]
                if zlib.crc32(np.ascontiguousarray(rows).data) != checksum:
                    progress.console.print(f"{printable(self.folder)}: damaged from row {number * self._block} on")
                    break
                self._checksums.append(checksum)
            self._unusable = {row: (str(name), str(why)) for row, name, why in note["unusable"] if 0 <= row < self.done}
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not as it was written
            return False
        return True


def _blocks_to_do(cache: _Cache, title: str, total: int, block: int) -> Iterator[int]:
    """The first row of each block that is not there yet, with a bar that counts images."""
    with progress.bar() as bar:
        task = bar.add_task(title, total=total, completed=cache.done)
        while cache.done < total:
            yield cache.done
            bar.update(task, completed=cache.done)


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
    if not np.isfinite(embeddings).all():
        raise InputError(f"{encoder.card.name}: its embeddings hold NaN or infinity; the model is broken")
    rows[np.array(there, dtype=np.intp) - span.start] = embeddings
    return rows, damaged


# ---------------------------------------------------------------------------------------------- fingerprints


def _fingerprint(encoder: FaceEncoder, names: Sequence[str], what: Sequence[bytes], flip: bool) -> str:
    """What tells these embeddings from all others, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    parts = [
        json.dumps([_FORMAT, flip, asdict(encoder.card)], sort_keys=True, default=str).encode(),
        _model_bytes(encoder),
        "\n".join(names).encode(errors="surrogateescape"),
        *what,
    ]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _model_bytes(encoder: FaceEncoder) -> bytes:
    """A digest of the model: of its weights, of its file, or of what it makes of one image where it has neither."""
    digest = hashlib.sha256()
    network: Any = encoder.network
    if isinstance(network, nn.Module):
        for name, value in sorted(network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(network, OnnxNetwork):
        with network.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    else:
        size = encoder.card.preprocessing.size
        image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        digest.update(encoder.embed(image, flip=False, normalize=False).tobytes())
    return digest.digest()
