"""THE loop: photos in, a model folder out. :func:`train` reads from top to bottom, in the order in which things happen.

Every random draw is keyed by the seed and its place in the run (epoch, step, or the head's forward pass), so a resumed
run has the same bits as an unbroken one on the same machine, device and number of processes and threads. N processes
draw the images, flips, augmentations and margins that one would; only dropout, sampled classes (`sample_rate` < 1) and
the parts of `accumulate` depend on N.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import get_args

from torch import Tensor

from elasticface.base import interrupts, progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PairBenchmark
from elasticface.data import Source, require_identities
from elasticface.data.feed.own_augmentation import OwnAugmentation
from elasticface.data.feed.people import check_people
from elasticface.data.joined import AnySet, open_sets, set_names
from elasticface.distributed.agreement import run_in_all
from elasticface.model import FaceEncoder
from elasticface.training import launching, processes
from elasticface.training.batches import batches
from elasticface.training.class_weights import class_weights
from elasticface.training.config import Loss, TrainConfig
from elasticface.training.hooks import Hook, open_validation, standard_hooks
from elasticface.training.processes import World
from elasticface.training.resuming import restore
from elasticface.training.run_folder import RunFolder
from elasticface.training.starting import start_from_init
from elasticface.training.state import TrainState
from elasticface.training.step import (
    check_batch_size,
    clip_gradients,
    forward_backward,
    set_learning_rate_and_margin,
)


def train(
    data: AnySet | list[AnySet],
    out: str | Path,
    config: TrainConfig,
    hooks: Sequence[Hook] = (),
    *,
    resume: bool = False,
    data_changed: bool = False,
    schedule_changed: bool = False,
    resume_command: str | None = None,
) -> FaceEncoder:
    """Train a backbone and its class centres on labelled faces.

    Under torchrun or srun every process calls it. Only the first writes the run folder, except checkpoints, which all
    write together.

    Args:
        data: a source, or what :func:`elasticface.data.open_dataset` opens; or a list of them, which are joined
            (:class:`elasticface.data.joined.JoinedSource`; `merge_identities` in ``config``).
        out: the run folder, which all processes share.
        config: all settings.
        hooks: called with (state, run) after every step (:mod:`elasticface.training.hooks`).
        resume: resume from the newest whole checkpoint in ``out``, or start where there is none.
        data_changed: resume on other data than before; class centres are taken over by the identities' names.
        schedule_changed: resume with another curve of the learning rate than before.
        resume_command: the shell command that messages tell the user to type to resume; by default that of
            `elasticface train`, or, with a source or a loss of your own, which that does not take, what to call.

    Returns:
        The encoder after the last step, which is also in `out/model`.

    Raises:
        InputError: data, settings or a run folder that cannot be used, or a thread that is not the main one.
        Stopped: Ctrl-C, SIGTERM, losses that are not finite, or a process that was lost; the last good state is in the
            newest checkpoint.
    """
    interrupts.require_main_thread()
    if not os.fspath(out):
        raise InputError("the run folder must have a name, got ''")
    out = Path(out)
    sets = data if isinstance(data, list) else [data]
    resume_command = resume_command or _resume_command(sets, out, config)
    with processes.connect(config, resume_command) as world:  # a process that is lost becomes Stopped
        source, weights, augmentation, benchmarks = run_in_all(lambda: _open_and_check(sets, config, world))
        state = TrainState.create(config, source, world)
        with RunFolder(out, config, set_names(sets), source, resume, resume_command) as run:  # locked
            if resume:
                restore(state, run, data_changed=data_changed, schedule_changed=schedule_changed)
            if run.newest is None:  # there was no checkpoint to resume from
                start_from_init(state, run)
            run.start_logging(state)
            _announce(source, config, state)
            with (
                standard_hooks(state, run, config, benchmarks, hooks) as all_hooks,  # progress bar, signal handlers
                closing(batches(source, weights, augmentation, config, state, run)) as all_batches,  # reader processes
            ):
                for batch in all_batches:  # from state.step to state.total_steps; flipped, augmented, on the device
                    set_learning_rate_and_margin(state, config)
                    outcome = forward_backward(state, batch, config)
                    gradient_norm = clip_gradients(state, outcome, config)  # of all gradients, before clipping
                    state.update(outcome, gradient_norm)  # a step of SGD; skipped if one of the two is not finite
                    for hook in all_hooks:  # log, save, validate, the user's own, stop
                        hook(state, run)
            return run.finish(state)


def _open_and_check(
    sets: list[AnySet], config: TrainConfig, world: World
) -> tuple[Source, Tensor | None, OwnAugmentation | None, list[PairBenchmark]]:
    source = open_sets(sets, config.merge_identities)
    require_identities(source)
    check_batch_size(config, len(source), world.size)
    if config.images_per_identity is not None:
        check_people(source.labels, config.batch_size, config.images_per_identity)
    augmentation = OwnAugmentation.find(config.augmentation, config.seed) if config.augmentation else None
    return source, class_weights(config, source), augmentation, open_validation(config)


def _resume_command(sets: list[AnySet], out: Path, config: TrainConfig) -> str:
    if all(isinstance(one, str | Path) for one in sets) and config.loss in get_args(Loss):
        return launching.resume_command(list(map(str, sets)), str(out))
    return "the same call of train(), with resume=True"


def _announce(source: Source, config: TrainConfig, state: TrainState) -> None:
    data = f"{source.num_classes:,} identities, {len(source):,} images"
    shared = f", {state.world.size} processes" if state.world.size > 1 else ""
    progress.say(f"{data}, {config.backbone}, {config.loss}, {state.total_steps:,} steps{shared}")
    if missing := getattr(source, "missing", 0):
        progress.say(f"{missing:,} identities are rendered when they are first read, which makes the first steps slow")
