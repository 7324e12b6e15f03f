"""`elasticface train`: its options, the files that settings come from, and the start of a run."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from elasticface.base import files
from elasticface.cli.parser import Parser
from elasticface.cli.settings import CONFIG_HELP, RECIPE_NAMES, config_file, read_settings
from elasticface.training.config import TrainConfig, to_yaml
from elasticface.training.run_files import CONFIG

HELP = "faces -> a trained model"

DESCRIPTION = f"""Train a model on aligned faces of labelled people, or on synthetic ones.

DATA is a folder of identity folders (<identity>/<image>); a folder with train.rec and train.idx, as MS1MV2, Glint360K
and CASIA-WebFace are passed on; a folder of WebDataset shards, or a pattern such as faces-{{000000..000579}}.tar; or
synthetic:identities=500,images=16 for faces rendered as they are read. Several sets are joined: identities of different
sets are different people, unless --merge-identities says that equal names are the same ones.
Settings come from --config, a YAML or the name of a recipe, and from the options below, which go over it. Recipes:
{RECIPE_NAMES}.
RUN gets config.yaml, metrics.jsonl, checkpoints/ and model/. --resume resumes a run that was stopped, bit for bit; it
needs no settings then, the run folder has them."""


def add_options(parser: Parser) -> None:
    """What the command takes: --config, --resume, …, and every setting of a run."""
    parser.add_argument(
        "data", nargs="+", type=str, help="folders of identity folders, RecordIO, shards, or synthetic:…; one or more"
    )
    parser.add_argument("--out", type=str, required=True, help="the run folder")
    parser.add_argument("--config", type=str | None, default=None, help=CONFIG_HELP)
    parser.add_argument("--resume", action="store_true", help="resume from the newest good checkpoint in RUN")
    parser.add_argument(
        "--data-changed", action="store_true", help="resume on other data; class centres are taken over by name"
    )
    parser.add_argument(
        "--schedule-changed", action="store_true", help="resume though the learning rate takes another curve"
    )
    parser.add_argument("--print-config", action="store_true", help="print the settings as a YAML, and do not train")
    parser.add_class_arguments(TrainConfig, as_group=False)
    parser.settings = _settings


def run(options: Namespace) -> None:
    """Train."""
    config = TrainConfig(**{setting.name: options[setting.name] for setting in fields(TrainConfig)})
    if options.print_config:
        print(to_yaml(config), end="")
        return
    files.check_writable(Path(options.out))
    from elasticface.training.loop import train

    train(
        options.data,
        options.out,
        config,
        resume=options.resume,
        data_changed=options.data_changed,
        schedule_changed=options.schedule_changed,
    )


def _settings(options: Namespace) -> dict[str, Any]:
    """What the file of --config says, or, without it, that of the run to resume."""
    if options.config:
        path = config_file(options.config)
    elif options.resume and options.out and (Path(options.out) / CONFIG).is_file():
        path = Path(options.out) / CONFIG
    else:
        return {}
    return read_settings(path)
