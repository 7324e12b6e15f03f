"""Settings of a training from a file: a YAML, or a recipe by its name."""

from pathlib import Path
from typing import Any, get_type_hints

from elasticface.base.errors import InputError
from elasticface.cli.values import read
from elasticface.training.config import RECIPES, TrainConfig, read_config

RECIPE_NAMES = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
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
    hints = {**get_type_hints(TrainConfig), "data": str, "out": str, "resume": bool}
    settings = read_config(path)
    for name in settings:
        if name not in hints:
            raise InputError(f"{path}: no setting {name!r}; `elasticface train --help` names them all")
    return {name: read(value, hints[name], f"{path}: {name}") for name, value in settings.items()}
