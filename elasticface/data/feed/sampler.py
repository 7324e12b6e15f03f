"""Which images make up which batch: a function of (seed, epoch, step, rank, world size) and of nothing else.

No state is carried from batch to batch, so a resumed run reads the very images the unbroken run would have read, and
N processes together read what one process reads.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed


def epoch_order(num_images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the images: int64 [num_images], a permutation of 0..num_images-1."""
    return keyed.generator(seed, "order", epoch).permutation(num_images).astype(np.int64, copy=False)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """How many global batches an epoch has: whole ones only, but one short batch where there are too few images.

    Raises:
        ValueError: ``num_images`` or ``batch_size`` below 1.
    """
    if num_images < 1 or batch_size < 1:
        raise ValueError(f"num_images and batch_size must be >= 1, got {num_images} and {batch_size}")
    return max(1, num_images // batch_size)


class KeyedBatchSampler:
    """One rank's share of every batch of one epoch, for ``DataLoader(batch_sampler=...)``.

    Batch k is ``epoch_order(...)[k * batch_size : (k + 1) * batch_size]``. What is left at an epoch's end, less than a
    batch, is dropped (a different share each epoch); a set smaller than one batch is that one batch. Each batch is cut
    into contiguous parts, one a rank, equal or, where it does not divide, with one image more for the first ranks.

    Args:
        num_images: images in the set.
        batch_size: images in a global batch, all ranks together.
        seed: the run's seed, ≥ 0.
        epoch: which epoch, ≥ 0.
        start_step: how many batches of the epoch are done already.
        rank: which of the processes this is, 0..world_size-1.
        world_size: how many processes share a batch.
        order: (seed, epoch) -> int64 [num_images], a permutation, in place of :func:`epoch_order`: a source that is
            read faster in another order offers one as its own ``epoch_order``.

    Raises:
        ValueError: a value out of range, or a batch with fewer images than there are ranks.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        seed: int,
        epoch: int,
        *,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        order: Callable[[int, int], NDArray[np.int64]] | None = None,
    ) -> None:
        self.steps = steps_per_epoch(num_images, batch_size)
        self.images_per_batch = min(batch_size, num_images)
        if not 0 <= start_step <= self.steps:
            raise ValueError(f"start_step must be in 0..{self.steps}, the steps of the epoch, got {start_step}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..world_size-1, got rank {rank} of {world_size}")
        if self.images_per_batch < world_size:
            raise ValueError(
                f"a batch of {self.images_per_batch} images cannot be shared by {world_size} processes: "
                "each needs at least one"
            )
        self.seed = seed
        self.epoch = epoch
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size
        self.order = order or functools.partial(epoch_order, num_images)
        share, left_over = divmod(self.images_per_batch, world_size)
        self.first_row = rank * share + min(rank, left_over)  # of the global batch's that are this rank's
        self.last_row = self.first_row + share + (rank < left_over)

    def __len__(self) -> int:
        """Steps that remain in the epoch, ``start_step`` taken off."""
        return self.steps - self.start_step

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.global_batches():
            yield batch[self.first_row : self.last_row].tolist()

    def global_batches(self) -> Iterator[NDArray[np.int64]]:
        """The images [B] of each step that remains, of all ranks together."""
        order = self.order(self.seed, self.epoch)
        for step in range(self.start_step, self.steps):
            yield order[step * self.images_per_batch :][: self.images_per_batch]
