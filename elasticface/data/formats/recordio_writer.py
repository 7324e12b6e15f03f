"""Writes RecordIO sets as InsightFace lays them out, for our own reader and for MXNet's."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.data.formats.encoded import MOST_IDENTITIES
from elasticface.data.formats.recordio import IDX, PROPERTY, REC
from elasticface.data.formats.recordio_index import (
    FIRST,
    HEADER,
    LAST,
    MAGIC,
    MIDDLE,
    MOST_LENGTH,
    PART,
    WHOLE,
    read_records,
)

_MAGIC_BYTES = MAGIC.to_bytes(4, "little")


class RecordIOWriter:
    """Images of one identity after the other into `train.rec`, `train.idx` and `property`.

    Record 0 holds the numbers of the first identity's record and of one past the last; records 1, 2, … are the images;
    after them comes a record for each identity with the numbers of its first image and of one past its last. Beyond
    16,777,216 images such a number is rounded down to the next that a float32 can hold, as the format has it.

    The files are there under their names once :meth:`finish` has been called, whole; until then they end in `.part`,
    and another writer can resume from :meth:`position`.

    Args:
        folder: where to write; made if need be.
        position: where to resume; what follows it is dropped. None begins new files.

    Raises:
        ValueError: images of one identity after those of a later one, a label out of range, or too many bytes.
    """

    def __init__(self, folder: str | Path, position: Sequence[int] | None = None) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        mode = "wb" if position is None else "r+b"
        for name in (REC, IDX):  # a writer that was stopped at its very end may have named them already
            if position is not None and (self._folder / name).exists():
                os.replace(self._folder / name, self._folder / f"{name}.part")
        self._rec = (self._folder / f"{REC}.part").open(mode)
        self._idx = (self._folder / f"{IDX}.part").open(mode)
        if position is None:
            self._next, self._last_label = 0, 0
            self._append(_record(0, (0.0, 0.0), b""))  # its numbers are known at the end
        else:
            rec, idx, self._next, self._last_label = position
            for file, size in ((self._rec, rec), (self._idx, idx)):
                file.truncate(size)
                file.seek(size)

    def __enter__(self) -> "RecordIOWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, whole or not."""
        self._rec.close()
        self._idx.close()

    def write(self, image: bytes, label: int) -> None:
        """One encoded image of identity ``label``, at least that of the image before."""
        if not self._last_label <= label < MOST_IDENTITIES:
            raise ValueError(f"labels must rise and be below {MOST_IDENTITIES:,}, got {label} after {self._last_label}")
        self._last_label = label
        self._append(_record(self._next, (label,), image))

    def position(self) -> list[int]:
        """Where the files are now, with everything up to there on the disk."""
        for file in (self._rec, self._idx):
            file.flush()
            os.fsync(file.fileno())
        return [self._rec.tell(), self._idx.tell(), self._next, self._last_label]

    def finish(self, num_classes: int, size: int) -> None:
        """Write the identities' records, what record 0 says, and `property`; then give the files their names.

        Args:
            num_classes: C, above every label.
            size: of the images in pixels.
        """
        if not self._last_label < num_classes <= MOST_IDENTITIES:
            raise ValueError(f"there are labels up to {self._last_label}, which is not below {num_classes} classes")
        first = self._next
        for start, end in self._ranges(num_classes):
            self._append(_record(self._next, (_float(start), _float(end)), b""))
        self._rec.seek(0)
        self._rec.write(_record(0, (_float(first), _float(self._next)), b""))
        self.position()
        self.close()
        files.write_text(self._folder / PROPERTY, f"{num_classes},{size},{size}\n")
        for name in (REC, IDX):
            os.replace(self._folder / f"{name}.part", self._folder / name)

    def _ranges(self, num_classes: int) -> list[tuple[int, int]]:
        """Each identity's first record and one past its last: read back, so that a writer that resumes knows them."""
        self.position()
        records = read_records(self._folder / f"{REC}.part", self._folder / f"{IDX}.part")
        labels: NDArray[np.float32] = records.labels[1:]
        starts = 1 + np.searchsorted(labels, np.arange(num_classes + 1, dtype=np.float32))
        return list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))

    def _append(self, record: bytes) -> None:
        self._idx.write(f"{self._next}\t{self._rec.tell()}\n".encode())
        self._rec.write(record)
        self._next += 1


def _record(number: int, labels: Sequence[float], image: bytes) -> bytes:
    """A record with its parts' words: `IRHeader`, the labels where there is more than one, the image."""
    if len(labels) == 1:
        content = HEADER.pack(0, labels[0], number, 0) + image
    else:
        content = HEADER.pack(len(labels), 0.0, number, 0) + np.array(labels, "<f4").tobytes() + image
    if len(content) > MOST_LENGTH:
        raise ValueError(f"a record has at most {MOST_LENGTH:,} bytes, not {len(content):,}")
    pieces = _pieces(content)
    kinds = [WHOLE] if len(pieces) == 1 else [FIRST, *[MIDDLE] * (len(pieces) - 2), LAST]
    parts = (PART.pack(MAGIC, kind << 29 | len(piece)) + piece for kind, piece in zip(kinds, pieces, strict=True))
    made = b"".join(parts)
    return made + bytes(-len(made) % 4)


def _pieces(content: bytes) -> list[bytes]:
    """What is between the magic words at multiples of 4: who looks for a record's beginning must meet none of them."""
    pieces, start, at = [], 0, content.find(_MAGIC_BYTES)
    while at >= 0:
        if at % 4:
            at = content.find(_MAGIC_BYTES, at + 1)
        else:
            pieces.append(content[start:at])
            start = at + 4
            at = content.find(_MAGIC_BYTES, start)
    return [*pieces, content[start:]]


def _float(number: int) -> float:
    """The largest float32 that is not above ``number``."""
    value = np.float32(number)
    return float(value if int(value) <= number else np.nextafter(value, np.float32(0)))
