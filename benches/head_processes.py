"""The head over several processes beside one process with as many threads; ``python benches/head.py --processes 2``."""

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, console, machine, markdown, printed, save, spread, start_peak, status_bytes
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.multiprocessing.spawn import start_processes

from elasticface.base.errors import InputError
from elasticface.heads.head import ElasticArcFace

OUT = RESULTS / "head_processes.json"
STEPS = 3  # timed in a round, after one that is not
SAMPLED = 0.1


@dataclass(frozen=True)
class Variant:
    """One way to hold the head."""

    processes: int
    threads: int  # of each
    sample_rate: float

    def __str__(self) -> str:
        return "exact" if self.sample_rate == 1 else f"sampled {self.sample_rate:g}"

    @property
    def where(self) -> str:
        return f"{self.processes} × {self.threads}"


@dataclass
class Result:
    """One shape: by variant, seconds of a step in every round and, by process, bytes at the peak."""

    shape: dict[str, int]
    variants: list[Variant]
    seconds: list[list[float]] = field(default_factory=list)
    memory: list[list[int]] = field(default_factory=list)


def bench(shapes: list[dict[str, int]], rounds: int, threads: int, processes: int, out: Path) -> dict[str, Any]:
    """Measure ``shapes``, keep the figures in ``out`` and print them."""
    if threads % processes:
        raise InputError(f"--threads: {threads} can't be shared out to {processes} processes; give a multiple")
    ways = [(1, threads), (processes, threads // processes)]
    variants = [Variant(*way, rate) for rate in (1.0, SAMPLED) for way in ways]
    results = [asdict(measure(shape, variants, rounds)) for shape in shapes]
    stored = save(out, {"results": results})
    console.print(printed(COLUMNS, rows(stored), texts=3))
    console.print(f"{LEGEND} {machine(stored['environment'])}.")
    return stored


def measure(shape: dict[str, int], variants: list[Variant], rounds: int) -> Result:
    """In every round each variant once, in processes of its own, forwards and backwards in turn."""
    result = Result(shape, variants, [[] for _ in variants], [[] for _ in variants])
    for number in range(rounds):
        for at in range(len(variants)) if number % 2 else reversed(range(len(variants))):
            with console.status(f"{shape}: round {number + 1} of {rounds}: {variants[at].where}, {variants[at]}"):
                seconds, peaks = together(shape, variants[at])
            result.seconds[at].append(seconds)
            result.memory[at] = [max(both) for both in zip(peaks, result.memory[at] or peaks, strict=True)]
    return result


def together(shape: dict[str, int], variant: Variant) -> tuple[float, list[int]]:
    """Seconds of a step, and by process the bytes that it took at the peak."""
    with tempfile.TemporaryDirectory() as folder:
        start_processes(  # type: ignore[no-untyped-call]
            process, (folder, shape, variant), nprocs=variant.processes, start_method="spawn"
        )
        found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(variant.processes)]
    steps = [max(seconds) for seconds in zip(*(own["seconds"] for own in found), strict=True)]
    return statistics.median(steps), [own["peak"] for own in found]


def process(rank: int, folder: str, shape: dict[str, int], variant: Variant) -> None:
    """What one of the processes does, and leaves in ``folder``."""
    torch.set_num_threads(variant.threads)
    mesh = None
    if variant.processes > 1:
        store = f"file://{folder}/store"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=variant.processes)
        mesh = init_device_mesh("cpu", (variant.processes,))
    step_of(mesh, {"batch": 4 * variant.processes, "size": 4, "classes": 4 * variant.processes}, variant)()
    libraries = status_bytes("VmRSS")  # they and their threads come with what is measured, and are not of it
    step = step_of(mesh, shape, variant)
    step()
    seconds = []
    start_peak()
    for _ in range(STEPS):
        if mesh is not None:
            distributed.barrier()
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = max(status_bytes("VmHWM") - libraries, 0)
    torch.save({"seconds": seconds, "peak": peak}, Path(folder) / f"{rank}.pt")
    if mesh is not None:
        distributed.barrier()
        distributed.destroy_process_group()


def step_of(mesh: DeviceMesh | None, shape: dict[str, int], variant: Variant) -> Any:
    """A step: forward and backward, of this process's rows of the batch."""
    torch.manual_seed(0)
    head = ElasticArcFace(shape["classes"], shape["size"], sample_rate=variant.sample_rate, mesh=mesh)
    embeddings = torch.randn(shape["batch"], shape["size"])
    labels = torch.randint(shape["classes"], (shape["batch"],))
    rank = mesh.get_local_rank() if mesh else 0
    own: Tensor = embeddings.tensor_split(variant.processes)[rank].clone().requires_grad_()
    own_labels = labels.tensor_split(variant.processes)[rank].clone()

    def step() -> None:
        own.grad = head.weight.grad = None
        head(own, own_labels).backward()

    return step


COLUMNS = ["B × D × C", "softmax", "processes × threads", "seconds", "speed-up", "MiB a process"]
LEGEND = (
    f"Seconds of forward and backward, the median of {STEPS} steps in processes of their own; speed-up: over the exact "
    "softmax on one process; both median (range) over the rounds. MiB a process: all that the head takes at the peak: "
    "centres, gradient, kept probabilities; of the process that takes most."
)


def rows(figures: dict[str, Any]) -> list[list[str]]:
    cells = []
    for result in figures["results"]:
        shape = "{batch} × {size} × {classes:,}".format(**result["shape"])
        exact = result["seconds"][0]
        for stored, seconds, memory in zip(result["variants"], result["seconds"], result["memory"], strict=True):
            variant = Variant(**stored)
            faster = "1" if seconds is exact else spread([a / b for a, b in zip(exact, seconds, strict=True)])
            peak = f"{max(memory) / 2**20:,.0f}"
            cells.append([shape, str(variant), variant.where, spread(seconds), faster, peak])
    return cells


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    return f"{markdown(COLUMNS, rows(figures), texts=3)}\n\n{LEGEND} {machine(figures['environment'])}."
