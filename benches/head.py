"""What a training step of the head costs here: seconds and memory, ours beside the formulas as they are printed.

Run it as ``python benches/head.py``, or first with ``--shapes 64x64x5000``; ``--help`` lists the options.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import head_processes
import torch
from common import RESULTS, console, machine, markdown, printed, run, save, spread, start_peak, status_bytes, stored
from torch import Tensor, nn
from torch.nn import functional as F

from elasticface.base.errors import InputError
from elasticface.heads.centres import sampled
from elasticface.heads.head import ElasticArcFace
from elasticface.heads.products import HeadProducts, cpu_has_bfloat16

M, STD, SCALE = 0.50, 0.05, 64.0  # ElasticFace-Arc, as in the paper
RATES = 0.1, 0.02
SMALL_BUDGET = 4 << 20  # no more than a chunk to work on, so that nothing is kept
LONGHAND_NEEDS = 11, 6  # B×C and C×D matrices at its peak, as measured with torch 2.13
OUT = RESULTS / "head.json"

Step = Callable[[], None]


# The ways that are compared. Each leaves the gradients of embeddings and weight behind.


def longhand(embeddings: Tensor, weight: nn.Parameter, labels: Tensor) -> Step:
    """The published equations one after the other in float32, their gradients by autograd."""

    def step() -> None:
        cosines = F.normalize(embeddings) @ F.normalize(weight).T
        angles = cosines.clamp(-1, 1).acos()
        margins = torch.normal(M, STD, (len(labels), 1))
        logits = SCALE * angles.scatter_add(1, labels[:, None], margins).cos()
        F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]

    return step


def kept(embeddings: Tensor, weight: nn.Parameter, labels: Tensor) -> Step:
    """Our head with all probabilities kept from forward to backward."""
    return _ours(embeddings, weight, labels, _enough(embeddings, weight))


def bfloat16(embeddings: Tensor, weight: nn.Parameter, labels: Tensor) -> Step:
    """The same with products of bfloat16 operands, which are slower than float32 on a CPU that has none."""
    return _ours(embeddings, weight, labels, _enough(embeddings, weight), "bfloat16")


def tf32(embeddings: Tensor, weight: nn.Parameter, labels: Tensor) -> Step:
    """The same with products of TF32 operands, on a GPU."""
    return _ours(embeddings, weight, labels, _enough(embeddings, weight), "tf32")


def recomputed(embeddings: Tensor, weight: nn.Parameter, labels: Tensor) -> Step:
    """Our head with all probabilities computed again in backward."""
    return _ours(embeddings, weight, labels, SMALL_BUDGET)


def _enough(embeddings: Tensor, weight: Tensor) -> int:
    """Bytes of all probabilities."""
    return embeddings.element_size() * len(embeddings) * len(weight)


def _ours(
    embeddings: Tensor,
    weight: nn.Parameter,
    labels: Tensor,
    max_logits_bytes: int,
    head_products: HeadProducts = "float32",
) -> Step:
    options: dict[str, Any] = {"max_logits_bytes": max_logits_bytes, "head_products": head_products}
    with torch.device("meta"):  # all variants share one weight
        head = ElasticArcFace(*weight.shape, m=M, std=STD, scale=SCALE, **options)
    head.weight = weight

    def step() -> None:
        head(embeddings, labels).backward()

    return step


def products(embeddings: Tensor, weight: nn.Parameter, labels: Tensor) -> Step:
    """The three matrix products that no exact softmax over all classes can do without, and nothing else."""

    @torch.no_grad()
    def step() -> None:
        logits = embeddings @ weight.T  # in place of their gradient too: a product costs the same whatever is in it
        embeddings.grad = logits @ weight
        weight.grad = logits.T @ embeddings

    return step


VARIANTS = {f.__name__: f for f in (longhand, kept, recomputed, bfloat16, products)}
ON_GPU = {tf32.__name__: tf32}
NAMES = {
    "longhand": "longhand",
    "kept": "ours, all kept",
    "recomputed": "ours, none kept",
    "bfloat16": "ours, all kept, bfloat16 products",
    "products": "bare products",
}


@dataclass(frozen=True)
class Shape:
    """B×D×C."""

    batch: int
    size: int
    classes: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        parts = text.split("x")
        if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
            raise InputError(
                f"--shapes: {text!r} is not a batch, embedding size and number of classes like 512x512x10572"
            )
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return f"{self.batch} × {self.size} × {self.classes:,}"

    def inputs(self) -> tuple[Tensor, nn.Parameter, Tensor]:
        """(embeddings, weight, labels), the same every time."""
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.empty(self.classes, self.size).normal_(std=0.01, generator=generator))
        embeddings = torch.randn(self.batch, self.size, generator=generator).requires_grad_()
        return embeddings, weight, torch.randint(self.classes, (self.batch,), generator=generator)


@dataclass(frozen=True)
class Memory:
    """Bytes resident at the peak of one step: all of them, and those beyond inputs, weight and its gradient."""

    beyond: int
    total: int


@dataclass
class Result:
    """One shape: by variant, seconds of every round (forward and backward) and the peak of memory.

    Attributes:
        sampling: by sample rate, seconds of drawing the classes of a step.
        bfloat16: whether the CPU has products of such numbers.
    """

    shape: Shape
    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    sampling: dict[str, list[float]] = field(default_factory=dict)
    bfloat16: bool = field(default_factory=cpu_has_bfloat16)


def bench(
    shapes: str = "512x512x10572,512x512x85742,128x512x1000000",
    rounds: int = 7,
    threads: int = 2,
    processes: int = 1,
    out: Path | None = None,
    markdown: bool = False,
) -> None:
    """Measure a head's forward and backward on the CPU: five ways, taking turns in one process.

    "longhand" is ElasticFace-Arc as its equations read, under autograd; "bare products" are the three that no exact
    softmax over all classes can do without, in float32. Ours is measured with all probabilities kept from forward to
    backward, with none, and with all and bfloat16 products. Beside them is what drawing a sample of the negatives
    takes. Ratios are taken within a round, so that a slow moment of the machine cancels; given are the median and
    the range over the rounds. Memory is measured once, each way in a process of its own (Linux only). Longhand is left
    out of a shape that it has not enough free memory for.

    With --processes above 1, ours alone, its centres shared out over that many processes, beside one process with as
    many threads in all: exact, and with a tenth of the negatives sampled.

    Args:
        shapes: batch x embedding size x classes, with commas between them.
        rounds: timed rounds, after one that is not.
        threads: threads of one operation; with several processes, of all of them together.
        processes: that the class centres are shared out over.
        out: JSON file for every round, in benches/results if not given; a shape that is in it is replaced, others
            stay. With several processes it is replaced.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    several = processes > 1
    out = out or (head_processes.OUT if several else OUT)
    if markdown:
        print((head_processes.table if several else table)(stored(out)))
        return
    if min(rounds, threads, processes) < 1:
        raise InputError("--rounds, --threads and --processes must be at least 1")
    chosen = [Shape.parse(text) for text in shapes.split(",")]
    torch.set_num_threads(threads)
    if several:
        head_processes.bench([asdict(shape) for shape in chosen], rounds, threads, processes, out)
        return
    for shape in chosen:
        result = asdict(measure(shape, rounds, threads))
        before = json.loads(out.read_text())["results"] if out.exists() else []
        others = [each for each in before if Shape(**each["shape"]) != shape]
        figures = save(out, {"results": sorted([*others, result], key=lambda each: each["shape"]["classes"])})
        console.print(printed(COLUMNS, rows(result), title=f"B × D × C = {shape}"))
        console.print(f"{LEGEND} {machine(figures['environment'])}.\n{drawn([result])}".strip())


def measure(shape: Shape, rounds: int, threads: int) -> Result:
    result = Result(shape)
    matrices, centres = LONGHAND_NEEDS
    needed = 4 * shape.classes * (matrices * shape.batch + centres * shape.size)
    fitting = [variant for variant in VARIANTS if variant != "longhand" or needed < available_bytes()]
    if status_bytes("VmRSS"):
        for variant in fitting:
            with (
                console.status(f"{shape}: memory of {NAMES[variant]}"),
                ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
            ):
                result.memory[variant] = process.submit(peak, variant, shape, threads).result()
    embeddings, weight, labels = shape.inputs()
    steps = [(VARIANTS[v](embeddings, weight, labels), result.seconds.setdefault(v, [])) for v in fitting]
    for number in range(rounds + 1):
        with console.status(f"{shape}: round {number} of {rounds}"):
            for step, seconds in steps if number % 2 else reversed(steps):
                embeddings.grad = weight.grad = None
                start = time.perf_counter()
                step()
                elapsed = time.perf_counter() - start
                if number:  # the first round pays for allocations and for choosing kernels
                    seconds.append(elapsed)
            for rate in RATES:
                start = time.perf_counter()
                sampled(labels, slice(0, shape.classes), rate, (number,), 0)
                elapsed = time.perf_counter() - start
                if number:
                    result.sampling.setdefault(f"{rate:g}", []).append(elapsed)
    return result


def peak(variant: str, shape: Shape, threads: int) -> Memory:
    """The memory of one step, to be called in a fresh process."""
    torch.set_num_threads(threads)
    VARIANTS[variant](*Shape(4, 4, 4).inputs())()  # libraries and threads come with their own
    embeddings, weight, labels = shape.inputs()
    step = VARIANTS[variant](embeddings, weight, labels)
    embeddings.grad, weight.grad = torch.ones_like(embeddings), torch.ones_like(weight)
    before = status_bytes("VmRSS")
    embeddings.grad = weight.grad = None
    start_peak()  # or else it counts what the inputs took to build
    step()
    total = status_bytes("VmHWM")
    return Memory(max(total - before, 0), total)


def available_bytes() -> float:
    """Memory that a process can have without swapping, as Linux reports it; elsewhere as much as it takes."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


COLUMNS = ["head", "seconds", "÷ products", "speed-up", "MiB more", "MiB in all"]
LEGEND = (
    "Seconds of forward and backward; ÷ products: the same over those of the bare products; speed-up: over longhand; "
    "all three median (range) over the rounds. MiB more: peak beyond inputs, weight and its gradient."
)


def rows(result: dict[str, Any]) -> list[list[str]]:
    """The cells of one shape; a variant that was left out has none."""
    seconds, memory = result["seconds"], result["memory"]
    cells = []
    for variant, these in seconds.items():
        peaks = memory.get(variant)
        cells.append(
            [
                NAMES[variant],
                spread(these),
                ratio(these, seconds["products"]),
                ratio(seconds["longhand"], these) if "longhand" in seconds else "–",
                f"{peaks['beyond'] / 2**20:,.0f}" if peaks else "–",
                f"{peaks['total'] / 2**20:,.0f}" if peaks else "–",
            ]
        )
    return cells


def ratio(these: list[float], those: list[float]) -> str:
    """Round by round; the median and from where to where."""
    return "1" if these is those else spread([a / b for a, b in zip(these, those, strict=True)])


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    cells = [[str(Shape(**result["shape"])), *row] for result in figures["results"] for row in rows(result)]
    told = f"{LEGEND} {machine(figures['environment'])}."
    return f"{markdown(['B × D × C', *COLUMNS], cells, texts=2)}\n\n{told}\n\n{drawn(figures['results'])}".strip()


def drawn(results: list[dict[str, Any]]) -> str:
    """What drawing a sample takes, and whether bfloat16 was the CPU's own; of older figures nothing."""
    told = [
        f"of {result['shape']['classes']:,} classes a share of {rate} {spread([1000 * s for s in seconds])} ms"
        for result in results
        for rate, seconds in result.get("sampling", {}).items()
    ]
    native = {result["bfloat16"] for result in results if "bfloat16" in result}
    has = f" This CPU has {'' if all(native) else 'no '}products of bfloat16." if native else ""
    return f"Drawing the sampled negatives of a step: {'; '.join(told)}.{has}" if told else ""


if __name__ == "__main__":
    run(bench)
