"""Batch tensors on their way into the network: flip, normalise, and the augmentations small data sets need.

Everything works on whole batches on the batch's own device, and every random number comes from a keyed generator: the
caller passes one that is keyed by (seed, step), so a resumed run sees the very same images.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elasticface.base.transfer import to_device

# The strongest change of each kind at strength 1, chosen for faces that are already aligned.
_ZOOM, _ROTATION, _SHIFT = 0.15, 0.15, 0.08  # share of the size, radians, share of half the side
_CONTRAST, _BRIGHTNESS, _TINT = 0.4, 0.3, 0.1  # of an image in [-1, 1]
_GREY = 0.15  # share of the images
_LOW_RESOLUTION, _SMALLEST_SIDE = 0.2, 24  # share of the images, pixels
_ERASED, _ERASED_SIDE = 0.5, 0.4  # share of the images, share of the side
_DARKEST = 1e-3  # grey level of which powers are taken
_CURVED, _GAMMA = 0.6, 0.4  # of a field of light over its slope; logarithm of the exponent of grey levels
# An ellipse around an aligned face, in halves of the side: half its width and height, how low its centre lies, how far
# all of these vary, and how sharp its edge is.
_ACROSS, _DOWN, _LOW, _VARIES, _SHARP = 0.72, 0.86, 0.18, 0.2, 8.0


class Generator(Protocol):
    """What images are changed by: numpy's generator, or the rows of one for some images of a batch."""

    def uniform(self, low: float, high: float, size: Any) -> Any: ...
    def integers(self, low: int, high: int) -> int: ...


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
    """Each of uint8 [B, H, W, 3] mirrored left to right with probability ½ (the paper's only augmentation)."""
    (chance,) = _draw(generator, len(images), _Range(0, 1))
    mirrored = to_device(torch.from_numpy(chance < 0.5), images.device)
    return torch.where(mirrored[..., None, None], images.flip(2), images)


def augment(images: Tensor, generator: Generator, strength: float) -> Tensor:
    """Zoom, rotation and shift; contrast, brightness, tint and grey; low resolution; an erased rectangle.

    With a few thousand photos a network learns the photos; these changes are what a face goes through without becoming
    another person's. Their draws are made on the host and go to the images' device in one piece, without waiting.

    Args:
        images: float [B, 3, H, W] in [-1, 1].
        generator: of this step's draws; the number of draws does not depend on their values.
        strength: 0 leaves the images as they are, 1 is meant for sets of some thousand images.

    Returns:
        [B, 3, H, W] in [-1, 1], another tensor.
    """
    if strength == 0:
        return images
    count, height, width = len(images), *images.shape[2:]
    pose = _draw(generator, count, _Range(-_ZOOM, _ZOOM), _Range(-_ROTATION, _ROTATION), _Range(-_SHIFT, _SHIFT, 2))
    contrast, brightness = _Range(-_CONTRAST, _CONTRAST), _Range(-_BRIGHTNESS, _BRIGHTNESS)
    light = _draw(generator, count, contrast, brightness, _Range(-_TINT, _TINT, 3), _Range(0, 1))
    # One resolution a batch: a resize of its own for every image would be a Python loop.
    side = int(generator.integers(_SMALLEST_SIDE, height // 2 + _SMALLEST_SIDE // 2))
    blurred = _draw(generator, count, _Range(0, 1))
    extents = [_Range(0, _ERASED_SIDE * strength * length) for length in (height, width)]
    rectangle = _draw(
        generator, count, _Range(0, 1), extents[0], _Range(0, height), extents[1], _Range(0, width), _Range(-1, 1, 3)
    )
    draws = _move([*pose, *light, *blurred, *rectangle], images)
    images = _moved(images, strength, *draws[:3])
    images = _relit(images, strength, *draws[3:7])
    images = _low_resolution(images, strength, side, draws[7])
    return _erased(images, *draws[8:])


def relight(images: Tensor, generator: Generator, strength: float) -> Tensor:
    """Grey levels v in 0..1 become v^γ · exp(f/2), f a random quadratic of the place, ln γ uniform.

    So the light comes from any side, and is as hard as it likes: with f the light falls by e^f across the image, and
    a screen shows about its root.

    Args:
        images: float [B, 3, H, W] in [-1, 1].
        generator: of this step's draws; the number of draws does not depend on their values.
        strength: 0 leaves the images as they are; at 1, f has slopes of up to 1 from the middle to the border.

    Returns:
        [B, 3, H, W] in [-1, 1], another tensor.
    """
    if strength == 0:
        return images
    slopes, bends, exponent = _move(
        _draw(generator, len(images), _Range(-1, 1, 2), _Range(-_CURVED, _CURVED, 3), _Range(-_GAMMA, _GAMMA)), images
    )
    x, y = _grid(images)
    field = slopes[:, :1] * x + slopes[:, 1:] * y
    field = field + bends[:, :1] * x * y + bends[:, 1:2] * (x * x - 1 / 3) + bends[:, 2:] * (y * y - 1 / 3)
    levels = ((images + 1) / 2).clamp_(_DARKEST, 1) ** (strength * exponent).exp()
    return (levels * (strength / 2 * field).exp()).clamp_(0, 1).mul_(2).sub_(1)


def change_surroundings(images: Tensor, generator: Generator, share: float) -> Tensor:
    """Hair, clothes and background of some images give way to a random ramp of colour, outside of an ellipse.

    What is around a face changes more than the face does, and on rendered people too little.

    Args:
        images: float [B, 3, H, W] in [-1, 1], aligned faces.
        generator: of this step's draws; the number of draws does not depend on their values.
        share: of the images, 0..1.

    Returns:
        [B, 3, H, W] in [-1, 1], another tensor.
    """
    if share == 0:
        return images
    varies = _Range(-_VARIES, _VARIES, 5)
    chance, ellipse, colour, slopes = _move(
        _draw(generator, len(images), _Range(0, 1), varies, _Range(-1, 1, 3), _Range(-1, 1, 6)), images
    )
    x, y = _grid(images)
    across, down, right, lower, sharp = torch.split(ellipse, 1, 1)
    away = ((x - right / 2) / (_ACROSS + across)) ** 2 + ((y - _LOW - lower / 2) / (_DOWN + down)) ** 2
    outside = torch.sigmoid((away - 1) * _SHARP * (1 + 2 * sharp)) * (chance < share)
    ramp = (colour + slopes[:, :3] * x / 2 + slopes[:, 3:] * y / 2).clamp_(-1, 1)
    return images + outside * (ramp - images)


def _grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """x [W] and y [H, 1] of the pixels' places, from -1 to 1."""
    height, width = images.shape[2:]
    x, y = (torch.linspace(-1, 1, side, dtype=images.dtype, device=images.device) for side in (width, height))
    return x, y[:, None]


class _Range(NamedTuple):
    """What is drawn for an image: ``columns`` numbers from ``low`` to ``high``."""

    low: float
    high: float
    columns: int = 1


def _draw(generator: Generator, count: int, *ranges: _Range) -> list[NDArray[np.float64]]:
    """[count, columns] uniform draws of each range."""
    return [generator.uniform(low, high, (count, columns)) for low, high, columns in ranges]


def _move(drawn: list[NDArray[np.float64]], images: Tensor) -> list[Tensor]:
    """Draws [B, columns], each as [B, columns, 1, 1] on the images' device and in their type."""
    together = to_device(torch.from_numpy(np.concatenate(drawn, 1)).to(images.dtype), images.device)
    return [part[..., None, None] for part in torch.split(together, [each.shape[1] for each in drawn], 1)]


def _moved(images: Tensor, strength: float, zoom: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    zoom = 1 + zoom.flatten() * strength
    angle = angle.flatten() * strength
    shift = shift.flatten(1) * strength
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrices = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _relit(images: Tensor, strength: float, contrast: Tensor, offset: Tensor, tint: Tensor, grey: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * (1 + contrast * strength) + mean + offset * strength + tint * strength
    return torch.where(grey < _GREY * strength, images.mean(1, keepdim=True), images).clamp_(-1, 1)


def _low_resolution(images: Tensor, strength: float, side: int, chance: Tensor) -> Tensor:
    small = functional.interpolate(images, size=side, mode="area")
    blurred = functional.interpolate(small, size=list(images.shape[2:]), mode="bilinear", align_corners=False)
    # Means of ones may come out a rounding above one.
    return torch.where(chance < _LOW_RESOLUTION * strength, blurred.clamp_(-1, 1), images)


def _erased(
    images: Tensor, chance: Tensor, height: Tensor, row: Tensor, width: Tensor, column: Tensor, colour: Tensor
) -> Tensor:
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
    of_rows = (rows[:, None] - row).abs() < height / 2
    of_columns = (columns - column).abs() < width / 2
    return torch.where((chance < _ERASED) & of_rows & of_columns, colour, images)
