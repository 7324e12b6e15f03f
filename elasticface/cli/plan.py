"""`elasticface plan`: its options and what it does."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.cli.parser import Parser
from elasticface.cli.settings import CONFIG_HELP, config_file, read_settings
from elasticface.planning.shown import SETTINGS, as_json, lines, tables
from elasticface.training.config import TrainConfig

HELP = "identities, GPUs -> memory, traffic and work of a run"

DESCRIPTION = """What a run would take, before there is a cluster to run it on: memory of each process, traffic, work.

Counted by formulas, which docs/scaling.md explains; the backbone's activations by walking through its very code with
tensors that have no content. Nothing is measured, nothing is downloaded, no GPU is needed. Of train's options those
that are counted are here, of the same names and defaults, and may come from --config as there. Two ways to say the
batch: --batch is of one process, --batch-size, as in train, of all together. Times are given where the speeds are:
--tflops is what a GPU sustains in the backbone, not what its data sheet says.
Ten seconds for two million people: elasticface plan --identities 2000000 --gpus 32 --batch 128 --sample-rate 0.1"""


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("--identities", type=int, required=True, help="how many people the data has")
    parser.add_argument("--gpus", type=int, default=1, help="processes, one a GPU")
    parser.add_argument("--gpus-per-node", type=int | None, default=None, help="of one machine; 8 at most unless given")
    parser.add_argument("--batch", type=int | None, default=None, help="images a step of one process")
    parser.add_argument("--batch-size", type=int | None, default=None, help="images a step of all, as train has it")
    parser.add_argument("--config", type=str | None, default=None, help=CONFIG_HELP)
    others = {setting.name for setting in dataclasses.fields(TrainConfig)} - set(SETTINGS)
    parser.add_class_arguments(TrainConfig, as_group=False, skip=others)
    parser.add_argument("--images", type=int | None, default=None, help="how many the data has: for steps and hours")
    parser.add_argument("--device", type=Literal["cuda", "cpu"], default="cuda", help="what processes compute on")
    parser.add_argument("--memory-gib", type=float | None, default=None, help="of a GPU: does it fit?")
    parser.add_argument("--tflops", type=float | None, default=None, help="of a GPU in the backbone, sustained")
    parser.add_argument(
        "--head-tflops", type=float | None, default=None, help="in the head, which is float32, sustained"
    )
    parser.add_argument("--bandwidth-gbyte", type=float | None, default=None, help="GB/s of a GPU's memory, sustained")
    parser.add_argument("--network-gbit", type=float | None, default=None, help="of a node's network, each direction")
    parser.add_argument("--json", type=str | None, default=None, help="file for all figures")
    parser.settings = _settings


def run(options: Namespace) -> None:
    """Plan, print, and write what there is to be written."""
    from rich.console import Console

    from elasticface.planning.plan import plan

    if options.json:
        if Path(options.json).is_dir():
            raise InputError(f"--json {options.json}: a folder; give the name of a file")
        files.check_writable(Path(options.json).parent, Path(options.json).name)
    made = plan(
        config(options),
        options.identities,
        options.gpus,
        per_node=options.gpus_per_node,
        device=options.device,
        images=options.images,
        tflops=options.tflops,
        head_tflops=options.head_tflops,
        bandwidth_gbyte=options.bandwidth_gbyte,
        network_gbit=options.network_gbit,
    )
    if options.memory_gib is not None and not 0 < options.memory_gib < float("inf"):
        raise InputError(f"--memory-gib must be above 0, got {options.memory_gib}")
    if options.json:
        files.write_json(Path(options.json), as_json(made))
    Console().print(*tables(made), sep="\n")
    print("\n".join(lines(made, options.memory_gib, options.config, TrainConfig(**_settings(options)))))
    if options.json:
        print(options.json)


def _settings(options: Namespace) -> dict[str, Any]:
    """What the file of --config says of the settings that there are here."""
    if options.config is None:
        return {}
    taken = {*SETTINGS} | ({"batch_size"} if options.batch is None else set())
    return {name: value for name, value in read_settings(config_file(options.config)).items() if name in taken}


def config(options: Namespace) -> TrainConfig:
    if (options.batch is None) == (options.batch_size is None):
        raise InputError("give --batch, the images of one process, or --batch-size, those of all; one of the two")
    if options.gpus < 1:
        raise InputError(f"--gpus must be at least 1, got {options.gpus}")
    batch_size = options.batch_size if options.batch is None else options.batch * options.gpus
    return TrainConfig(batch_size=batch_size, **{name: options[name] for name in SETTINGS})
