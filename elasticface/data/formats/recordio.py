"""RecordIO sets, as MS1MV2, MS1MV3, Glint360K and CASIA-WebFace are passed on: `train.rec`, `train.idx`, `property`.

Read through a memory map, without MXNet. :mod:`elasticface.data.formats.recordio_index` has the format.
"""

import functools
import mmap
import warnings
from collections.abc import Sequence
from pathlib import Path

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.formats.cache import ArrayCache, Stamp, opened_unchanged, stamp
from elasticface.data.formats.encoded import MOST_IDENTITIES, EncodedImages, count_identities
from elasticface.data.formats.recordio_index import identities, image_bytes, image_rows, read_records

REC, IDX, PROPERTY = "train.rec", "train.idx", "property"

_KEPT = ("keys", "starts", "sizes", "labels")  # in the cache
_MOST_PROPERTY = 1 << 16  # bytes
_CAN_ADVISE = hasattr(mmap.mmap, "madvise")


class RecordIOSource(EncodedImages):
    """The images of a RecordIO set, in the order of their records' numbers.

    Labels stay as they are in the file. Opening reads each record's first bytes and no image; what was found is kept in
    the user's cache folder for the next time, good until the files change. Without `train.idx` the records are found by
    going through `train.rec` (as 0, 1, …); nothing is written beside it.

    In InsightFace's layout record 0 says which records are images, and those after them, with each identity's range,
    are none: CASIA-WebFace has 490,623 images. In a set without such a record, as MXNet's `im2rec` writes, all are.

    Images are read from one memory map a process, which is opened when the first is asked for, so a source can be
    pickled and forked. The files must not be cut short meanwhile.

    Args:
        path: the folder, or its `train.rec` (which may have another name: `faces.rec` beside `faces.idx`).
        size: the side in pixels that every image comes out with; images of another size are resized, with one warning.
        cache: keep what was found in the user's cache folder.

    Attributes:
        root: the folder.
        files: its `train.rec`.
        size: as given.
        labels: int64 [N], the images' identities.
        num_classes: C, what `property` says, or one more than the largest label; the larger, with a warning, where they
            disagree. Identities without images stay classes; a warning counts them.

    Raises:
        InputError: a file is missing, cut short or none of the kind, or the files do not belong together; the message
            names the file and the row or record.
    """

    def __init__(self, path: str | Path, size: int = 112, *, cache: bool = True) -> None:
        super().__init__(path, size)
        path = Path(path)
        self._rec = path / REC if path.is_dir() else path.with_suffix(".rec")
        self.root, self.files = self._rec.parent, [self._rec]
        idx = self._rec.with_suffix(".idx")
        with files.reading(self._rec), files.opened(self._rec):
            self._stamp = stamp(self._rec)
        if has_index := idx.exists():
            known = ArrayCache("recordio 1", [self._rec, idx], cache)
        else:
            known = ArrayCache("recordio without idx 1", [self._rec], cache)
        found = known.load(_KEPT)
        if found is None:
            if not has_index:
                warnings.warn(
                    f"{printable(idx)}: not there; records are found by going through {self._rec.name}", stacklevel=2
                )
            records = read_records(self._rec, idx if has_index else None)
            rows = image_rows(records, self._rec, idx.name if has_index else self._rec.name)
            keys = records.keys[rows]
            labels = identities(records.labels[rows], keys, self._rec)
            found = {"keys": keys, "starts": records.starts[rows], "sizes": records.sizes[rows], "labels": labels}
            known.save(found)
        self._keys, self._starts, self._sizes = found["keys"], found["starts"], found["sizes"]
        self.labels = found["labels"]
        self.num_classes = count_identities(self.labels, _read_property(self.root / PROPERTY), self._label)

    def will_read(self, indices: Sequence[int]) -> None:
        """Say which images are read next, so that the system fetches all of them at once where they are on a disk."""
        view = _mapped(self._rec, self._stamp)
        if not _CAN_ADVISE:
            return
        starts = self._starts[indices]
        pages = starts // mmap.PAGESIZE * mmap.PAGESIZE
        sizes = starts - pages + self._sizes[indices].clip(1)  # an image in several parts is read from its first
        for page, size in zip(pages.tolist(), sizes.tolist(), strict=True):
            view.madvise(mmap.MADV_WILLNEED, page, size)

    def name(self, index: int) -> str:
        """One image's name for a message: the file's and the record's number."""
        return f"{printable(self._rec)}: record {self._keys[index]}"

    def _bytes(self, index: int) -> bytes:
        size = self._sizes.item(index)
        self._check_size(index, size)
        return image_bytes(_mapped(self._rec, self._stamp), self._starts.item(index), size)


@functools.lru_cache(maxsize=8)
def _mapped(path: Path, indexed: Stamp) -> mmap.mmap:
    """This process's view of a file: not a part of the source, so that a source can be sent to other processes."""
    with files.reading(path), opened_unchanged(path, indexed) as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if _CAN_ADVISE:
        view.madvise(mmap.MADV_RANDOM)  # else the system reads 128 kB for every image
    return view


def _read_property(path: Path) -> int | None:
    """How many identities `property` says there are: "C,112,112". None where it is not there."""
    if not path.exists():
        return None
    text = files.read_text(path, most=_MOST_PROPERTY)
    parts = text.strip().split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(
            f"{printable(path)}: is {printable(text.strip(), 60)!r}, where it has the number of identities and an "
            "image's height and width, as 85742,112,112; put it right or remove it"
        )
    if int(parts[0]) > MOST_IDENTITIES:
        raise InputError(
            f"{printable(path)}: says {int(parts[0]):,} identities; more than {MOST_IDENTITIES:,} are refused"
        )
    return int(parts[0])
