"""Which faces are enrolled. Importing this brings no numpy: the command line does it at once."""

from dataclasses import dataclass
from typing import Literal, get_args

from elasticface.base.errors import InputError

FaceChoice = Literal["single", "largest", "central"]
"""Which face of a photo is enrolled; "single": none where there are several, for the largest may be somebody else's."""

SMALLEST = 40
"""Width in pixels of the smallest face that is enrolled: the model sees it about twice as large, and blurred."""

LEAST_SCORE = 0.7
"""The detector's score of a face that is enrolled, at least; it finds faces from 0.6 on."""


@dataclass(frozen=True)
class Rules:
    """Which faces are good enough.

    Raises:
        InputError: no such choice, or a number out of its range.
    """

    faces: FaceChoice = "single"
    smallest: int = SMALLEST  # pixels, the width of the box
    least_score: float = LEAST_SCORE

    def __post_init__(self) -> None:
        if self.faces not in get_args(FaceChoice):
            raise InputError(f"faces is {self.faces!r}, not one of {', '.join(get_args(FaceChoice))}")
        if self.smallest < 1 or not 0 <= self.least_score <= 1:
            raise InputError(
                "the smallest width must be at least 1 pixel and the least score lie in 0 to 1, "
                f"not {self.smallest} and {self.least_score:g}"
            )
