"""From a source to batch tensors: worker processes, and what happens to images that cannot be read."""

import json
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from elasticface import files
from elasticface.data.images import DamagedImage
from elasticface.data.sampler import KeyedBatchSampler
from elasticface.data.sources import Source
from elasticface.errors import InputError

Item = tuple[NDArray[np.uint8], int]
Damage = list[tuple[int, str]]  # index and reason of each image that cannot be read


class DamagedItems:
    """The images that could not be read: counted, named in a file, skipped; too many of them stop the run.

    Args:
        path: JSON lines, one a damaged image; what an interrupted run found before is read from it.
        num_images: of the whole set.
        share: of them that may be damaged, in [0, 1].
        writes: whether this process keeps the file; the others of a run know what is in it, too.
    """

    def __init__(self, path: Path, num_images: int, share: float = 0.001, writes: bool = True) -> None:
        self.path, self.share, self.most, self.writes = path, share, int(share * num_images), writes
        self.found: set[int] = set()
        if path.exists():
            # A kill may have cut the last line short; the next one must not be written to its end.
            lines = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
            if writes:
                files.write_text(path, "".join(lines))
            self.found = {json.loads(line)["index"] for line in lines}

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
                raise InputError(
                    f"{reason}{more}; a run goes on without at most {self.share:.1%} of its images (--max-damaged)"
                )
            if self.writes:
                warnings.warn(f"skipped: {reason}", stacklevel=2)


def batches(
    source: Source, sampler: KeyedBatchSampler, workers: int, pin_memory: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor, Damage]]:
    """One process's share of the batches of one epoch, in the sampler's order.

    Args:
        source: images of one size.
        sampler: which images, in which order.
        workers: processes that read ahead; 0 reads in this one.
        pin_memory: for a GPU.

    Yields:
        uint8 [b, H, W, 3] RGB, int64 [b] labels, int64 [b] where in the global batch each stands; and the images that
        cannot be read, by which the share is smaller.
    """
    loader: DataLoader[Any] = DataLoader(
        _Tolerant(source),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=_leave_interrupts_to_the_parent,
    )
    for images, labels, places, bad in loader:
        yield images, labels, places + sampler.first_row, bad


class _Tolerant(Dataset[Any]):
    """A source whose damaged images come as (index, reason) instead of as an error that ends the worker."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._will_read = getattr(source, "will_read", None)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item | tuple[int, str]:
        try:
            return self.source[index]
        except DamagedImage as error:
            return index, str(error)

    def __getitems__(self, indices: list[int]) -> list[Item | tuple[int, str]]:
        """A batch, as the DataLoader asks for it."""
        if self._will_read is not None:
            self._will_read(indices)
        return [self[index] for index in indices]


def _collate(items: list[Item | tuple[int, str]]) -> tuple[Tensor, Tensor, Tensor, Damage]:
    good = [item for item in items if not isinstance(item[0], int)]
    places = [place for place, item in enumerate(items) if not isinstance(item[0], int)]
    bad = [(item[0], str(item[1])) for item in items if isinstance(item[0], int)]
    # In a worker it stacks into memory that is shared already, where a batch would be copied once more to get there.
    images = default_collate([image for image, _ in good]) if good else torch.zeros((0, 1, 1, 3), dtype=torch.uint8)
    labels = torch.tensor([int(label) for _, label in good], dtype=torch.int64)
    return images, labels, torch.tensor(places, dtype=torch.int64), bad


def _leave_interrupts_to_the_parent(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the training process ends its workers once it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
