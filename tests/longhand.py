"""The losses written out as the paper prints them, in plain torch float64 under autograd: what the tests compare with.

Normalise, product, acos, + m, cos, cross-entropy; arXiv 2109.09416, section 3. Nothing here is fast, and nothing is
defined where the formulas themselves are not: at cos θ_y = ±1, for zero vectors, beyond float64's exp.
"""

import math

import torch
from torch import Tensor


def cosine(embeddings: Tensor, weight: Tensor) -> Tensor:
    """[B, D], [C, D] -> [B, C] cos θ_ij = e_i·w_j / (|e_i| |w_j|)."""
    embeddings, weight = embeddings.double(), weight.double()
    return (embeddings / embeddings.norm(dim=1, keepdim=True)) @ (weight / weight.norm(dim=1, keepdim=True)).T


def target_cosine(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """[B] cos θ_y."""
    return cosine(embeddings, weight)[range(len(labels)), labels]


def arc(cosines: Tensor, margins: Tensor, past_pi: str = "monotone") -> Tensor:
    """cos(θ + m); "monotone" goes on as cos θ + cos m − 1 where θ + m > π."""
    angles = cosines.double().acos() + margins.double()
    value = angles.cos()
    if past_pi == "monotone":
        value = torch.where(angles > math.pi, cosines.double() + margins.double().cos() - 1, value)
    return value


def cos(cosines: Tensor, margins: Tensor) -> Tensor:
    """cos θ − m."""
    return cosines.double() - margins.double()


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """1/B Σ L_i, or Σ w_i·L_i / Σ w_i."""
    return losses.mean() if weights is None else (weights * losses).sum() / weights.sum()


def cross_entropy(
    cosines: Tensor, labels: Tensor, targets: Tensor, scale: float, weights: Tensor | None = None
) -> Tensor:
    """Mean of −log( e^{z_y} / Σ_j e^{z_j} ) with z_y = s·targets and z_j = s·cos θ_j elsewhere; [B, C], [B], [B].

    Written as log(1 + Σ_{j≠y} e^{z_j − z_y}), so that a loss near 0 and its gradient keep all their digits.
    """
    others = torch.ones_like(cosines)
    others[range(len(labels)), labels] = 0
    return mean(((scale * (cosines - targets[:, None])).exp() * others).sum(1).log1p(), weights)


def loss(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margins: Tensor,
    kind: str,
    scale: float,
    past_pi: str = "monotone",
    weights: Tensor | None = None,
) -> Tensor:
    """The mean loss of a batch, ``kind`` "arc" or "cos", with these [B] margins."""
    cosines = cosine(embeddings, weight)
    target = cosines[range(len(labels)), labels]
    target = arc(target, margins, past_pi) if kind == "arc" else cos(target, margins)
    return cross_entropy(cosines, labels, target, scale, weights)


def loss_and_gradients(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margins: Tensor,
    kind: str,
    scale: float,
    past_pi: str = "monotone",
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, [B, D] gradient by embeddings, [C, D] gradient by weight), float64."""
    embeddings = embeddings.detach().double().requires_grad_()
    weight = weight.detach().double().requires_grad_()
    value = loss(embeddings, weight, labels, margins, kind, scale, past_pi, weights)
    return (value.detach(), *torch.autograd.grad(value, (embeddings, weight)))
