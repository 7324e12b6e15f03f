"""The units of the bootstrap: people, where folders or lists name them, or else groups that share a person.

The bootstrap over people (:mod:`elasticface.metrics.resampling`) needs the person on either photo of a pair, and the
person of each trial of the large benchmarks.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = {
    "people": "people, by the folders or the names of their photos",
    "images": "groups of images that genuine pairs join, since the people on them are unknown",
    "pairs": "pairs, since the people on the images are unknown and no image is in two pairs",
    "subjects": "people, by the benchmark's own lists",
    "templates": "groups of templates that genuine pairs join, since not all lists name their subjects",
}
NOUNS = {
    "people": "people",
    "images": "groups of images",
    "pairs": "pairs",
    "subjects": "people",
    "templates": "groups of templates",
}
OF_PAIRS, OF_TRIALS = ("people", "images", "pairs"), ("subjects", "templates")
"""The UNITS of benchmarks of pairs, and of the large ones."""

_DEEPEST = 8  # folders above a photo that are tried
_NUMBER = re.compile(r"_\d+\.\w+$")  # of a person's photo, and its suffix


@dataclass(frozen=True)
class Units:
    """The units of P pairs, by number from 0. The two of a genuine pair are one unit."""

    kind: str  # one of OF_PAIRS
    first: NDArray[np.int32]  # [P]; of "pairs" both are the number of the pair
    second: NDArray[np.int32]  # [P]
    digest: str  # SHA-256 of the list of pairs, hexadecimal: the same for the same pairs in the same folds alone

    @property
    def number(self) -> int:
        """How many there are."""
        return 1 + int(max(self.first.max(), self.second.max()))


def units_of(
    first: Sequence[str], second: Sequence[str], same: NDArray[np.bool_], folds: int, content: str = ""
) -> Units:
    """The units of pairs.

    A photo's person is the folder that it is in, or one further up: the deepest for which all genuine pairs are within
    one and all impostor pairs between two (LFW: `name`; CFP: `Data/Images/001`); or else what stands before the number
    in its name, if that tells all pairs alike (CALFW: `name_0001.jpg`). Where neither does, as in a pack, images are
    the units, and those that genuine pairs join, be it by way of others, are one; where no image is in two pairs, the
    pairs are.

    Args:
        first: the pairs' first photos [P], names with `/` between folders.
        second: the second ones [P].
        same: True for genuine pairs [P].
        folds: how many contiguous folds the pairs are in; for the digest.
        content: what else tells these pairs from others, such as a digest of the images of a pack, which have no names.
    """
    told = json.dumps([content, folds, list(first), list(second), same.tolist()])
    digest = hashlib.sha256(told.encode()).hexdigest()
    shallowest = min((name.count("/") for side in (first, second) for name in side), default=0)
    candidates = [
        [[name.rsplit("/", up)[0] for name in side] for side in (first, second)]
        for up in range(1, 1 + min(_DEEPEST, shallowest))
    ]
    if all(_NUMBER.search(name) for side in (first, second) for name in side):
        candidates.append([[_NUMBER.sub("", name) for name in side] for side in (first, second)])
    for a, b in candidates:
        if all((x == y) == genuine for x, y, genuine in zip(a, b, same.tolist(), strict=True)):
            return Units("people", *_numbered(a, b), digest)
    listed = Counter(name for pair in zip(first, second, strict=True) for name in {*pair})
    if max(listed.values(), default=0) < 2:
        numbers = np.arange(len(same), dtype=np.int32)
        return Units("pairs", numbers, numbers, digest)
    number = {name: i for i, name in enumerate(listed)}
    sides = [np.array([number[name] for name in side], np.int32) for side in (first, second)]
    unit = joined(len(listed), sides[0][same], sides[1][same]).tolist()
    return Units("images", *_numbered(*([unit[i] for i in side] for side in sides)), digest)


def joined(count: int, first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """What pairs join, be it by way of others: for each of ``count`` things the first that it is joined with, [count].

    Args:
        count: of the things, numbered 0 to count - 1.
        first: [E] things, each joined with that in the same place of ``second``.
        second: [E].

    Returns:
        The same thing for all that are joined: the one of the lowest number.
    """
    root = list(range(count))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = one = root[root[one]]
        return one

    for x, y in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((find(x), find(y)))
        root[high] = low
    return np.array([find(one) for one in range(count)], np.int32)


def _numbered(a: Sequence[Hashable], b: Sequence[Hashable]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Names as numbers from 0, in the order in which they come."""
    number: dict[Hashable, int] = {}
    pairs = [(number.setdefault(x, len(number)), number.setdefault(y, len(number))) for x, y in zip(a, b, strict=True)]
    first, second = np.array(pairs, np.int32).reshape(-1, 2).T
    return first.copy(), second.copy()
