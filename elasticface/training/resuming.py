"""The newest whole checkpoint of a run is loaded; other data or another schedule than before are refused or named."""

import os
import time
from dataclasses import asdict

import numpy as np

from elasticface.base import progress
from elasticface.base.errors import InputError, first_line
from elasticface.data.feed.sampler import steps_per_epoch
from elasticface.distributed.agreement import print_only_in_first, run_in_first
from elasticface.model import checkpoint_folder
from elasticface.training import checkpoint
from elasticface.training.config import TrainConfig, read_config
from elasticface.training.identities import ByName, Identities
from elasticface.training.run_files import BAD_ITEMS, CHECKPOINTS, CONFIG
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

_COMPARED_STEPS = 100  # at which two curves of the learning rate are compared


def restore(state: TrainState, run: RunFolder, data_changed: bool, schedule_changed: bool) -> None:
    """Load the newest whole checkpoint, where there is one; a run that was stopped before its first begins. Collective.

    Args:
        state: of this run, as it is created.
        run: its folder, before logging is started.
        data_changed: allow other data than before; class centres are then matched by the identities' names, which must
            be names that people gave, or of the same population.
        schedule_changed: allow another curve of the learning rate than before.

    Raises:
        InputError: other data without ``data_changed``, or with names that tell nothing of who was in the data before;
            another curve without ``schedule_changed``; a model without the checkpoints that it came from; fewer steps
            in all than are done.
    """
    newest = run.newest = checkpoint.newest(run.checkpoints, progress.say)
    if newest is None:
        run_in_first(lambda: _require_unfinished(run))
        return
    before = run_in_first(lambda: Identities.of_checkpoint(newest))
    difference = before.first_difference(run.identities)
    if difference is not None and not data_changed:
        message = (
            f"{run.path}: was trained on other data: {difference}. Resume with the same data, or give "
            "--data-changed, which matches class centres by name"
        )
        raise print_only_in_first(InputError(message))
    if difference is not None and before.population != run.identities.population:
        message = (
            f"{run.path}: was trained on other data: {difference}; their identities cannot be matched, since the names "
            "are numbers, or people of another seed. Train into another folder, with --init for the backbone"
        )
        raise print_only_in_first(InputError(message))
    checkpoint.load(newest, ByName(state, before.names, run.identities.names) if difference else state)
    if state.step > state.total_steps or (difference and state.step == state.total_steps):
        message = (
            f"{run.path}: step {state.step:,} is done, and the run would have {state.total_steps:,} in all; give more "
            "--epochs or --max-steps"
        )
        raise print_only_in_first(InputError(message))
    change = run_in_first(
        lambda: _change_of_schedule(state, run, steps_per_epoch(before.images, run.config.batch_size))
    )
    if change is not None and not (schedule_changed or difference):
        message = f"{run.path}: {change}. Resume with the same --epochs and --max-steps, or give --schedule-changed"
        raise print_only_in_first(InputError(message))
    if difference is not None:
        run_in_first(lambda: _set_bad_items_aside(run))
        progress.say(f"the data have changed: {difference}")
    if change is not None:
        progress.say(change)
    progress.say(f"resuming after step {state.step}")


def _require_unfinished(run: RunFolder) -> None:
    """Refuse to begin a run anew that is done, and whose checkpoints were removed. With damaged ones it begins anew."""
    if run.model_path.exists() and not checkpoint_folder.newest_first(run.checkpoints):
        raise InputError(
            f"{run.path}: holds a model and no checkpoint to resume from; put its {CHECKPOINTS}/ back, or train into "
            f"another folder, with --init {run.path} for the backbone"
        )


def _set_bad_items_aside(run: RunFolder) -> None:
    """The numbers in that file are those of images of the data before."""
    path = run.path / BAD_ITEMS
    if path.exists():
        os.replace(path, path.with_name(f"bad_items.before-{time.time_ns()}.jsonl"))


def _change_of_schedule(state: TrainState, run: RunFolder, per_epoch: int) -> str | None:
    """A sentence on the first compared step whose learning rate is not the one planned in config.yaml; None if none.

    ``per_epoch`` are the steps that an epoch had when that was written.
    """
    stored = read_config(run.path / CONFIG)
    try:
        before = TrainConfig(**{name: stored[name] for name in asdict(run.config) if name in stored})
    except InputError as error:
        raise InputError(f"{run.path / CONFIG}: damaged: {first_line(error)}; put back the one of the run") from error
    ends = before.total_steps(per_epoch), state.total_steps
    for step in np.linspace(state.step, max(state.step, min(ends) - 1), _COMPARED_STEPS, dtype=int).tolist():
        planned = before.learning_rate(step, per_epoch)
        now = run.config.learning_rate(step, state.steps_per_epoch)
        if planned != now:
            return (
                f"the learning rate of step {step:,} was to be {planned:.3g} and would be {now:.3g}: "
                f"{ends[0]:,} steps in all were planned, and now {ends[1]:,}"
            )
    return None
