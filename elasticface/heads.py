"""Class centres + margin -> loss: ArcFace, CosFace, NormFace and the elastic heads of the paper.

One module holds the state (centres, and the counter that keys the draws); the named heads fix its defaults. The margin
is :mod:`elasticface.margins`, the loss and its gradients are :mod:`elasticface.softmax`.

    s·cos(θ_y + m)   "arc"        s·(cos θ_y − m)   "cos"        m constant, or E(m, σ) ~ N(m, σ²) a sample and step
"""

import math
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from elasticface import keyed, margins, softmax
from elasticface.errors import InputError
from elasticface.margins import Order, PastPi

MAX_LOGITS_BYTES = 1 << 30


class Common(TypedDict, total=False):
    """Keywords that every head takes; see :class:`MarginHead`."""

    scale: float
    seed: int
    past_pi: PastPi
    max_logits_bytes: int
    sample_rate: float
    centre_std: float


class MarginHead(nn.Module):
    """Class centres with a margin on the target, and the mean softmax cross-entropy over all classes.

    Args:
        num_classes: C.
        embedding_size: D.
        kind: ``"arc"`` adds the margin to the angle, ``"cos"`` takes it off the cosine.
        m: mean margin, ≥ 0; radians for arc (below π), units of cosine for cos.
        std: σ of the draws, ≥ 0; 0 is a fixed margin.
        plus: hand the draws of a batch out by proximity to the class centre (ElasticFace+).
        order: how ``plus`` does it: as the ``"paper"`` says or as the authors' ``"release"`` does;
            see :func:`elasticface.margins.assign_by_proximity`.
        scale: s, in (0, 512]. Above about 70, e^s leaves float32 and the head computes in float64.
        seed: of the draws, ≥ 0. Margins are a pure function of (seed, step); both are saved with the head.
        past_pi: ``"monotone"`` or ``"paper"``; see :func:`elasticface.margins.arc_margin`.
        max_logits_bytes: memory for probabilities kept from forward to backward; the rest is computed twice.
        sample_rate: share of the negative classes in a step's softmax, in (0, 1], as in Partial FC (An et al. 2022);
            the classes of the batch are always in it. 1 is the exact loss.
        centre_std: standard deviation of the centres' components at the start, > 0. An SGD step turns a centre by about
            lr·s / (B·length²): with the field's 0.01 that can be radians at first (docs/training.md).

    Attributes:
        weight: Parameter [C, D], one row a class centre, of any length.
        step: how many batches the head has drawn margins for; goes up with every forward in training mode.
        margin_factor: multiplies every drawn margin; 1 unless a warm-up sets it.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int = 512,
        *,
        kind: Literal["arc", "cos"],
        m: float,
        std: float = 0.0,
        plus: bool = False,
        order: Order = "paper",
        scale: float = 64.0,
        seed: int = 0,
        past_pi: PastPi = "monotone",
        max_logits_bytes: int = MAX_LOGITS_BYTES,
        sample_rate: float = 1.0,
        centre_std: float = 0.01,
    ) -> None:
        super().__init__()
        _require(num_classes >= 1, f"num_classes must be at least 1, got {num_classes}")
        _require(embedding_size >= 1, f"embedding_size must be at least 1, got {embedding_size}")
        _require(kind in ("arc", "cos"), f'kind must be "arc" or "cos", got {kind!r}')
        _require(0 <= m < (torch.pi if kind == "arc" else torch.inf), f"m is out of range for {kind!r}: {m}")
        _require(0 <= std < torch.inf, f"std must be at least 0, got {std}")
        _require(order in ("paper", "release"), f'order must be "paper" or "release", got {order!r}')
        _require(0 < scale <= 512, f"scale must be above 0 and at most 512, got {scale}")
        _require(0 <= seed < 2**63, f"seed must be in 0..2^63-1, got {seed}")
        _require(past_pi in ("monotone", "paper"), f'past_pi must be "monotone" or "paper", got {past_pi!r}')
        _require(max_logits_bytes >= 1, f"max_logits_bytes must be at least 1, got {max_logits_bytes}")
        _require(0 < sample_rate <= 1, f"sample_rate must be in (0, 1], got {sample_rate}")
        _require(0 < centre_std < torch.inf, f"centre_std must be above 0, got {centre_std}")
        self.num_classes, self.embedding_size = num_classes, embedding_size
        self.kind, self.m, self.std, self.plus, self.order = kind, m, std, plus, order
        self.scale, self.past_pi = scale, past_pi
        self.max_logits_bytes, self.sample_rate = max_logits_bytes, sample_rate
        self.seed, self.step = seed, 0
        self.margin_factor = 1.0
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.normal_(self.weight, std=centre_std)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, embeddings: Tensor, labels: Tensor, margins: Tensor | None = None) -> Tensor:
        """The mean loss of a batch.

        Args:
            embeddings: [B, D], any length; float64 is computed in float64, all else in float32, under autocast too.
            labels: [B] integers in 0..C-1.
            margins: [B] to use instead of the drawn ones; the counter then stays.

        Returns:
            Scalar loss, float32 or float64.

        Raises:
            ValueError: a label out of range (named), or shapes that don't fit.
        """
        labels = self._checked(embeddings, labels, margins)
        classes = self._sampled(labels) if self.sample_rate < 1 else None

        def with_margin(cosines: Tensor) -> tuple[Tensor, Tensor]:
            given = self.draw_margins(cosines) if margins is None else margins.detach().to(cosines)
            return self._margin(cosines, given)

        loss = softmax.margin_softmax_loss(
            embeddings, self.weight, labels, with_margin, self.scale, self.max_logits_bytes, classes
        )
        if self.training and margins is None:
            self.step += 1
        return loss

    def cosine(self, embeddings: Tensor) -> Tensor:
        """[B, D] -> [B, C] cosines of embeddings with all class centres, differentiable; needs B×C memory."""
        dtype = softmax.compute_dtype(embeddings, self.weight)
        with torch.autocast(embeddings.device.type, enabled=False):
            unit, _ = softmax.normalize(embeddings, dtype)
            centres, _ = softmax.normalize(self.weight, dtype)
            return unit @ centres.T

    @torch.no_grad()
    def draw_margins(self, target_cosines: Tensor) -> Tensor:
        """The margins that the next step gives to samples of these target cosines: [B] -> [B]."""
        drawn = margins.draw(self.m, self.std, len(target_cosines), self.seed, self.step) * self.margin_factor
        drawn = drawn.to(target_cosines)
        return margins.assign_by_proximity(drawn, target_cosines, self.order) if self.plus else drawn

    def get_extra_state(self) -> Tensor:
        """Seed and step, so that a reloaded head goes on with the same draws."""
        return torch.tensor([self.seed, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.step = (int(v) for v in state)

    def extra_repr(self) -> str:
        parts = [f"{self.num_classes}, {self.embedding_size}, {self.kind}, m={self.m:g}, scale={self.scale:g}"]
        parts += [f"std={self.std:g}"] if self.std else []
        parts += [f"plus=True, order={self.order!r}"] if self.plus else []
        parts += [f"sample_rate={self.sample_rate:g}"] if self.sample_rate < 1 else []
        return ", ".join(parts)

    def _margin(self, cosines: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "arc":
            return margins.arc_margin(cosines, given, self.past_pi)
        return margins.cosine_margin(cosines, given)

    def _sampled(self, labels: Tensor) -> Tensor:
        """[K] sorted classes of this step's softmax: all of the batch, and a keyed random rest."""
        chance = torch.from_numpy(keyed.generator(self.seed, "negatives", self.step).random(self.num_classes))
        chance[labels.cpu()] = 2.0  # above every draw
        positives = int((chance == 2.0).sum())
        count = positives + math.ceil(self.sample_rate * (self.num_classes - positives))
        return chance.topk(count).indices.sort().values.to(labels.device)

    def _checked(self, embeddings: Tensor, labels: Tensor, given: Tensor | None) -> Tensor:
        _require(labels.ndim == 1 and len(labels) > 0, f"labels must be [B] with B >= 1, got {list(labels.shape)}")
        _require(not labels.is_floating_point(), f"labels must be integers, got {labels.dtype}")
        shape, wanted = list(embeddings.shape), [len(labels), self.embedding_size]
        _require(shape == wanted, f"embeddings must be {wanted} for these labels, got {shape}")
        _require(given is None or given.shape == labels.shape, f"margins must be [{len(labels)}], one a label")
        lowest, highest = (int(v) for v in labels.aminmax())
        if lowest < 0 or highest >= self.num_classes:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"label {wrong} is outside 0..{self.num_classes - 1}")
        return labels.long().contiguous()


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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="arc", m=m, std=std, plus=plus, order=order, **common)


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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="cos", m=m, std=std, plus=plus, order=order, **common)


class ArcFace(MarginHead):
    """s·cos(θ_y + m) (Deng et al., "ArcFace", 2019, equation 3)."""

    def __init__(
        self, num_classes: int, embedding_size: int = 512, *, m: float = 0.50, **common: Unpack[Common]
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


# The losses by the names of the command line, with the paper's m and σ.
LOSSES: dict[str, tuple[type[MarginHead], dict[str, Any]]] = {
    "arcface": (ArcFace, {}),
    "cosface": (CosFace, {}),
    "normface": (NormFace, {}),
    "elastic-arc": (ElasticArcFace, {}),
    "elastic-cos": (ElasticCosFace, {}),
    "elastic-arc+": (ElasticArcFace, {"plus": True, "std": 0.0175}),
    "elastic-cos+": (ElasticCosFace, {"plus": True, "std": 0.025}),
}


def create(loss: str, num_classes: int, embedding_size: int = 512, **options: Any) -> MarginHead:
    """The head of a loss name; ``options`` go over the paper's m and σ.

    Raises:
        InputError: an unknown name, or an option that this loss doesn't have (σ of a fixed margin, say).
    """
    if loss not in LOSSES:
        raise InputError(f"unknown loss {loss!r}: choose one of {', '.join(LOSSES)}")
    head, defaults = LOSSES[loss]
    try:
        return head(num_classes, embedding_size, **{**defaults, **options})
    except (TypeError, ValueError) as error:
        raise InputError(f"loss {loss!r}: {error}") from error


def _fixed(options: Common) -> Common:
    """The options of a head with a fixed margin, which has no σ and no "+"."""
    unknown = sorted(options.keys() - Common.__annotations__.keys())
    if unknown:
        raise TypeError(f"a fixed margin has no option {unknown[0]!r}; there is {', '.join(Common.__annotations__)}")
    return options


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
