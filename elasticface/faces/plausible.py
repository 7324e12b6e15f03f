"""Whether five points can be a face's: a wrong set of landmarks aligns to a picture of nothing, without any error.

The measure is the misfit: how much of the points' spread the best similarity onto the template leaves over, from 0 (a
frontal face) to 1. Of LFW's 13,233 faces half are below 0.13 and all below 0.58; a face in full profile that nods comes
to 0.79. Left and right swapped gives 0.95 or more.
"""

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.alignment import TEMPLATE

LARGEST_MISFIT = 0.85
"""Of a face, in any pose."""

_LARGEST_MEDIAN = 0.72  # of the misfit over a whole file, were all its faces in full profile
_ENOUGH = 10  # rows from which the median says something
_SWAPPED = [1, 0, 2, 4, 3]
_FACES_SWAPPED = 0.6  # largest misfit that points have once left and right are put right
_SMALLEST_SPAN = 2.0  # pixels

Points = NDArray[np.float64]

_AS_SEEN = "left is left as seen in the upright picture, not the person's own"


def misfit(points: Points) -> NDArray[np.float64]:
    """The relative residual of the best similarity onto the template, [...] of points [..., 5, 2]: 0 to 1.

    With points as complex numbers p and q about their means it is √(1 − |Σ p̄·q|² / (Σ|p|² · Σ|q|²)).
    """
    source = points[..., 0] + 1j * points[..., 1]
    source = source - source.mean(-1, keepdims=True)
    target = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    target = target - target.mean()
    explained = np.abs((np.conj(source) * target).sum(-1)) ** 2
    spread = (np.abs(source) ** 2).sum(-1) * (np.abs(target) ** 2).sum()
    shares = np.divide(explained, spread, out=np.zeros_like(explained), where=spread > 0)
    result: NDArray[np.float64] = np.sqrt(np.clip(1 - shares, 0, None))
    return result


def implausible(points: Points, width: int, height: int) -> str | None:
    """What makes five points [5, 2] of a photo of this size no face's, or None.

    Some of them may lie beyond the photo's edge, which can cut a face off.
    """
    x, y = points[:, 0], points[:, 1]
    if max(np.ptp(x), np.ptp(y)) < _SMALLEST_SPAN:
        return "the landmarks span less than two pixels; they must be in pixels of the photo"
    if not (0 <= x.mean() < width and 0 <= y.mean() < height):
        return f"the landmarks lie outside the photo, which has {width}x{height} pixels"
    with np.errstate(all="ignore"):  # absurd coordinates overflow, and fit nothing
        misfits = misfit(np.stack([points, points[_SWAPPED]]))
    if misfits[0] <= LARGEST_MISFIT:
        return None
    if misfits[1] <= _FACES_SWAPPED:
        return f"left and right of the landmarks are swapped; {_AS_SEEN}"
    return "no face has its landmarks so; they are two eyes, nose and two mouth corners"


def check_all(points: Points, label: str) -> None:
    """Refuse a whole file [N, 5, 2] whose landmarks are wrong in the same way.

    Raises:
        InputError: most rows are swapped, or are no faces; with what is probably wrong.
    """
    spans = np.ptp(points, axis=1).max(axis=1)
    if len(points) >= _ENOUGH and np.median(spans) < _SMALLEST_SPAN:
        raise InputError(
            f"{printable(label)}: half of its {len(points):,} landmarks span less than two pixels; they must be in "
            "pixels of the photo, not shares of its sides"
        )
    with np.errstate(all="ignore"):
        wrong, put_right = misfit(points), misfit(points[:, _SWAPPED])
    swapped = (wrong > LARGEST_MISFIT) & (put_right <= _FACES_SWAPPED)
    if swapped.sum() * 2 > len(points):
        raise InputError(
            f"{printable(label)}: left and right, or x and y, are swapped in {swapped.sum():,} of {len(points):,} "
            f"rows; {_AS_SEEN}, and x goes before y"
        )
    if len(points) >= _ENOUGH and np.median(wrong) > _LARGEST_MEDIAN:
        raise InputError(
            f"{printable(label)}: most of its {len(points):,} rows are no face's landmarks (median misfit "
            f"{np.median(wrong):.2f}, where full profiles have 0.7); see that the order is left eye, right eye, nose, "
            "left and right mouth corner, each x, y"
        )
