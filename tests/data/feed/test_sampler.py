"""Sampler: an epoch's batches are one permutation, cut the same way however many processes read it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.base import keyed
from elasticface.data.feed.sampler import KeyedBatchSampler, epoch_order, steps_per_epoch

sizes = st.integers(1, 200)
seeds = st.integers(0, 2**40)
epochs = st.integers(0, 1000)


@given(sizes, seeds, epochs)
def test_an_epochs_order_is_a_permutation(num_images, seed, epoch):
    order = epoch_order(num_images, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(num_images))


def test_an_epochs_order_is_keyed_by_seed_and_epoch_alone():
    order = epoch_order(1000, 7, 3)
    np.testing.assert_array_equal(order, keyed.generator(7, "order", 3).permutation(1000))
    assert (order != epoch_order(1000, 7, 4)).any()
    assert (order != epoch_order(1000, 8, 3)).any()


@given(sizes, st.integers(1, 50), seeds, epochs)
def test_every_image_comes_at_most_once_an_epoch(num_images, batch_size, seed, epoch):
    batches = list(KeyedBatchSampler(num_images, batch_size, seed, epoch))
    seen = list(itertools.chain.from_iterable(batches))
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(num_images))
    assert len(batches) == steps_per_epoch(num_images, batch_size)
    if num_images >= batch_size:
        assert all(len(batch) == batch_size for batch in batches)
        assert num_images - len(seen) < batch_size
    else:
        assert len(seen) == num_images


@given(st.integers(8, 200), st.integers(8, 50), st.integers(1, 8), seeds, epochs)
def test_n_ranks_together_read_what_one_process_reads(num_images, batch_size, world_size, seed, epoch):
    ranks = [
        KeyedBatchSampler(num_images, batch_size, seed, epoch, rank=r, world_size=world_size) for r in range(world_size)
    ]
    together = [list(itertools.chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]
    assert together == list(KeyedBatchSampler(num_images, batch_size, seed, epoch))


@given(st.integers(8, 200), st.integers(8, 50), st.integers(1, 8))
def test_ranks_share_a_batch_evenly_and_the_first_take_the_odd_ones(num_images, batch_size, world_size):
    shares = [
        {len(part) for part in KeyedBatchSampler(num_images, batch_size, 0, 0, rank=r, world_size=world_size)}
        for r in range(world_size)
    ]
    assert all(len(share) == 1 for share in shares)
    lengths = [share.pop() for share in shares]
    assert lengths == sorted(lengths, reverse=True)
    assert max(lengths) - min(lengths) <= 1


@settings(max_examples=50)
@given(sizes, st.integers(1, 50), seeds, epochs, st.data())
def test_start_step_skips_exactly_that_many_batches(num_images, batch_size, seed, epoch, data):
    whole = list(KeyedBatchSampler(num_images, batch_size, seed, epoch))
    start = data.draw(st.integers(0, len(whole)))
    rest = KeyedBatchSampler(num_images, batch_size, seed, epoch, start_step=start)
    assert list(rest) == whole[start:]
    assert len(rest) == len(whole) - start


def test_a_sampler_gives_the_same_batches_each_time():
    sampler = KeyedBatchSampler(100, 7, 0, 0)
    assert list(sampler) == list(sampler)


def test_indices_are_plain_ints():
    assert all(type(index) is int for batch in KeyedBatchSampler(10, 4, 0, 0) for index in batch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_images": 0}, "num_images"),
        ({"batch_size": 0}, "batch_size"),
        ({"start_step": 11}, "start_step"),
        ({"start_step": -1}, "start_step"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"rank": -1}, "rank"),
        ({"world_size": 0}, "rank"),
        ({"batch_size": 3, "world_size": 4}, "batch of 3 images cannot be shared by 4"),
        ({"num_images": 3, "world_size": 4}, "batch of 3 images cannot be shared by 4"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    arguments = {"num_images": 100, "batch_size": 10, "seed": 0, "epoch": 0} | changes
    with pytest.raises(ValueError, match=message):
        KeyedBatchSampler(**arguments)
