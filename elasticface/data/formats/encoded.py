"""What sources that hold encoded images have in common: one size for all, and identities that are numbers."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.decoding import MAX_BYTES, DamagedImage, decode, fit

MOST_IDENTITIES = 1 << 24
"""Labels are below it: as far as the float32 of a RecordIO set counts, and 46 times the largest public set."""


class EncodedImages(ABC):
    """What the formats of encoded images share: an image is decoded, and resized where need be, when it is asked for.

    A format sets ``labels`` and ``num_classes``, and says in ``_bytes`` and ``name`` how one image is read and called.

    Args:
        path: the set, for the warning.
        size: the side in pixels that every image comes out with, ≥ 1. Images of another size are resized, with one
            warning in each process.

    Attributes:
        files: those that hold many images each; none in a format with a file for each image.
        size: as given.
        labels: int64 [N], the images' identities.
        num_classes: C.

    Raises:
        InputError: ``size`` below 1, or ``path`` is empty.
    """

    files: Sequence[Path] = ()
    labels: NDArray[np.int64]
    num_classes: int

    def __init__(self, path: str | Path, size: int) -> None:
        if not str(path):
            raise InputError("the path of a set of faces is empty; give a folder, or a file of one of the formats")
        if size < 1:
            raise InputError(f"size must be at least 1 pixel, got {size}")
        self.size = size
        self._label, self._warned = printable(path), False

    def __len__(self) -> int:
        """N, how many images there are."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """One image, uint8 RGB [size, size, 3], and its label.

        Raises:
            DamagedImage: it cannot be read (:meth:`encoded`) or decoded; the message begins with where it lies.
            IndexError: ``index`` beyond the set.
            InputError: a file that holds many images is gone or has changed.
        """
        data = self._bytes(index)
        try:
            image = decode(data, "")
        except DamagedImage as error:
            raise DamagedImage(f"{self._place(index)}{error}") from error
        height, width, _ = image.shape
        if not height == width == self.size:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{self._label}: images that are not {self.size}x{self.size} pixels are resized, such as "
                    f"{self._place(index)} of {width}x{height}; faces should be aligned, see `elasticface align`",
                    stacklevel=2,
                )
            image = fit(image, self.size)
        return image, self.labels.item(index)

    def encoded(self, index: int) -> tuple[bytes, int]:
        """One image as it lies in the set, and its label.

        Raises:
            DamagedImage: it cannot be read, is no regular file, or has more bytes than a photo.
            IndexError: ``index`` beyond the set.
            InputError: a file that holds many images is gone or has changed.
        """
        return self._bytes(index), self.labels.item(index)

    @cached_property
    def class_names(self) -> Sequence[str]:
        """The identities' names [C]: "0", "1", … where the format has none."""
        return NumberNames(self.num_classes)

    @abstractmethod
    def name(self, index: int) -> str:
        """One image's name for a message or a table."""

    def _place(self, index: int) -> str:
        """Where one image lies, for a message: its name, where that says the file."""
        return self.name(index)

    @abstractmethod
    def _bytes(self, index: int) -> bytes: ...

    def _check_size(self, index: int, size: int) -> None:
        """Refuse an image by its bytes before they are read."""
        if size > MAX_BYTES:
            raise DamagedImage(
                f"{self.name(index)}: {size:,} bytes, more than the {MAX_BYTES:,} that an image may have"
            )


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
