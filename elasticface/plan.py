"""What a run will take, before it is started: memory, traffic, checkpoint and work of one process, by formulas.

The letters of the formulas, for the process that has most of everything:

    C  identities, N  processes, c = ⌈C/N⌉ class centres of a process
    B  images a step, b = ⌈B/N⌉ of a process, a = ⌈b/parts⌉ at once (`accumulate`), A = N·a embeddings in a head's loss
    k  classes of a process in a step's softmax: c, or with a sample rate r those of the batch and a share of the rest,
       k = p + ⌈r·(c − p)⌉ with p = min(⌈A/N⌉, c), as labels fall when they are spread evenly over the processes
    D  embedding size, i  bytes of a number in the head: 4, or 8 where e^{±s} over C classes leaves float32
    P  the backbone's parameters, T ≤ P of them trained

Three moments of a step can be the worst one, and their needs are listed apart: the head, while the backbone's
activations wait for it; the backbone's backward; the optimizer. Not counted is what libraries take for themselves: the
CUDA context, workspaces of cuDNN and cuBLAS, NCCL's buffers, and what an allocator loses between blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from elasticface import backbones, heads, softmax
from elasticface.backbones.memory import footprint
from elasticface.config import TrainConfig
from elasticface.data.sampler import steps_per_epoch
from elasticface.errors import InputError
from elasticface.optim import piece_bytes

IMAGE = 112  # side in pixels
_FLOAT, _INDEX = 4, 8
_MOST = {"identities": 10**10, "processes": 10**5, "images of a process": 1 << 16, "embedding_size": 1 << 16}


@dataclass(frozen=True)
class Item:
    """One thing that takes memory or is sent: its formula, and what that comes to in bytes."""

    what: str
    formula: str
    bytes: int


@dataclass(frozen=True)
class Moment:
    """A moment of a step, and what it needs beside that which is always there."""

    what: str
    items: tuple[Item, ...]

    @property
    def bytes(self) -> int:
        return total(self.items)


@dataclass(frozen=True)
class Work:
    """What a process computes in a step.

    Attributes:
        backbone: floating-point operations, 6·(multiply-adds of an image)·b: forward, and twice that backward; 8 with
            recomputed blocks. A multiply-add is two operations.
        head: likewise 6·B·k·D, the three products of the exact softmax; 2·B·(k − kept)·D more for what is computed
            twice.
        moved: bytes that are read and written beside these products, by operations that do little else: of rows of
            class centres, of logits, and of what the optimizer goes through.
    """

    backbone: int
    head: int
    moved: int


@dataclass(frozen=True)
class Seconds:
    """Lower bounds of a step's parts at the speeds that were given; None where none was.

    Attributes:
        backbone: its work at ``tflops``.
        head: its work, in float32, at ``head_tflops``.
        memory: the bytes that are moved, at ``bandwidth_gbyte``.
        network: the traffic of a process over its node's network. A ring that goes through the nodes one after the
            other crosses every node's border once, so that a node sends what a process sends.
    """

    backbone: float | None
    head: float | None
    memory: float | None
    network: float | None

    @property
    def step(self) -> tuple[float, float] | None:
        """A step's seconds: where the network hides behind the computing, and where nothing hides."""
        if self.backbone is None or self.head is None:
            return None
        computing, network = self.backbone + self.head + (self.memory or 0.0), self.network or 0.0
        return max(computing, network), computing + network


@dataclass(frozen=True)
class Plan:
    """What :func:`plan` finds.

    Attributes:
        config: the settings; ``batch_size`` is that of all processes together.
        identities: C.
        processes: N, one a GPU.
        per_node: processes on a node.
        device: "cuda" or "cpu".
        centres: c.
        sampled: k.
        kept: of the k classes those whose probabilities wait from forward to backward; the rest is computed twice.
        head_dtype: "float32" or "float64".
        always: memory from the first step to the last.
        moments: of a step.
        traffic: bytes that a process sends in a step, by rings: (N−1)/N of what is gathered or scattered, twice that
            of what is reduced to all.
        checkpoint: bytes of one.
        parameters: P.
        multiply_adds: of one image forward.
        work: of a process and step.
        seconds: of a step.
        images: in the data, if said.
    """

    config: TrainConfig
    identities: int
    processes: int
    per_node: int
    device: str
    centres: int
    sampled: int
    kept: int
    head_dtype: str
    always: tuple[Item, ...]
    moments: tuple[Moment, ...]
    traffic: tuple[Item, ...]
    checkpoint: int
    parameters: int
    multiply_adds: int
    work: Work
    seconds: Seconds
    images: int | None

    @property
    def images_of_process(self) -> int:
        """b."""
        return -(-self.config.batch_size // self.processes)

    @property
    def worst(self) -> Moment:
        """The moment that needs most."""
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def peak(self) -> int:
        """Bytes of a process at the worst moment."""
        return total(self.always) + self.worst.bytes

    @property
    def steps(self) -> tuple[int, int] | None:
        """(steps of an epoch, of the run), if the number of images was said."""
        if self.images is None:
            return None
        per_epoch = steps_per_epoch(self.images, self.config.batch_size)
        return per_epoch, self.config.total_steps(per_epoch)


def plan(
    config: TrainConfig,
    identities: int,
    processes: int = 1,
    *,
    per_node: int | None = None,
    device: str = "cuda",
    images: int | None = None,
    tflops: float | None = None,
    head_tflops: float | None = None,
    bandwidth_gbyte: float | None = None,
    network_gbit: float | None = None,
) -> Plan:
    """Memory, traffic and work of a run.

    Args:
        config: the settings, of which ``batch_size`` is that of all processes together.
        identities: C.
        processes: N, one a GPU.
        per_node: processes on a node; 8 at most unless said.
        device: "cuda" or "cpu"; the head's chunks are larger on a GPU.
        images: in the data, for steps.
        tflops: 10¹² operations a second that a process sustains in the backbone, at its precision.
        head_tflops: likewise in the head, in float32; ``tflops`` where the backbone computes in float32, too.
        bandwidth_gbyte: 10⁹ bytes a second, read and written, that a process sustains in its memory.
        network_gbit: 10⁹ bits a second that a node's network sustains in each direction.

    Raises:
        InputError: numbers out of their range, a backbone or loss that is not there.
    """
    if per_node is None:
        per_node = min(processes, 8)
    batch = -(-config.batch_size // max(processes, 1))
    _check("identities", identities)
    _check("processes", processes)
    _check("images of a process", batch)
    _check("embedding_size", config.embedding_size)
    if not 1 <= per_node <= processes or processes % per_node:
        raise InputError(f"{processes} processes cannot be {per_node} on every node")
    speeds = {"tflops": tflops, "head_tflops": head_tflops}
    speeds |= {"bandwidth_gbyte": bandwidth_gbyte, "network_gbit": network_gbit}
    for name, value in speeds.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0, got {value}")
    if images is not None and images < 1:
        raise InputError(f"images must be at least 1, got {images}")
    if config.precision == "64":
        raise InputError("precision 64 is for telling rounding from mistakes; plan counts 32, bf16 and fp16")
    if config.loss not in heads.LOSSES:
        raise InputError(f"unknown loss {config.loss!r}: choose one of {', '.join(heads.LOSSES)}")

    sizes = _Sizes.of(config, identities, processes, device)
    multiply_adds = backbones.multiply_adds(sizes.network)
    products = 3 * sizes.sampled + (sizes.sampled - sizes.kept)
    work = Work(
        backbone=(8 if config.checkpoint_activations else 6) * multiply_adds * batch,
        head=config.accumulate * 2 * sizes.batch * sizes.size * products,
        moved=_moved(config, sizes),
    )
    traffic = _traffic(config, sizes)
    if head_tflops is None and config.precision == "32":
        head_tflops = tflops
    seconds = Seconds(
        work.backbone / (tflops * 1e12) if tflops else None,
        work.head / (head_tflops * 1e12) if head_tflops else None,
        work.moved / (bandwidth_gbyte * 1e9) if bandwidth_gbyte else None,
        8 * total(traffic) / (network_gbit * 1e9) if network_gbit and processes > per_node else None,
    )
    return Plan(
        config=config,
        identities=identities,
        processes=processes,
        per_node=per_node,
        device=device,
        centres=sizes.centres,
        sampled=sizes.sampled,
        kept=sizes.kept,
        head_dtype="float64" if sizes.itemsize == 8 else "float32",
        always=_always(config, sizes),
        moments=_moments(config, sizes, device),
        traffic=traffic,
        checkpoint=_checkpoint(config, sizes, identities),
        parameters=sizes.parameters,
        multiply_adds=multiply_adds,
        work=work,
        seconds=seconds,
        images=images,
    )


def total(items: Sequence[Item]) -> int:
    """Bytes of all."""
    return sum(item.bytes for item in items)


@dataclass(frozen=True)
class _Sizes:
    """The letters of the formulas."""

    network: nn.Module  # on the meta device
    processes: int  # N
    centres: int  # c
    share: int  # b
    part: int  # a
    batch: int  # A
    sampled: int  # k
    size: int  # D
    itemsize: int  # i
    width: int  # w, classes of a chunk
    kept: int

    @classmethod
    def of(cls, config: TrainConfig, identities: int, processes: int, device: str) -> "_Sizes":
        with torch.device("meta"):
            network = backbones.create(config.backbone, config.embedding_size, **config.backbone_options())
        share = -(-config.batch_size // processes)
        part = -(-share // config.accumulate)
        batch, centres = processes * part, -(-identities // processes)
        positives = min(part, centres)
        sampled = positives + math.ceil(config.sample_rate * (centres - positives))
        itemsize = softmax.wide_enough(torch.float32, config.scale, identities).itemsize
        size = config.embedding_size
        width, kept = softmax.chunking(sampled, batch, size, itemsize, config.max_logits_bytes, device)
        return cls(network, processes, centres, share, part, batch, sampled, size, itemsize, width, kept)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    @property
    def trained(self) -> int:
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)

    @property
    def buffers(self) -> int:
        """Bytes."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.network.buffers())


def _always(config: TrainConfig, sizes: _Sizes) -> tuple[Item, ...]:
    centres, momentum = _FLOAT * sizes.centres * sizes.size, bool(config.momentum)
    return (
        Item("class centres", "c·D·4", centres),
        Item("their momentum", "c·D·4", centres * momentum),
        Item("backbone: parameters", "P·4", _FLOAT * sizes.parameters),
        Item("backbone: gradients, in the buckets that are sent", "T·4", _FLOAT * sizes.trained),
        Item("backbone: momentum", "T·4", _FLOAT * sizes.trained * momentum),
        Item("backbone: running statistics, and a copy of them", "2 × theirs", 2 * sizes.buffers),
        Item("images, as bytes and as numbers", "b·3·112²·(1 + 4)", sizes.share * 3 * IMAGE**2 * (1 + _FLOAT)),
    )


def _moments(config: TrainConfig, sizes: _Sizes, device: str) -> tuple[Moment, ...]:
    """The head, the backbone's backward, the optimizer."""

    def make() -> nn.Module:
        network = backbones.create(config.backbone, config.embedding_size, **config.backbone_options())
        return backbones.checkpoint_activations(network) if config.checkpoint_activations else network

    activations = footprint(make, sizes.part, config.precision)
    sparse, i = sizes.sampled < sizes.centres, sizes.itemsize
    row = _FLOAT * sizes.size + (_INDEX if sparse else 0)
    row_formula = "(D·4 + 8)" if sparse else "D·4"
    # A batch in parts adds a part's gradient to that of the parts before it.
    rows = min(config.accumulate * sizes.sampled, sizes.centres)
    rows_formula = "k" if config.accumulate == 1 else "min(parts·k, c)"
    gradient = Item("gradient of the class centres", f"{rows_formula}·{row_formula}", rows * row)
    another = Item("the same of one part more", f"k·{row_formula}", sizes.sampled * row * (config.accumulate > 1))
    spare = sizes.width if sizes.kept < sizes.sampled else 0
    head = (
        Item("activations that wait for the head", "counted, at a images", activations.held),
        Item("probabilities from forward to backward", f"A·{sizes.kept:,}·i", sizes.batch * sizes.kept * i),
        Item("a chunk of the others", f"A·{spare:,}·i", sizes.batch * spare * i),
        Item("a chunk's centres at unit length", f"3·{sizes.width:,}·D·i", 3 * sizes.width * sizes.size * i),
        Item("embeddings of all processes, and what is made of them", "8·A·D·i", 8 * sizes.batch * sizes.size * i),
        Item("lengths of the centres", "k·i", sizes.sampled * i),
        gradient,
    )
    worked_on = Item("rows of it that are worked on", "3 pieces", 3 * piece_bytes(device) * sparse)
    backward = (Item("activations at the worst moment", "counted, at a images", activations.peak), gradient)
    return (
        Moment("head", (*head, another) if another.bytes else head),
        Moment("backward of the backbone", backward),
        Moment("optimizer", (gradient, worked_on)),
    )


def _moved(config: TrainConfig, sizes: _Sizes) -> int:
    """Bytes that are read and written beside the products: passes over rows of centres, logits, the backbone's weights.

    As the operations stand in :mod:`elasticface.softmax` and :mod:`elasticface.optim`, one reading or writing each:

        a row of centres      forward 7: two extremes 2, twice made shorter 2·2, its length 1
                              backward 11: made shorter 2, kept on the sphere 4 + 3 + 2
                              4 more, twice copied out, where k < c
        a logit               3: exp 2, summed 1; computed again in backward, exp 2
        a row of the update   dense 12: norm 1, decay 3, momentum 2 + 3, update 3; without momentum 5 less
                              row by row 20: norm 1, copied out and in 2·4, decay 3, momentum 2 + 3, update 3; 9 less
        the backbone's        14: as dense, and clipped 2
    """
    sparse, i, parts = sizes.sampled < sizes.centres, sizes.itemsize, config.accumulate
    row = sizes.size * i
    centres = parts * sizes.sampled * (18 + 4 * sparse) * row
    logits = parts * sizes.batch * (3 * sizes.sampled + 2 * (sizes.sampled - sizes.kept)) * i
    without = not config.momentum
    updated = min(parts * sizes.sampled, sizes.centres) * _FLOAT * sizes.size
    update = updated * (20 - 9 * without if sparse else 12 - 5 * without)
    backbone = sizes.trained * _FLOAT * (14 - 5 * without)
    return centres + logits + update + backbone


def _traffic(config: TrainConfig, sizes: _Sizes) -> tuple[Item, ...]:
    """Of a process and step. A ring of N sends (N−1)/N of a whole that is gathered or scattered, twice that reduced."""
    n, parts, i = sizes.processes, config.accumulate, sizes.itemsize
    whole = sizes.batch * sizes.size * _FLOAT * parts

    def ring(bytes_: int, times: int = 1) -> int:
        return times * bytes_ * (n - 1) // n

    items = [
        Item("backbone: gradients, reduced", "2·(N−1)/N·T·4", ring(_FLOAT * sizes.trained, 2)),
        Item("embeddings, gathered", "(N−1)/N·B·D·4", ring(whole)),
        Item("their gradients, scattered", "(N−1)/N·B·D·i", ring(whole * i // _FLOAT)),
        Item("labels, gathered", "(N−1)/N·B·8", ring(sizes.batch * parts * _INDEX)),
        Item("target cosines, reduced", "2·(N−1)/N·B·i", ring(sizes.batch * parts * i, 2)),
        Item("sums of exponentials, reduced", "2·(N−1)/N·B·i", ring(sizes.batch * parts * i, 2)),
    ]
    if config.sync_batchnorm:
        # torch's own gathers mean, deviation and count, and reduces two sums; a block that is computed twice, twice.
        norms = [m.num_features for m in sizes.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        gathered = n * sum(2 * channels + 1 for channels in norms) * _FLOAT * parts
        forward = 1 + config.checkpoint_activations
        sent = ring(gathered, forward) + ring(2 * sum(norms) * _FLOAT * parts, 2)
        formula = f"{forward}·(N−1)·Σ(2·channels + 1)·4 + 2·(N−1)/N·Σ(2·channels)·4"
        items.append(Item("statistics of the batch norms", formula, sent))
    return tuple(items)


def _checkpoint(config: TrainConfig, sizes: _Sizes, identities: int) -> int:
    """Parameters, buffers and momentum, once each, whatever N is: (P + T)·4 + buffers + 2·C·D·4."""
    with_momentum = 1 + bool(config.momentum)
    backbone = _FLOAT * (sizes.parameters + sizes.trained * bool(config.momentum)) + sizes.buffers
    return backbone + with_momentum * _FLOAT * identities * sizes.size


def _check(name: str, value: int) -> None:
    if not 1 <= value <= _MOST[name]:
        raise InputError(f"{name} must be 1 to {_MOST[name]:,}, got {value:,}")
