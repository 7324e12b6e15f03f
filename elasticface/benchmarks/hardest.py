"""What a large benchmark got wrong, to look at: trials by how wrong they went, and the images that they are about."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN = 12
"""Trials of each kind."""

Rows = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class HardTrial:
    """One pair or search."""

    scores: tuple[float, ...]  # of the pair; of a search that of the mate, and the highest of anybody else
    images: tuple[str, ...]  # names, as the benchmark's face() takes them
    wrong: bool


@dataclass(frozen=True)
class Hardest:
    """Trials of one kind, the hardest first."""

    title: str  # what went wrong, and how often
    error: str  # a word for one that is wrong
    roles: tuple[str, ...]  # what each of the images is
    trials: tuple[HardTrial, ...]


def lowest(values: Floats) -> Rows:
    """Where the lowest of ``values`` are, ascending: SHOWN of them, or all that there are."""
    shown = min(len(values), SHOWN)
    if not shown:
        return np.empty(0, np.intp)
    some = np.argpartition(values, shown - 1)[:shown]
    return some[np.lexsort((some, values[some]))]
