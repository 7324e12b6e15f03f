"""The expectation of a loss over its margins, by quadrature, in place of a draw: ``draws="expected"``.

A margin m + σ·x with x ~ N(0, 1) touches one logit of a sample, z(x). With r the logsumexp of its other logits

    L = E[softplus(r − z(x))] ≈ Σ_q c_q·softplus(r − z(x_q))        c_q ∝ φ(x_q), x_q equally spaced

which is a sum over [B, Q]. For "+" x is an order statistic of the batch's draws: the k-th smallest of B. It is a smooth
monotone function of a standard normal, Φ⁻¹(I⁻¹_{k, B−k+1}(Φ(t))) with the inverse of the incomplete beta function, so
that the same t_q and c_q serve.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elasticface.heads.formula import Target

Draws = Literal["random", "expected"]

MAX_SPREAD = 64.0  # s·σ, for which there are 1,435 nodes
_FURTHEST = 8.0  # standard deviations; 1e-15 of the draws are beyond
_WIDEST = 0.7  # standard deviations between nodes
_ERROR = 1e-12


def nodes(spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The nodes of a standard normal draw that moves a logit by up to ``spread`` = s·σ.

    The sigmoid of the softmax has its poles ±πi away from where a logit is even with the others, π/spread in units of
    the draw. The trapezoidal rule errs by e^{−2π·distance/h} for nodes h apart, and of the normal density itself by
    e^{−2π²/h²} (docs/heads.md).

    Returns:
        (x [Q], c [Q]), c sums up to 1.
    """
    apart = min(_WIDEST, 2 * math.pi**2 / (max(spread, 1e-9) * math.log(1 / _ERROR)))
    one_side = math.ceil(_FURTHEST / apart)
    x = np.linspace(-_FURTHEST, _FURTHEST, 2 * one_side + 1)
    density = np.exp(-(x**2) / 2)
    return x, density / density.sum()


def draws(m: float, std: float, count: int, spread: float, *, in_order: bool) -> Tensor:
    """E(m, σ) of ``count`` samples at the nodes of ``spread``: the same in each row, or row k has the k-th smallest.

    Returns:
        [count, Q] float64 on the CPU.
    """
    x = _order_statistics(count, spread) if in_order else np.tile(nodes(spread)[0], (count, 1))
    return torch.from_numpy(m + std * x)


@lru_cache(maxsize=4)
def _order_statistics(count: int, spread: float) -> NDArray[np.float64]:
    """[count, Q]: row k has the (k + 1)-th smallest of ``count`` standard normal draws at the nodes of ``spread``."""
    from scipy import special

    x, _ = nodes(spread)
    rank = np.arange(1, count + 1)[:, None]
    lower = special.ndtri(special.betaincinv(rank, count + 1 - rank, special.ndtr(x[: len(x) // 2 + 1])))
    # The largest is the smallest with another sign; next to 1 a probability would have lost its digits.
    return np.concatenate([lower, -lower[::-1, -2::-1]], 1)


def over_draws(target: Target, logsumexp_others: Tensor, scale: float) -> tuple[Tensor, Tensor, Target]:
    """What the softmax needs of targets whose margin is spread over nodes.

    The loss Σ c_q·softplus(r − z_q) has the derivative S = Σ c_q·sigmoid(r − z_q) by r. A fixed target z* with
    sigmoid(r − z*) = S has the same gradients, if its slope is the mean of the nodes' by their shares of S.

    Args:
        target: value and derivatives [B, Q], and ``chances`` [Q].
        logsumexp_others: [B] r.
        scale: s.

    Returns:
        ([B] losses, [B] z*, target with derivatives [B] for backward).
    """
    assert target.chances is not None
    below = logsumexp_others[:, None] - scale * target.value  # r − z
    log_chances = target.chances.log()
    log_others = log_chances + functional.logsigmoid(below)  # c_q·(1 − p_y)
    log_sum = log_others.logsumexp(1)  # log S
    log_own = (log_chances + functional.logsigmoid(-below)).logsumexp(1)  # log (1 − S)
    losses = (target.chances * torch.logaddexp(below, torch.zeros_like(below))).sum(1)
    share_of_node = (log_others - log_sum[:, None]).exp()

    def mean(slopes: Tensor) -> Tensor:
        return (share_of_node * slopes).sum(1)

    fixed = target._replace(
        by_cosine=mean(target.by_cosine),
        by_length=None if target.by_length is None else mean(target.by_length),
        chances=None,
    )
    return losses, logsumexp_others - log_sum + log_own, fixed
