"""Settings of a training from a file: a YAML, or a recipe by its name."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from elasticface.base.errors import InputError
from elasticface.base.values import read
from elasticface.training.config import RECIPES, TrainConfig, read_config

RECIPE_NAMES = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
_OF_THE_COMMAND = {"data": list[str], "out": str, "resume": bool}  # what a YAML may say beside a run's settings
CONFIG_HELP = "YAML of settings, or the name of a recipe"


def config_file(name: str) -> Path:
    """The YAML that ``name`` is, or the recipe that it names.

    Raises:
        InputError: it is neither.
    """
    path, recipe = Path(name), RECIPES / f"{name}.yaml"
    if not path.is_file() and not recipe.is_file():
        raise InputError(f"--config {name}: no such file, and no recipe; there are {RECIPE_NAMES}")
    return path if path.is_file() else recipe


def read_settings(path: Path) -> dict[str, Any]:
    """What a YAML says, read by the settings' types.

    Raises:
        InputError: a name that is no setting of ours, or a wrong value.
    """
    settings, names = read_config(path), {setting.name for setting in fields(TrainConfig)}
    for name in [name for name in settings if name not in names]:
        if name not in _OF_THE_COMMAND:
            raise InputError(f"{path}: no setting {name!r}; `elasticface train --help` names them all")
        settings[name] = read(settings[name], _OF_THE_COMMAND[name], f"{path}: {name}")
    return settings
