"""A million identities in a real training run, from a .rec, on two processes: memory and time beside what plan says.

Run it as ``python benches/million.py``; ``--help`` lists the options. It needs 6 GB of disk and 12 GB of memory.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from common import RESULTS, console, machine, markdown, printed, rounded, run, save, spread, stored
from head import products
from processes import trained

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.data.formats.recordio_writer import RecordIOWriter
from elasticface.data.images import decoding
from elasticface.heads.row_sparse import row_sparse
from elasticface.planning.plan import plan
from elasticface.training.config import TrainConfig
from elasticface.training.optim import RowSparseSGD

OUT = RESULTS / "million.json"
RATES = (1.0, 0.1)
HERE = Path(__file__).parent
WARM_UP = 5  # steps that are not timed


def bench(
    identities: int = 1_000_000,
    processes: int = 2,
    batch: int = 128,
    steps: int = 20,
    out: Path = OUT,
    markdown: bool = False,
) -> None:
    """Train `tiny`, 512-d, for some steps on a set of as many identities, one photo each, exact and sampled.

    Args:
        identities: in the set, which is written to a temporary folder.
        processes: that share the run, one thread each.
        batch: images a step, of all processes together.
        steps: of each run.
        out: JSON file; replaced if it is there.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    if steps <= WARM_UP:
        raise InputError(f"--steps must be above {WARM_UP}, the steps that are not timed")
    config = TrainConfig(backbone="tiny", batch_size=batch, max_steps=steps, log_every=1, workers=0, device="cpu")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        with console.status(f"writing {identities:,} photos"):
            write_set(Path(folder), identities)
        for rate in RATES:
            with console.status(f"{steps} steps, sample rate {rate:g}"):
                found.append(measure(Path(folder), replace(config, sample_rate=rate), identities, processes))
    kept = save(out, {"identities": identities, "processes": processes, "batch": batch, "steps": steps, "runs": found})
    console.print(printed(COLUMNS, rows(kept)))


def write_set(folder: Path, identities: int) -> None:
    """A .rec with one plain photo of each: what is in it makes no difference to what the head costs."""
    grey = [decoding.encode(np.full((112, 112, 3), level, np.uint8), ".jpg") for level in range(256)]
    with RecordIOWriter(folder) as writer:
        for label in range(identities):
            writer.write(grey[label % 256], label)
        writer.finish(num_classes=identities, size=112)


def measure(data: Path, config: TrainConfig, identities: int, processes: int) -> dict[str, Any]:
    """Seconds of a step and peaks of memory, measured and planned; the speeds of the machine are measured first."""
    options = (
        f"--backbone {config.backbone} --batch-size {config.batch_size} --max-steps {config.max_steps} --log-every 1 "
        f"--workers 0 --device cpu --sample-rate {config.sample_rate} --keep-checkpoints 1"
    )
    speeds = measured_speeds(config, identities, processes)
    run_of = trained(str(data), options, processes)
    seconds = [config.batch_size / line["images_per_second"] for line in run_of.metrics][WARM_UP:]
    planned = plan(config, identities, processes, device="cpu", **speeds)
    return {
        "sample_rate": config.sample_rate,
        "seconds": seconds,
        "peak_bytes": run_of.peak_bytes,
        "whole_seconds": run_of.seconds,
        "program_bytes": program_bytes(),
        "planned_bytes": planned.peak,
        "speeds": speeds,
        "planned_seconds": asdict(planned.seconds),
        "loss": [line["loss"] for line in run_of.metrics],
    }


def program_bytes() -> int:
    """Of a process that has loaded what training loads, and done nothing."""
    code = (
        "import elasticface.training.loop, torch.utils.tensorboard; import common; print(common.status_bytes('VmHWM'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE).stdout
    return int(told)


def measured_speeds(config: TrainConfig, identities: int, processes: int) -> dict[str, Any]:
    """What :func:`plan` asks for, of one process of one thread while the others do the same: means."""
    context = get_context("spawn")
    told, together = context.SimpleQueue(), context.Barrier(processes)
    given = config, identities // processes, processes, together, told
    started = [context.Process(target=_speeds_of_one, args=given) for _ in range(processes)]
    for each in started:
        each.start()
    found = [told.get() for _ in started]
    for each in started:
        each.join()
    return {name: fmean(speeds[name] for speeds in found) for name in found[0]}


def _speeds_of_one(config: TrainConfig, centres: int, processes: int, together: Any, told: Any) -> None:
    torch.set_num_threads(1)
    found = {}
    for name, prepare in {"tflops": _backbone, "head_tflops": _products, "bandwidth_gbyte": _update}.items():
        step, count = prepare(config, centres, processes)
        step()
        together.wait()
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
        found[name] = count / median(taken) / (1e9 if name == "bandwidth_gbyte" else 1e12)
    told.put(found)


def _backbone(config: TrainConfig, centres: int, processes: int) -> tuple[Callable[[], None], int]:
    """A process's share of the images through the backbone and back; operations."""
    network = backbones.create(config.backbone, config.embedding_size)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(config.batch_size // processes, 3, 112, 112).contiguous(memory_format=torch.channels_last)
    return lambda: network(images).sum().backward(), 6 * backbones.multiply_adds(network) * len(images)


def _products(config: TrainConfig, centres: int, processes: int) -> tuple[Callable[[], None], int]:
    """The head's three products, of all images with the centres of a process's sample; operations."""
    sampled = round(centres * config.sample_rate)
    weight = torch.nn.Parameter(torch.randn(sampled, config.embedding_size))
    embeddings = torch.randn(config.batch_size, config.embedding_size, requires_grad=True)
    return products(embeddings, weight, torch.arange(config.batch_size)), 6 * weight.numel() * config.batch_size


def _update(config: TrainConfig, centres: int, processes: int) -> tuple[Callable[[], None], int]:
    """An optimizer's step, over all centres or over rows here and there; bytes, 5 passes or 19 as plan counts them."""
    weight = torch.nn.Parameter(torch.randn(centres, config.embedding_size))
    optimizer = RowSparseSGD([weight], lr=1e-3, momentum=config.momentum, weight_decay=config.weight_decay)
    gradient, passes = torch.randn_like(weight), 5
    if config.sample_rate < 1:
        rows = torch.randperm(centres)[: round(centres * config.sample_rate)].sort().values
        gradient, passes = row_sparse(rows, gradient[rows], centres), 19

    def step() -> None:
        weight.grad = gradient
        optimizer.step()

    return step, passes * (gradient._values() if gradient.is_sparse else gradient).nbytes


COLUMNS = [
    "head",
    "s a step",
    "planned: backbone + head + memory",
    "measured ÷ planned",
    "GiB at the peak, by process",
    "planned, with the program",
    "measured ÷ planned",
]


def rows(figures: dict[str, Any]) -> list[list[str]]:
    found = []
    for run_of in figures["runs"]:
        peaks = [peak / 2**30 for peak in run_of["peak_bytes"]]
        planned = (run_of["planned_bytes"] + run_of["program_bytes"]) / 2**30
        parts = [run_of["planned_seconds"][name] for name in ("backbone", "head", "memory")]
        found.append(
            [
                "exact" if run_of["sample_rate"] == 1 else f"sampled {run_of['sample_rate']:g}",
                spread(run_of["seconds"]),
                f"{' + '.join(rounded(part) for part in parts)} = {rounded(sum(parts))}",
                rounded(median(run_of["seconds"]) / sum(parts)),
                ", ".join(rounded(peak) for peak in peaks),
                rounded(planned),
                rounded(max(peaks) / planned),
            ]
        )
    return found


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    told = (
        f"{figures['identities']:,} identities, 512-d, `tiny`, {figures['batch']} images a step, "
        f"{figures['processes']} processes of one thread, {figures['steps']} steps, the first {WARM_UP} not "
        f"timed. Seconds are planned with the speeds of this machine, measured just before: of the backbone alone, of "
        f"the head's three products, and of an optimizer's step, which is passes over memory. Memory is planned beyond "
        f"the program itself, {figures['runs'][0]['program_bytes'] / 2**30:.2f} GiB with its libraries. "
        f"{machine(figures['environment'])}."
    )
    return f"{markdown(COLUMNS, rows(figures))}\n\n{told}"


if __name__ == "__main__":
    run(bench)
