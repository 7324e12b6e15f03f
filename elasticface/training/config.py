"""Every setting of a training run, with the paper's values as defaults. One YAML of these is one run; see recipes/."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from elasticface.base.errors import InputError

RECIPES = Path(__file__).parent / "recipes"


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The defaults are the paper's (section 4.1): iresnet100, batch 512, SGD, 26 epochs.

    Raises:
        InputError: a value out of its range.
    """

    loss: str = _option("elastic-arc+", "arcface cosface normface elastic-arc elastic-cos elastic-arc+ elastic-cos+")
    m: float | None = _option(None, "mean margin; radians for arc; the paper's for the loss if not given")
    std: float | None = _option(None, "σ of the margins of an elastic loss; the paper's if not given")
    scale: float = _option(64.0, "s, what cosines are multiplied with")
    order: Literal["paper", "release"] = _option("paper", 'how a "+" loss hands out margins')
    past_pi: Literal["monotone", "paper"] = _option("monotone", "what the target logit does where θ + m > π")
    margin_warmup_epochs: float = _option(0.0, "epochs in which margins grow from 0 to their full size")
    sample_rate: float = _option(1.0, "share of the classes in each step's softmax (Partial FC); 1 is exact")
    centre_std: float = _option(0.01, "standard deviation of the class centres' components at the start")
    max_logits_bytes: int = _option(1 << 30, "memory of the head for probabilities kept from forward to backward")

    backbone: str = _option("iresnet100", "iresnet18 iresnet34 iresnet50 iresnet100 iresnet200 mobilefacenet tiny")
    embedding_size: int = _option(512, "length of an embedding")
    dropout: float | None = _option(None, "before the embedding, for backbones that have it")

    batch_size: int = _option(512, "images a step, of all processes together")
    accumulate: int = _option(1, "parts that a batch is computed in, for less memory; margins are drawn part by part")
    checkpoint_activations: bool = _option(False, "keep a block's input alone, compute the rest again in backward")
    epochs: int = _option(26, "times through the data")
    max_steps: int | None = _option(None, "stop after so many steps, however many epochs that is")
    lr: float = _option(0.1, "highest learning rate")
    momentum: float = _option(0.9, "of SGD")
    weight_decay: float = _option(5e-4, "of SGD")
    decay_norm_and_bias: bool = _option(True, "decay batch norms, biases and PReLU slopes too, as the paper does")
    clip_norm: float = _option(5.0, "the backbone's gradient is clipped to this norm; 0 leaves it alone")
    schedule: Literal["milestones", "cosine"] = _option("milestones", "learning rate: steps down, or cosine to 0")
    milestones: list[float] = field(
        default_factory=lambda: [7.0, 13.0, 19.0, 24.0],
        metadata={"help": "epochs after which the learning rate is divided by 10"},
    )
    warmup_epochs: float = _option(0.0, "epochs in which the learning rate grows from 0")

    augment: float = _option(0.0, "strength of augmentation beyond the flip; 1 for sets of some thousand images")
    seed: int = _option(0, "of everything that is random")
    workers: int = _option(2, "processes that read images; 0 reads in the training process")
    device: str = _option("auto", "cpu, cuda, mps or auto")
    precision: Literal["32", "bf16", "fp16", "64"] = _option(
        "32", "of the backbone; the head computes in float32. 64, for both, tells rounding from mistakes"
    )
    sync_batchnorm: bool = _option(False, "batch statistics over all processes")

    max_damaged: float = _option(0.001, "share of the images that may be damaged; more stop the run")
    max_skipped: int = _option(5, "steps in a row without a finite loss or gradient that stop the run")

    validate: str | None = _option(None, "a folder or tar with pairs.txt to verify on")
    validate_every: int = _option(1, "epochs between validations")
    log_every: int = _option(10, "steps between lines of metrics.jsonl")
    checkpoint_every: int = _option(1000, "steps between checkpoints; there is one at every epoch's end, too")
    keep_checkpoints: int = _option(3, "how many of the newest checkpoints stay")
    keep_best: bool = _option(True, "with --validate, the checkpoint of the best accuracy stays, too, however old")

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "epochs", "embedding_size", "max_logits_bytes"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("validate_every", "log_every", "checkpoint_every", "keep_checkpoints", "max_skipped"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "weight_decay",
            "clip_norm",
            "warmup_epochs",
            "margin_warmup_epochs",
            "seed",
            "workers",
            "augment",
        ):
            self._check(name, 0 <= getattr(self, name) < math.inf, "at least 0")
        for name in ("lr", "scale", "centre_std"):
            self._check(name, 0 < getattr(self, name) < math.inf, "above 0")
        self._check("max_steps", self.max_steps is None or self.max_steps >= 1, "at least 1")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._check("dropout", self.dropout is None or 0 <= self.dropout < 1, "in [0, 1)")
        self._check("sample_rate", 0 < self.sample_rate <= 1, "in (0, 1]")
        self._check("max_damaged", 0 <= self.max_damaged <= 1, "in [0, 1]")
        self._check("accumulate", self.accumulate <= self.batch_size, f"at most the batch size, {self.batch_size}")
        self._check("milestones", self.milestones == sorted(self.milestones), "in rising order")

    def _check(self, name: str, good: bool, wanted: str) -> None:
        if not good:
            raise InputError(f"{name} must be {wanted}, got {getattr(self, name)}")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run."""
        return min(self.epochs * steps_per_epoch, self.max_steps or self.epochs * steps_per_epoch)

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of step 0, 1, …: a pure function, so that nothing of it needs saving."""
        warmup = self.warmup_epochs * steps_per_epoch
        factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.schedule == "milestones":
            return self.lr * factor * 0.1 ** sum(step >= m * steps_per_epoch for m in self.milestones)
        progress = (step - warmup) / max(self.total_steps(steps_per_epoch) - warmup, 1)
        return self.lr * factor * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))

    def margin_factor(self, step: int, steps_per_epoch: int) -> float:
        """What step 0, 1, … multiplies its margins with."""
        warmup = self.margin_warmup_epochs * steps_per_epoch
        return min(1.0, (step + 1) / warmup) if warmup else 1.0

    def head_options(self) -> dict[str, Any]:
        """Keywords for :func:`elasticface.heads.head.create`."""
        names = ("scale", "past_pi", "sample_rate", "centre_std", "max_logits_bytes", "seed")
        given = {name: getattr(self, name) for name in names}
        given |= {name: value for name in ("m", "std") if (value := getattr(self, name)) is not None}
        return given | ({"order": self.order} if self.loss.endswith("+") else {})

    def backbone_options(self) -> dict[str, Any]:
        """Keywords for :func:`elasticface.backbones.create`."""
        return {} if self.dropout is None else {"dropout": self.dropout}


# What may differ when a run is resumed: how long and where it runs and what it tells, but not what it computes.
FREE_ON_RESUME = frozenset(
    {"epochs", "max_steps", "workers", "device", "max_damaged", "max_skipped", "checkpoint_activations"}
    | {"validate", "validate_every", "log_every", "checkpoint_every", "keep_checkpoints", "keep_best"}
)


def differences(before: dict[str, Any], now: TrainConfig) -> list[str]:
    """Settings that make ``now`` another run than the one of ``before``: ["batch_size 64 -> 32", …]."""
    current = asdict(now)
    return [
        f"{name} {before[name]} -> {current[name]}"
        for name in current
        if name not in FREE_ON_RESUME and name in before and before[name] != current[name]
    ]
