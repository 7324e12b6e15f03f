"""An augmentation of the user's own: a function of one image, with draws keyed by the image's place in the run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed, own_parts
from elasticface.base.errors import InputError

Augment = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""(image, its place in the epoch) -> another image."""

_TRIED = 112  # pixels of the side of the image that it is tried on


@dataclass(frozen=True)
class OwnAugmentation:
    """``function(image, generator)`` on every image, in the processes that read them.

    The generator is numpy's, keyed by (seed, epoch, place of the image in the epoch). So an image is changed alike in
    whatever process it is read, and by a resumed run as by an unbroken one, as long as the function draws from nothing
    else.

    Args:
        function: uint8 [H, W, 3] RGB, ``numpy.random.Generator`` -> uint8 [H, W, 3].
        name: of the function, for messages.
        seed: the run's, ≥ 0.
    """

    function: Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
    name: str
    seed: int

    @classmethod
    def find(cls, reference: str, seed: int) -> "OwnAugmentation":
        """The one that ``package.module:function`` names, tried on an image.

        Raises:
            InputError: no such function, or one that gives something else than such an image.
        """
        made = cls(own_parts.find(reference, "--augmentation"), reference, seed)
        image = keyed.generator(seed, "tried image").integers(0, 256, (_TRIED, _TRIED, 3), np.uint8)
        result = made.function(image.copy(), keyed.generator(seed, "tried"))
        if not _is_like(result, image):
            raise InputError(made._refusal(result, image))
        return made

    def of_epoch(self, epoch: int) -> Augment:
        return partial(self._augmented, epoch)

    def _augmented(self, epoch: int, image: NDArray[np.uint8], place: int) -> NDArray[np.uint8]:
        # Of a copy: it may work in place, and a source may hold its images in memory.
        result = self.function(image.copy(), keyed.generator(self.seed, "own augmentation", epoch, place))
        if not _is_like(result, image):  # in a worker process, whose errors come with their traceback
            raise TypeError(self._refusal(result, image))
        return result

    def _refusal(self, result: Any, image: NDArray[np.uint8]) -> str:
        given = f"{result.dtype} {list(result.shape)}" if isinstance(result, np.ndarray) else type(result).__name__
        needed = f"uint8 {list(image.shape)}"
        return f"--augmentation {self.name}: gives {given} for an image of {needed}; it must give the same"


def _is_like(result: Any, image: NDArray[np.uint8]) -> bool:
    return isinstance(result, np.ndarray) and result.dtype == image.dtype and result.shape == image.shape
