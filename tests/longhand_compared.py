"""The losses that ElasticFace is compared with, as their papers print them, in plain torch float64 under autograd.

Running statistics are a dict of numbers that a call updates, as a training step does.
"""

import math
from typing import Any

import longhand
import torch
from torch import Tensor

START = {
    "adaface": {"batch_mean": 20.0, "batch_std": 100.0},
    "curricularface": {"t": 0.0},
    "magface": {},
    "subcenter-arcface": {},
}
# The defaults of the papers and of their released code.
DEFAULTS: dict[str, dict[str, Any]] = {
    "adaface": {"m": 0.4, "h": 0.333, "t_alpha": 0.01},
    "magface": {"l_a": 10.0, "u_a": 110.0, "l_margin": 0.45, "u_margin": 0.8, "lambda_g": 35.0},
    "curricularface": {"m": 0.5, "t_alpha": 0.01},
    "subcenter-arcface": {"m": 0.5, "centres_per_class": 3},
}


def cosines(loss: str, embeddings: Tensor, weight: Tensor, options: dict[str, Any]) -> Tensor:
    """[B, C]; of the nearest sub-centre (Deng et al. 2020, equation 3: max pooling over K)."""
    if loss != "subcenter-arcface":
        return longhand.cosine(embeddings, weight)
    each = options["centres_per_class"]
    all_cosines = [longhand.cosine(embeddings, rows) for rows in weight.unflatten(1, (each, -1)).unbind(1)]
    return torch.stack(all_cosines).amax(0)


def targets_and_negatives(
    loss: str,
    all_cosines: Tensor,
    lengths: Tensor,
    labels: Tensor,
    margins: Tensor,
    past_pi: str,
    state: dict[str, float],
    options: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """[B] and [B, C] over s, and [B] that is added to the loss. ``margins`` [B] are m, of magface l_margin."""
    target, nothing = all_cosines[range(len(labels)), labels], torch.zeros(len(labels), dtype=torch.float64)
    if loss == "adaface":
        # Kim et al. 2022, equations 13 to 16; statistics as in the released code.
        norms, share = lengths.detach().clamp(0.001, 100), options["t_alpha"]
        state["batch_mean"] = share * norms.mean().item() + (1 - share) * state["batch_mean"]
        if len(norms) > 1:
            std = math.sqrt(((norms - norms.mean()) ** 2).sum().item() / (len(norms) - 1))
            state["batch_std"] = share * std + (1 - share) * state["batch_std"]
        quality = (norms - state["batch_mean"]) / (state["batch_std"] + 0.001) * options["h"]
        quality = quality.clip(-1, 1)
        g_angle, g_add = -margins * quality, margins * quality + margins
        value = longhand.arc(target, g_angle, "paper")
        if past_pi == "monotone":
            angles = target.acos() + g_angle
            value = torch.where(angles > math.pi, target + g_angle.cos() - 1, value)
            value = torch.where(angles < 0, 1, value)
        return value - g_add, all_cosines, nothing
    if loss == "magface":
        # Meng et al. 2021, section 3.3: m(a) linear, g(a) = 1/a + a/u_a²; a bounded as in the released code.
        low, high = options["l_a"], options["u_a"]
        a = lengths.clamp(low, high)
        margins = margins + (options["u_margin"] - options["l_margin"]) / (high - low) * (a - low)
        return longhand.arc(target, margins, past_pi), all_cosines, options["lambda_g"] * (1 / a + a / high**2)
    value = longhand.arc(target, margins, past_pi)
    if loss == "curricularface":
        # Huang et al. 2020, equations 5 to 8; t of this batch, as in the released code.
        share = options["t_alpha"]
        state["t"] = share * target.mean().item() + (1 - share) * state["t"]
        hard = all_cosines > value.detach()[:, None]
        return value, torch.where(hard, all_cosines * (state["t"] + all_cosines), all_cosines), nothing
    return value, all_cosines, nothing


def loss_and_gradients(
    loss: str,
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margins: Tensor,
    scale: float,
    past_pi: str,
    state: dict[str, float],
    options: dict[str, Any],
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, [B, D] gradient by embeddings, gradient by weight), float64; ``state`` is updated."""
    embeddings = embeddings.detach().double().requires_grad_()
    weight = weight.detach().double().requires_grad_()
    lengths = embeddings.norm(dim=1)
    all_cosines = cosines(loss, embeddings, weight, options)
    value, negatives, penalty = targets_and_negatives(
        loss, all_cosines, lengths, labels, margins.double(), past_pi, state, options
    )
    others = torch.ones_like(all_cosines)
    others[range(len(labels)), labels] = 0
    # log(1 + Σ_{j≠y} e^{z_j − z_y}), so that a loss near 0 and its gradient keep all their digits
    losses = ((scale * (negatives - value[:, None])).exp() * others).sum(1).log1p() + penalty
    mean = longhand.mean(losses, weights)
    return (mean.detach(), *torch.autograd.grad(mean, (embeddings, weight)))
