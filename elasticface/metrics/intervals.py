"""What chance alone does to counted figures: the exact interval of a share, the exact test of a difference."""

import itertools
import math
import operator


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) confidence interval of a counted share, such as a TAR or an accuracy.

    The lower end is the p with P(X >= successes) = (1 − level)/2, the upper end the p with P(X <= successes) the same,
    for X ~ Binomial(trials, p); 0 and 1 where there is no such p. Good to 1e-10. It presumes independent trials, which
    pairs that share people are not: then it is too narrow.

    Args:
        successes: 0..trials.
        trials: >= 1.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper end, fractions in [0, 1].

    Raises:
        ValueError: an argument outside its range.
        TypeError: a count that is not an int.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits" (1934).
    """
    successes, trials = operator.index(successes), operator.index(trials)
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"need trials >= 1 and successes in 0..trials, got {successes} of {trials}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    tail = (1 - level) / 2
    failures = trials - successes
    # P(X >= k) = I_p(k, n − k + 1); the upper end is the lower end of the failures, seen from 1.
    lower = _beta_quantile(tail, successes, failures + 1) if successes else 0.0
    upper = 1 - _beta_quantile(tail, failures, successes + 1) if failures else 1.0
    return lower, upper


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact McNemar test: the p-value of a difference in accuracy between two systems on the same pairs.

    Pairs that both judge right, or both wrong, say nothing. Of the others each system is right on half in the mean,
    were they equally good: two-sided, p = min(1, 2 P(X <= min(counts))) with X ~ Binomial(sum of counts, 1/2). It
    presumes independent pairs; where pairs share people, take ``resampling.compare``.

    Args:
        only_first: pairs that only the first system judges right, >= 0.
        only_second: pairs that only the second one does, >= 0.

    Returns:
        A probability in (0, 1]; 1 where the counts are equal, or no pair tells the systems apart.

    Raises:
        ValueError: a negative count.
        TypeError: a count that is not an int.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions" (1947).
    """
    counts = operator.index(only_first), operator.index(only_second)
    fewer, more = sorted(counts)
    if fewer < 0:
        raise ValueError(f"need counts >= 0, got {counts[0]} and {counts[1]}")
    if fewer == more:
        return 1.0
    # P(X <= k) = I_½(n − k, k + 1)
    return min(1.0, 2 * _incomplete_beta(0.5, more, fewer + 1))


def _beta_quantile(share: float, a: float, b: float) -> float:
    """The p in [0, 1] with I_p(a, b) = share, by bisection down to neighbouring floats."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _incomplete_beta(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return middle


def _incomplete_beta(p: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_p(a, b), 0 < p < 1, by its continued fraction (DLMF 8.17.22)."""
    if p > (a + 1) / (a + b + 2):  # beyond, the fraction converges slowly; its mirror image does not
        return 1 - _incomplete_beta_fraction(1 - p, p, b, a)
    return _incomplete_beta_fraction(p, 1 - p, a, b)


def _incomplete_beta_fraction(p: float, q: float, a: float, b: float) -> float:
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(p) + b * math.log(q)
    # Lentz's method: numerators and denominators as running ratios, so nothing overflows.
    c, d = 1.0, 1.0 / (1.0 - (a + b) * p / (a + 1))
    value = d
    for step in itertools.count(1):  # O(√(a + b)) steps at most
        even = step * (b - step) * p / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * p / ((a + 2 * step) * (a + 2 * step + 1))
        d = 1 / (1 + even * d)
        c = 1 + even / c
        value *= c * d
        d = 1 / (1 + odd * d)
        c = 1 + odd / c
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(log_front) * value / a
