"""What is said of a plan: on the terminal, and as JSON."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from elasticface.training.config import TrainConfig
from elasticface.training.launching import torchrun

if TYPE_CHECKING:
    from rich.table import Table

    from elasticface.planning.counts import Item
    from elasticface.planning.plan import Plan

# What decides how much a run takes; the rest of train's settings changes nothing here.
SETTINGS = (
    *("loss", "scale", "sample_rate", "max_logits_bytes", "backbone", "embedding_size", "accumulate"),
    *("centres_per_class", "checkpoint_activations", "precision", "sync_batchnorm", "optimizer", "momentum", "ema"),
    "epochs",
)


def as_json(made: "Plan") -> dict[str, Any]:
    """All figures of a plan; bytes, operations, seconds."""
    figures = asdict(made)
    seconds, steps = made.seconds.step, made.steps
    return figures | {
        "peak": made.peak,
        "worst_moment": made.worst.what,
        "sent": sum(item.bytes for item in made.traffic),
        "seconds_of_a_step": list(seconds) if seconds else None,
        "steps": {"epoch": steps[0], "run": steps[1]} if steps else None,
    }


def tables(made: "Plan") -> "list[Table]":
    """For the terminal: memory, and traffic where there are several processes."""
    memory = _table("memory of a process", title=_title(made), title_justify="left")
    _add_items(memory, made.always)
    memory.add_section()
    for moment in made.moments:
        worst = moment is made.worst
        memory.add_row(f"and at the {moment.what}", "", mebibytes(moment.bytes), style="bold" if worst else None)
        if worst:
            _add_items(memory, [item for item in moment.items if item.bytes], indent="  ")
    _add_total(memory, "at the worst moment", made.peak)
    if made.processes == 1:
        return [memory]
    traffic = _table("sent by a process in a step")
    _add_items(traffic, made.traffic)
    _add_total(traffic, "in all", sum(item.bytes for item in made.traffic))
    return [memory, traffic]


def _table(heading: str, **options: Any) -> "Table":
    from rich.table import Table

    table = Table(heading, "formula", **options)
    table.add_column("MiB", justify="right")
    return table


def _add_items(table: "Table", items: Sequence["Item"], indent: str = "") -> None:
    for item in items:
        table.add_row(f"{indent}{item.what}", item.formula, mebibytes(item.bytes))


def _add_total(table: "Table", what: str, count: int) -> None:
    table.add_section()
    table.add_row(what, "", mebibytes(count), style="bold")


def lines(
    made: "Plan", memory_gib: float | None, config_file: str | None = None, base: TrainConfig | None = None
) -> list[str]:
    """What is no table: work, steps, times, and the command, whose settings in ``config_file`` are ``base``."""
    config, work, seconds = made.config, made.work, made.seconds
    told = [
        f"c {made.centres:,} · b {made.images_of_process:,} · k {made.sampled:,} · P {made.parameters:,} · "
        f"D {config.embedding_size}; not in it: the CUDA context, workspaces, NCCL's buffers, what an allocator loses",
        f"a checkpoint: {made.checkpoint / 2**30:,.2f} GiB, whatever the number of processes; while it is written, a "
        "copy of it is in the memory of the hosts",
        f"work of a process and step: backbone {work.backbone / 1e12:,.2f} TFLOP, at {made.multiply_adds / 1e9:.2f} G "
        f"multiply-adds an image; head {work.head / 1e12:,.2f} TFLOP in {made.head_dtype}; beside these products "
        f"{work.moved / 1e9:,.2f} GB are moved",
    ]
    if made.kept < made.sampled:
        told.append(
            f"of {made.sampled:,} classes {made.kept:,} keep their probabilities in the {config.max_logits_bytes:,} "
            "bytes of --max-logits-bytes; the products of the rest are made twice"
        )
    if made.head_dtype == "float64":
        told.append(f"e^{config.scale:g} over {made.identities:,} classes leaves float32: the head needs float64")
    if memory_gib is not None:
        spare = memory_gib - made.peak / 2**30
        fits = f"fits into {memory_gib:g} GiB, {spare:.1f} spare" if spare >= 0 else f"{-spare:.1f} GiB too much"
        told.append(f"{made.peak / 2**30:.1f} GiB: {fits}")
    if made.steps:
        told.append(f"{made.steps[0]:,} steps an epoch, {made.steps[1]:,} in all")
    parts = asdict(seconds).items()
    known = ", ".join(f"{name} {value:.3g} s" for name, value in parts if value is not None)
    if known:
        told.append(f"a step at the speeds given: {known}")
    if seconds.step:
        low, high = seconds.step
        slowest, fastest = config.batch_size / high, config.batch_size / low
        told.append(f"{low:.3g} to {high:.3g} s a step, {slowest:,.0f} to {fastest:,.0f} images/s")
        if made.steps:
            hours = made.steps[1] / 3600
            told.append(f"{low * hours:,.1f} to {high * hours:,.1f} hours of {config.epochs} epochs")
    return [*told, command(made, config_file, base or TrainConfig())]


def command(made: "Plan", config_file: str | None, base: TrainConfig) -> str:
    """What starts such a run, on every node."""
    start = ["elasticface"]
    if made.processes > 1:
        start = torchrun(made.per_node, made.processes // made.per_node)
    words = [f"--config {shlex.quote(config_file)}"] if config_file else []
    words.append(f"--batch-size {made.config.batch_size}")
    settings = ((name, getattr(made.config, name)) for name in SETTINGS)
    words += [_option(name, value) for name, value in settings if value != getattr(base, name)]
    words += ["--device cpu"] if made.device == "cpu" else []
    return f"{shlex.join(start)} train DATA --out RUN {' '.join(words)}"


def _option(name: str, value: Any) -> str:
    """A setting as train's command line has it."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {shlex.quote('null' if value is None else str(value))}"


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f}"


def _title(made: "Plan") -> str:
    config = made.config
    nodes = made.processes // made.per_node
    where = f"{made.processes:,} GPUs on {nodes:,} nodes" if made.processes > 1 else "1 GPU"
    if made.device == "cpu":
        where = f"{made.processes:,} processes on CPUs"
    sampled = f", sample rate {config.sample_rate:g}" if config.sample_rate < 1 else ""
    return (
        f"{made.identities:,} identities{sampled}, {config.backbone}, precision {config.precision}, {where}, "
        f"batch {made.images_of_process:,} a process, {config.batch_size:,} in all"
    )
