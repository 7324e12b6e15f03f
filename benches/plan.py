"""`elasticface plan` beside what was measured: here, in small, and by others, at large.

Run it as ``python benches/plan.py``, with ``--processes 2`` for heads whose centres lie on two; ``--help`` lists the
options. What it stores, and the example, ``python benches/write_docs.py`` writes into docs/scaling.md.
"""

import io
import json
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, console, machine, markdown, printed, run, save, start_peak, status_bytes
from jsonargparse import Namespace
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from elasticface import backbones, heads
from elasticface.base.errors import InputError
from elasticface.cli import main
from elasticface.cli.plan import config
from elasticface.planning.counts import total
from elasticface.planning.plan import Plan, plan
from elasticface.planning.shown import lines, mebibytes, tables
from elasticface.training.config import TrainConfig
from elasticface.training.optim import RowSparseSGD

OUT = RESULTS / "plan.json"
EXAMPLE = (
    "elasticface plan --identities 2000000 --gpus 32 --batch 128 --sample-rate 0.1 --precision bf16 "
    "--images 42000000 --memory-gib 32"
)

# The rows of the paper's table, and the runs that chose m and σ: what `elasticface train` is given.
MS1MV2, CASIA = "--identities 85742 --images 5822653", "--identities 10572 --images 490623"
PAPER = {
    "ArcFace": ("--config ms1mv2-elastic-arc --loss arcface", MS1MV2),
    "CurricularFace": ("--config ms1mv2-elastic-arc --loss curricularface", MS1MV2),
    "MagFace, MagFace+": ("--config ms1mv2-elastic-arc --loss magface", MS1MV2),
    "ElasticFace-Arc": ("--config ms1mv2-elastic-arc", MS1MV2),
    "ElasticFace-Cos": ("--config ms1mv2-elastic-cos", MS1MV2),
    "ElasticFace-Arc+": ("--config ms1mv2-elastic-arc-plus", MS1MV2),
    "ElasticFace-Cos+": ("--config ms1mv2-elastic-cos-plus", MS1MV2),
    "choosing m and σ, each run": ("--config casia-iresnet50", CASIA),
}
SPEEDS = {
    "float32, 15 TFLOP/s": "--tflops 15 --head-tflops 15",
    "bfloat16, 150 TFLOP/s": "--precision bf16 --tflops 150 --head-tflops 15",
}

# What others have measured on 8 Tesla V100 of 32 GB, MB of one GPU by gpustat or as they say: (identities, without
# sampling, sampled at 0.1). The second table's page names the network and the batch, the first one's doesn't.
README = (
    "https://github.com/deepinsight/insightface/blob/0159b24d44cbc91abbd07b7a6fab0ba923a7fddf/"
    "recognition/arcface_torch/README.md"
)
SPEED = (
    "https://github.com/deepinsight/insightface/blob/bdaee1073b72d95421732ea04d1fdf5b97c0d619/"
    "recognition/arcface_torch/docs/speed_benchmark.md"
)
PUBLISHED = [
    (README, 125_000, 5_306, 4_868),
    (README, 1_400_000, 11_178, 6_056),
    (SPEED, 3_000_000, 28_860, 10_328),  # the least of the eight GPUs
    (README, 5_500_000, 32_188, 9_854),
    (README, 8_000_000, None, 12_310),
    (README, 16_000_000, None, 19_950),
    (README, 29_000_000, None, 32_324),
]
THEIRS: dict[str, Any] = {"backbone": "iresnet50", "batch_size": 1024, "precision": "fp16", "loss": "cosface"}


@dataclass(frozen=True)
class Case:
    """What is measured: two steps of a head, or of a backbone where there are no classes."""

    name: str
    batch: int  # of a process
    classes: int = 0
    sample_rate: float = 1.0
    max_logits_bytes: int = 1 << 30
    backbone: str = "tiny"
    checkpoint_activations: bool = False

    def config(self, processes: int) -> TrainConfig:
        return TrainConfig(
            batch_size=self.batch * processes,
            backbone=self.backbone,
            sample_rate=self.sample_rate,
            max_logits_bytes=self.max_logits_bytes,
            checkpoint_activations=self.checkpoint_activations,
        )

    def predicted(self, processes: int) -> int:
        """Bytes of what the case has of a whole step."""
        planned = plan(self.config(processes), max(self.classes, 1), processes, device="cpu")

        def part(items: Any) -> int:
            return total([item for item in items if _of_backbone(item.what) != bool(self.classes)])

        return part(planned.always) + max(part(moment.items) for moment in planned.moments)


def _of_backbone(what: str) -> bool:
    return what.startswith(("backbone", "activations", "images"))


CASES = [
    Case("head, exact, all kept", 128, 200_000),
    Case("head, exact, none kept", 128, 200_000, max_logits_bytes=4 << 20),
    Case("head, sampled at 0.1", 128, 200_000, sample_rate=0.1),
    Case("tiny", 128),
    Case("tiny, blocks recomputed", 128, checkpoint_activations=True),
    Case("iresnet18", 8, backbone="iresnet18"),
    Case("iresnet18, blocks recomputed", 8, backbone="iresnet18", checkpoint_activations=True),
]


def bench(processes: int = 1, only: str = "", out: Path = OUT) -> None:
    """Measure the memory of heads and backbones in fresh processes, beside what the formulas say of them.

    Args:
        processes: that hold a head's centres together, over gloo; backbones are measured with one alone.
        only: measure the cases alone whose names begin so.
        out: JSON file; what it has of other cases and numbers of processes stays.
    """
    if processes < 1:
        raise InputError("--processes must be at least 1")
    if not status_bytes("VmRSS"):
        raise InputError("memory is read from /proc, which Linux alone has")
    results = []
    for case in CASES:
        if case.name.startswith(only) and (case.classes or processes == 1):
            with console.status(case.name):
                found = {"processes": processes, "bytes": measured(case, processes)}
                results.append(asdict(case) | found | {"predicted": case.predicted(processes)})
    before = json.loads(out.read_text("utf-8"))["measured"] if out.exists() else []
    new = {(result["name"], processes) for result in results}
    kept = [stored for stored in before if (stored["name"], stored["processes"]) not in new]
    order = [case.name for case in CASES]
    figures = {"measured": sorted([*kept, *results], key=lambda r: (r["processes"], order.index(r["name"])))}
    stored = save(out, figures | {"published": published()})
    console.print(printed(MEASURED, measured_rows(stored["measured"])))
    console.print(printed(THEIR_COLUMNS, published_rows(stored["published"])))


def measured(case: Case, processes: int) -> int:
    """Bytes that the fullest process took at its peak beyond what it had before the case was set up."""
    # Freed memory goes back to the system, so that what is resident is what is in use.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    spawn = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        told = spawn.SimpleQueue()
        children = [
            spawn.Process(target=_child, args=(case, rank, processes, f"{folder}/store", told))
            for rank in range(processes)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(600)
            if child.exitcode != 0:
                for other in children:
                    other.terminate()
                raise SystemExit(f"{case.name}: a process ended with {child.exitcode}")
        return max(int(told.get()) for _ in children)


def _child(case: Case, rank: int, processes: int, store: str, told: Any) -> None:
    torch.set_num_threads(1)
    mesh: DeviceMesh | None = None
    if processes > 1:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
        mesh = init_device_mesh("cpu", (processes,))
    small = Case("", 4, 4 * bool(case.classes), case.sample_rate, backbone=case.backbone)
    _steps(small, rank, mesh)()  # libraries and threads come with their own
    before = start_peak()
    _steps(case, rank, mesh)()
    told.put(status_bytes("VmHWM") - before)
    if processes > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def _steps(case: Case, rank: int, mesh: DeviceMesh | None) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(rank)
    config = case.config(1)
    module: nn.Module
    if case.classes:
        module = heads.create(config.loss, case.classes, config.embedding_size, mesh=mesh, **config.head_options())
        inputs = torch.randn(case.batch, config.embedding_size, generator=generator)
    else:
        module = backbones.create(case.backbone, config.embedding_size)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if case.checkpoint_activations:
            backbones.checkpoint_activations(module)
        inputs = torch.rand(case.batch, 3, 112, 112, generator=generator)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(max(case.classes, 1), (case.batch,), generator=generator)
    groups = backbones.parameter_groups(module, config.weight_decay)
    optimizer = RowSparseSGD(groups, lr=0.1, momentum=config.momentum, weight_decay=config.weight_decay)

    def loss() -> Tensor:
        result: Tensor = module(inputs.clone().requires_grad_(), labels) if case.classes else module(inputs).sum()
        return result

    def steps() -> None:
        for _ in range(2):
            loss().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=bool(case.classes))

    return steps


def published() -> list[dict[str, Any]]:
    """The published figures with ours for the same: MiB of a process."""
    rows = []
    for source, identities, exact, sampled in PUBLISHED:
        ours = {rate: plan(TrainConfig(**THEIRS, sample_rate=rate), identities, 8) for rate in (1.0, 0.1)}
        rows.append(
            {
                "source": source,
                "identities": identities,
                "exact": exact,
                "sampled": sampled,
                "our exact": ours[1.0].peak,
                "our sampled": ours[0.1].peak,
                "our head": ours[1.0].head_dtype,
            }
        )
    return rows


MEASURED = ["what", "processes", "images of each", "classes", "counted, MiB", "measured, MiB", "difference"]
THEIR_COLUMNS = ["identities", "source", "theirs, exact", "ours, exact", "theirs, 0.1", "ours, 0.1"]


def measured_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            stored["name"],
            str(stored["processes"]),
            str(stored["batch"]),
            f"{stored['classes']:,}" if stored["classes"] else "–",
            mebibytes(stored["predicted"]),
            mebibytes(stored["bytes"]),
            f"{stored['bytes'] / stored['predicted'] - 1:+.1%}".replace("%", " %"),
        ]
        for stored in results
    ]


def published_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    def ours(stored: dict[str, Any], name: str) -> str:
        double = "*" if stored["our head"] == "float64" else ""
        return f"{stored[name] / 2**20:,.0f}{double}"

    return [
        [
            f"{stored['identities']:,}",
            "[1]" if stored["source"] == README else "[2]",
            f"{stored['exact']:,}" if stored["exact"] else "–",
            ours(stored, "our exact"),
            f"{stored['sampled']:,}",
            ours(stored, "our sampled"),
        ]
        for stored in results
    ]


def example() -> str:
    """What the command line prints for :data:`EXAMPLE`."""
    from rich.console import Console

    options, made = planned(EXAMPLE)
    text = io.StringIO()
    Console(file=text, width=110).print(*tables(made), sep="\n")
    told = [*text.getvalue().splitlines(), *lines(made, options.memory_gib)]
    return "\n".join(["```", f"$ {EXAMPLE}", *(line.rstrip() for line in told), "```"])


def planned(command: str) -> tuple[Namespace, Plan]:
    """The options of a command line, and its plan."""
    options = main.parsers()["plan"].parse_args(shlex.split(command)[2:])
    speeds = {"tflops": options.tflops, "head_tflops": options.head_tflops}
    return options, plan(config(options), options.identities, options.gpus, images=options.images, **speeds)


def paper() -> str:
    """What each row of the paper's table costs: work, hours and memory of a GPU, with one and with four."""
    rows = []
    for name, (recipe, data) in PAPER.items():
        cells = []
        for gpus in (1, 4):
            for speed in SPEEDS.values():
                made = planned(f"elasticface plan {recipe} {data} --gpus {gpus} {speed}")[1]
                assert made.steps is not None
                assert made.seconds.step is not None
                work = (made.work.backbone + made.work.head) * gpus * made.steps[1]
                hours = made.seconds.step[1] * made.steps[1] / 3600
                cells.append(f"{hours:.3g} h, {made.peak / 2**30:.0f} GiB")
        rows.append([name, f"{work / 1e18:.3g}", *cells])
    columns = [f"{gpus} GPU{'s' if gpus > 1 else ''}: {speed}" for gpus in (1, 4) for speed in SPEEDS]
    return markdown(["row", "EFLOP", *columns], rows)


def parts(figures: dict[str, Any]) -> dict[str, str]:
    """What docs/scaling.md has of this, by the names of its markers."""
    measured = markdown(MEASURED, measured_rows(figures["measured"]))
    return {
        "example": example(),
        "measured": f"{measured}\n\n{machine(figures['environment'])}.",
        "published": markdown(THEIR_COLUMNS, published_rows(figures["published"]), texts=2),
    }


if __name__ == "__main__":
    run(bench)
