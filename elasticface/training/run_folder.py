"""The folder of a training run, as the run writes it.

RUN/config.yaml                 all settings
    environment.json            versions, machine, processes
    classes/identities.json     whom it is trained on
    metrics.jsonl, tensorboard/
    bad_items.jsonl             images that cannot be read
    checkpoints/                as :mod:`.checkpoint_folder` says
    model/                      once the run is done
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from elasticface.base import environment, files, progress
from elasticface.base.errors import InputError, Stopped
from elasticface.base.locks import locked
from elasticface.data import Source
from elasticface.data.feed.sampler import steps_per_epoch
from elasticface.distributed.agreement import from_first, processes, rank
from elasticface.model import Card, FaceEncoder
from elasticface.training import checkpoint, checkpoint_folder
from elasticface.training.checkpoint_folder import Validation
from elasticface.training.config import TrainConfig, differences, read_config, to_yaml
from elasticface.training.identities import ByName, Identities
from elasticface.training.run_files import (
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    IDENTITIES,
    METRICS,
    MODEL,
    TENSORBOARD,
    read_metrics,
)
from elasticface.training.state import TrainState

_COMPARED_STEPS = 100  # of two curves of the learning rate


class RunFolder:
    """A run folder that is being written; no two runs write one folder at once.

    All processes of a run have one. The first alone writes, but checkpoints, which all of them write together.

    Args:
        path: the folder; nothing of the run is written to it before :meth:`open`.
        config: the settings.
        data: where the training images are, for the record.
        source: the training images.
        resume: the run that is there is to be resumed. Without it a folder that holds something is refused.
        resume_command: what to type to resume the run.

    Raises:
        InputError: a folder in use, or settings that make it another run than the one to resume.
    """

    def __init__(
        self, path: Path, config: TrainConfig, data: str, source: Source, resume: bool, resume_command: str
    ) -> None:
        self.path, self.checkpoints, self.model = path, path / CHECKPOINTS, path / MODEL
        self.resume_command = resume_command
        self.newest: Path | None = None  # the newest good checkpoint
        self._config, self._data, self._source = config, data, source
        self._identities = Identities.of(source)
        self._board: SummaryWriter | None = None
        self._open = contextlib.ExitStack()
        from_first(lambda: self._claim(resume))

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def restore(self, state: TrainState, data_changed: bool = False, schedule_changed: bool = False) -> None:
        """Load the newest whole checkpoint, where there is one. Collective.

        Args:
            state: of this run, as it is created.
            data_changed: the data may be another than the run was started with; class centres are then taken over by
                the identities' names.
            schedule_changed: the learning rate may follow another curve than before.

        Raises:
            InputError: other data, or another curve of the learning rate, without the word for it.
        """
        self.newest = checkpoint.newest(self.checkpoints, progress.say)
        if self.newest is None:
            return
        before = from_first(lambda: Identities.load(self.path / IDENTITIES))
        difference = before.first_difference(self._identities)
        if difference is not None and not data_changed:
            raise InputError(
                f"{self.path}: was trained on other data: {difference}. Resume with the same data, or give "
                "--data-changed, which takes the class centres over by name"
            )
        checkpoint.load(self.newest, ByName(state, before.names, self._identities.names) if difference else state)
        per_epoch = steps_per_epoch(before.images, self._config.batch_size)
        change = from_first(lambda: self._change_of_schedule(state, per_epoch))
        if change is not None and not (schedule_changed or difference):
            raise InputError(
                f"{self.path}: {change}. Resume with the same --epochs and --max-steps, or give --schedule-changed"
            )
        for told in (difference and f"the data are others than before: {difference}", change):
            if told:
                progress.say(told, state.world.first)
        progress.say(f"resuming after step {state.step}", state.world.first)

    def open(self, state: TrainState) -> None:
        """Write down the settings and begin to log; what an interrupted run logged beyond the state's step is dropped.

        Of that step the line of its validation is dropped, too, where the checkpoint does not have the figure yet.
        """
        if rank() > 0:
            return
        files.remove_temporaries(self.path)  # of a run that was killed; nobody writes here now
        files.write_text(self.path / CONFIG, to_yaml(self._config))
        described = {"data": self._data, "processes": processes(), **environment.describe()}
        files.write_json(self.path / ENVIRONMENT, described)
        self._identities.save(self.path / IDENTITIES)

        def stays(line: dict[str, Any]) -> bool:
            pending = line["step"] == state.step and "benchmark" in line and not self.is_validated
            return line["step"] <= state.step and not pending

        kept = filter(stays, read_metrics(self.path))
        files.write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
        self._board = SummaryWriter(self.path / TENSORBOARD, purge_step=state.step + 1)
        self._open.callback(self._board.close)

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """One line of `metrics.jsonl`; its numbers go to TensorBoard too, under the benchmark's name where one is."""
        if rank() > 0:
            return
        assert self._board is not None, "the run folder is not open"
        path = self.path / METRICS
        try:
            # Closed each time, so that a line that finds no room fails here and not when the program ends.
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **figures}) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        group = figures.get("benchmark", "train")
        for name, value in figures.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{group}/{name}", value, step)

    def save(self, state: TrainState) -> None:
        """A checkpoint of the state, unless there is one, or its last steps were skipped and it is doubtful.

        Collective.
        """
        path = checkpoint_folder.path_of(self.checkpoints, state.step)
        if path != self.newest and not state.skipped_in_row:
            config = self._config
            self.newest = checkpoint.save(
                self.checkpoints, state, state.step, config.keep_checkpoints, config.keep_best
            )

    @property
    def is_validated(self) -> bool:
        """Whether the newest checkpoint has its figure."""
        return self.newest is not None and checkpoint_folder.validation_of(self.newest) is not None

    def note_validation(self, validation: Validation) -> None:
        """Put the figure into the newest checkpoint, and see which is the best now."""
        if rank() == 0 and self.newest is not None:
            checkpoint_folder.note(self.newest, validation)
            config = self._config
            checkpoint_folder.prune(self.checkpoints, self.newest, config.keep_checkpoints, config.keep_best)

    @property
    def newest_in_words(self) -> str:
        """What there is to go on from, for a message."""
        return f"the last good checkpoint is {self.newest}" if self.newest else "there is no checkpoint yet"

    def encoder(self, state: TrainState) -> FaceEncoder:
        """The model as it is."""
        card = Card(
            name=self.path.resolve().name,
            backbone=self._config.backbone,
            embedding_size=self._config.embedding_size,
            options=self._config.backbone_options(),
            training={
                **asdict(self._config),
                "identities": self._source.num_classes,
                "images": len(self._source),
            },
        )
        return FaceEncoder(state.backbone, card, state.world.device)

    def finish(self, state: TrainState) -> FaceEncoder:
        """Write the model of a run that is done. Collective.

        Raises:
            Stopped: no step of it made an update.
        """
        if state.step == state.skipped_steps:
            raise Stopped(
                f"{self.path}: none of the {state.step} steps made an update, so there is no model to keep: losses or "
                "gradients were not finite, or images could not be read"
            )
        state.backbone.eval()
        encoder = self.encoder(state)
        from_first(lambda: encoder.save(self.model))
        progress.say(f"the model is in {self.model}", state.world.first)
        return encoder

    def _claim(self, resume: bool) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            if files.holds_something(self.path) and not resume:
                raise InputError(
                    f"{self.path}: holds something already; resume it with --resume, or give another folder"
                )
            changed = differences(read_config(config), self._config) if (config := self.path / CONFIG).exists() else []
            if changed:
                raise InputError(
                    f"{self.path}: was started with other settings: {', '.join(changed)}; resume with the same"
                )
            self._open = stack.pop_all()

    def _change_of_schedule(self, state: TrainState, per_epoch: int) -> str | None:
        """Where the learning rate of what is to come is not that of the run so far, in words."""
        stored = read_config(self.path / CONFIG)
        before = TrainConfig(**{name: stored[name] for name in asdict(self._config) if name in stored})
        ends = before.total_steps(per_epoch), state.total_steps
        for step in np.linspace(state.step, max(state.step, min(ends) - 1), _COMPARED_STEPS, dtype=int).tolist():
            rates = before.learning_rate(step, per_epoch), self._config.learning_rate(step, state.steps_per_epoch)
            if rates[0] != rates[1]:
                return (
                    f"the learning rate of step {step:,} was to be {rates[0]:.3g} and would be {rates[1]:.3g}: "
                    f"{ends[0]:,} steps in all were planned, and now {ends[1]:,}"
                )
        return None
