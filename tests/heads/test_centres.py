"""elasticface.heads.centres: start values of one process and of many, and the sample of a step."""

import math
from collections import Counter
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from elasticface.heads import centres


@settings(max_examples=200)
@given(st.data(), st.integers(1, 3000), st.sampled_from([16, 64, 1 << 20]))
def test_own_numbers_are_those_that_one_normal_draws(data, total, at_once):
    start = data.draw(st.integers(0, total))
    own = slice(start, data.draw(st.integers(start, total)))
    torch.manual_seed(7)
    expected, after = torch.empty(total).normal_(std=0.01), torch.rand(1)
    torch.manual_seed(7)
    with mock.patch.object(centres, "_DRAWN_AT_ONCE", at_once):
        assert torch.equal(centres._normal(total, 0.01, own), expected[own])
    assert torch.equal(torch.rand(1), after)


def test_one_process_starts_with_torchs_own_normal():
    torch.manual_seed(1)
    weight = centres.initial(9, 4, 0.3, None)
    torch.manual_seed(1)
    assert torch.equal(weight, nn.init.normal_(torch.empty(9, 4), std=0.3))


@settings(max_examples=200)
@given(st.data(), st.integers(0, 60), st.integers(0, 60), st.floats(1e-6, 1, exclude_min=True))
def test_a_sample_is_all_positives_here_and_a_share_of_the_rest(data, before, length, rate):
    after = data.draw(st.integers(0, 60))
    classes = max(before + length + after, 1)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=30)))
    rows = centres.sampled(labels, slice(before, before + length), rate, (3, 1), 5).tolist()
    positives = {int(label) - before for label in labels if before <= label < before + length}
    assert rows == sorted(set(rows))
    assert positives <= set(rows) <= set(range(length))
    assert len(rows) == len(positives) + math.ceil(rate * (length - len(positives)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_every_negative_is_as_likely_as_any_other(rate):
    classes, steps, labels = 40, 2000, torch.tensor([3, 17, 17, 39])
    times = torch.zeros(classes)
    for step in range(steps):
        times[centres.sampled(labels, slice(0, classes), rate, (step,), 0)] += 1
    assert (times[labels] == steps).all()
    negatives = times[[c for c in range(classes) if c not in (3, 17, 39)]] / steps
    share = math.ceil(rate * 37) / 37
    # Five standard errors of a share of 2000 draws, for 37 classes.
    assert (negatives - share).abs().max() < 5 * math.sqrt(share * (1 - share) / steps)


@pytest.mark.parametrize(
    ("classes", "positives", "rate"),
    [(6, [2], 0.4), (6, [], 0.5), (6, [2], 0.6), (5, [4], 0.75), (9, [0, 2, 3, 5], 0.3), (9, [1, 2, 4, 5, 7], 0.5)],
)
def test_every_set_of_negatives_is_as_likely_as_any_other(classes, positives, rate):
    steps, labels = 3000, torch.tensor(positives, dtype=torch.int64)
    sets = Counter(
        tuple(centres.sampled(labels, slice(0, classes), rate, (step,), 0).tolist()) for step in range(steps)
    )
    others = classes - len(positives)
    share = 1 / math.comb(others, math.ceil(rate * others))
    assert len(sets) == 1 / share
    assert all(abs(times / steps - share) < 5 * math.sqrt(share * (1 - share) / steps) for times in sets.values())


@pytest.mark.parametrize("changed", [{"position": (4, 1)}, {"position": (3, 2)}, {"seed": 6}], ids=str)
def test_a_sample_belongs_to_seed_step_and_process(changed):
    labels, own = torch.tensor([1]), slice(0, 100)
    key = {"position": (3, 1), "seed": 5}
    rows = centres.sampled(labels, own, 0.3, **key)
    assert torch.equal(centres.sampled(labels, own, 0.3, **key), rows)
    assert not torch.equal(centres.sampled(labels, own, 0.3, **(key | changed)), rows)
