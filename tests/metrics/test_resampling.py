"""The bootstrap over people equals the longhand one, and its intervals hold what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.metrics import binomial_interval, resampling
from elasticface.metrics.resampling import accuracies, compare, draw_people, interval, pair_weights, unit_shares


def made_up(seed: int, people: int = 30, pairs: int = 400, spread: float = 1.5):
    """Pairs, half of them genuine, judged right the more often the easier their people are."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(1.5, spread, people)
    first = rng.integers(0, people, pairs)
    same = np.arange(pairs) < pairs // 2
    second = np.where(same, first, (first + rng.integers(1, people, pairs)) % people)
    right = rng.random(pairs) < 1 / (1 + np.exp(-(ease[first] + ease[second]) / 2))
    return first, second, same, right


def test_each_sample_has_as_many_people_as_there_are():
    counts = draw_people(7, draws=50, seed=3)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert (counts == draw_people(7, draws=50, seed=3)).all()
    assert (counts != draw_people(7, draws=50, seed=4)).any()


@pytest.mark.parametrize("at_a_time", [1, 20, 1 << 17])
def test_draws_do_not_depend_on_how_many_are_made_at_a_time(at_a_time: int, monkeypatch: pytest.MonkeyPatch):
    few = draw_people(7, draws=5, seed=3)
    monkeypatch.setattr(resampling, "_DRAWN_AT_A_TIME", at_a_time)
    counts = draw_people(7, draws=50, seed=3)
    assert (counts[:5] == few).all()
    assert abs(counts.mean(axis=0) - 1).max() < 0.6  # four standard errors


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(10, 40))
def test_accuracies_are_those_of_the_resampled_list_of_pairs(seed: int, people: int):
    first, second, same, right = made_up(seed, people)
    counts = draw_people(people, draws=3, seed=seed)
    found = accuracies(right, same, pair_weights(counts, first, second))
    for row, accuracy in zip(counts, found, strict=True):
        drawn = np.repeat(np.arange(people), row)  # with its repetitions
        hits: dict[bool, list[bool]] = {True: [], False: []}
        for a, b, genuine, good in zip(first, second, same, right, strict=True):
            for one in drawn[drawn == a]:
                # Two copies of one person are no genuine pair: a genuine pair comes once a copy.
                others = [one] if genuine else drawn[drawn == b]
                hits[bool(genuine)] += [bool(good)] * len(others)
        assert accuracy == pytest.approx((np.mean(hits[True]) + np.mean(hits[False])) / 2, abs=1e-12)


def test_one_draw_of_everybody_is_the_accuracy():
    first, second, same, right = made_up(0)
    once = np.ones((1, 30), np.int32)
    assert accuracies(right, same, pair_weights(once, first, second))[0] == pytest.approx(right.mean(), abs=1e-12)


def test_equal_models_differ_by_nothing_in_every_sample():
    first, second, same, right = made_up(1)
    weights = pair_weights(draw_people(30), first, second)
    difference = accuracies(right, same, weights) - accuracies(right.copy(), same, weights)
    assert interval(difference) == (0.0, 0.0)


def test_interval_is_wider_than_that_of_independent_pairs_where_people_differ():
    first, second, same, right = made_up(2, people=20, pairs=4000, spread=3)
    low, high = interval(accuracies(right, same, pair_weights(draw_people(20), first, second)))
    naive_low, naive_high = binomial_interval(int(right.sum()), len(right))
    assert low < right.mean() < high
    assert high - low > 2 * (naive_high - naive_low)


def test_interval_covers_the_truth_at_least_as_often_as_it_says():
    truth = np.mean([made_up(seed)[3].mean() for seed in range(2000, 4000)])
    covered = 0
    for seed in range(200):
        first, second, same, right = made_up(seed)
        weights = pair_weights(draw_people(30, draws=300, seed=seed), first, second)
        low, high = interval(accuracies(right, same, weights))
        covered += low <= truth <= high
    assert covered >= 184  # of 200: 92 %, three standard errors below 95 % and what percentiles lose with 30 people


def test_interval_takes_the_level():
    values = np.linspace(0, 1, 1001)
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert interval(values, 0.5) == pytest.approx((0.25, 0.75))


def test_equal_systems_do_not_differ():
    samples = np.random.default_rng(0).random(100)
    found = compare(0.5, 0.5, samples, samples)
    assert (found.value, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_what_differs_by_rounding_alone_does_not_differ():
    one, other = np.full(99, 0.1) + 0.2, np.full(99, 0.3)
    assert (one > other).all()  # as floats have it
    for first, second in ((one, other), (other, one)):
        found = compare(0.3, 0.3, first, second)
        assert (found.interval, found.p_value) == ((0, 0), 1)


def test_a_system_ahead_in_every_sample_differs_as_clearly_as_samples_can_say():
    samples = np.random.default_rng(0).random(99)
    found = compare(0.7, 0.6, samples + 0.1, samples)
    assert found.value == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.p_value == 2 / 100
    assert compare(0.6, 0.7, samples, samples + 0.1).p_value == 2 / 100


def test_p_value_counts_samples_against_most_and_zero_where_the_interval_ends_there():
    differences = np.array([-1.0] * 3 + [0.0] * 2 + [1.0] * 95)
    assert compare(1, 0, differences, np.zeros(100)).p_value == 2 * (5 + 1) / 101


def test_p_value_is_right_as_often_as_it_says_where_systems_are_equal():
    rejected = 0
    for seed in range(200):
        first, second, same, right = made_up(seed, people=40, spread=0.5)
        other = made_up(seed, people=40, spread=0.5)[3]
        rng = np.random.default_rng([seed, 1])
        # Two systems that are equally good: each is right where a coin of its own says so.
        right, other = right ^ (rng.random(len(right)) < 0.2), other ^ (rng.random(len(right)) < 0.2)
        weights = pair_weights(draw_people(40, draws=200, seed=seed), first, second)
        samples = [accuracies(one, same, weights) for one in (right, other)]
        rejected += compare(right.mean(), other.mean(), *samples).p_value < 0.05
    assert rejected <= 19  # of 200: 5 % and three standard errors; the bootstrap over people errs to the safe side


def test_wrong_arguments_are_refused():
    counts = draw_people(3, draws=2)
    with pytest.raises(ValueError, match="at least 1"):
        draw_people(0)
    with pytest.raises(ValueError, match=r"\[P\]"):
        pair_weights(counts, [0, 1], [0])
    with pytest.raises(ValueError, match="0 to 2"):
        pair_weights(counts, [0, 3], [0, 1])
    with pytest.raises(ValueError, match="disagree"):
        accuracies([1, 0], [True], pair_weights(counts, [0], [0]))
    with pytest.raises(ValueError, match="too few people"):
        accuracies([1, 1], [True, False], np.array([[0, 1]], np.int32))
    with pytest.raises(ValueError, match="level"):
        interval([0.5], 1)
    with pytest.raises(ValueError, match="NaN"):
        interval([0.5, np.nan])
    with pytest.raises(ValueError, match=r"\[R\] with R >= 1"):
        compare(1, 0, [], [])


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 12), st.sampled_from([1, 30, 1 << 22]))
def test_shares_of_units_are_those_of_their_trials(seed: int, number: int, at_a_time: int):
    rng = np.random.default_rng(seed)
    units = np.append(np.arange(number), rng.integers(0, number, 50))
    hits = rng.random((3, len(units))) < 0.6
    counts = draw_people(number, draws=7, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "_AT_A_TIME", at_a_time)
        found = unit_shares(hits, units, counts)
    assert found.shape == (7, 3)
    for row, times in zip(found, counts, strict=True):
        listed = [trial for trial, unit in enumerate(units) for _ in range(times[unit])]
        assert row.tolist() == [int(hits[f, listed].sum()) / len(listed) for f in range(3)]


def test_shares_of_units_refuse_what_does_not_fit():
    counts = draw_people(3, draws=5)
    hits = np.ones((2, 4), bool)
    for units, message in (
        ([0, 1, 2], "shapes disagree"),
        ([0, 1, 2, 3], "units must be 0 to 2"),
        ([0, 1, 2, -1], "units must be 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            unit_shares(hits, units, counts)
    with pytest.raises(ValueError, match="too few people: a resample has nothing to count"):
        unit_shares(hits, [0, 0, 0, 0], np.array([[1, 1, 1], [0, 2, 1]], np.int32))
