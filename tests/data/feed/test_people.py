"""Batches of P people with K photos each: whom they hold, how evenly, and that they are a function of their place."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.data.feed.people import PeopleBatchSampler, PhotosByPerson, check_people

# Photos of each identity, some without any.
sets = st.lists(st.integers(0, 7), min_size=2, max_size=12).filter(
    lambda counts: sum(count > 0 for count in counts) > 1
)
seeds = st.integers(0, 2**40)
epochs = st.integers(0, 1000)


def labels_of(counts, seed=0):
    """int64 [N], in a drawn order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def sampler(labels, people, each, seed=0, epoch=0, **place):
    return PeopleBatchSampler(PhotosByPerson(labels), len(labels), people * each, each, seed, epoch, **place)


@given(sets, st.integers(1, 4), seeds, epochs, st.data())
def test_a_batch_is_so_many_people_with_so_many_photos_of_each(counts, each, seed, epoch, data):
    labels = labels_of(counts)
    people = data.draw(st.integers(1, sum(count > 0 for count in counts)))
    batches = list(sampler(labels, people, each, seed, epoch))
    assert len(batches) == max(1, len(labels) // (people * each))  # as many as images fill
    for batch in batches:
        persons = np.array(batch).reshape(people, each)
        assert (labels[persons] == labels[persons[:, :1]]).all()  # a row is one person's
        assert len(set(labels[persons[:, 0]])) == people
        for row in persons:
            times = Counter(row.tolist())
            there = counts[labels[row[0]]]
            assert len(times) == min(each, there)  # different ones, or all there are
            assert max(times.values()) - min(times.values()) <= 1
            assert max(times.values()) == -(-each // there)


@given(sets, st.integers(1, 4), st.integers(1, 6), seeds, epochs)
def test_n_ranks_together_read_what_one_process_reads(counts, each, world_size, seed, epoch):
    labels, people = labels_of(counts), 2
    world_size = min(world_size, people * each)
    ranks = [sampler(labels, people, each, seed, epoch, rank=r, world_size=world_size) for r in range(world_size)]
    together = [list(itertools.chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]
    assert together == list(sampler(labels, people, each, seed, epoch))


def test_a_persons_photos_are_in_one_part_where_the_ranks_divide_the_people():
    labels = labels_of([5] * 8)
    for rank in range(2):
        for part in sampler(labels, 4, 3, rank=rank, world_size=2):
            assert sorted(Counter(labels[part]).values()) == [3, 3]


@given(sets, st.integers(1, 3), seeds, st.integers(0, 50), st.data())
def test_start_step_skips_exactly_that_many_batches(counts, each, seed, epoch, data):
    labels = labels_of(counts)
    whole = list(sampler(labels, 2, each, seed, epoch))
    start = data.draw(st.integers(0, len(whole)))
    rest = sampler(labels, 2, each, seed, epoch, start_step=start)
    assert list(rest) == whole[start:]
    assert len(rest) == len(whole) - start


def test_nobody_comes_again_before_nearly_all_others_have_through_all_epochs():
    counts = [1, 40, 3, 12, 7, 2, 9, 30, 5, 11]  # how many photos there are of someone changes nothing
    labels = labels_of(counts)
    batches = [batch for epoch in range(40) for batch in sampler(labels, 3, 4, epoch=epoch)]
    people = [labels[batch[::4]].tolist() for batch in batches]
    for start in range(0, len(people) - 2, 3):  # an order of ten people is three batches, and one is left out
        assert len(set(itertools.chain.from_iterable(people[start : start + 3]))) == 9
    times = np.bincount(list(itertools.chain.from_iterable(people)), minlength=10)
    rounds = len(people) // 3
    assert rounds * 0.75 < times.min()
    assert times.max() <= rounds + 1


def test_photos_of_a_person_are_drawn_alike():
    labels = labels_of([10, 3])
    batches = [batch for epoch in range(500) for batch in sampler(labels, 2, 4, epoch=epoch)]
    times = np.bincount(np.concatenate(batches), minlength=13)
    assert times.sum() == 8 * len(batches)
    ten = times[labels == 0]  # each in 2 of 5 batches: binomial
    assert (abs(ten - 0.4 * len(batches)) < 5 * np.sqrt(len(batches) * 0.4 * 0.6)).all()


def test_draws_are_keyed_by_seed_and_epoch():
    labels = labels_of([5] * 20)
    found = [list(sampler(labels, 5, 4, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert found[0] == found[3]
    assert found[0] != found[1]
    assert found[0] != found[2]


def test_a_set_smaller_than_a_batch_is_one_batch_with_photos_repeated():
    (batch,) = sampler(labels_of([1, 2, 1]), 3, 4)
    assert len(batch) == 12
    assert set(batch) == {0, 1, 2, 3}


def test_labels_that_cannot_be_written_to_serve():
    labels = labels_of([2, 3])
    labels.setflags(write=False)
    assert len(PhotosByPerson(labels)) == 2


@pytest.mark.parametrize(
    ("people", "each", "place", "message"),
    [
        (4, 2, {}, "a batch of 4 people cannot be drawn from 3"),
        (2, 2, {"rank": 2, "world_size": 2}, "rank"),
        (2, 2, {"start_step": 9}, "start_step"),
        (1, 2, {"world_size": 3}, "batch of 2 images cannot be shared by 3"),
    ],
)
def test_values_out_of_range_are_refused(people, each, place, message):
    with pytest.raises(ValueError, match=message):
        sampler(labels_of([4, 0, 4, 4]), people, each, **place)


@pytest.mark.parametrize("each", [0, 3])
def test_a_batch_that_is_no_whole_number_of_people_is_refused(each):
    labels = labels_of([4, 4])
    with pytest.raises(ValueError, match="must divide 8"):
        PeopleBatchSampler(PhotosByPerson(labels), 8, 8, each, 0, 0)


def test_a_set_without_such_batches_is_refused_and_one_with_few_photos_of_some_says_so(capsys):
    labels = labels_of([4, 0, 2, 1])
    with pytest.raises(InputError, match="nobody in the set has more than 4 images; give at most 4"):
        check_people(labels, 10, 5)
    with pytest.raises(InputError, match="with 4 of each identity needs 4 identities, and 3 have images; give a sm"):
        check_people(labels, 16, 4)
    assert not capsys.readouterr().err
    check_people(labels, 12, 4)
    assert "2 of 3 identities have fewer than 4 images: some of these come more than once" in capsys.readouterr().err
    check_people(labels, 2, 1)
    assert not capsys.readouterr().err
