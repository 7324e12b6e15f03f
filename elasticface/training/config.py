"""Every setting of a training run, with the paper's values as defaults. One YAML of these is one run; see recipes/."""

import math
import re
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from elasticface.base import files, own_parts, values
from elasticface.base.errors import InputError
from elasticface.base.limits import LONGEST_EMBEDDING

RECIPES = Path(__file__).parent / "recipes"

_MOST_CONFIG_BYTES = 1 << 20
_CHECKPOINT_EVERY = r"(\d{1,9}|\d{1,9}(?:\.\d{1,3})?(?=min))(?:min)?"
_RENAMED = {"m": "margin"}  # settings of older runs
_OF_SOME_LOSSES = ("std", "h", "t_alpha", "l_a", "u_a", "l_margin", "u_margin", "lambda_g", "centres_per_class")


Loss = Literal[
    "arcface",
    "cosface",
    "normface",
    "elastic-arc",
    "elastic-cos",
    "elastic-arc+",
    "elastic-cos+",
    "adaface",
    "magface",
    "curricularface",
    "subcenter-arcface",
]
_IResNet = Literal["iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200"]
Backbone = Literal[_IResNet, "mobilefacenet", "tiny", "small", "vit-t", "vit-s", "vit-b", "vit-l"]


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The defaults are the paper's (section 4.1): iresnet100, batch 512, SGD, 26 epochs.

    Args:
        loss: what is minimised; "+" gives the largest margins to the smallest target cosines
        margin: mean margin m; radians for arc, units of cosine for cos; the paper's for the loss unless given
        std: σ of the margins of an elastic loss, the paper's unless given; adaface and later ones draw theirs with it
        h: how far a deviation of the embeddings' lengths moves adaface's margin
        t_alpha: share of a batch in the running statistics of adaface and curricularface
        l_a: shortest length of an embedding that counts for magface
        u_a: longest one
        l_margin: magface's margin at the shortest; radians
        u_margin: its margin at the longest
        lambda_g: weight of magface's penalty on short embeddings
        centres_per_class: sub-centres of subcenter-arcface
        class_weights: of an identity's images in the mean loss: balanced is 1 / their number n, effective:B is
            (1 − B) / (1 − B^n); or a CSV of name,weight
        scale: s, what cosines are multiplied with
        order: how a "+" loss hands out margins
        draws: random margins, or the expectation of the loss over them, which has their gradient without its noise
        past_pi: what the target logit does where θ + m > π
        margin_warmup_epochs: epochs in which margins grow from 0 to their full size
        sample_rate: share of the classes in each step's softmax (Partial FC); 1 is exact
        centre_std: standard deviation of the class centres' components at the start
        head_products: operands of the head's large products; bfloat16 and, on a GPU, tf32 are faster (docs/heads.md)
        max_logits_bytes: memory of the head for probabilities kept from forward to backward
        backbone: the network that makes embeddings: iresnet18, 34, 50, 100 or 200, mobilefacenet, tiny, small, vit-t,
            -s, -b or -l; or a function of your own, package.module:function
        embedding_size: length of an embedding
        dropout: before the embedding, for backbones that have it
        init: what the backbone starts from: a model folder, public weights, or a run, which has class centres, too
        freeze_backbone_epochs: epochs in which the backbone stays as it started, batch norm's statistics with it
        backbone_lr: what the learning rate is multiplied with for the backbone
        drop_path: share of the images that pass by a block in training, for the vit; it grows to this at the last block
        merge_identities: of several sets of faces, identities of equal names are the same people
        batch_size: images a step, of all processes together
        images_per_identity: K, images of an identity in a batch, which then has batch_size / K different ones
        accumulate: parts (micro-batches) that a batch is computed in, for less memory; margins are drawn part by part
        checkpoint_activations: keep a block's input alone, compute the rest again in backward
        epochs: times through the data
        max_steps: stop after so many steps, however many epochs that is
        lr: highest learning rate
        optimizer: SGD, as in the paper, or AdamW, for a vit, with an lr of about 0.001 and a weight_decay of about 0.1
        momentum: of SGD
        nesterov: SGD looks one step of its momentum ahead
        weight_decay: of the optimizer; AdamW's is multiplied by the learning rate
        ema: decay D of the moving average of the backbone's weights, w̄ ← D·w̄ + (1 − D)·w after every step, such as
            0.999; the average is what is validated and kept as the model
        decay_norm_and_bias: decay batch norms, biases and PReLU slopes too, as the paper does
        clip_norm: the backbone's gradient is clipped to this norm; 0 leaves it alone
        schedule: of the learning rate: steps down, or cosine to 0
        milestones: epochs after which the learning rate is divided by 10
        warmup_epochs: epochs in which the learning rate grows from 0
        augment: strength of augmentation beyond the flip; 1 for sets of some thousand images
        relight: strength of random fields of light and of gamma on top of that; 1 for rendered faces
        surroundings: share of the images whose hair and background give way to ramps of colour; .4 for rendered faces
        augmentation: a function of your own that changes every image before that, package.module:function
        seed: of everything that is random
        workers: processes that read images; 0 reads in the training process
        device: what computes; auto is cuda where there is a GPU, cpu elsewhere
        compile: the backbone by torch.compile: faster steps, after half a minute or more at the first one
        deterministic: the same bits in every run on this machine; without it, GPUs may choose what is faster
        tf32: what of the backbone GPUs compute in TF32, 10 bits of float32's 23; convolutions are torch's own choice
        precision: of the backbone; the head computes in float32. 64, for both, tells rounding from mistakes
        sync_batchnorm: batch statistics over all processes
        max_damaged: share of the images that may be damaged; more stop the run
        max_skipped: steps in a row without a finite loss or gradient that stop the run
        validate: benchmarks of pairs to verify on, each a folder or tar with pairs.txt, a pack, or the folder of CFP
        best_by: the name of the one whose accuracy says which checkpoint is the best; by default the mean of all
        validate_every: epochs between validations
        log_every: steps between lines of metrics.jsonl
        checkpoint_every: steps between checkpoints, or minutes, as in 10min; there is one at every epoch's end, too
        keep_checkpoints: how many of the newest checkpoints stay
        keep_best: with validate, the checkpoint of the best accuracy stays, too, however old

    Raises:
        InputError: a value of another type, or out of its range.
    """

    loss: Loss = "elastic-arc+"
    margin: float | None = None
    std: float | None = None
    h: float | None = None
    t_alpha: float | None = None
    l_a: float | None = None
    u_a: float | None = None
    l_margin: float | None = None
    u_margin: float | None = None
    lambda_g: float | None = None
    centres_per_class: int | None = None
    class_weights: str | None = None
    scale: float = 64.0
    order: Literal["paper", "release"] = "paper"
    draws: Literal["random", "expected"] = "random"
    past_pi: Literal["monotone", "paper"] = "monotone"
    margin_warmup_epochs: float = 0.0
    sample_rate: float = 1.0
    centre_std: float = 0.01
    head_products: Literal["float32", "bfloat16", "tf32"] = "float32"
    max_logits_bytes: int = 1 << 30

    backbone: str = "iresnet100"
    embedding_size: int = 512
    dropout: float | None = None
    init: str | None = None
    freeze_backbone_epochs: int = 0
    backbone_lr: float = 1.0
    drop_path: float | None = None

    merge_identities: bool = False
    batch_size: int = 512
    images_per_identity: int | None = None
    accumulate: int = 1
    checkpoint_activations: bool = False
    epochs: int = 26
    max_steps: int | None = None
    lr: float = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    ema: float | None = None
    decay_norm_and_bias: bool = True
    clip_norm: float = 5.0
    schedule: Literal["milestones", "cosine"] = "milestones"
    milestones: list[float] = field(default_factory=lambda: [7.0, 13.0, 19.0, 24.0])
    warmup_epochs: float = 0.0

    augment: float = 0.0
    relight: float = 0.0
    surroundings: float = 0.0
    augmentation: str | None = None
    seed: int = 0
    workers: int = 2
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    compile: bool = False
    deterministic: bool = True
    tf32: Literal["none", "convolutions", "all"] = "convolutions"
    precision: Literal["32", "bf16", "fp16", "64"] = "32"
    sync_batchnorm: bool = False

    max_damaged: float = 0.001
    max_skipped: int = 5

    validate: list[str] | None = None
    best_by: str | None = None
    validate_every: int = 1
    log_every: int = 10
    checkpoint_every: str = "1000"
    keep_checkpoints: int = 3
    keep_best: bool = True

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = _read(getattr(self, setting.name), setting, setting.name)
            object.__setattr__(self, setting.name, value)
        has_order = self.loss.endswith("+") or self.loss not in get_args(Loss)  # one's own says so itself
        self._check("order", self.order == "paper" or has_order, f'paper for {self.loss}, a loss without "+"')
        ours = get_args(Backbone)
        is_own = own_parts.is_reference(self.backbone)
        self._check("backbone", self.backbone in ours or is_own, f"one of {', '.join(ours)}, or {own_parts.WANTED}")
        own = self.augmentation
        self._check("augmentation", own is None or own_parts.is_reference(own), own_parts.WANTED)
        counts = ("batch_size", "accumulate", "epochs", "embedding_size", "max_logits_bytes", "validate_every")
        for name in (*counts, "log_every", "keep_checkpoints", "max_skipped"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        warmups = ("warmup_epochs", "margin_warmup_epochs")
        strengths = ("augment", "relight")
        for name in ("weight_decay", "clip_norm", *warmups, "seed", "workers", *strengths, "freeze_backbone_epochs"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "at least 0")
        for name in ("lr", "scale", "centre_std", "backbone_lr"):
            self._check(name, 0 < getattr(self, name) < math.inf, "above 0")
        self._check("max_steps", self.max_steps is None or self.max_steps >= 1, "at least 1")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        for name in ("dropout", "drop_path"):
            self._check(name, getattr(self, name) is None or 0 <= getattr(self, name) < 1, "in [0, 1)")
        looks_ahead = self.optimizer == "sgd" and self.momentum > 0
        self._check("nesterov", looks_ahead or not self.nesterov, "off without SGD and its momentum")
        self._check("ema", self.ema is None or 0 < self.ema < 1, "above 0 and below 1")
        float32 = self.precision != "64" or self.head_products == "float32"
        self._check("head_products", float32, "float32 with precision 64")
        self._check("sample_rate", 0 < self.sample_rate <= 1, "in (0, 1]")
        self._check("surroundings", 0 <= self.surroundings <= 1, "in [0, 1]")
        self._check("max_damaged", 0 <= self.max_damaged <= 1, "in [0, 1]")
        self._check("accumulate", self.accumulate <= self.batch_size, f"at most the batch size, {self.batch_size}")
        each = self.images_per_identity
        divides = each is None or (each >= 1 and self.batch_size % each == 0)
        self._check("images_per_identity", divides, f"a divisor of the batch size, {self.batch_size}")
        self._check("embedding_size", self.embedding_size <= LONGEST_EMBEDDING, f"at most {LONGEST_EMBEDDING:,}")
        self._check("best_by", self.best_by is None or bool(self.validate), "given with validate")
        together = self.compile and self.checkpoint_activations
        self._check("checkpoint_activations", not together, "off with compile, which recomputes only what it fuses")
        every = re.fullmatch(_CHECKPOINT_EVERY, self.checkpoint_every)
        self._check("checkpoint_every", bool(every and float(every[1])), "a number of steps, or of minutes as in 10min")
        rising = self.milestones == sorted(self.milestones) and min(self.milestones, default=0) >= 0
        self._check("milestones", rising, "in rising order, none below 0")

    def _check(self, name: str, in_range: bool, wanted: str) -> None:
        if not in_range:
            raise InputError(f"{name} must be {wanted}, got {getattr(self, name)!r}")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run."""
        steps = self.epochs * steps_per_epoch
        return min(steps, self.max_steps or steps)

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of step 0, 1, …: a pure function, so that nothing of it needs saving."""
        warmup = self.warmup_epochs * steps_per_epoch
        factor = _ramp(step, warmup)
        if self.schedule == "milestones":
            return self.lr * factor * 0.1 ** sum(step >= m * steps_per_epoch for m in self.milestones)
        progress = (step - warmup) / max(self.total_steps(steps_per_epoch) - warmup, 1)
        return self.lr * factor * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))

    def backbone_is_frozen(self, step: int, steps_per_epoch: int) -> bool:
        """Whether step 0, 1, … leaves the backbone as it is."""
        return step < self.freeze_backbone_epochs * steps_per_epoch

    @property
    def checkpoint_interval(self) -> tuple[float, Literal["steps", "minutes"]]:
        """How often a checkpoint is saved."""
        number = self.checkpoint_every.removesuffix("min")
        return float(number), "steps" if number == self.checkpoint_every else "minutes"

    def margin_factor(self, step: int, steps_per_epoch: int) -> float:
        """What step 0, 1, … multiplies its margins with."""
        return _ramp(step, self.margin_warmup_epochs * steps_per_epoch)

    @property
    def optimizer_tensors(self) -> int:
        """How many tensors of its size the optimizer keeps for a parameter."""
        return 2 if self.optimizer == "adamw" else int(self.momentum > 0)

    def head_options(self) -> dict[str, Any]:
        """Keywords for :func:`elasticface.heads.create`."""
        names = ("scale", "past_pi", "sample_rate", "centre_std", "head_products", "max_logits_bytes", "seed")
        options = {name: getattr(self, name) for name in names}
        own = {"m": self.margin} | {name: getattr(self, name) for name in _OF_SOME_LOSSES}
        options |= {name: value for name, value in own.items() if value is not None}
        options |= {"order": self.order} if self.order != "paper" else {}
        return options | ({"draws": self.draws} if self.draws != "random" else {})

    def backbone_options(self) -> dict[str, Any]:
        """Keywords for :func:`elasticface.backbones.create`."""
        options = {"dropout": self.dropout, "drop_path": self.drop_path}
        return {name: value for name, value in options.items() if value is not None}


def _read(value: Any, setting: Field[Any], name: str) -> Any:
    """The value as the setting's type; ``name`` is for the message. A loss may have been added (docs/own-loss.md)."""
    if setting.name == "loss" and isinstance(value, str) and value not in get_args(Loss):
        from elasticface.heads import LOSSES

        if value in LOSSES:
            return value
    return values.read(value, setting.type, name)


def _ramp(step: int, warmup: float) -> float:
    """The factor of step 0, 1, … in a warm-up of so many steps: it grows to 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a YAML, under today's names and by their types; a name that is no setting is left in.

    Raises:
        InputError: not a YAML of settings, or a value of another type.
    """
    import yaml

    text = files.read_text(path, most=_MOST_CONFIG_BYTES)
    try:
        content = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # an impossible date is a ValueError
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a list of settings")
    for old, new in _RENAMED.items():
        if old in content and new not in content:
            content[new] = content.pop(old)
    known = {setting.name: setting for setting in fields(TrainConfig)}
    return {
        name: _read(value, known[name], f"{path}: {name}") if name in known else value
        for name, value in content.items()
    }


def to_yaml(config: TrainConfig) -> str:
    """``config`` as :func:`read_config` reads it."""
    import yaml

    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)


# These settings may differ when a run is resumed: how long and where it runs and what it reports, not what it computes.
FREE_ON_RESUME = frozenset(
    {"epochs", "max_steps", "workers", "device", "compile", "deterministic", "tf32", "checkpoint_activations"}
    | {"max_logits_bytes"}
    | {"validate", "best_by", "validate_every", "log_every", "checkpoint_every", "keep_checkpoints", "keep_best"}
    | {"max_damaged", "max_skipped"}
    | {"merge_identities"}  # the identities that come of it are compared
)


def differences(before: dict[str, Any], now: TrainConfig) -> list[str]:
    """Settings that make ``now`` another run than the one of ``before``: ["batch_size 64 -> 32", …]."""
    current = asdict(now)
    before = asdict(TrainConfig()) | before  # a setting that an older run doesn't have is as it was then: the default
    return [
        f"{name} {before[name]} -> {current[name]}"
        for name in current
        if name not in FREE_ON_RESUME and before[name] != current[name]
    ]
