"""THE loop: photos in, a model folder out. :func:`train` reads from top to bottom, in the order of the paper.

Everything random is keyed by (seed, step), so a run that was interrupted and resumed has the same bits as one that was
not, on the same machine, device, and number of processes and threads. N processes share each batch: they see the
images, flips and margins that one would, as long as a batch is not computed in parts.
"""

from collections.abc import Sequence
from pathlib import Path

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.data import Source, open_dataset, require_identities
from elasticface.distributed.agreement import all_or_raise
from elasticface.model import FaceEncoder
from elasticface.training import launching, processes
from elasticface.training.batches import batches
from elasticface.training.config import TrainConfig
from elasticface.training.hooks import Hook, standard_hooks
from elasticface.training.processes import World
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState
from elasticface.training.step import (
    MIN_IMAGES_PER_PART,
    clip_gradients,
    forward_backward,
    prepare,
    set_learning_rate_and_margin,
)


def train(
    data: str | Path | Source,
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
        data: a source, or what :func:`elasticface.data.open_dataset` opens.
        out: the run folder, which all processes share.
        config: all settings.
        hooks: called with (state, run) after every step (:mod:`elasticface.training.hooks`).
        resume: resume from the newest good checkpoint in ``out``, or start where there is none.
        data_changed: resume on other data than before; class centres are taken over by the identities' names.
        schedule_changed: resume with another curve of the learning rate than before.
        resume_command: the shell command that messages tell the user to type to resume; by default that of
            `elasticface train`.

    Returns:
        The encoder after the last step, which is also in `out/model`.

    Raises:
        InputError: data, settings or a run folder that cannot be used.
        Stopped: Ctrl-C, SIGTERM, losses that are not finite, or a process that was lost; the last good state is in the
            newest checkpoint.
    """
    out = Path(out)
    data_name = str(data) if isinstance(data, str | Path) else f"a {type(data).__name__}"
    resume_command = resume_command or _resume_command(data, out)
    with processes.connect(config, resume_command) as world:  # a process that is lost becomes Stopped
        source, benchmark = all_or_raise(lambda: _open_and_check(data, config, world))
        state = TrainState.create(config, source, world)
        with RunFolder(out, config, data_name, source, resume, resume_command) as run:  # locked
            if resume:
                run.restore(state, data_changed=data_changed, schedule_changed=schedule_changed)
            run.start_logging(state)
            _announce(source, config, state)
            with standard_hooks(state, run, config, benchmark, hooks) as all_hooks:  # progress bar, signal handlers
                for batch in batches(source, config, state, run):  # until state.step is state.total_steps
                    set_learning_rate_and_margin(state, config)
                    outcome = forward_backward(state, prepare(batch, state, config), config)
                    clip_gradients(state, config)  # and measure their norm
                    state.update(outcome)  # the optimizer's step; skipped if loss or gradients are not finite
                    for hook in all_hooks:  # log, save, validate, the user's own, stop
                        hook(state, run)
            return run.finish(state)


def _open_and_check(
    data: str | Path | Source, config: TrainConfig, world: World
) -> tuple[Source, PairBenchmark | None]:
    source = open_dataset(data) if isinstance(data, str | Path) else data
    require_identities(source)
    images = min(config.batch_size, len(source))
    if images // world.size // config.accumulate < MIN_IMAGES_PER_PART:
        raise InputError(
            f"a batch of {images} images in {config.accumulate} parts over {world.size} processes leaves fewer than "
            f"{MIN_IMAGES_PER_PART} images per part, which a batch norm cannot train on; give a larger --batch-size, a "
            "smaller --accumulate, or fewer processes"
        )
    return source, open_pairs(config.validate) if config.validate else None


def _resume_command(data: str | Path | Source, out: Path) -> str:
    if isinstance(data, str | Path):
        return launching.resume_command(str(data), str(out))
    return "the same call of train(), with resume=True"


def _announce(source: Source, config: TrainConfig, state: TrainState) -> None:
    shared = f", {state.world.size} processes" if state.world.size > 1 else ""
    sizes = f"{source.num_classes:,} identities, {len(source):,} images"
    what = f"{sizes}, {config.backbone}, {config.loss}, {state.total_steps:,} steps{shared}"
    progress.say(what, state.world.is_first)
