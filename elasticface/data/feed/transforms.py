"""Batch tensors on their way into the network: flip, normalise, and the augmentations small data sets need.

Everything works on whole batches on the batch's own device, and every random number comes from a keyed generator: the
caller passes one that is keyed by (seed, step), so a resumed run sees the very same images.
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# The strongest change of each kind at strength 1, chosen for faces that are already aligned.
_ZOOM, _ROTATION, _SHIFT = 0.15, 0.15, 0.08  # share of the size, radians, share of half the side
_CONTRAST, _BRIGHTNESS, _TINT = 0.4, 0.3, 0.1  # of an image in [-1, 1]
_GREY = 0.15  # share of the images
_LOW_RESOLUTION, _SMALLEST_SIDE = 0.2, 24  # share of the images, pixels
_ERASED, _ERASED_SIDE = 0.5, 0.4  # share of the images, share of the side


class Generator(Protocol):
    """What images are changed by: numpy's generator, or the rows of one for some images of a batch."""

    def uniform(self, low: float, high: float, size: Any) -> Any: ...
    def integers(self, low: int, high: int) -> Any: ...


class RowsOfBatch:
    """Draws for every image of a global batch, of which the rows of one process's images are handed out.

    So an image is changed alike in whatever process it is, and whichever others are damaged.

    Args:
        generator: keyed by what is drawn and the step.
        count: images in the global batch.
        rows: int64 [b], which of them these are.
    """

    def __init__(self, generator: np.random.Generator, count: int, rows: NDArray[np.int64]) -> None:
        self._generator, self._count, self._rows = generator, count, rows

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> NDArray[np.float64]:
        """[b, …] of ``size``, whose first number is b."""
        drawn: NDArray[np.float64] = self._generator.uniform(low, high, (self._count, *size[1:]))[self._rows]
        return drawn

    def integers(self, low: int, high: int) -> int:
        """One for the whole batch."""
        return int(self._generator.integers(low, high))


def to_input(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] RGB -> float32 [B, 3, H, W] in [-1, 1]: (x/255 − .5)/.5. Channels-last, as it comes."""
    return images.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Each of [B, 3, H, W] mirrored left to right with probability ½ (the paper's only augmentation)."""
    return torch.where(_chosen(images, generator, 0.5), images.flip(3), images)


def augment(images: Tensor, generator: Generator, strength: float) -> Tensor:
    """Zoom, rotation and shift; contrast, brightness, tint and grey; low resolution; an erased rectangle.

    With a few thousand photos a network learns the photos; these changes are what a face goes through without becoming
    another person's.

    Args:
        images: float [B, 3, H, W] in [-1, 1].
        generator: of this step's draws; the number of draws does not depend on their values.
        strength: 0 leaves the images as they are, 1 is meant for sets of some thousand images.

    Returns:
        [B, 3, H, W] in [-1, 1], another tensor.
    """
    if strength == 0:
        return images
    images = _moved(images, generator, strength)
    images = _relit(images, generator, strength)
    images = _low_resolution(images, generator, strength)
    return _erased(images, generator, strength)


def _uniform(images: Tensor, generator: Generator, low: float, high: float, columns: int = 1) -> Tensor:
    """[B, columns, 1, 1] draws on the images' device."""
    drawn = generator.uniform(low, high, (len(images), columns, 1, 1))
    return torch.from_numpy(drawn).to(images)


def _chosen(images: Tensor, generator: Generator, share: float) -> Tensor:
    """[B, 1, 1, 1] bool, True for ``share`` of the images in the mean."""
    return _uniform(images, generator, 0, 1) < share


def _moved(images: Tensor, generator: Generator, strength: float) -> Tensor:
    zoom = 1 + _uniform(images, generator, -_ZOOM, _ZOOM).flatten() * strength
    angle = _uniform(images, generator, -_ROTATION, _ROTATION).flatten() * strength
    shift = _uniform(images, generator, -_SHIFT, _SHIFT, 2).flatten(1) * strength
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrices = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _relit(images: Tensor, generator: Generator, strength: float) -> Tensor:
    contrast = 1 + _uniform(images, generator, -_CONTRAST, _CONTRAST) * strength
    offset = _uniform(images, generator, -_BRIGHTNESS, _BRIGHTNESS) * strength
    tint = _uniform(images, generator, -_TINT, _TINT, 3) * strength
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * contrast + mean + offset + tint
    grey = _chosen(images, generator, _GREY * strength)
    return torch.where(grey, images.mean(1, keepdim=True), images).clamp_(-1, 1)


def _low_resolution(images: Tensor, generator: Generator, strength: float) -> Tensor:
    # One resolution a batch: a resize of its own for every image would be a Python loop.
    side = int(generator.integers(_SMALLEST_SIDE, images.shape[2] // 2 + _SMALLEST_SIDE // 2))
    small = functional.interpolate(images, size=side, mode="area")
    blurred = functional.interpolate(small, size=list(images.shape[2:]), mode="bilinear", align_corners=False)
    # Means of ones may come out a rounding above one.
    return torch.where(_chosen(images, generator, _LOW_RESOLUTION * strength), blurred.clamp_(-1, 1), images)


def _erased(images: Tensor, generator: Generator, strength: float) -> Tensor:
    height, width = images.shape[2:]
    inside = _chosen(images, generator, _ERASED)
    for side, dimension in ((height, 2), (width, 3)):
        extent = _uniform(images, generator, 0, _ERASED_SIDE * strength * side)
        centre = _uniform(images, generator, 0, side)
        shape = [1, 1, 1, 1]
        shape[dimension] = side
        positions = torch.arange(side, device=images.device).view(shape)
        inside = inside & ((positions - centre).abs() < extent / 2)
    return torch.where(inside, _uniform(images, generator, -1, 1, 3), images)
