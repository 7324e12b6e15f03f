"""What a run folder holds, and how its metrics are read. Importing this brings no torch."""

import json
from pathlib import Path
from typing import Any

from elasticface.base import files

CONFIG, ENVIRONMENT, METRICS = "config.yaml", "environment.json", "metrics.jsonl"
BAD_ITEMS, CLASS_WEIGHTS, TENSORBOARD = "bad_items.jsonl", "class_weights.csv", "tensorboard"
CHECKPOINTS, CLASSES, MODEL = "checkpoints", "classes", "model"

_MOST_METRICS_BYTES = 1 << 32


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; a last line that a kill cut short is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = []
    for line in files.read_text(path, most=_MOST_METRICS_BYTES).splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
