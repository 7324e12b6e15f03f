"""The likelihood ratio of a similarity: how much likelier it is between photos of one person than of two.

It is found by logistic regression on the similarity. Genuine and impostor comparisons weigh as much in all, whatever
their numbers: their prior odds are then 1, and the log odds are the log likelihood ratio.

Source: Platt, "Probabilistic outputs for support vector machines" (1999); Brümmer and du Preez,
"Application-independent evaluation of speaker detection" (2006), for the ratio and for Cllr.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIOR = 5.0
"""As :func:`fit` takes it. Good verifiers have a slope of about 10 in these units. Gelman et al., "A weakly informative
default prior distribution for logistic regression" (2008), have half of it."""

_STEPS, _SMALL = 100, 1e-12  # of Newton's method


def fit(
    genuine: ArrayLike,
    impostors: ArrayLike,
    genuine_counts: ArrayLike,
    impostor_counts: ArrayLike,
    people: int,
    prior: float = PRIOR,
) -> tuple[float, float]:
    """Slope and offset of the natural log of the likelihood ratio.

    They have the least Cllr on these comparisons, with a weak prior on the slope, as if each person were one comparison
    of either kind: few people may be told apart without error by chance, and any slope however steep would fit them.

    Args:
        genuine: similarities [G].
        impostors: similarities [I].
        genuine_counts: how often each occurs [G].
        impostor_counts: likewise [I].
        people: that the comparisons are of.
        prior: standard deviation of the slope beforehand, of similarities whose own is 1; inf for none.

    Raises:
        ValueError: no comparison of one kind, or similarities that are all one.
    """
    x = np.concatenate([np.asarray(genuine, np.float64), np.asarray(impostors, np.float64)])
    shares = [np.asarray(counts, np.float64) for counts in (genuine_counts, impostor_counts)]
    if not all(share.sum() for share in shares):
        raise ValueError("no comparison of one kind")
    sign = np.concatenate([np.ones(len(shares[0])), -np.ones(len(shares[1]))])
    weight = np.concatenate([share / share.sum() for share in shares])
    there = weight > 0  # of the bins of a histogram most are empty
    x, sign, weight = x[there], sign[there], weight[there]
    centre = np.average(x, weights=weight)
    spread = np.sqrt(np.average((x - centre) ** 2, weights=weight))
    if not spread:
        raise ValueError("the similarities are all one")
    inputs = np.stack([(x - centre) / spread, np.ones(len(x))], axis=1)
    penalty = np.array([1 / (people * prior**2), 0.0])

    def loss(at: NDArray[np.float64]) -> float:
        return float(weight @ np.logaddexp(0, -sign * (inputs @ at)) + penalty @ at**2 / 2)

    found, now = np.zeros(2), loss(np.zeros(2))
    for _ in range(_STEPS):  # Newton's method; the step is halved until the loss falls.
        wrong = np.exp(-np.logaddexp(0, sign * (inputs @ found)))  # the probability of the other kind
        downhill = inputs.T @ (weight * sign * wrong) - penalty * found
        curvature = (inputs * (weight * wrong * (1 - wrong))[:, None]).T @ inputs + np.diag(penalty + _SMALL)
        step = np.linalg.solve(curvature, downhill)
        while (after := loss(found + step)) > now and np.abs(step).max() > _SMALL:
            step /= 2
        if now - after <= _SMALL * now:
            break
        found, now = found + step, after
    slope = float(found[0] / spread)
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
