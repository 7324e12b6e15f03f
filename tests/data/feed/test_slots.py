"""A batch's memory serves for another one when, and only when, nothing looks into it any more."""

import os

import numpy as np
import pytest
import torch

from elasticface.data.feed.batches import epoch_batches
from elasticface.data.feed.sampler import KeyedBatchSampler
from elasticface.data.feed.slots import PER_WORKER, Slots


def filled(slots: Slots, worker: int, value: int, shape: tuple[int, ...] = (2, 3)) -> int:
    claimed = slots.claim(worker, shape)
    assert claimed is not None
    claimed[1][:] = value
    return claimed[0]


def test_a_slot_is_free_again_once_no_view_of_its_batch_is_left() -> None:
    slots = Slots(1, 6)
    for number in range(3 * PER_WORKER):
        batch = slots.batch(filled(slots, 0, number), (2, 3))
        assert batch.tolist() == [[number] * 3] * 2
        view = batch.T[1:]
        del batch
        others = [slots.batch(filled(slots, 0, 99), (2, 3)) for _ in range(PER_WORKER - 1)]
        assert slots.claim(0, (2, 3)) is None  # the view holds one
        assert view.tolist() == [[number] * 2] * 2
        del view, others


def test_workers_have_slots_of_their_own() -> None:
    slots = Slots(3, 6)
    found = [filled(slots, worker, worker) for worker in range(3) for _ in range(PER_WORKER)]
    assert sorted(found) == list(range(3 * PER_WORKER))
    for slot in found:
        assert slots.batch(slot, (6,)).tolist() == [slot // PER_WORKER] * 6


def test_what_is_too_large_has_no_slot() -> None:
    slots = Slots(1, 6)
    assert slots.claim(0, (7,)) is None
    assert slots.claim(0, (6,)) is not None


def test_what_a_forked_process_fills_is_seen() -> None:
    slots = Slots(1, 6)
    process = os.fork()
    if not process:
        filled(slots, 0, 7)
        os._exit(0)
    os.waitpid(process, 0)
    assert slots.batch(0, (6,)).tolist() == [7] * 6


class Coloured:
    """Image i is all of value i mod 251."""

    num_classes, class_names, size = 3, tuple("abc"), 4

    def __init__(self, count: int, side: int = 4) -> None:
        self.labels, self.side = np.arange(count) % 3, side

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((self.side, self.side, 3), index % 251, np.uint8), int(self.labels[index])


@pytest.mark.parametrize("kept", [0, 3, 1000])
@pytest.mark.parametrize("side", [4, 5])  # of which the latter do not fit into the slots
def test_batches_hold_what_they_should_however_many_are_kept(kept: int, side: int) -> None:
    sampler = KeyedBatchSampler(640, 16, 0, 0)
    last: list[tuple[torch.Tensor, list[int]]] = []
    for (images, labels, rows, bad), indices in zip(
        epoch_batches(Coloured(640, side), sampler, 2, False), sampler, strict=True
    ):
        assert (labels.tolist(), rows.tolist(), bad) == ([i % 3 for i in indices], list(range(16)), [])
        assert images.shape == (16, side, side, 3)
        last.append((images[:, 1, 1, 0], indices))
        del images
        last = last[max(0, len(last) - kept - 1) :]
        for values, theirs in last:
            assert values.tolist() == [i % 251 for i in theirs]
