"""`elasticface select`: the paper's choice of m and σ, on one's own faces and benchmarks."""

import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.cli.parser import Parser
from elasticface.cli.settings import CONFIG_HELP, RECIPE_NAMES, config_file, read_settings
from elasticface.training.config import TrainConfig
from elasticface.training.launching import launch_command

HELP = "faces, values of m and σ -> which to train with"

DESCRIPTION = f"""Choose m and σ of an elastic loss as the ElasticFace paper does (section 4.1), on faces of your own.

First every m of --margins is trained with its margin fixed (arcface for an elastic-arc loss, cosface for an
elastic-cos), then with the best of them every σ of --stds with --loss. Each of these candidates is trained with the
seeds 0 to --seeds less 1, and each run judged once, at its end, on the benchmarks of pairs of --validate. On a
benchmark, by accuracies averaged over the seeds, the best of n candidates gets n - 1 points and the last none; those
that tie share the mean of their places. The highest sum (Borda count) is chosen; of equal sums the higher mean
accuracy, then the smaller value. The fixed margin stands beside as σ = 0, and it is said whether the differences are
more than chance.

That takes (values of m + values of σ) x seeds trainings: choose on a smaller set with a smaller network than the one
to be used in the end, as the paper does (iresnet50 on CASIA-WebFace, --config casia-iresnet50). Settings come from
--config and from the options below, as of train; margin, std and seed of a recipe are not used. Recipes:
{RECIPE_NAMES}.

OUT gets report.html, select.json with all figures, chosen.yaml for train --config, and a run folder each in runs/, of
which settings, logs and the model stay (--keep). The same command resumes it when it was stopped, and with more
values or seeds it adds to it.

  elasticface select faces --out choice --config casia-iresnet50 --loss elastic-arc+ --margins 0.45,0.5,0.55
      --stds 0.0125,0.015,0.0175,0.025,0.05 --seeds 3 --validate lfw.bin,agedb_30.bin,cfp_fp.bin"""

ElasticLoss = Literal["elastic-arc", "elastic-cos", "elastic-arc+", "elastic-cos+"]

# Of train's settings, without those that the grid gives, that are of other losses, or of validations in between.
_NOT_HERE = {
    *("margin", "std", "seed"),
    *("h", "t_alpha", "l_a", "u_a", "l_margin", "u_margin", "lambda_g", "centres_per_class"),
    *("best_by", "validate_every", "keep_best"),
}
SETTINGS = [setting.name for setting in fields(TrainConfig) if setting.name not in _NOT_HERE]


def add_options(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("data", nargs="+", type=str, help="what train takes: folders, RecordIO, shards, synthetic:…")
    parser.add_argument("--out", type=str, required=True, help="folder for everything")
    parser.add_argument(
        "--loss", type=ElasticLoss, default="elastic-arc+", help="whose m and σ; m is chosen with the margin fixed"
    )
    parser.add_argument(
        "--margins", type=list[float], required=True, help="values of m: radians for arc, cosine for cos"
    )
    parser.add_argument("--stds", type=list[float], required=True, help="values of σ, above 0; 0 is always compared")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each candidate")
    parser.add_argument(
        "--keep",
        type=Literal["model", "all", "figures"],
        default="model",
        help="of a run that is done: its model, all with checkpoints and class centres, or its settings and logs alone",
    )
    parser.add_argument("--config", type=str | None, default=None, help=CONFIG_HELP)
    parser.add_class_arguments(TrainConfig, as_group=False, skip={"loss", *_NOT_HERE})
    parser.settings = _settings


def run(options: Namespace) -> None:
    """Select, and print what came of it."""
    config = TrainConfig(**{name: options[name] for name in SETTINGS})
    files.check_writable(Path(options.out))
    from elasticface.selection.record import Grid
    from elasticface.selection.selecting import select
    from elasticface.training.processes import read_launch

    resume_command = shlex.join([*launch_command(os.environ), *sys.argv[1:]])
    grid = Grid(options.margins, options.stds, options.seeds)
    selection = select(options.data, options.out, config, grid, keep=options.keep, resume_command=resume_command)
    if read_launch(os.environ).rank > 0:
        return
    from rich.console import Console

    from elasticface.selection.shown import remarks, tables

    console = Console()
    for stage, table in zip((selection.of_margin, selection.of_std), tables(selection), strict=True):
        console.print(table)
        print(*remarks(stage), "", sep="\n")
    print(f"The report: {selection.report.resolve().as_uri()}")
    print(f"Train with the chosen values: {selection.command}")


def _settings(options: Namespace) -> dict[str, Any]:
    """What the file of --config says of the settings that there are here."""
    if not options.config:
        return {}
    found = read_settings(config_file(options.config))
    return {name: value for name, value in found.items() if name in SETTINGS}
