"""Memory for batches that worker processes fill and the process that forked them reads, with no copy in between.

A batch that PyTorch hands over lies in new shared memory each time, whose pages the system first has to make: with
small images this took a worker half as long as decoding. These pages are made once an epoch.
"""

import math
import mmap
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PER_WORKER = 4
"""Two batches that a worker is ahead, one that it fills, and one in use."""


class Slots:
    """Places for batches, of which each worker has some. Inherited by forking: they cannot be pickled.

    Args:
        workers: processes that fill them.
        size: bytes of the largest batch, ≥ 1.
    """

    def __init__(self, workers: int, size: int) -> None:
        self._size = size
        self._taken = np.frombuffer(mmap.mmap(-1, workers * PER_WORKER), np.uint8)  # set by a worker, cleared by us
        self._memory = np.frombuffer(mmap.mmap(-1, workers * PER_WORKER * size), np.uint8)

    def claim(self, worker: int, shape: tuple[int, ...]) -> tuple[int, NDArray[np.uint8]] | None:
        """In a worker: a slot and its memory, uint8 of ``shape``; None where that is too large, or no slot is free.

        Slots are not free as long as anything in the parent looks into their batch.
        """
        if math.prod(shape) <= self._size:
            for slot in range(worker * PER_WORKER, (worker + 1) * PER_WORKER):
                if not self._taken[slot]:
                    self._taken[slot] = 1
                    return slot, self._view(slot, shape)
        return None

    def batch(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """In the parent: what a worker has put into a slot, uint8 of ``shape``, which is free again once it is gone."""
        view = self._view(slot, shape)
        # A tensor's memory holds on to the array, whichever views of the tensor are left.
        weakref.finalize(view, self._taken.__setitem__, slot, 0).atexit = False
        return torch.from_numpy(view)

    def _view(self, slot: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        start = slot * self._size
        # An array of its own, not one that shares the base of all: it is what is waited for.
        return self._memory[start : start + math.prod(shape)].reshape(shape)
