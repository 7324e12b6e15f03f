"""What sources that hold encoded images have in common: one size for all, and identities that are numbers."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.data.images.decoding import DamagedImage, decode, fit

MOST_IDENTITIES = 1 << 24
"""Labels are below it: as far as the float32 of a RecordIO set counts, and 46 times the largest public set."""


class ResizingDecoder:
    """Decodes the images of a source and resizes those of another size, with one warning in each process.

    Args:
        what: the set, for the warning: its path.
        size: the side in pixels, ≥ 1.

    Raises:
        InputError: ``size`` below 1.
    """

    def __init__(self, what: str, size: int) -> None:
        if size < 1:
            raise InputError(f"size must be at least 1 pixel, got {size}")
        self.what, self.size, self._warned = what, size, False

    def decode(self, data: bytes | NDArray[np.uint8], name: Callable[[int], str], index: int) -> NDArray[np.uint8]:
        """Encoded bytes -> uint8 RGB [size, size, 3]. ``name`` is called only for a message.

        Raises:
            DamagedImage: the bytes cannot be decoded.
        """
        try:
            image = decode(data, "")
        except DamagedImage as error:
            raise DamagedImage(f"{name(index)}{error}") from error
        height, width, _ = image.shape
        if height == width == self.size:
            return image
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.what}: images that are not {self.size}x{self.size} pixels are resized, such as "
                f"{name(index)} of {width}x{height}; faces should be aligned, see `elasticface align`",
                stacklevel=3,
            )
        return fit(image, self.size)


class NumberNames(Sequence[str]):
    """The names "0", "1", … of identities that have none, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [str(number) for number in self._numbers[index]]
        return str(self._numbers[index])

    def __iter__(self) -> Iterator[str]:
        return map(str, self._numbers)


def count_identities(labels: NDArray[np.int64], declared: int | None, what: str) -> int:
    """C: one more than the largest label, or as many as the set says it has if that is more.

    Identities without images stay, since without them the others would get other numbers. A warning counts them.

    Args:
        labels: int64 [N], N ≥ 1, ≥ 0.
        declared: how many the set says that it has; None where it does not say.
        what: the set, for warnings: its path, printable.
    """
    present = int(labels.max()) + 1
    if declared is not None and declared < present:
        warnings.warn(
            f"{what}: says that it has {declared:,} identities, its labels go up to {present - 1:,}", stacklevel=3
        )
    count = max(present, declared or 0)
    without = np.flatnonzero(np.bincount(labels, minlength=count) == 0)
    if len(without):
        kind = f"identities {'has' if len(without) == 1 else 'have'} no images"
        warnings.warn(
            f"{what}: {len(without):,} of {count:,} {kind}, such as {without[0]}; each is a class all the same",
            stacklevel=3,
        )
    return count
