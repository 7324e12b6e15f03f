"""The three row formats of the IJB meta folders; a file of pairs has 15.7 million rows."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.tables import Column, read_columns
from elasticface.data.images.photos import flaw

MOST_PAIRS, MOST_IMAGES = 1 << 28, 1 << 24
"""Rows that are read: 17 and 36 times those of IJB-C, 2.4 GB of pairs and 1.5 GB of points."""

_LARGEST_ID = 2**31 - 1
_NAME, _ID, _LABEL = Column(object), Column(np.int32, 0, _LARGEST_ID), Column(np.bool_, 0, 1)
_COORDINATE = Column(np.float64, -1e6, 1e6)  # pixels: no photo is larger, and nothing made of it overflows
_SCORE = Column(np.float64, 0, sys.float_info.max)
_ADVICE = "fetch it again"


@dataclass(frozen=True, eq=False)
class PairRows:
    """The rows of a file of pairs, [P] each."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MediaRows:
    """The rows of a file of images with their template and medium, [N] each."""

    names: list[str]
    templates: NDArray[np.int32]
    media: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PointRows:
    """The rows of a file of images with five points and a detector score."""

    names: list[str]  # [N]
    landmarks: NDArray[np.float64]  # [N, 5, 2]: x, y in pixels of the image, in the order of the template
    scores: NDArray[np.float64]  # [N]


def read_pairs(path: Path) -> PairRows:
    """Rows `template template 0|1`, with blanks or tabs between.

    Raises:
        InputError: a file that cannot be read or has no rows, or a row that is not of this kind.
    """
    wrong = f"neither `template template 0` nor `… 1`, ids to {_LARGEST_ID}"
    return PairRows(*read_columns(path, [_ID, _ID, _LABEL], MOST_PAIRS, wrong, _ADVICE))


def read_media(path: Path) -> MediaRows:
    """Rows `name template medium`.

    Raises:
        InputError: as above, or a name that leads out of the folder of images.
    """
    wrong = f"not `name template medium` in UTF-8, ids to {_LARGEST_ID}"
    names, templates, media = read_columns(path, [_NAME, _ID, _ID], MOST_IMAGES, wrong, _ADVICE)
    return MediaRows(_checked(path, names.tolist()), templates, media)


def read_points(path: Path) -> PointRows:
    """Rows `name x y x y x y x y x y score`.

    Raises:
        InputError: as above, or a number that is not finite, a coordinate beyond a million pixels, or a negative score.
    """
    columns = [_NAME, *[_COORDINATE] * 10, _SCORE]
    wrong = "not `name`, ten coordinates (finite, to a million pixels) and a score, finite and not negative, in UTF-8"
    names, *coordinates, scores = read_columns(path, columns, MOST_IMAGES, wrong, _ADVICE)
    return PointRows(_checked(path, names.tolist()), np.stack(coordinates, 1).reshape(-1, 5, 2), scores)


def _checked(path: Path, names: list[str]) -> list[str]:
    """``names``, each fit to be one below a folder."""
    for row, name in enumerate(names, 1):
        if (why := flaw(name)) is not None:
            raise InputError(
                f"{printable(path)}, row {row}: {why}, which no image's name may be: {printable(name, 100)}"
            )
    return names
