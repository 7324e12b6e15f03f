"""Where the records of a RecordIO file lie and which identity each shows, without reading an image.

The format is MXNet's (dmlc-core, `recordio.h`). A file is a sequence of parts, each the word 0xced7230a, a word with
3 bits of flag and 29 of length, as many bytes, and zeros up to a multiple of 4. A record is one part (flag 0), or,
where its data hold the magic word at a multiple of 4, several (1 the first, 2 those between, 3 the last), with that
word left out between them. All words are little-endian.

A record of a face begins with 24 bytes, ``IfQQ``: n, a label, and two numbers that mean nothing here. With n > 0, n
float32 labels follow, and the first of them counts. The rest is the encoded image.
"""

import mmap
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.tables import Column, read_columns
from elasticface.data.formats.encoded import MOST_IDENTITIES

MAGIC = 0xCED7230A
MOST_LENGTH = (1 << 29) - 1
"""The most bytes of a part."""

PART = struct.Struct("<II")  # magic, flag << 29 | length
HEADER = struct.Struct("<IfQQ")
WHOLE, FIRST, MIDDLE, LAST = range(4)

REBUILD = "remove {} and it is rebuilt from {}"

_MAGIC_BYTES = MAGIC.to_bytes(4, "little")
_MOST_RECORDS = 1 << 28  # six times those of WebFace42M, 4.3 GB
_WHOLE = Column(np.int64, 0, 10**18)  # 63 bits are not filled by an offset, and what is added to it
_EXACT = 1 << 24  # up to here a float32 counts without gaps
_CHUNK = 1 << 16  # records at a time
_LONG = 1 << 26  # bytes that take a while
_UPDATE_EVERY = 1 << 12  # records between two updates of the progress bar


@dataclass(frozen=True)
class Records:
    """Every record of a file, by ascending key. int64 [R] each."""

    keys: NDArray[np.int64]  # what train.idx calls a record
    starts: NDArray[np.int64]  # of its image's bytes; where it is in several parts, of the first part
    sizes: NDArray[np.int64]  # of its image in bytes, or −1 where it is in several parts
    labels: NDArray[np.float32]  # the first label
    seconds: NDArray[np.float32]  # the second label, NaN where there is none


def read_records(rec: Path, idx: Path | None) -> Records:
    """The records that ``idx`` names, or, without it, all that are found going through ``rec``, as 0, 1, ….

    Every offset, length and magic word is checked: what this returns can be read without looking again.

    Raises:
        InputError: a file that cannot be read, is cut short, or is none; the two do not belong together.
    """
    try:
        with files.opened(rec) as file:
            if file.seek(0, 2) < PART.size:
                raise InputError(f"{printable(rec)}: holds no record; fetch it again")
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(view, "madvise"):
            view.madvise(mmap.MADV_SEQUENTIAL)
        if idx is None:
            offsets = _scan(view, rec)
            keys = np.arange(len(offsets))
        else:
            keys, offsets = _read_index(idx)
        return _headers(view, rec, idx, keys, offsets)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{printable(rec)}: cannot be read: {reason}") from error


def image_bytes(view: mmap.mmap, start: int, size: int) -> bytes:
    """One image's bytes, put together where the record is in several parts.

    Args:
        view: the whole file.
        start, size: as in :class:`Records`.
    """
    if size >= 0:
        return view[start : start + size]
    content = b"".join(_pieces(view, start))
    return content[_image_at(content) :]


def _pieces(view: mmap.mmap, offset: int) -> Iterator[bytes]:
    """The data of a record in several parts, with the magic words that were left out of it."""
    while True:
        _, word = PART.unpack_from(view, offset)
        length = word & MOST_LENGTH
        yield view[offset + PART.size : offset + PART.size + length]
        if word >> 29 in (WHOLE, LAST):
            return
        yield _MAGIC_BYTES
        offset += PART.size + _padded(length)


def _image_at(content: bytes) -> int:
    return HEADER.size + 4 * int.from_bytes(content[:4], "little")


def _padded(length: int) -> int:
    return -(-length // 4) * 4


def _end(view: mmap.mmap, offset: int) -> int:
    """Where the record at ``offset`` ends, padding included, or −1 where there is no whole record."""
    size, wanted = len(view), (WHOLE, FIRST)
    while offset + PART.size <= size:
        magic, word = PART.unpack_from(view, offset)
        flag, length = word >> 29, word & MOST_LENGTH
        if magic != MAGIC or flag not in wanted or offset + PART.size + length > size:
            return -1
        offset += PART.size + _padded(length)
        if flag in (WHOLE, LAST):
            return min(offset, size)  # the last record's padding may be missing
        wanted = (MIDDLE, LAST)
    return -1


def _scan(view: mmap.mmap, rec: Path) -> NDArray[np.int64]:
    offsets, offset, size = array("q"), 0, len(view)
    with progress.bar(shown=size > _LONG) as bar:
        task = bar.add_task(f"looking through {printable(rec.name)}", total=size)
        while offset < size:
            end = _end(view, offset)
            if end < 0:
                raise InputError(
                    f"{printable(rec)}: no whole record {len(offsets):,} at byte {offset:,} of {size:,}: no RecordIO "
                    "file, or one that is cut short or damaged; fetch it again"
                )
            offsets.append(offset)
            offset = end
            if not len(offsets) % _UPDATE_EVERY:
                bar.update(task, completed=offset)
    return np.frombuffer(offsets, np.int64)


def _read_index(idx: Path) -> list[NDArray[np.int64]]:
    """Keys and offsets, in the order of their rows: whole numbers ≥ 0, a blank or a tab between them."""
    wrong = "not a record's number, a tab and its byte"
    return read_columns(idx, [_WHOLE, _WHOLE], _MOST_RECORDS, wrong, "remove the file and it is rebuilt")


def _headers(
    view: mmap.mmap, rec: Path, idx: Path | None, keys: NDArray[np.int64], offsets: NDArray[np.int64]
) -> Records:
    """Each record's place and labels; rows of ``idx`` by ascending offset, so that the file is gone through once."""
    order = np.argsort(offsets, kind="stable")
    made = {name: np.empty(len(keys), np.int64) for name in ("ends", "starts", "sizes")}
    labels = np.empty((2, len(keys)), np.float32)
    words = np.frombuffer(view, "<u4", len(view) // 4)
    with progress.bar(shown=len(keys) > _CHUNK) as bar:
        for first in bar.track(range(0, len(keys), _CHUNK), description="reading labels"):
            rows = order[first : first + _CHUNK]
            found = _chunk(view, words, offsets[rows])
            for column, values in zip((*made.values(), *labels), found, strict=True):
                column[first : first + _CHUNK] = values
    _check_places(view, rec, idx, order, keys, offsets, made["ends"])
    keys = keys[order]
    by_key = np.argsort(keys, kind="stable")
    keys = keys[by_key]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if idx is not None and len(twice):
        raise InputError(
            f"{printable(idx)}: names record {keys[twice[0]]} twice; {REBUILD.format('it', printable(rec.name))}"
        )
    starts, sizes = made["starts"][by_key], made["sizes"][by_key]
    if len(short := np.flatnonzero(sizes < -1)):
        raise InputError(
            f"{printable(rec)}: record {keys[short[0]]} is too short to hold a label; is it a set of labelled images?"
        )
    return Records(keys, starts, sizes, labels[0][by_key], labels[1][by_key])


_TOO_SHORT = -2  # in place of an image's size


def _chunk(view: mmap.mmap, words: NDArray[np.uint32], offsets: NDArray[np.int64]) -> tuple[NDArray[np.generic], ...]:
    """Of records at ``offsets``: ends (−1: no record), images' starts and sizes, first and second labels."""
    size = len(view)
    good = (offsets % 4 == 0) & (offsets >= 0) & (offsets <= size - PART.size)
    at = np.where(good, offsets // 4, 0)
    good &= words[at] == MAGIC
    word = words[at + 1]
    lengths = np.where(good, word & MOST_LENGTH, 0).astype(np.int64)
    kinds = np.where(good, word >> 29, WHOLE)
    ends = offsets + PART.size + (lengths + 3) // 4 * 4
    good &= offsets + PART.size + lengths <= size
    ends = np.where(good, np.minimum(ends, size), -1)

    def field(number: int, enough: NDArray[np.bool_]) -> NDArray[np.uint32]:
        return np.where(enough, words[np.where(enough, at + number, 0)], 0).astype(np.uint32)

    long = good & (lengths >= HEADER.size)
    counts = field(2, long)
    image_at = HEADER.size + 4 * counts.astype(np.int64)
    first = np.where(counts > 0, field(8, long & (counts > 0) & (image_at <= lengths)), field(3, long))
    second = field(9, long & (counts > 1) & (image_at <= lengths))
    labels = first.view(np.float32).copy()
    seconds = np.where(counts > 1, second.view(np.float32), np.float32(np.nan))
    starts = offsets + PART.size + image_at
    sizes = np.where(long & (image_at <= lengths), lengths - image_at, _TOO_SHORT)
    end = 0
    for row in np.flatnonzero(good & (kinds != WHOLE)):  # few: one image in 500,000 holds the magic word
        offset = int(offsets[row])
        if offset < end:  # a row into the record before, which _check_places refuses: not to go through its parts again
            continue
        ends[row] = end = _end(view, offset) if kinds[row] == FIRST else -1
        if end < 0:  # refused, too
            break
        starts[row], sizes[row], labels[row], seconds[row] = _split_header(view, offset)
    return ends, starts, sizes, labels, seconds


def _split_header(view: mmap.mmap, offset: int) -> tuple[int, int, float, float]:
    content = b""
    for piece in _pieces(view, offset):
        content += piece
        if len(content) >= HEADER.size + 8:
            break
    if len(content) < HEADER.size:
        return offset, _TOO_SHORT, 0.0, 0.0
    count, label, _, _ = HEADER.unpack_from(content)
    if not count:
        return offset, -1, label, np.nan
    whole = sum(map(len, _pieces(view, offset)))
    if HEADER.size + 4 * count > whole:
        return offset, _TOO_SHORT, 0.0, 0.0
    labels = np.frombuffer(content[HEADER.size :], "<f4", min(count, 2))
    return offset, -1, float(labels[0]), float(labels[1]) if count > 1 else np.nan


def _check_places(
    view: mmap.mmap,
    rec: Path,
    idx: Path | None,
    order: NDArray[np.int64],
    keys: NDArray[np.int64],
    offsets: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """See that every row leads to a record, and that the records lie one after the other from end to end."""
    if idx is None:
        return
    advice = f"the two do not belong together; fetch both again, or {REBUILD.format(idx.name, rec.name)}"
    size, sorted_offsets = len(view), offsets[order]
    if len(bad := np.flatnonzero(ends < 0)):
        row = int(order[bad[0]])
        where = (
            f"beyond the end of {printable(rec.name)}, {size:,}"
            if offsets[row] >= size
            else f"where {printable(rec.name)} has no whole record"
        )
        raise InputError(
            f"{printable(idx)}: row {row + 1} (record {keys[row]}) leads to byte {offsets[row]:,}, {where}: {advice}"
        )
    starts = np.append(sorted_offsets, size)
    gaps = np.flatnonzero(starts != np.append([0], ends))
    if len(gaps):
        position = int(gaps[0])
        before = f"after row {int(order[position - 1]) + 1}" if position else "before the first row"
        raise InputError(
            f"{printable(idx)}: names {len(keys):,} records, which are not the ones in {printable(rec.name)}: "
            f"{before} there should be one at byte {int(np.append([0], ends)[position]):,}; {advice}"
        )


def image_rows(records: Records, rec: Path, idx_name: str) -> slice:
    """Which records are images.

    With InsightFace's layout, record 0 has no image but two labels: the number of the first record of an identity
    (these have ranges and no images) and one past the last. Images are the records from 1 up to the former. Without
    such a record 0, as `im2rec` writes, every record is an image.

    Raises:
        InputError: images that record 0 speaks of are not there, or there are none.
    """
    keys, label = printable(rec), f"{printable(rec)}: record 0"
    number = int(np.searchsorted(records.keys, 0))
    rows = slice(0, len(records.keys))
    is_header = (
        number < len(records.keys)
        and records.keys[number] == 0
        and records.sizes[number] == 0
        and not np.isnan(records.seconds[number])
    )
    if is_header:
        first = float(records.labels[number])
        if not (1 <= first < 1 << 31 and first.is_integer()):
            raise InputError(f"{label} says that images end at record {first}; is it a set of labelled images?")
        low, high = (int(np.searchsorted(records.keys, key)) for key in (1, first))
        if first >= _EXACT:  # then it was rounded on its way into a float32
            step = int(np.spacing(np.float32(first)))
            while high < len(records.keys) and records.sizes[high] and records.keys[high] < first + step:
                high += 1
            while high > low and not records.sizes[high - 1] and records.keys[high - 1] > first - step:
                high -= 1
        there = records.keys[low:high]
        missing = np.flatnonzero(there != np.arange(1, len(there) + 1))
        if len(missing) or (len(there) < int(first) - 1 and first < _EXACT):
            absent = int(missing[0]) + 1 if len(missing) else len(there) + 1
            raise InputError(
                f"{label} says that there are {int(first) - 1:,} images, {idx_name} does not name record {absent}; "
                "fetch both files again"
            )
        rows = slice(low, high)
    if rows.start == rows.stop:
        raise InputError(f"{keys}: holds no images; fetch it again")
    return rows


def identities(labels: NDArray[np.float32], keys: NDArray[np.int64], rec: Path) -> NDArray[np.int64]:
    """float32 labels -> int64.

    Raises:
        InputError: one that is no whole number from 0 up.
    """
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~((labels >= 0) & (labels < MOST_IDENTITIES) & (labels == np.floor(labels))))
    if len(bad):
        raise InputError(
            f"{printable(rec)}: record {keys[bad[0]]} has the label {labels[bad[0]]}, where an identity is a whole "
            f"number from 0 to {MOST_IDENTITIES - 1:,}; number them so"
        )
    return labels.astype(np.int64)


assert sys.byteorder == "little", "RecordIO files are read as they lie on the disk"
