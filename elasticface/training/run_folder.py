"""The folder of a training run, as the run writes it.

RUN/config.yaml                 all settings
    environment.json            versions, machine, processes
    metrics.jsonl, tensorboard/
    class_weights.csv           those that `class_weights` names, where it names a file
    bad_items.jsonl             images that cannot be read
    checkpoints/                as :mod:`elasticface.model.checkpoint_folder` says
    classes/                    whom the class centres are of, and the centres (:mod:`.classes`), once the run is done
    model/                      likewise; without either, since it is passed on
"""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from elasticface.base import environment, files, progress, records
from elasticface.base.errors import InputError, Stopped
from elasticface.base.locks import locked
from elasticface.data import Source
from elasticface.distributed.agreement import print_only_in_first, process_count, rank, run_in_first
from elasticface.model import Card, FaceEncoder, checkpoint_folder, weights
from elasticface.model.checkpoint_folder import Validation
from elasticface.model.encoder import CARD_FORMAT
from elasticface.model.storing import CARD, WEIGHTS
from elasticface.training import checkpoint, classes
from elasticface.training.class_weights import file_of_weights
from elasticface.training.config import TrainConfig, differences, read_config, to_yaml
from elasticface.training.identities import IDENTITIES, Identities
from elasticface.training.run_files import (
    CHECKPOINTS,
    CLASS_WEIGHTS,
    CLASSES,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    MODEL,
    TENSORBOARD,
    read_metrics,
)
from elasticface.training.state import TrainState


class RunFolder:
    """A run folder that is being written; no two runs write one folder at once.

    Every process of a run has one. Only the first writes, except checkpoints, which all write together.

    Args:
        path: the folder; nothing but a lock is written to it before :meth:`start_logging`.
        config: the settings.
        sets: where the training images are, for the record.
        source: the training images.
        resume: the run that is there is to be resumed. Without it a folder that holds something is refused, with it one
            that holds something else than a run.
        resume_command: what to type to resume the run.

    Raises:
        InputError: a folder in use, or settings that make it another run than the one to resume.
    """

    def __init__(
        self, path: Path, config: TrainConfig, sets: Sequence[str], source: Source, resume: bool, resume_command: str
    ) -> None:
        self.path, self.checkpoints, self.model_path = path, path / CHECKPOINTS, path / MODEL
        self.config, self.identities, self.resume_command = config, Identities.of(source), resume_command
        self.newest: Path | None = None  # the newest whole checkpoint
        self._writing: checkpoint.Writing | None = None
        self._copied_to = checkpoint.memory()
        self._sets, self._keep = list(sets), (config.keep_checkpoints, config.keep_best)
        self._card = Card(
            name=path.resolve().name,
            backbone=config.backbone,
            embedding_size=config.embedding_size,
            options=config.backbone_options(),
            training={
                **_to_pass_on(config),
                "identities": len(self.identities.counts),
                "images": self.identities.images,
            },
        )
        # Made once a run and not per checkpoint: there may be millions of names.
        self._records = {IDENTITIES: asdict(self.identities), CARD: {"format": CARD_FORMAT, **asdict(self._card)}}
        self._board: SummaryWriter | None = None
        self._weights: bytes | None = None  # the file of class weights
        self._to_close = contextlib.ExitStack()
        run_in_first(lambda: self._lock_and_check(resume))

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writing is not None:
            self._writing.settle()
        self._copied_to.close()
        self._to_close.close()

    def start_logging(self, state: TrainState) -> None:
        """Write the settings, and drop log lines after the state's step."""
        if rank() > 0:
            return
        files.remove_temporaries(self.path)  # of a run that was killed; nobody writes here now
        files.write_text(self.path / CONFIG, to_yaml(self.config))
        if self._weights is not None:
            files.write_bytes(self.path / CLASS_WEIGHTS, self._weights)
        data = self._sets if len(self._sets) > 1 else self._sets[0]
        described = {"data": data, "processes": process_count(), **environment.describe()}
        files.write_json(self.path / ENVIRONMENT, described)

        self._keep_lines(lambda line: line["step"] <= state.step)
        self._board = SummaryWriter(self.path / TENSORBOARD, purge_step=state.step + 1)
        self._to_close.callback(self._board.close)

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

    def forget_validation(self, step: int, benchmarks: Collection[str]) -> None:
        """Drop the log lines of these benchmarks at ``step``: they are to be measured again."""
        if rank() == 0:
            self._keep_lines(lambda line: line["step"] != step or line.get("benchmark") not in benchmarks)

    def _keep_lines(self, is_kept: Callable[[dict[str, Any]], bool]) -> None:
        kept = filter(is_kept, read_metrics(self.path))
        files.write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in kept))

    def save(self, state: TrainState) -> None:
        """Begin to save a checkpoint, unless there is one or the last step was skipped: its state is not to be trusted.

        It is written while training goes on; first the one before it is waited for. Collective.
        """
        path = checkpoint_folder.path_of(self.checkpoints, state.step)
        known = self._writing.path if self._writing is not None else self.newest
        if path != known and not state.skipped_in_row:
            self.finish_saving()
            places = (self.checkpoints, state, state.step, *self._keep, self._records)
            self._writing = checkpoint.start(*places, group=state.world.background, copied_to=self._copied_to)

    def finish_saving(self) -> None:
        """Wait until what :meth:`save` began is on the disk, and is :attr:`newest`. Collective.

        Raises:
            Stopped: it could not be written.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self.newest = writing.finish()

    def is_validated_on(self, benchmark: str) -> bool:
        """Whether the newest checkpoint has a validation result of that name."""
        result = checkpoint_folder.validation_of(self.newest) if self.newest is not None else None
        return result is not None and result.benchmark == benchmark

    def add_validation(self, validation: Validation) -> None:
        """Add the result to the newest checkpoint, and see which is the best now. Collective."""
        self.finish_saving()
        if rank() == 0 and self.newest is not None:
            checkpoint_folder.add_validation(self.newest, validation)
            checkpoint_folder.prune(self.checkpoints, self.newest, *self._keep)

    @property
    def newest_in_words(self) -> str:
        """The checkpoint to resume from, for a message."""
        return f"the last good checkpoint is {self.newest}" if self.newest else "there is no checkpoint yet"

    def encoder(self, state: TrainState) -> FaceEncoder:
        """An encoder with the weights as they are, or with their average where the run keeps one."""
        return FaceEncoder(state.network, self._card, state.world.device)

    def finish(self, state: TrainState) -> FaceEncoder:
        """Write the class centres and the model of a run that is done. Collective.

        A model that is there already with the same weights, since the run was done before it was resumed, keeps its
        calibration.

        Raises:
            Stopped: no step of it made an update.
            OSError: they cannot be written.
        """
        if state.step == state.skipped_steps:
            message = (
                f"{self.path}: none of the {state.step} steps made an update, so there is no model to keep: losses or "
                "gradients were not finite, or images could not be read"
            )
            raise print_only_in_first(Stopped(message))
        self.finish_saving()
        classes.write(self.path / CLASSES, self.identities, state.head.weight.detach())
        state.network.eval()
        encoder = self.encoder(state)
        run_in_first(lambda: self._write_model(encoder, state.network))
        progress.say(f"the model is in {self.model_path}")
        return encoder

    def _write_model(self, encoder: FaceEncoder, network: nn.Module) -> None:
        card = self.model_path / CARD
        try:
            calibration = records.read_object(card).get("calibration")
        except InputError:  # missing or damaged
            calibration = None
        if calibration is not None and _holds(self.model_path / WEIGHTS, network):
            files.write_json(card, {**self._records[CARD], "calibration": calibration})
        else:
            encoder.save(self.model_path)

    def _lock_and_check(self, resume: bool) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            config = self.path / CONFIG
            is_run = config.exists() or self.checkpoints.exists()
            if files.holds_something(self.path) and not (resume and is_run):
                told = "; resume it with --resume, or give" if is_run else ", and no run to resume; give"
                raise InputError(f"{self.path}: holds something already{told} another folder")
            if config.exists() and (changed := differences(read_config(config), self.config)):
                raise InputError(
                    f"{self.path}: was started with other settings: {', '.join(changed)}; resume with the same"
                )
            self._weights, kept = file_of_weights(self.config), self.path / CLASS_WEIGHTS
            if self._weights is not None and kept.exists() and files.read_bytes(kept) != self._weights:
                raise InputError(
                    f"{self.path}: was started with other class weights than {self.config.class_weights} has now; "
                    f"those are in {CLASS_WEIGHTS} there: put them back, or remove that file to take the new ones"
                )
            self._to_close = stack.pop_all()


def _holds(file: Path, network: nn.Module) -> bool:
    """Whether the file has the network's weights; of those that layers share it has one copy."""
    try:
        stored = weights.read(file)
    except (InputError, OSError):  # missing or damaged
        return False
    state = network.state_dict()
    return all(
        name in state and state[name].dtype == value.dtype and torch.equal(state[name].cpu(), value)
        for name, value in stored.items()
    )


def _to_pass_on(config: TrainConfig) -> dict[str, Any]:
    """The settings as the card has them: of paths the last part alone, since the model goes to others."""

    def last(value: str) -> str:
        return os.path.basename(os.path.normpath(value))

    told = asdict(config)
    told |= {name: last(told[name]) for name in ("init", "class_weights") if told[name] is not None}
    return told | {"validate": config.validate and list(map(last, config.validate))}
