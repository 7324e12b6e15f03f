"""Made-up pairs of each kind of units, and their figures in a bootstrap sample, its pairs written out one by one."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.benchmarks.units import Units

Bools = NDArray[np.bool_]


def names_of(kind: str, pairs: int, rng: np.random.Generator) -> tuple[list[str], list[str], Bools]:
    """Pairs whose units are of a kind; of three, two are genuine."""
    first, second = [], []
    same = np.arange(pairs) % 3 < 2
    for i, genuine in enumerate(same):
        if kind == "pairs":
            first.append(f"{2 * i}")
            second.append(f"{2 * i + 1}")
            continue
        person = int(rng.integers(12))
        other = person if genuine else (person + 1 + int(rng.integers(11))) % 12
        join = "/" if kind == "people" else ""
        first.append(f"p{person:02d}{join}{rng.integers(3)}")
        second.append(f"p{other:02d}{join}{rng.integers(3, 6)}")
    if kind == "images":  # one label contradicts the others: an impostor pair within a unit
        first[2], second[2] = first[0], second[0]
    return first, second, same


def written_out(units: Units, same: Bools, drawn: NDArray[Any]) -> list[int]:
    """The pairs of a sample that each unit is in ``drawn`` times [N], each as often as it is there."""
    listed = []
    for pair, (a, b, genuine) in enumerate(zip(units.first, units.second, same, strict=True)):
        copies = [(i, j) for i in range(drawn[a]) for j in range(drawn[b])]
        # Two copies of a unit are no pair: what lies within one comes once a copy.
        within_one = genuine or a == b
        listed += [pair for i, j in copies if i == j or not within_one]
    return listed


def accuracy(right: Bools, same: Bools, listed: list[int]) -> float:
    """Genuine and impostor pairs weigh as they do in the whole list."""
    kinds = [[bool(right[pair]) for pair in listed if same[pair] == kind] for kind in (True, False)]
    genuine, impostor = (sum(hits) / len(hits) for hits in kinds)
    return float(same.mean() * genuine + (1 - same.mean()) * impostor)


def roc(scores: NDArray[Any], same: Bools, listed: list[int]) -> list[tuple[float, float]]:
    """FAR and TAR at each threshold, from that which nobody reaches."""
    values = scores[listed].astype(float)
    kinds = same[listed]
    thresholds = [math.inf, *sorted(set(values.tolist()), reverse=True)]
    return [(float((values[~kinds] >= t).mean()), float((values[kinds] >= t).mean())) for t in thresholds]


def tar(scores: NDArray[Any], same: Bools, listed: list[int], far: float) -> float:
    """The largest TAR with a FAR within ``far``."""
    return max(tar for found, tar in roc(scores, same, listed) if found <= far)


def nearest(scores: NDArray[Any], same: Bools, listed: list[int], far: float) -> float:
    """The TAR of the threshold whose FAR is nearest: of those as near the highest FAR, of these the highest TAR."""
    genuine, impostor = ([float(scores[i]) for i in listed if same[i] == kind] for kind in (True, False))
    points = []
    for threshold in [*genuine, *impostor, math.inf]:
        alarms, hits = (sum(s >= threshold for s in of) / len(of) for of in (impostor, genuine))
        points.append((abs(alarms - far), -alarms, -hits))
    return -min(points)[2]


def equal_error_rate(scores: NDArray[Any], same: Bools, listed: list[int]) -> float:
    """Where the line through the points of the ROC meets FAR = 1 − TAR."""
    points = roc(scores, same, listed)
    for (far, tar), (next_far, next_tar) in itertools.pairwise(points):
        gap, next_gap = 1 - tar - far, 1 - next_tar - next_far
        if next_gap <= 0:
            return far + (next_far - far) * gap / (gap - next_gap)
    raise AssertionError("an ROC ends where all are accepted")
