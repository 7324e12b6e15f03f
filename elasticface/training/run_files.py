"""What a run folder holds, and how its settings and metrics are read. Importing this brings no torch."""

import json
from pathlib import Path
from typing import Any

from elasticface.base.errors import InputError

CONFIG, METRICS, ENVIRONMENT, CHECKPOINTS, MODEL = (
    "config.yaml",
    "metrics.jsonl",
    "environment.json",
    "checkpoints",
    "model",
)
IDENTITIES, BAD_ITEMS, TENSORBOARD = Path("classes", "identities.json"), "bad_items.jsonl", "tensorboard"


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a `config.yaml`.

    Raises:
        InputError: not a YAML of settings.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a list of settings")
    return content


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; a last line that a kill cut short is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = []
    for line in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
