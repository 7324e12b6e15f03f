"""What a run folder holds, and how its metrics are read. Importing this brings no torch."""

import contextlib
from pathlib import Path
from typing import Any

from elasticface.base import files, records
from elasticface.base.errors import InputError

CONFIG, ENVIRONMENT, METRICS = "config.yaml", "environment.json", "metrics.jsonl"
BAD_ITEMS, CLASS_WEIGHTS, TENSORBOARD = "bad_items.jsonl", "class_weights.csv", "tensorboard"
CHECKPOINTS, CLASSES, MODEL = "checkpoints", "classes", "model"

_MOST_METRICS_BYTES = 1 << 32


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; damaged ones, such as a last one that a kill cut short, are left out."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = []
    for line in files.read_text(path, most=_MOST_METRICS_BYTES).splitlines():
        with contextlib.suppress(InputError):
            lines.append(records.parse_object(line, METRICS))
    return lines
