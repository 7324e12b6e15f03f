"""Batches of P people with K photos each, as losses on pairs and triplets want them: PK sampling (Hermans et al. 2017).

Like those of :mod:`.sampler` they are a function of (seed, epoch, step, rank, world size) and of nothing else.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.data.feed.sampler import KeyedBatchSampler


class PhotosByPerson:
    """Which images each person has, for :class:`PeopleBatchSampler`. C' people have images, some of C may have none.

    Args:
        labels: int64 [N], every image's identity.
    """

    def __init__(self, labels: NDArray[np.int64]) -> None:
        counts = np.bincount(labels)
        self._counts = counts[counts > 0]
        self._starts = np.cumsum(self._counts) - self._counts
        # Torch sorts by radix: a few seconds for twenty million labels, where numpy takes four times as long.
        self._images: NDArray[np.int64] = torch.from_numpy(np.array(labels, np.int64)).argsort(stable=True).numpy()

    def __len__(self) -> int:
        """C', how many people have images."""
        return len(self._counts)

    def draw(self, people: NDArray[np.int64], each: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Images [P, K] of ``people`` [P], numbers below C', K different ones a person where there are so many.

        Who has n < K comes with all of them, each ⌊K/n⌋ or ⌈K/n⌉ times.
        """
        counts = self._counts[people]
        owners = np.repeat(np.arange(len(people)), counts)
        shuffled = np.lexsort((generator.random(len(owners)), owners))  # person after person, the photos of each mixed
        first = (np.cumsum(counts) - counts)[:, None]
        photos = shuffled[first + np.arange(each) % counts[:, None]] - first  # (P, K)
        images: NDArray[np.int64] = self._images[self._starts[people][:, None] + photos]
        return images


class PeopleBatchSampler(KeyedBatchSampler):
    """One rank's share of the batches of one epoch, each of P different people, K photos of one after the other.

    An epoch has as many batches as images fill. People come in a drawn order, P a batch; when fewer than P are left,
    another order is drawn, of all. So nobody comes again before nearly all others have, however many photos there are
    of anyone, through all epochs. A person's photos are drawn anew each time.

    Batches are cut into the ranks' parts as :class:`.sampler.KeyedBatchSampler` cuts them: where the ranks divide P,
    a person's photos are in one part.

    Args:
        photos: of the set.
        num_images: images in the set.
        batch_size: P·K, all ranks together.
        images_per_identity: K, a divisor of ``batch_size``; P is at most ``len(photos)``.
        seed, epoch, start_step, rank, world_size: as :class:`.sampler.KeyedBatchSampler` takes them.

    Raises:
        ValueError: a value out of range, or a batch with fewer images than there are ranks.
    """

    def __init__(
        self,
        photos: PhotosByPerson,
        num_images: int,
        batch_size: int,
        images_per_identity: int,
        seed: int,
        epoch: int,
        *,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if images_per_identity < 1 or batch_size % images_per_identity:
            raise ValueError(f"images_per_identity must divide {batch_size}, got {images_per_identity}")
        self._people = batch_size // images_per_identity
        if self._people > len(photos):
            raise ValueError(f"a batch of {self._people} people cannot be drawn from {len(photos)}")
        # A set smaller than a batch gives whole batches all the same: photos are repeated.
        images = max(num_images, batch_size)
        super().__init__(images, batch_size, seed, epoch, start_step=start_step, rank=rank, world_size=world_size)
        self._photos, self._each = photos, images_per_identity

    def global_batches(self) -> Iterator[NDArray[np.int64]]:
        per_order, order, drawn = len(self._photos) // self._people, -1, np.empty(0, np.int64)
        for number in range(self.epoch * self.steps + self.start_step, (self.epoch + 1) * self.steps):
            if number // per_order != order:
                order = number // per_order
                drawn = keyed.generator(self.seed, "people", order).permutation(len(self._photos))
            people = drawn[number % per_order * self._people :][: self._people]
            yield self._photos.draw(people, self._each, keyed.generator(self.seed, "photos", number)).ravel()


def check_people(labels: NDArray[np.int64], batch_size: int, images_per_identity: int) -> None:
    """See that there are batches of P·K images of this set; say how many people have fewer than K.

    Args:
        labels: int64 [N], N ≥ 1.
        batch_size: P·K.
        images_per_identity: K, a divisor of it.

    Raises:
        InputError: fewer than P people have images, or nobody has K.
    """
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    people = batch_size // images_per_identity
    if counts.max() < images_per_identity:
        raise InputError(
            f"images_per_identity is {images_per_identity}, and nobody in the set has more than {counts.max()} images; "
            f"give at most {counts.max()}"
        )
    if people > len(counts):
        raise InputError(
            f"a batch of {batch_size} images with {images_per_identity} of each identity needs {people:,} identities, "
            f"and {len(counts):,} have images; give a smaller --batch-size, or a larger --images-per-identity"
        )
    if few := int((counts < images_per_identity).sum()):
        have = "identity has" if few == 1 else "identities have"
        progress.say(
            f"{few:,} of {len(counts):,} {have} fewer than {images_per_identity} images: some of these come more than "
            "once in a batch"
        )
