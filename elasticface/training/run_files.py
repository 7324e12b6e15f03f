"""What a run folder holds, and how its metrics are read. Importing this brings no torch."""

from pathlib import Path
from typing import Any

from elasticface.base import records

CONFIG, ENVIRONMENT, METRICS = "config.yaml", "environment.json", "metrics.jsonl"
BAD_ITEMS, CLASS_WEIGHTS, TENSORBOARD = "bad_items.jsonl", "class_weights.csv", "tensorboard"
CHECKPOINTS, CLASSES, MODEL = "checkpoints", "classes", "model"

_MOST_METRICS_BYTES = 1 << 32


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; damaged ones, such as a last one that a kill cut short, are left out."""
    path = run / METRICS
    lines = records.read_lines(path, _MOST_METRICS_BYTES) if path.exists() else ()
    return [line for line in lines if isinstance(line.get("step"), int)]
