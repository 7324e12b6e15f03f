"""How far a figure about pairs would be another one on other people: the bootstrap over people.

Pairs that share a person are not independent, so people are drawn, not pairs: n of the n people with replacement. A
genuine pair then counts as often as its person was drawn, an impostor pair as often as the one times as often as the
other. Figures of several models, taken with the same draws, are compared pair by pair.

Source: Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap" (2004); for
impostor pairs Owen, "The pigeonhole bootstrap" (2007), who shows that it errs towards wide intervals.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elasticface import keyed

Counts = NDArray[np.int32]


def draw_people(people: int, draws: int = 2000, seed: int = 0) -> Counts:
    """How often each person is in each bootstrap sample, int32 [R, N]; every row sums to N.

    Args:
        people: N, ≥ 1.
        draws: R, ≥ 1.
        seed: of the draws, ≥ 0.

    Raises:
        ValueError: a number out of its range.
    """
    if people < 1 or draws < 1:
        raise ValueError(f"people and draws must be at least 1, got {people} and {draws}")
    generator = keyed.generator(seed, "bootstrap over people")
    return generator.multinomial(people, np.full(people, 1 / people), draws).astype(np.int32)


def pair_weights(counts: Counts, first: ArrayLike, second: ArrayLike) -> Counts:
    """How often each pair is in each bootstrap sample, int32 [R, P].

    Args:
        counts: [R, N], of :func:`draw_people`.
        first: [P] ints 0..N-1, the person on the first photo of each pair.
        second: [P] ints, on the second photo; the same person makes a genuine pair.

    Raises:
        ValueError: shapes that disagree, or a person outside 0..N-1.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"first and second must both be [P], got shapes {a.shape} and {b.shape}")
    people = counts.shape[1]
    if a.size and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < people):
        raise ValueError(f"people must be 0 to {people - 1}")
    return counts[:, a] * np.where(a == b, 1, counts[:, b])


def accuracies(correct: ArrayLike, same: ArrayLike, weights: Counts) -> NDArray[np.float64]:
    """The accuracy in each bootstrap sample, [R]: (share of genuine pairs right + share of impostor pairs right) / 2.

    That is the accuracy itself where there are as many pairs of one kind as of the other. Which pairs are right is as
    it was: thresholds are not chosen anew.

    Args:
        correct: [P] in 0..1, whether each pair was judged right, or how often of several runs.
        same: [P] bool, whether the pair is genuine.
        weights: [R, P], of :func:`pair_weights`.

    Raises:
        ValueError: shapes that disagree, or a sample without pairs of a kind: there are too few people.
    """
    right, genuine = np.asarray(correct, np.float64), np.asarray(same, np.bool_)
    if right.shape != genuine.shape or right.shape != weights.shape[1:]:
        raise ValueError(f"shapes disagree: {right.shape}, {genuine.shape} and {weights.shape}")
    shares = []
    for kind in (genuine, ~genuine):
        of_kind = weights[:, kind].astype(np.float64)
        counted = of_kind.sum(axis=1)
        if not counted.all():
            raise ValueError("too few people: a sample has no pair of one kind")
        shares.append(of_kind @ right[kind] / counted)
    result: NDArray[np.float64] = (shares[0] + shares[1]) / 2
    return result


def interval(figures: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a figure from its values in the bootstrap samples [R].

    Raises:
        ValueError: a level outside (0, 1), or values with NaN.
    """
    values = np.asarray(figures, np.float64)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if np.isnan(values).any():
        raise ValueError("the figure is NaN in some samples")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
