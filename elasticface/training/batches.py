"""The batches of a run from ``state.step`` to its end: epochs, their order and damaged images are hidden in here."""

from collections.abc import Generator
from contextlib import closing
from itertools import islice

from elasticface.data import Source
from elasticface.data.feed.batches import Damage, DamagedItems, epoch_batches
from elasticface.data.feed.own_augmentation import OwnAugmentation
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.distributed.agreement import gather_results, run_in_all
from elasticface.training.config import TrainConfig
from elasticface.training.run_files import BAD_ITEMS
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState
from elasticface.training.step import Batch, to_network_input


def batches(
    source: Source, augmentation: OwnAugmentation | None, config: TrainConfig, state: TrainState, run: RunFolder
) -> Generator[Batch, None, None]:
    """This process's share of every batch that remains, one a step, as the network takes it.

    Each is on its way to the device a step ahead: the device finds it there when it has done the step before. Images
    that cannot be read are left out of their batch, counted over all processes and named in the run folder.

    Raises:
        InputError: more images are damaged than ``max_damaged`` allows.
    """
    with closing(_read(source, augmentation, config, state, run)) as read:
        ready = None
        for step, batch in enumerate(read, state.step):
            after = to_network_input(batch, step, state, config)
            if ready is not None:
                yield ready
            ready = after
        if ready is not None:
            yield ready


def _read(
    source: Source, augmentation: OwnAugmentation | None, config: TrainConfig, state: TrainState, run: RunFolder
) -> Generator[Batch, None, None]:
    world, step = state.world, state.step
    damaged = run_in_all(lambda: DamagedItems(run.path / BAD_ITEMS, source, config.max_damaged, world.is_first))
    while step < state.total_steps:
        epoch, start = divmod(step, state.steps_per_epoch)
        sampler = KeyedBatchSampler(
            len(source),
            config.batch_size,
            config.seed,
            epoch,
            start_step=start,
            rank=world.rank,
            world_size=world.size,
            order=getattr(source, "epoch_order", None),
        )
        augment = augmentation.of_epoch(epoch) if augmentation else None
        read = epoch_batches(source, sampler, config.workers, world.device.type == "cuda", augment)
        with closing(read):  # ends its worker processes, whatever happens in the loop
            for images, labels, rows, bad in islice(read, state.total_steps - step):  # a run may end inside an epoch
                counts, bad_counts = zip(*world.gather(len(labels), len(bad)), strict=True)
                if any(bad_counts):
                    _record_damage(damaged, bad)
                yield Batch(images, labels, rows, sampler.images_per_batch, tuple(map(int, counts)))
                step += 1


def _record_damage(damaged: DamagedItems, own: Damage) -> None:
    """Add what any process could not read to the count of every process."""
    damage = [item for part in gather_results(lambda: own) for item in part]
    run_in_all(lambda: damaged.add(damage))
