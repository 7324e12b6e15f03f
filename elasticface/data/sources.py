"""What training images come from: a source of labelled faces, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from elasticface.base.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SIDE = 112
"""Pixels of the side of images of sources that do not say it, as ``size``."""


LARGEST_SIDE = 4096
"""Pixels of the side of images that are made, at most."""


class Source(Protocol):
    """A set of labelled face images, in a fixed order. N images, C identities."""

    @property
    def num_classes(self) -> int:
        """C, how many identities there are."""

    @property
    def class_names(self) -> Sequence[str]:
        """The identities' names [C], in the order of their labels."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Every image's identity, int64 [N], values 0..C-1. Known without opening an image."""

    def __len__(self) -> int:
        """N, how many images there are."""

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], int]:
        """One image, uint8 RGB [H, W, 3], and its label.

        Raises:
            DamagedImage: the image cannot be decoded.
            IndexError: ``index`` beyond the set.
        """


@runtime_checkable
class EncodedSource(Source, Protocol):
    """A source whose images lie somewhere as encoded bytes, to be carried over as they are."""

    def encoded(self, index: int, /) -> tuple[bytes, int]:
        """One image's bytes, JPEG or whatever they are, and its label.

        Raises:
            DamagedImage: the bytes cannot be had.
            IndexError: ``index`` beyond the set.
        """

    def name(self, index: int, /) -> str:
        """What to call the image in a message."""


def require_identities(source: Source, least: int = 2) -> None:
    """See that ``source`` has at least ``least`` identities: with one there is nothing to tell apart.

    Raises:
        InputError: it has fewer.
    """
    if source.num_classes < least:
        names = ", ".join(repr(name) for name in source.class_names[:3])
        raise InputError(
            f"too few identities: training needs at least {least} to tell apart, the data set holds "
            f"{source.num_classes} ({names}); add folders, one per person"
        )
