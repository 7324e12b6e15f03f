"""THE loop: photos in, a model folder out. :func:`train` reads from top to bottom, in the order of the paper.

Everything random is keyed by (seed, step), so a run that was interrupted and resumed has the same bits as one that was
not, on the same machine, device, and number of processes and threads. N processes share each batch: they see the
images, flips and margins that one would.
"""

from collections.abc import Sequence
from pathlib import Path

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import PairBenchmark, open_pairs
from elasticface.data import Source, open_dataset, require_identities
from elasticface.distributed.agreement import in_all
from elasticface.model import FaceEncoder
from elasticface.training import launching, processes
from elasticface.training.batches import batches
from elasticface.training.config import TrainConfig
from elasticface.training.hooks import Hook, standard_hooks
from elasticface.training.processes import World
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState
from elasticface.training.step import LEAST_IMAGES, clip_gradients, forward_backward, prepare, set_learning_rate


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

    Started by torchrun or srun, every process calls it; the first writes the run folder.

    Args:
        data: a source, or what :func:`elasticface.data.open_dataset` opens.
        out: the run folder, which all processes share.
        config: all settings.
        hooks: called with (state, run) after every step (:mod:`elasticface.training.hooks`).
        resume: resume from the newest good checkpoint in ``out``, or start where there is none.
        data_changed: resume on other data than before; class centres are taken over by the identities' names.
        schedule_changed: resume with another curve of the learning rate than before.
        resume_command: what to type to resume a run that was stopped, to be named then; that of `elasticface train`
            unless given.

    Returns:
        The trained encoder, which is also in `out/model`.

    Raises:
        InputError: data, settings or a run folder that cannot be used.
        Stopped: Ctrl-C, SIGTERM, losses that are not finite or another process's end; what was good is in the newest
            checkpoint.
    """
    name, out = data if isinstance(data, str | Path) else type(data).__name__, Path(out)
    command = resume_command or launching.resume_command(str(name), str(out))
    with processes.connect(config, command) as world:
        source, benchmark = in_all(lambda: _open(data, config, world))
        state = TrainState.create(config, source, world)
        with RunFolder(out, config, str(name), source, resume, command) as run:
            if resume:
                run.restore(state, data_changed, schedule_changed)
            run.open(state)
            _say_what_is_trained(source, config, state)
            with standard_hooks(state, run, config, benchmark, hooks) as all_hooks:
                for batch in batches(source, config, state, run):
                    set_learning_rate(state, config)
                    outcome = forward_backward(state, prepare(batch, state, config), config)
                    clip_gradients(state, config)
                    state.update(outcome)
                    for hook in all_hooks:
                        hook(state, run)
            return run.finish(state)


def _open(data: str | Path | Source, config: TrainConfig, world: World) -> tuple[Source, PairBenchmark | None]:
    source = open_dataset(data) if isinstance(data, str | Path) else data
    require_identities(source)
    images = min(config.batch_size, len(source))
    if images // world.size // config.accumulate < LEAST_IMAGES:
        raise InputError(
            f"a batch of {images} images in {config.accumulate} parts for {world.size} processes: each needs "
            f"{LEAST_IMAGES} images a part at least, for a batch norm; give a larger --batch-size, a smaller "
            "--accumulate, or fewer processes"
        )
    return source, open_pairs(config.validate) if config.validate else None


def _say_what_is_trained(source: Source, config: TrainConfig, state: TrainState) -> None:
    shared = f", {state.world.size} processes" if state.world.size > 1 else ""
    sizes = f"{source.num_classes:,} identities, {len(source):,} images"
    what = f"{sizes}, {config.backbone}, {config.loss}, {state.total_steps:,} steps{shared}"
    progress.say(what, state.world.first)
