"""The batches of a run from ``state.step`` to its end: epochs, their order and damaged images are hidden in here."""

from collections.abc import Iterator

from elasticface.data import Source
from elasticface.data.feed.batches import Damage, DamagedItems, epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.distributed.agreement import all_or_raise, gather_results
from elasticface.training.config import TrainConfig
from elasticface.training.run_files import BAD_ITEMS
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState
from elasticface.training.step import Batch


def batches(source: Source, config: TrainConfig, state: TrainState, run: RunFolder) -> Iterator[Batch]:
    """This process's share of every batch, until ``state.step``, which the caller's update moves on, is the last one.

    Images that cannot be read are left out of their batch, counted over all processes and named in the run folder.

    Raises:
        InputError: more images are damaged than ``max_damaged`` allows.
    """
    world = state.world
    damaged = all_or_raise(lambda: DamagedItems(run.path / BAD_ITEMS, source, config.max_damaged, world.is_first))
    while state.step < state.total_steps:
        sampler = KeyedBatchSampler(
            len(source),
            config.batch_size,
            config.seed,
            state.epoch,
            start_step=state.step % state.steps_per_epoch,
            rank=world.rank,
            world_size=world.size,
            order=getattr(source, "epoch_order", None),
        )
        for images, labels, rows, bad in epoch_batches(source, sampler, config.workers, world.device.type == "cuda"):
            counts, bad_counts = zip(*world.gather(len(labels), len(bad)), strict=True)
            if any(bad_counts):
                _record_damage(damaged, bad)
            yield Batch(images, labels, rows, sampler.images_per_batch, tuple(map(int, counts)))
            if state.step == state.total_steps:
                break  # max_steps may end a run inside an epoch: nothing more is to be read


def _record_damage(damaged: DamagedItems, own: Damage) -> None:
    """Add what any process could not read to the count of every process."""
    damage = [item for part in gather_results(lambda: own) for item in part]
    all_or_raise(lambda: damaged.add(damage))
