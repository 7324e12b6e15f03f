"""What a run will take, before it is started: memory, traffic, checkpoint and work of one process, by formulas.

The letters of the formulas, for the process that has most of everything:

    C  identities, N  processes, c = ⌈C/N⌉ class centres of a process
    B  images a step, b = ⌈B/N⌉ of a process, a = ⌈b/parts⌉ at once (`accumulate`), A = N·a embeddings in a head's loss
    k  classes of a process in a step's softmax: c, or with a sample rate r those of the batch and a share of the rest,
       k = p + ⌈r·(c − p)⌉ with p = min(⌈A/N⌉, c), as labels fall when they are spread evenly over the processes
    K  sub-centres of a class, 1 for all losses but `subcenter-arcface`: rows and logits are K times as long
    D  embedding size, i  bytes of a number in the head: 4, or 8 where e^{±s} over C classes leaves float32
    P  the backbone's parameters, T ≤ P of them trained

Three moments of a step can be the worst one, and their needs are listed apart: the head, while the backbone's
activations wait for it; the backbone's backward; the optimizer. Not counted is what libraries take for themselves: the
CUDA context, workspaces of cuDNN and cuBLAS, NCCL's buffers, and what an allocator loses between blocks.
"""

import math
from dataclasses import dataclass

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.data.feed.sampler import steps_per_epoch
from elasticface.planning import counts
from elasticface.planning.counts import Item, Moment, total
from elasticface.training.config import TrainConfig
from elasticface.training.processes import check_precision
from elasticface.training.step import check_batch_size


@dataclass(frozen=True)
class Work:
    """What a process computes in a step. A multiply-add is two operations."""

    backbone: int  # operations, 6·(multiply-adds of an image)·b: forward, and twice that backward; 8 with recomputation
    head: int  # operations, 6·B·k·D: the products of the exact softmax; and 2·B·(k − kept)·D for those computed twice
    moved: int  # bytes read and written beside these products: class centres, logits, what the optimizer goes through


@dataclass(frozen=True)
class Seconds:
    """Lower bounds of a step's parts at the speeds that were given; None where none was."""

    backbone: float | None
    head: float | None
    memory: float | None  # for Work.moved
    network: float | None  # a ring crosses every node's border once, so a node sends what a process sends

    @property
    def step(self) -> tuple[float, float] | None:
        """A step's seconds: where the network hides behind the computing, and where nothing hides."""
        if self.backbone is None or self.head is None:
            return None
        computing, network = self.backbone + self.head + (self.memory or 0.0), self.network or 0.0
        return max(computing, network), computing + network


@dataclass(frozen=True)
class Plan:
    """What :func:`plan` finds."""

    config: TrainConfig  # its ``batch_size`` is that of all processes together
    identities: int  # C
    processes: int  # N, one a GPU
    per_node: int  # processes on a node
    device: str  # "cuda" or "cpu"
    centres: int  # c
    sampled: int  # k
    kept: int  # of the k classes those whose probabilities wait from forward to backward; the rest is computed twice
    head_dtype: str  # "float32" or "float64"
    always: tuple[Item, ...]  # memory from the first step to the last
    moments: tuple[Moment, ...]  # of a step
    # What a process sends in a step, by rings: (N−1)/N of what is gathered or scattered, twice that of what is reduced.
    traffic: tuple[Item, ...]
    checkpoint: int  # bytes of one
    parameters: int  # P
    multiply_adds: int  # of one image forward
    work: Work
    seconds: Seconds
    images: int | None  # in the data, if said

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
        InputError: numbers out of their range, a backbone or loss that is not there, or what no run takes: options that
            the loss does not have, too few images for a process, a precision that the device does not have.
    """
    if per_node is None:
        per_node = min(processes, 8)
    batch = -(-config.batch_size // max(processes, 1))
    for name, most, value in (
        ("identities", 10**10, identities),
        ("processes", 10**5, processes),
        ("images of a process", 1 << 16, batch),
        ("embedding_size", 1 << 16, config.embedding_size),
    ):
        if not 1 <= value <= most:
            raise InputError(f"{name} must be 1 to {most:,}, got {value:,}")
    if not 1 <= per_node <= processes or processes % per_node:
        fitting = max(count for count in range(1, min(max(per_node, 1), processes) + 1) if processes % count == 0)
        raise InputError(
            f"{processes} processes cannot be {per_node} on every node; give --gpus-per-node a number that divides "
            f"{processes}, such as {fitting}"
        )
    for name, speed in (
        ("tflops", tflops),
        ("head_tflops", head_tflops),
        ("bandwidth_gbyte", bandwidth_gbyte),
        ("network_gbit", network_gbit),
    ):
        if speed is not None and not 0 < speed < math.inf:
            raise InputError(f"{name} must be above 0, got {speed}")
    if images is not None and images < 1:
        raise InputError(f"images must be at least 1, got {images}")
    if config.precision == "64":
        raise InputError("precision 64 is for telling rounding from mistakes; plan counts 32, bf16 and fp16")
    check_precision(config, device)
    check_batch_size(config, config.batch_size if images is None else images, processes)

    sizes = counts.Sizes.of(config, identities, processes, device)
    multiply_adds = backbones.multiply_adds(sizes.network)
    products = 3 * sizes.sampled + (sizes.sampled - sizes.kept)
    work = Work(
        backbone=(8 if config.checkpoint_activations else 6) * multiply_adds * batch,
        head=config.accumulate * 2 * sizes.embeddings * sizes.row * products,
        moved=counts.moved(config, sizes),
    )
    traffic = counts.traffic(config, sizes)
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
        always=counts.always(config, sizes),
        moments=counts.moments(config, sizes, device),
        traffic=traffic,
        checkpoint=counts.checkpoint(config, sizes, identities),
        parameters=sizes.parameters,
        multiply_adds=multiply_adds,
        work=work,
        seconds=seconds,
        images=images,
    )
