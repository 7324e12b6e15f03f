"""How fast the backbones are here: images per second, both ways through the net and in both memory formats.

Run it as ``python benches/backbones.py --names tiny,iresnet18``; ``--help`` lists the options.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, console, machine, markdown, printed, run, save, spread
from torch import Tensor, nn

from elasticface import backbones
from elasticface.base.errors import InputError

FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass
class Result:
    """One backbone: its costs and the seconds of every repeat."""

    name: str
    parameters: int
    multiply_adds: int
    forward: dict[str, list[float]]  # by memory format; eval mode, no gradients
    training: dict[str, list[float]]  # forward and backward in training mode, no optimizer


def bench(
    names: str = "all",
    batch: int = 16,
    threads: int = 2,
    repeats: int = 7,
    embedding_size: int = 512,
    out: Path = RESULTS / "backbones.json",
) -> None:
    """Measure backbones on the CPU: parameters, multiply-adds, images per second forward and in training.

    The table gives the median over the repeats and below it the slowest and the fastest.

    Args:
        names: backbones with commas between them, e.g. tiny,iresnet50.
        batch: images in a batch, at least 2, for a batch norm cannot train on one.
        threads: threads of one operation.
        repeats: timed rounds, after one that is not.
        embedding_size: length of an embedding.
        out: JSON file for the seconds of every repeat; replaced if it is there.
    """
    chosen = backbones.names() if names == "all" else names.split(",")
    unknown = [name for name in chosen if name not in backbones.names()]
    if unknown:
        raise InputError(f"--names: no backbone {', '.join(unknown)}; there are: {', '.join(backbones.names())}")
    if batch < 2 or threads < 1 or repeats < 1:
        raise InputError("--batch must be at least 2, --threads and --repeats at least 1")
    torch.set_num_threads(threads)
    results = []
    for name in chosen:
        with console.status(name):
            results.append(measure(name, batch, repeats, embedding_size))
    figures = {
        "batch": batch,
        "embedding_size": embedding_size,
        "unit": "seconds per batch",
        "backbones": [asdict(result) for result in results],
    }
    stored = save(out, figures)
    console.print(f"batch {batch}, {machine(stored['environment'])}")
    console.print(printed(COLUMNS, [row for result in results for row in rows(result, batch)], texts=2))


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    results = [Result(**stored) for stored in figures["backbones"]]
    columns = [column.replace("\n", " ") for column in COLUMNS]
    return markdown(columns, [row for result in results for row in rows(result, figures["batch"])], texts=2)


def measure(name: str, batch: int, repeats: int, embedding_size: int) -> Result:
    """Time one backbone. Its cases take turns, so that a slow moment of the machine hits them alike."""
    with torch.device("meta"):
        shapes = backbones.create(name, embedding_size)
    parameters = sum(p.numel() for p in shapes.parameters())
    result = Result(name, parameters, backbones.multiply_adds(shapes), {}, {})
    torch.manual_seed(0)
    # In place of the loss, what it would send back; a plain sum has no gradient through the last batch norm.
    gradient = torch.randn(batch, embedding_size)
    cases: list[tuple[Callable[[], None], list[float]]] = []
    for label, memory_format in FORMATS.items():
        net = backbones.create(name, embedding_size).to(memory_format=memory_format)  # type: ignore[call-overload]
        images = (torch.rand(batch, 3, 112, 112) * 2 - 1).contiguous(memory_format=memory_format)
        cases.append((training(net, images, gradient), result.training.setdefault(label, [])))
        cases.append((forward(net, images), result.forward.setdefault(label, [])))
    for repeat in range(repeats + 1):
        for step, seconds in cases if repeat % 2 else reversed(cases):
            start = time.perf_counter()
            step()
            elapsed = time.perf_counter() - start
            if repeat:  # the first round pays for allocations and for choosing kernels
                seconds.append(elapsed)
    return result


def forward(net: nn.Module, images: Tensor) -> Callable[[], None]:
    def step() -> None:
        net.eval()
        with torch.no_grad():
            net(images)

    return step


def training(net: nn.Module, images: Tensor, gradient: Tensor) -> Callable[[], None]:
    def step() -> None:
        net.train()
        net(images).backward(gradient)
        net.zero_grad(set_to_none=True)

    return step


COLUMNS = ["backbone", "format", "parameters", "MAdds", "forward\nimages/s", "training\nimages/s"]


def rows(result: Result, batch: int) -> list[list[str]]:
    """Two rows a backbone, one for each memory format."""
    return [
        [
            result.name,
            label,
            f"{result.parameters / 1e6:.2f} M",
            f"{result.multiply_adds / 1e6:,.0f} M",
            spread([batch / seconds for seconds in result.forward[label]]),
            spread([batch / seconds for seconds in result.training[label]]),
        ]
        for label in FORMATS
    ]


if __name__ == "__main__":
    run(bench)
