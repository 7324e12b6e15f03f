"""Which of a photo's faces are meant. Importing this brings no numpy: the command line does it at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from elasticface.base.errors import InputError

if TYPE_CHECKING:
    from elasticface.faces.detector import Face

Choice = Literal["largest", "central", "all"]


def choose(faces: "Sequence[Face]", choice: Choice, width: int, height: int) -> list[int]:
    """Which of a photo's faces are wanted.

    Args:
        faces: largest first.
        choice: the "largest" one, the one nearest to the middle ("central"), or "all".
        width, height: of the photo in pixels.

    Returns:
        Their places in ``faces``, in ascending order.

    Raises:
        InputError: another choice.
    """
    if choice not in get_args(Choice):
        raise InputError(f"faces is {choice!r}, not one of {', '.join(get_args(Choice))}")
    if choice == "all" or len(faces) < 2:
        return list(range(len(faces)))
    if choice == "largest":
        return [0]
    import numpy as np

    middle = np.array([width, height]) / 2
    return [int(np.argmin([np.linalg.norm(face.points.mean(axis=0) - middle) for face in faces]))]
