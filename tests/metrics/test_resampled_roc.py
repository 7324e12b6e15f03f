"""TAR at FAR and equal error rate in a sample are those of its pairs written out one by one."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elasticface.metrics import equal_error_rate, resampled_roc, tar_at_far
from elasticface.metrics.resampled_roc import accepted_shares, equal_error_rates, tars_at_fars
from elasticface.metrics.resampling import draw_people, pair_weights

FARS = [0, 0.01, 0.1, 0.5, 1]

Scored = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def made_up(seed: int, people: int = 30, pairs: int = 120, levels: int | None = None) -> Scored:
    """Scores of pairs, half of them genuine, in steps of 1 / levels or in none; and who is on either side."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, people, pairs)
    same = np.arange(pairs) < pairs // 2
    second = np.where(same, first, (first + rng.integers(1, people, pairs)) % people)
    scores = rng.normal(size=pairs) + 1.5 * same
    if levels:
        scores = np.round(scores * levels) / levels
    return scores.astype(np.float32), first, second, same


def drawn(people: int, draws: int, seed: int, scored: Scored) -> NDArray[np.int32]:
    """Bootstrap resamples with pairs of both kinds: of few people now and then one has none."""
    counts = draw_people(people, draws=draws, seed=seed)
    _, first, second, same = scored
    weights = pair_weights(counts, first, second)
    counts = counts[weights[:, same].any(axis=1) & weights[:, ~same].any(axis=1)]
    assume(len(counts))
    return counts


def longhand_nearest(scores: NDArray[Any], same: NDArray[np.bool_], target: float) -> float:
    """The TAR of the ROC point nearest the target: of equally near ones the highest FAR, of those the highest TAR."""
    points = [
        (float((scores[~same] >= t).mean()), float((scores[same] >= t).mean())) for t in [math.inf, *np.unique(scores)]
    ]
    return min(points, key=lambda point: (abs(point[0] - target), -point[0], -point[1]))[1]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(8, 30), st.sampled_from([None, 1, 4]), st.sampled_from([1, 7, 1024]))
def test_tars_are_those_of_the_resampled_list_of_pairs(seed: int, people: int, levels: int | None, block: int) -> None:
    scored = scores, first, second, same = made_up(seed, people, levels=levels)
    counts = drawn(people, 4, seed, scored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampled_roc, "_BLOCK", block)
        found = tars_at_fars(scores, first, second, FARS, counts)
    for number, row in enumerate(pair_weights(counts, first, second)):
        listed, kinds = np.repeat(scores, row), np.repeat(same, row)
        np.testing.assert_array_equal(found["at-most"][number], tar_at_far(listed, kinds, FARS))
        longhand = [longhand_nearest(listed, kinds, far) for far in FARS]
        np.testing.assert_array_equal(found["nearest"][number], longhand)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(8, 30), st.sampled_from([None, 1, 4]), st.sampled_from([4, 70]))
def test_equal_error_rates_are_those_of_the_resampled_list_of_pairs(
    seed: int, people: int, levels: int | None, draws: int
) -> None:
    scored = scores, first, second, same = made_up(seed, people, levels=levels)
    counts = drawn(people, draws, seed, scored)
    found = equal_error_rates(scores, first, second, counts)
    for rate, row in zip(found, pair_weights(counts, first, second), strict=True):
        assert rate == pytest.approx(equal_error_rate(np.repeat(scores, row), np.repeat(same, row)).rate, abs=1e-12)


def test_one_draw_of_everybody_is_the_figure() -> None:
    scores, first, second, same = made_up(5, pairs=400)
    once = np.ones((1, 30), np.int32)
    found = tars_at_fars(scores, first, second, FARS, once)
    np.testing.assert_array_equal(found["at-most"][0], tar_at_far(scores, same, FARS))
    assert equal_error_rates(scores, first, second, once) == pytest.approx(equal_error_rate(scores, same).rate)


def test_more_samples_than_are_taken_at_once_and_several_threads_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, first, second, _ = made_up(1, people=12, pairs=3000)
    counts = draw_people(12, draws=150)
    whole = tars_at_fars(scores, first, second, FARS, counts)
    monkeypatch.setattr(resampled_roc, "_FEW", 0)
    for start in range(0, 150, 50):
        part = tars_at_fars(scores, first, second, FARS, counts[start : start + 50])
        for rule, tars in part.items():
            np.testing.assert_array_equal(whole[rule][start : start + 50], tars)


def test_people_who_come_often_do_not_overflow() -> None:
    scores, first, second, same = made_up(2, people=8)
    often = np.full((1, 8), 65_535, np.int32)
    found = tars_at_fars(scores, first, second, FARS, often)["at-most"][0]
    np.testing.assert_array_equal(found, tar_at_far(scores, same, FARS))
    with pytest.raises(ValueError, match="65,536 times, more often than 65,535"):
        tars_at_fars(scores, first, second, FARS, often + 1)


@pytest.mark.parametrize("kept", [25, 60])
def test_the_highest_impostors_and_how_many_there_are_will_do(kept: int) -> None:
    scores, first, second, same = made_up(3)
    counts = draw_people(30, draws=20, seed=1)
    totals = pair_weights(counts, first, second)[:, ~same].sum(axis=1)
    highest = np.argsort(-np.where(same, -np.inf, scores))[:kept]
    given = np.append(np.flatnonzero(same), highest)
    few = tars_at_fars(scores[given], first[given], second[given], [0.01, 0.1], counts, impostors=totals)
    for rule, tars in tars_at_fars(scores, first, second, [0.01, 0.1], counts).items():
        np.testing.assert_array_equal(few[rule], tars)
    with pytest.raises(ValueError, match="too few for a FAR"):
        tars_at_fars(scores[given[:63]], first[given[:63]], second[given[:63]], [0.1], counts, impostors=totals)


def test_wrong_arguments_are_refused() -> None:
    counts = draw_people(3, draws=2)
    for rates in (
        tars_at_fars,
        lambda scores, first, second, _, counts: equal_error_rates(scores, first, second, counts),
    ):
        with pytest.raises(ValueError, match="NaN or inf"):
            rates([np.nan, 1], [0, 1], [0, 2], [0.1], counts)
        with pytest.raises(ValueError, match="0 to 2"):
            rates([0.0, 1], [0, 3], [0, 2], [0.1], counts)
        with pytest.raises(ValueError, match=r"\[P\]"):
            rates([0.0, 1], [0], [0, 2], [0.1], counts)
        for same_person in (0, 1):  # only genuine, then only impostor pairs
            with pytest.raises(ValueError, match="too few people"):
                rates([0.0, 1], [0, 0], [same_person] * 2, [0.1], np.ones((1, 3), np.int32))
        with pytest.raises(ValueError, match="too few people"):  # the second sample has not both
            rates([0.0, 1], [0, 1], [0, 2], [0.1], np.array([[1, 1, 1], [0, 3, 0]], np.int32))
    with pytest.raises(ValueError, match="fars must lie"):
        tars_at_fars([0.0, 1], [0, 1], [0, 2], [1.1], counts)
    with pytest.raises(ValueError, match=r"fars must be \[F\]"):
        tars_at_fars([0.0, 1], [0, 1], [0, 2], 0.1, counts)
    with pytest.raises(ValueError, match=r"impostors must be \[2\]"):
        tars_at_fars([0.0, 1], [0, 1], [0, 2], [0.1], counts, impostors=[1])


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(8, 30))
def test_shares_are_those_of_the_resampled_list_of_pairs(seed: int, people: int) -> None:
    scored = _, first, second, same = made_up(seed, people)
    hits = np.random.default_rng(seed).random(len(same)) < 0.7
    counts = drawn(people, 70, seed, scored)
    for of in (same, ~same):
        found = accepted_shares(hits[of], first[of], second[of], counts)
        for share, row in zip(found, pair_weights(counts, first[of], second[of]), strict=True):
            assert share == pytest.approx(np.repeat(hits[of], row).mean(), abs=1e-12)
