"""The folder of a training run: its settings, its metrics as JSON lines and for TensorBoard, its environment."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elasticface.base import environment, files
from elasticface.base.errors import InputError
from elasticface.distributed.agreement import processes
from elasticface.training.config import TrainConfig, differences, read_config, to_yaml

CONFIG, METRICS, ENVIRONMENT, CHECKPOINTS, MODEL = (
    "config.yaml",
    "metrics.jsonl",
    "environment.json",
    "checkpoints",
    "model",
)


class Run:
    """A run folder that is being written.

    Args:
        path: the folder; nothing is written to it before :meth:`open`.
        config: the settings.
        data: where the training images are, for the record.
        resume: go on with what is there. Without it a folder that holds something is refused.

    Raises:
        InputError: a folder in use, or settings that make it another run than the one to resume.
    """

    def __init__(self, path: Path, config: TrainConfig, data: str, resume: bool) -> None:
        self.path, self.checkpoints, self.model = path, path / CHECKPOINTS, path / MODEL
        if files.holds_something(path) and not resume:
            raise InputError(f"{path}: holds something already; go on with it by --resume, or give another folder")
        if (path / CONFIG).exists():
            changed = differences(read_config(path / CONFIG), config)
            if changed:
                raise InputError(f"{path}: was started with other settings: {', '.join(changed)}; resume with the same")
        self._config, self._data = config, data

    def open(self, step: int) -> None:
        """Write down the settings and begin to log; what an interrupted run logged beyond ``step`` steps is dropped."""
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger

        files.remove_temporaries(self.path)  # of a run that was killed; nobody writes here now
        files.write_text(self.path / CONFIG, to_yaml(self._config))
        described = {"data": self._data, "processes": processes(), **environment.describe()}
        files.write_json(self.path / ENVIRONMENT, described)

        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        files.write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
        self._board = TensorBoardLogger(self.path, name="tensorboard", version="", purge_step=step + 1)

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """One line of `metrics.jsonl`; its numbers go to TensorBoard too, under the benchmark's name where one is."""
        path = self.path / METRICS
        try:
            # Closed each time, so that a line that finds no room fails here and not when the program ends.
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **figures}) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        group = figures.get("benchmark", "train")
        numbers = {f"{group}/{name}": value for name, value in figures.items() if isinstance(value, int | float)}
        self._board.log_metrics(numbers, step)

    def close(self) -> None:
        self._board.finalize("success")


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
