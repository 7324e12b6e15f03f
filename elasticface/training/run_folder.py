"""The folder of a training run, as the run writes it.

RUN/config.yaml                 all settings
    environment.json            versions, machine, processes
    metrics.jsonl, tensorboard/
    bad_items.jsonl             images that cannot be read
    checkpoints/                as :mod:`.checkpoint_folder` says
    model/                      once the run is done
"""

import contextlib
import json
import os
import time
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
from elasticface.distributed.agreement import broadcast_result, print_only_in_first, processes, rank
from elasticface.model import Card, FaceEncoder
from elasticface.training import checkpoint, checkpoint_folder
from elasticface.training.checkpoint_folder import Validation
from elasticface.training.config import TrainConfig, differences, read_config, to_yaml
from elasticface.training.identities import IDENTITIES, ByName, Identities
from elasticface.training.run_files import (
    BAD_ITEMS,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    MODEL,
    TENSORBOARD,
    read_metrics,
)
from elasticface.training.state import TrainState

_COMPARED_STEPS = 100  # at which two curves of the learning rate are compared


class RunFolder:
    """A run folder that is being written; no two runs write one folder at once.

    Every process of a run has one. Only the first writes, except checkpoints, which all write together.

    Args:
        path: the folder; nothing but a lock is written to it before :meth:`start_logging`.
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
        self._records = {IDENTITIES: asdict(self._identities)}  # once: there may be millions of names
        self._board: SummaryWriter | None = None
        self._open = contextlib.ExitStack()
        broadcast_result(lambda: self._lock_and_check(resume))

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def restore(self, state: TrainState, data_changed: bool = False, schedule_changed: bool = False) -> None:
        """Load the newest whole checkpoint, where there is one. Collective.

        Args:
            state: of this run, as it is created.
            data_changed: allow other data than before; class centres are then matched by the identities' names.
            schedule_changed: allow another curve of the learning rate than before.

        Raises:
            InputError: other data without ``data_changed``, or another curve without ``schedule_changed``.
        """
        self.newest = checkpoint.newest(self.checkpoints, progress.say)
        if self.newest is None:
            return
        newest = self.newest
        before = broadcast_result(lambda: Identities.of_checkpoint(newest))
        difference = before.first_difference(self._identities)
        if difference is not None and not data_changed:
            message = (
                f"{self.path}: was trained on other data: {difference}. Resume with the same data, or give "
                "--data-changed, which matches class centres by name"
            )
            raise print_only_in_first(InputError(message))
        checkpoint.load(self.newest, ByName(state, before.names, self._identities.names) if difference else state)
        per_epoch = steps_per_epoch(before.images, self._config.batch_size)
        change = broadcast_result(lambda: self._change_of_schedule(state, per_epoch))
        if change is not None and not (schedule_changed or difference):
            message = (
                f"{self.path}: {change}. Resume with the same --epochs and --max-steps, or give --schedule-changed"
            )
            raise print_only_in_first(InputError(message))
        if difference is not None:
            broadcast_result(self._set_bad_items_aside)
            progress.say(f"the data have changed: {difference}", state.world.is_first)
        if change is not None:
            progress.say(change, state.world.is_first)
        progress.say(f"resuming after step {state.step}", state.world.is_first)

    def start_logging(self, state: TrainState) -> None:
        """Write the settings, and drop log lines after the state's step.

        The validation line of that very step is dropped, too, where its checkpoint has no figure yet: the model will be
        validated again.
        """
        if rank() > 0:
            return
        files.remove_temporaries(self.path)  # of a run that was killed; nobody writes here now
        files.write_text(self.path / CONFIG, to_yaml(self._config))
        described = {"data": self._data, "processes": processes(), **environment.describe()}
        files.write_json(self.path / ENVIRONMENT, described)

        def is_kept(line: dict[str, Any]) -> bool:
            validated_again = line["step"] == state.step and "benchmark" in line and not self.is_validated
            return line["step"] <= state.step and not validated_again

        kept = filter(is_kept, read_metrics(self.path))
        files.write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
        self._board = SummaryWriter(self.path / TENSORBOARD, purge_step=state.step + 1)
        self._open.callback(self._board.close)

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """One line of `metrics.jsonl`; its numbers go to TensorBoard too, under the benchmark's name where one is."""
        if rank() > 0:
            return
        assert self._board is not None, "log() comes after start_logging()"
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
        """Save a checkpoint, unless there is one or the last step was skipped: such a state is not to be trusted.

        Collective.
        """
        path = checkpoint_folder.path_of(self.checkpoints, state.step)
        if path != self.newest and not state.skipped_in_row:
            config = self._config
            self.newest = checkpoint.save(
                self.checkpoints,
                state,
                state.step,
                config.keep_checkpoints,
                config.keep_best,
                self._records,
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
        """The checkpoint to resume from, for a message."""
        return f"the last good checkpoint is {self.newest}" if self.newest else "there is no checkpoint yet"

    def encoder(self, state: TrainState) -> FaceEncoder:
        """An encoder with the weights as they are."""
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
            message = (
                f"{self.path}: none of the {state.step} steps made an update, so there is no model to keep: losses or "
                "gradients were not finite, or images could not be read"
            )
            raise print_only_in_first(Stopped(message))
        state.backbone.eval()
        encoder = self.encoder(state)
        broadcast_result(lambda: encoder.save(self.model))
        progress.say(f"the model is in {self.model}", state.world.is_first)
        return encoder

    def _lock_and_check(self, resume: bool) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            if files.holds_something(self.path) and not resume:
                raise InputError(
                    f"{self.path}: holds something already; resume it with --resume, or give another folder"
                )
            config = self.path / CONFIG
            if config.exists() and (changed := differences(read_config(config), self._config)):
                raise InputError(
                    f"{self.path}: was started with other settings: {', '.join(changed)}; resume with the same"
                )
            self._open = stack.pop_all()

    def _set_bad_items_aside(self) -> None:
        """The numbers in it are those of images of the data before."""
        listed = self.path / BAD_ITEMS
        if listed.exists():
            os.replace(listed, listed.with_name(f"bad_items.before-{time.time_ns()}.jsonl"))

    def _change_of_schedule(self, state: TrainState, per_epoch: int) -> str | None:
        """In words, the first step compared whose learning rate would not be what `config.yaml` has planned."""
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
