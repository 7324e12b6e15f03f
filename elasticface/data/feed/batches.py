"""From a source to batch tensors: worker processes, and what happens to images that cannot be read."""

import json
import multiprocessing
import signal
import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.interrupts import held_back
from elasticface.data.feed.own_augmentation import Augment
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.data.feed.slots import Slots
from elasticface.data.images.decoding import DamagedImage
from elasticface.data.sources import SIDE, Source

Damage = list[tuple[int, str]]  # index and reason of each image that cannot be read


class DamagedItems:
    """The images that could not be read: they are counted, named in a file and skipped; too many of them stop the run.

    Args:
        path: JSON lines, one a damaged image; what an interrupted run found before is read from it.
        source: the images; where too many are in the file, those are read again, since they may have been mended.
        share: of them that may be damaged, in [0, 1].
        writes: whether this process keeps the file; the other processes of a run only read it.
    """

    def __init__(self, path: Path, source: Source, share: float = 0.001, writes: bool = True) -> None:
        self.path, self.share, self.most, self.writes = path, share, int(round(share * len(source), 6)), writes
        self.found: set[int] = set()
        if path.exists():
            items = [item for item in records.read_lines(path) if item.get("index") in range(len(source))]
            if writes:  # without damaged lines: the next one would be written to the end of one that is cut short
                files.write_text(path, "".join(json.dumps(item) + "\n" for item in items))
            self.found = {item["index"] for item in items}
            if len(self.found) > self.most:  # the run was stopped for that
                self.found = {index for index in self.found if _is_damaged(source, index)}
            if len(self.found) > self.most:
                self._refuse(f"{path}: names {len(self.found):,} images that cannot be read")

    def add(self, items: Sequence[tuple[int, str]]) -> None:
        """Take note of (index, reason) items.

        Raises:
            InputError: more of the set's images are damaged than may be.
        """
        for index, reason in items:
            if index in self.found:
                continue
            self.found.add(index)
            if self.writes:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"index": index, "reason": reason}) + "\n")
            if len(self.found) > self.most:
                more = f" (the last of {len(self.found)}, all named in {self.path})" if len(self.found) > 1 else ""
                self._refuse(f"{reason}{more}")
            if self.writes:
                warnings.warn(f"skipped: {reason}", stacklevel=2)

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"{what}; at most {self.share * 100:.3g}% of the images may be damaged (--max-damaged)")


def _is_damaged(source: Source, index: int) -> bool:
    try:
        source[index]
    except DamagedImage:
        return True
    return False


def epoch_batches(
    source: Source, sampler: KeyedBatchSampler, workers: int, pin_memory: bool, augment: Augment | None = None
) -> Generator[tuple[Tensor, Tensor, Tensor, Damage], None, None]:
    """One process's share of the batches of one epoch, in the sampler's order.

    Args:
        source: images of one size.
        sampler: which images, in which order.
        workers: processes that read ahead; 0 reads in this one.
        pin_memory: for a GPU.
        augment: what changes every image as it is read.

    Yields:
        uint8 [b, H, W, 3] RGB; int64 [b] labels; int64 [b] the row of each image in the global batch; and the images
        that cannot be read, which are missing from the batch.
    """
    slots = None
    # Pinning copies a batch anyway, and only a forked process inherits memory.
    if workers and not pin_memory and multiprocessing.get_start_method() == "fork":
        share = sampler.last_row - sampler.first_row
        slots = Slots(workers, share * getattr(source, "size", SIDE) ** 2 * 3)
    loader: DataLoader[Any] = DataLoader(
        BatchDataset(source, slots, augment),
        batch_sampler=_Placed(sampler),  # type: ignore[arg-type]  # whatever it gives goes to __getitems__
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=pin_memory,
    )
    # Ctrl-C reaches every process of the terminal, and torchrun's SIGTERM every process of the group. Workers hear
    # neither from their first moment on: the training process ends them once it has saved, and they end by themselves
    # where it is gone.
    with held_back(signal.SIGINT, signal.SIGTERM):
        batches = iter(loader)
    try:
        for images, labels, places, bad in batches:
            if slots is not None and isinstance(images, tuple):
                images = slots.batch(*images)
            yield images, torch.as_tensor(labels), torch.as_tensor(places) + sampler.first_row, bad
    finally:
        # A traceback may hold on to the iterator; then nothing else would end the workers, who take no SIGTERM, and the
        # program would wait for them at its end.
        if workers:
            batches._shutdown_workers()  # type: ignore[attr-defined]


class BatchDataset(Dataset[Any]):
    """A source as a dataset of whole batches, which come with the (index, reason) of their damaged images.

    Each image is copied into its batch as soon as it is decoded: the decoder's memory then serves for the next one.
    """

    def __init__(self, source: Source, slots: Slots | None = None, augment: Augment | None = None) -> None:
        self._source, self._slots, self._augment = source, slots, augment
        self._will_read = getattr(source, "will_read", None)

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, batch_of: tuple[int, list[int]]) -> tuple[Any, NDArray[np.int64], NDArray[np.int64], Damage]:
        """Images, labels, places in the batch, and the damaged images: what the DataLoader hands over.

        Args:
            batch_of: the place of the first image in the epoch, and the images.
        """
        first, indices = batch_of
        if self._will_read is not None:
            self._will_read(indices)
        batch: NDArray[np.uint8] | None = None
        slot: int | None = None
        labels: list[int] = []
        places: list[int] = []
        bad: Damage = []
        for place, index in enumerate(indices):
            try:
                image, label = self._source[index]
            except DamagedImage as error:
                bad.append((index, str(error)))
                continue
            if self._augment is not None:
                image = self._augment(image, first + place)
            if batch is None:
                slot, batch = self._memory((len(indices), *image.shape))
            batch[len(labels)] = image
            labels.append(label)
            places.append(place)
        if batch is None:
            batch = np.zeros((0, 1, 1, 3), np.uint8)
        batch = batch[: len(labels)]
        images = torch.from_numpy(batch) if slot is None else (slot, batch.shape)
        return images, np.array(labels, np.int64), np.array(places, np.int64), bad

    def _memory(self, shape: tuple[int, ...]) -> tuple[int | None, NDArray[np.uint8]]:
        """Memory for a batch: a free slot and its number, or else new memory and None."""
        worker = get_worker_info()
        claimed = self._slots.claim(worker.id, shape) if self._slots is not None and worker is not None else None
        return claimed or (None, np.empty(shape, np.uint8))


class _Placed:
    """The batches of a sampler, each with the place of its first image in the epoch."""

    def __init__(self, sampler: KeyedBatchSampler) -> None:
        self._sampler = sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        sampler = self._sampler
        for step, indices in enumerate(sampler, sampler.start_step):
            yield step * sampler.images_per_batch + sampler.first_row, indices


def _unchanged(batch: Any) -> Any:
    return batch
