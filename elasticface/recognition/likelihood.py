"""A similarity as a likelihood ratio: how much likelier it is of one person than of two.

Logistic regression on the similarity, genuine and impostor comparisons weighing as much as each other whatever their
numbers: with a prior of one half, the log odds are the log likelihood ratio.

Source: Platt, "Probabilistic outputs for support vector machines" (1999); Brümmer and du Preez,
"Application-independent evaluation of speaker detection" (2006), for the ratio and for Cllr.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEPS, _SMALL = 100, 1e-10  # of Newton's method
_STEEPEST = 1e5  # of a slope that still is one


class Separable(ValueError):
    """No genuine similarity is below an impostor one, or hardly: a ratio of any size would fit."""


def fit(
    genuine: ArrayLike, impostors: ArrayLike, genuine_counts: ArrayLike, impostor_counts: ArrayLike
) -> tuple[float, float]:
    """Slope and offset of the natural log of the likelihood ratio, by the least Cllr on these comparisons.

    Args:
        genuine: similarities [G].
        impostors: similarities [I].
        genuine_counts: how often each occurs [G].
        impostor_counts: likewise [I].

    Raises:
        Separable: no finite ratio fits best, or there are none of a kind.
    """
    x = np.concatenate([np.asarray(genuine, np.float64), np.asarray(impostors, np.float64)])
    shares = [np.asarray(counts, np.float64) for counts in (genuine_counts, impostor_counts)]
    if not all(share.sum() for share in shares):
        raise Separable("no comparison of one kind")
    sign = np.concatenate([np.ones(len(shares[0])), -np.ones(len(shares[1]))])
    weight = np.concatenate([share / share.sum() for share in shares])
    centre, spread = np.average(x, weights=weight), max(float(x.std()), 1e-6)
    inputs = np.stack([(x - centre) / spread, np.ones(len(x))], axis=1)
    found, loss = np.zeros(2), np.inf
    for _ in range(_STEPS):
        margin = sign * (inputs @ found)
        now = float(weight @ np.logaddexp(0, -margin))
        if loss - now < _SMALL * now:
            break
        loss = now
        wrong = np.exp(-np.logaddexp(0, margin))  # the probability of the other kind
        gradient = inputs.T @ (weight * sign * wrong)
        hessian = (inputs * (weight * wrong * (1 - wrong))[:, None]).T @ inputs
        if not np.isfinite(hessian).all() or np.linalg.cond(hessian) > 1e14:
            raise Separable("no genuine similarity is below an impostor one")
        step = np.linalg.solve(hessian, gradient)
        while _loss(inputs, sign, weight, found + step) > now and np.abs(step).max() > _SMALL:
            step /= 2
        found = found + step
    slope = float(found[0] / spread)
    if not 0 < slope < _STEEPEST:
        raise Separable("genuine similarities are no higher than impostor ones, or all of them by far")
    return slope, float(found[1] - slope * centre)


def cllr(genuine: ArrayLike, impostors: ArrayLike, genuine_counts: ArrayLike, impostor_counts: ArrayLike) -> float:
    """The cost of log likelihood ratios in bits: 0 of perfect ones, 1 of those that say nothing (0 for all).

    Args:
        genuine: natural log likelihood ratios of genuine comparisons [G].
        impostors: of impostor ones [I].
        genuine_counts: how often each occurs [G].
        impostor_counts: likewise [I].
    """
    costs = [
        np.average(np.logaddexp(0, -sign * np.asarray(ratios)), weights=np.asarray(counts, np.float64))
        for sign, ratios, counts in ((1, genuine, genuine_counts), (-1, impostors, impostor_counts))
    ]
    return float(sum(costs) / (2 * np.log(2)))


def _loss(
    inputs: NDArray[np.float64], sign: NDArray[np.float64], weight: NDArray[np.float64], at: NDArray[np.float64]
) -> float:
    return float(weight @ np.logaddexp(0, -sign * (inputs @ at)))
