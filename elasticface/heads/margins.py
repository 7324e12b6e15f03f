"""The maths of ONE target cosine: what a margin does to it, and how margins are drawn and handed out.

A margin touches one number per sample, so everything here is a pure function on [B]. ``arc_margin`` and
``cosine_margin`` return the value and its derivative together: the head writes its gradients by hand.

Paper: Boutros, Damer, Kirchbuchner, Kuijper, "ElasticFace: Elastic Margin Loss for Deep Face Recognition",
arXiv 2109.09416, section 3.
"""

from typing import Literal

import torch
from torch import Tensor

from elasticface.base import keyed

Order = Literal["paper", "release"]
PastPi = Literal["monotone", "paper"]


def arc_margin(cosines: Tensor, margins: Tensor, past_pi: PastPi = "monotone") -> tuple[Tensor, Tensor]:
    """cos(θ + m), the ElasticFace-Arc and ArcFace target, and its derivative by cos θ.

    cos(θ + m) = c·cos m − √(1−c²)·sin m equals the acos form, and stays finite at c = ±1 where the gradient of acos is
    NaN. Its true derivative there is infinite; it is cut where √(1−c²) reaches the rounding of c, and the head's
    gradient stays right because the projection off the unit sphere shrinks with the same √(1−c²).

    Args:
        cosines: [B] cos θ in [-1, 1].
        margins: [B] m in radians.
        past_pi: what happens where θ + m > π. ``"paper"`` is the bare formula, which turns upwards there, so that the
            worst samples are pushed away from their centre. ``"monotone"`` is cos θ + cos m − 1 there, continuous at
            θ + m = π and with slope 1, so that the loss keeps falling with cos θ.

    Returns:
        ([B] value, [B] d value / d cos θ).
    """
    eps = torch.finfo(cosines.dtype).eps
    sines = ((1 - cosines) * (1 + cosines)).clamp_min(0).sqrt()
    cos_m, sin_m = margins.cos(), margins.sin()
    value = cosines * cos_m - sines * sin_m
    slope = cos_m + cosines / sines.clamp_min(eps**0.5) * sin_m
    if past_pi == "monotone":
        past = (sines * cos_m + cosines * sin_m < 0) & (margins > 0)  # sin(θ + m) < 0
        value = torch.where(past, cosines + cos_m - 1, value)
        slope = torch.where(past, torch.ones_like(slope), slope)
    return value, slope


def cosine_margin(cosines: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    """cos θ − m, the ElasticFace-Cos and CosFace target, and its derivative by cos θ.

    Args:
        cosines: [B] cos θ in [-1, 1].
        margins: [B] m, in units of cosine.

    Returns:
        ([B] value, [B] ones).
    """
    return cosines - margins, torch.ones_like(cosines)


def arc_by_margin(cosines: Tensor, margins: Tensor, past_pi: PastPi = "monotone") -> Tensor:
    """[B] d :func:`arc_margin` / d m: −sin(θ + m), and past π where that is monotone −sin m."""
    sines = ((1 - cosines) * (1 + cosines)).clamp_min(0).sqrt()
    of_sum = sines * margins.cos() + cosines * margins.sin()
    if past_pi == "monotone":
        of_sum = torch.where((of_sum < 0) & (margins > 0), margins.sin(), of_sum)
    return -of_sum


def adaptive_margin(
    cosines: Tensor, margins: Tensor, quality: Tensor, past_pi: PastPi = "monotone"
) -> tuple[Tensor, Tensor]:
    """cos(θ − m·ẑ) − m·(1 + ẑ), the AdaFace target, and its derivative by cos θ (Kim et al., CVPR 2022, section 3.4).

    Args:
        cosines: [B] cos θ in [-1, 1].
        margins: [B] m in radians, below π.
        quality: [B] ẑ in [-1, 1]. At 1 the margin is CosFace's 2·m less an angle of m, at 0 CosFace's m, at −1
            ArcFace's.
        past_pi: as in :func:`arc_margin`. Where θ < m·ẑ the bare formula falls with cos θ, too: ``"monotone"`` stays
            at cos 0 there, with slope 0, as the authors' released code does.

    Returns:
        ([B] value, [B] d value / d cos θ).
    """
    angles = margins * quality
    value, slope = arc_margin(cosines, -angles, past_pi)
    if past_pi == "monotone":
        past = (angles > 0) & (cosines > angles.cos())
        value, slope = torch.where(past, 1, value), torch.where(past, 0, slope)
    return value - (margins + angles), slope


def draw(m: float, std: float, count: int, seed: int, step: int) -> Tensor:
    """E(m, σ): ``count`` margins from N(m, σ²), a pure function of its arguments on every device.

    Returns:
        [count] float64 on the CPU. ``std=0`` gives m exactly.
    """
    return torch.from_numpy(keyed.generator(seed, "margins", step).normal(m, std, count))


def assign_by_proximity(draws: Tensor, target_cosines: Tensor, order: Order = "paper") -> Tensor:
    """The "+" of ElasticFace: a batch's draws handed out by proximity to the class centre.

    Args:
        draws: [B] margins as drawn; or [B, Q], each column a batch's.
        target_cosines: [B] cos θ_y of the same samples.
        order: ``"paper"``: the smallest cosine gets the largest margin, and so on (Spearman −1); equal cosines take
            their margins in the order of the batch. ``"release"``: as the authors' released code hands them out,
            indexing the sorted draws with an argsort where its inverse is needed, which leaves the margins
            uncorrelated with the cosines.

    Returns:
        The same draws in another order.
    """
    if order == "paper":
        margins = torch.empty_like(draws)
        margins[target_cosines.argsort(stable=True)] = draws.sort(dim=0, descending=True, stable=True).values
        return margins
    return draws.sort(dim=0, stable=True).values[target_cosines.argsort(descending=True, stable=True)]
