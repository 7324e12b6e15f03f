"""The losses by name: ArcFace, CosFace, NormFace, the elastic heads of the paper, and those it is compared with.

Each fixes the defaults of :class:`elasticface.heads.margin_head.MarginHead` or gives formulas of its own.
"""

import inspect
from typing import Any, Unpack, get_args

import torch
from torch import Tensor

from elasticface.base.errors import InputError
from elasticface.heads import margins as margin_functions
from elasticface.heads.expectation import Draws
from elasticface.heads.formula import Target
from elasticface.heads.given import require
from elasticface.heads.margin_head import Common, Elastic, MarginHead
from elasticface.heads.margins import Order

# AdaFace's released code.
_LENGTHS = (0.001, 100.0)
_ADA_EPS = 0.001


class ElasticArcFace(MarginHead):
    """ElasticFace-Arc: s·cos(θ_y + E(m, σ)); ``plus=True`` is ElasticFace-Arc+ (paper, equations 5 and 6; σ 0.0175)."""

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        m: float = 0.50,
        std: float = 0.05,
        plus: bool = False,
        order: Order = "paper",
        draws: Draws = "random",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, kind="arc", m=m, std=std, plus=plus, order=order, draws=draws, **common
        )


class ElasticCosFace(MarginHead):
    """ElasticFace-Cos: s·(cos θ_y − E(m, σ)); ``plus=True`` is ElasticFace-Cos+ (paper, section 3.2; σ 0.025)."""

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        m: float = 0.35,
        std: float = 0.05,
        plus: bool = False,
        order: Order = "paper",
        draws: Draws = "random",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, kind="cos", m=m, std=std, plus=plus, order=order, draws=draws, **common
        )


class ArcFace(MarginHead):
    """s·cos(θ_y + m) (Deng et al., "ArcFace", 2019, equation 3)."""

    def __init__(
        self, num_classes: int, embedding_size: int = 512, *, m: float = 0.5, **common: Unpack[Common]
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="arc", m=m, **_fixed(common))


class CosFace(MarginHead):
    """s·(cos θ_y − m) (Wang et al., "CosFace", 2018, equation 4)."""

    def __init__(
        self, num_classes: int, embedding_size: int = 512, *, m: float = 0.35, **common: Unpack[Common]
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="cos", m=m, **_fixed(common))


class NormFace(MarginHead):
    """s·cos θ_y, no margin (Wang et al., "NormFace", 2017)."""

    def __init__(self, num_classes: int, embedding_size: int = 512, **common: Unpack[Common]) -> None:
        super().__init__(num_classes, embedding_size, kind="cos", m=0.0, **_fixed(common))


class AdaFace(MarginHead):
    """s·(cos(θ_y − m·ẑ) − m·(1 + ẑ)), ẑ = (‖e‖ − μ)·h / σ in [-1, 1] (Kim et al., "AdaFace", CVPR 2022, section 3.4).

    μ and σ are running statistics of the embeddings' lengths, over all processes. Those of a batch enter before they
    are used: μ ← t_alpha·mean + (1 − t_alpha)·μ, and σ likewise with the unbiased standard deviation. No gradient goes
    through ẑ. As in the released code, lengths are cut to [0.001, 100], and 0.001 is added to σ.

    Args:
        m: the margin, ≥ 0, below π; ``std`` and ``plus`` draw it.
        h: how far a deviation of σ reaches, > 0; 0.333 keeps about two thirds of the lengths within ẑ = ±0.33.
        t_alpha: share of a batch in the running statistics, in (0, 1].

    Attributes:
        batch_mean: μ, a scalar buffer; 20 at the start.
        batch_std: σ, likewise; 100 at the start.
    """

    batch_mean: Tensor
    batch_std: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        m: float = 0.4,
        h: float = 0.333,
        t_alpha: float = 0.01,
        **options: Unpack[Elastic],
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="arc", m=m, **options)
        require(0 < h < torch.inf, f"h must be above 0, got {h}")
        require(0 < t_alpha <= 1, f"t_alpha must be in (0, 1], got {t_alpha}")
        self.h, self.t_alpha = h, t_alpha
        self.register_buffer("batch_mean", torch.tensor(20.0))
        self.register_buffer("batch_std", torch.tensor(100.0))

    def update_statistics(self, cosines: Tensor, lengths: Tensor) -> None:
        lengths = lengths.clamp(*_LENGTHS)
        self.update_average(self.batch_mean, lengths.mean(), self.t_alpha)
        if len(lengths) > 1:  # one has no deviation
            self.update_average(self.batch_std, lengths.std(), self.t_alpha)

    def target(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Target:
        deviations = (lengths.clamp(*_LENGTHS) - self.batch_mean) / (self.batch_std + _ADA_EPS)
        quality = (self.h * deviations).clamp(-1, 1)
        return Target(*margin_functions.adaptive_margin(cosines, margins, quality, self.past_pi))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, h={self.h:g}, t_alpha={self.t_alpha:g}"


class MagFace(MarginHead):
    """s·cos(θ_y + m(a)), and λ_g·(1/a + a/u_a²) added to the loss (Meng et al., "MagFace", CVPR 2021, section 3.3).

    a is the embedding's length, cut to [l_a, u_a], and m(a) rises from l_margin to u_margin with it. The gradient goes
    through both: the penalty draws embeddings to longer ones, the margin keeps those short that are hard to tell.
    Lengths that are cut get no gradient, as in the released code.

    Args:
        l_a, u_a: shortest and longest length that counts, 0 < l_a < u_a.
        l_margin, u_margin: the margins there, 0 ≤ l_margin ≤ u_margin < π, in radians. ``std`` and ``plus`` draw
            l_margin; u_margin − l_margin stays. ``margins`` given to the head take the place of l_margin alone.
        lambda_g: λ_g, ≥ 0.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        l_a: float = 10.0,
        u_a: float = 110.0,
        l_margin: float = 0.45,
        u_margin: float = 0.8,
        lambda_g: float = 35.0,
        **options: Unpack[Elastic],
    ) -> None:
        require(0 < l_a < torch.inf, f"l_a must be above 0, got {l_a}")
        require(l_a < u_a < torch.inf, f"u_a must be above l_a, {l_a}, got {u_a}")
        require(0 <= l_margin < torch.pi, f"l_margin must be in [0, π), got {l_margin}")
        require(l_margin <= u_margin < torch.pi, f"u_margin must be in [{l_margin}, π), got {u_margin}")
        require(0 <= lambda_g < torch.inf, f"lambda_g must be at least 0, got {lambda_g}")
        super().__init__(num_classes, embedding_size, kind="arc", m=l_margin, **options)
        self.l_a, self.u_a, self.l_margin, self.u_margin, self.lambda_g = l_a, u_a, l_margin, u_margin, lambda_g

    def target(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Target:
        per_length = self.margin_factor * (self.u_margin - self.l_margin) / (self.u_a - self.l_a)
        margins = margins + per_length * (lengths.clamp(self.l_a, self.u_a) - self.l_a)
        value, by_cosine = margin_functions.arc_margin(cosines, margins, self.past_pi)
        inside = (lengths > self.l_a) & (lengths < self.u_a)
        by_margin = margin_functions.arc_by_margin(cosines, margins, self.past_pi)
        return Target(value, by_cosine, torch.where(inside, per_length * by_margin, 0))

    def penalty(self, lengths: Tensor) -> Tensor:
        lengths = lengths.clamp(self.l_a, self.u_a)
        return self.lambda_g * (1 / lengths + lengths / self.u_a**2)

    def extra_repr(self) -> str:
        own = f"l_a={self.l_a:g}, u_a={self.u_a:g}, u_margin={self.u_margin:g}, lambda_g={self.lambda_g:g}"
        return f"{super().extra_repr()}, {own}"


class CurricularFace(MarginHead):
    """s·cos(θ_y + m), and for negatives with cos θ_j > cos(θ_y + m) s·cos θ_j·(t + cos θ_j) (Huang et al., CVPR 2020).

    Equations 5 to 8 of "CurricularFace". t is a running mean of cos θ_y over all processes. That of a batch enters
    before it is used, as in the released code: t ← t_alpha·mean + (1 − t_alpha)·t. No gradient goes through t.

    Args:
        m: the margin, ≥ 0, below π; ``std`` and ``plus`` draw it.
        t_alpha: share of a batch in t, in (0, 1].

    Attributes:
        t: scalar buffer; 0 at the start.
    """

    t: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        m: float = 0.5,
        t_alpha: float = 0.01,
        **options: Unpack[Elastic],
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="arc", m=m, **options)
        require(0 < t_alpha <= 1, f"t_alpha must be in (0, 1], got {t_alpha}")
        self.t_alpha = t_alpha
        self.register_buffer("t", torch.tensor(0.0))

    def update_statistics(self, cosines: Tensor, lengths: Tensor) -> None:
        self.update_average(self.t, cosines.mean(), self.t_alpha)

    @torch.no_grad()
    def negatives(self, cosines: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        hard = cosines > targets
        values = torch.where(hard, cosines * (self.t + cosines), cosines)
        return values, torch.where(hard, self.t + 2 * cosines, 1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, t_alpha={self.t_alpha:g}"


class SubCenterArcFace(MarginHead):
    """ArcFace whose classes have several centres, of which the nearest counts (Deng et al., ECCV 2020, equation 3).

    cos θ_j is the largest of class j's K. The winner alone gets the gradient.

    Args:
        m: the margin, ≥ 0, below π; ``std`` and ``plus`` draw it.
        centres_per_class: K, ≥ 1. ``weight`` is [C, K·D]: a row has the K centres of a class one after the other.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        m: float = 0.5,
        centres_per_class: int = 3,
        **options: Unpack[Elastic],
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="arc", m=m, centres_per_class=centres_per_class, **options)


# The losses by the names of the command line, with the paper's m and σ.
LOSSES: dict[str, tuple[type[MarginHead], dict[str, Any]]] = {
    "arcface": (ArcFace, {}),
    "cosface": (CosFace, {}),
    "normface": (NormFace, {}),
    "elastic-arc": (ElasticArcFace, {}),
    "elastic-cos": (ElasticCosFace, {}),
    "elastic-arc+": (ElasticArcFace, {"plus": True, "std": 0.0175}),
    "elastic-cos+": (ElasticCosFace, {"plus": True, "std": 0.025}),
    "adaface": (AdaFace, {}),
    "magface": (MagFace, {}),
    "curricularface": (CurricularFace, {}),
    "subcenter-arcface": (SubCenterArcFace, {}),
}


def create(loss: str, num_classes: int, embedding_size: int = 512, **options: Any) -> MarginHead:
    """The head of a loss name; ``options`` go over the paper's m and σ.

    Raises:
        InputError: an unknown name, or an option that this loss doesn't have (σ of a fixed margin, say).
    """
    if loss not in LOSSES:
        raise InputError(f"unknown loss {loss!r}: choose one of {', '.join(LOSSES)}")
    head, defaults = LOSSES[loss]
    known = _options(head)
    for name in options:
        if name not in known:
            # As settings of a training; "+" is in the loss's name, and a mesh of processes is none.
            there = [_setting(option) for option in known if option not in ("plus", "mesh")]
            raise InputError(f"loss {loss!r} has no option {_setting(name)}; there is {', '.join(there)}")
    try:
        return head(num_classes, embedding_size, **{**defaults, **options})
    except (TypeError, ValueError) as error:
        raise InputError(f"loss {loss!r}: {error}") from error


def _options(head: type[MarginHead]) -> list[str]:
    """The keywords of a head: its own, and those that it passes on to :class:`MarginHead`."""
    parameters = inspect.signature(head).parameters.values()
    own = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    passed_on = [(get_args(p.annotation) or (Elastic,))[0] for p in parameters if p.kind is p.VAR_KEYWORD]
    return own + [name for options in passed_on for name in options.__annotations__]


def _setting(option: str) -> str:
    """A head's option under its name among the settings of a training, too."""
    return "m (--margin)" if option == "m" else option


def _fixed(options: Common) -> Common:
    """The options of a head with a fixed margin, which has no σ and no "+"."""
    unknown = sorted(options.keys() - Common.__annotations__.keys())
    if unknown:
        raise TypeError(f"a fixed margin has no option {unknown[0]!r}; there is {', '.join(Common.__annotations__)}")
    return options
