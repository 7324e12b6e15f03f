"""The batches of a run, from the step that is next to the last one: epochs, order and damaged images are in here."""

from collections.abc import Iterator

from elasticface.data import Source
from elasticface.data.feed.batches import Damage, DamagedItems, epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.distributed.agreement import from_all, in_all
from elasticface.training.config import TrainConfig
from elasticface.training.run_files import BAD_ITEMS
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState
from elasticface.training.step import Batch


def batches(source: Source, config: TrainConfig, state: TrainState, run: RunFolder) -> Iterator[Batch]:
    """This process's share of every batch, until ``state.step``, which the caller moves on, is the run's last.

    Images that cannot be read are left out of their batch, counted over all processes and named in the run folder.

    Raises:
        InputError: more images are damaged than ``max_damaged`` allows.
    """
    world = state.world
    damaged = in_all(lambda: DamagedItems(run.path / BAD_ITEMS, len(source), config.max_damaged, world.first))
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
                _note(damaged, bad)
            yield Batch(images, labels, rows, sampler.images_per_batch, tuple(map(int, counts)))
            if state.step == state.total_steps:
                break


def _note(damaged: DamagedItems, own: Damage) -> None:
    """What any process could not read goes into the count of all of them."""
    everyones = [item for part in from_all(lambda: own) for item in part]
    in_all(lambda: damaged.add(everyones))
