"""A list of pairs as all of its formats are read: two photos a pair, of one person or not, in folds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairs:
    """A list of pairs in the order of its file: P pairs, the folds contiguous."""

    first: tuple[str, ...]  # [P] image names
    second: tuple[str, ...]  # [P]
    same: NDArray[np.bool_]  # [P]
    folds: int
