"""Pairs of which a photo could not be enrolled: accepted by no threshold, and counted in every denominator."""

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elasticface.metrics import equal_error_rate, operating_points, roc, tar_at_far, verification_accuracy
from elasticface.metrics.resampled_roc import equal_error_rates, tars_at_fars
from elasticface.metrics.resampling import CannotDraw, draw_people, pair_weights

FARS = [0.0, 0.01, 0.1, 0.4, 0.9, 1.0]

Bools = NDArray[np.bool_]


def made_up(seed: int, pairs: int = 60, lost: float = 0.3, levels: int | None = None) -> tuple[Any, Bools, Bools]:
    """Scores, which pairs are genuine, and which were enrolled: one of either kind at least."""
    rng = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    scores = rng.normal(size=pairs) + 1.5 * same
    if levels:
        scores = np.round(scores * levels) / levels
    enrolled = rng.random(pairs) >= lost
    enrolled[:2] = True
    return np.where(enrolled, scores, np.nan), same, enrolled  # what is there of the others is not looked at


def longhand_roc(scores: NDArray[Any], same: Bools, enrolled: Bools) -> list[tuple[float, float, float]]:
    """Threshold, FAR and TAR, in float64: a pair is accepted if it was enrolled and its score is >= the threshold."""
    points = []
    for threshold in [math.inf, *sorted({float(score) for score in scores[enrolled]}, reverse=True)]:
        accepted = [bool(there) and float(score) >= threshold for score, there in zip(scores, enrolled, strict=True)]
        far = sum(a and not s for a, s in zip(accepted, same, strict=True)) / int((~same).sum())
        tar = sum(a and bool(s) for a, s in zip(accepted, same, strict=True)) / int(same.sum())
        points.append((threshold, far, tar))
    return points


@settings(max_examples=80)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.sampled_from([None, 1, 4]))
def test_the_roc_is_that_of_the_definition(seed: int, lost: float, levels: int | None) -> None:
    scores, same, enrolled = made_up(seed, lost=lost, levels=levels)
    points = longhand_roc(scores, same, enrolled)
    found = roc(scores, same, enrolled)
    np.testing.assert_array_equal(np.stack([found.thresholds, found.far, found.tar], axis=1), points)
    for far, got in zip(FARS, tar_at_far(scores, same, FARS, enrolled=enrolled), strict=True):
        assert got == max(tar for _, observed, tar in points if observed <= far)
    at = operating_points(scores, same, FARS, enrolled)
    for far, threshold, observed in zip(FARS, at.thresholds, at.far, strict=True):
        assert (threshold, observed) == max(point[:2] for point in points if point[1:] == points_within(points, far))


def points_within(points: list[tuple[float, float, float]], far: float) -> tuple[float, float]:
    """FAR and TAR of the last point within ``far``."""
    return [point[1:] for point in points if point[1] <= far][-1]


def test_with_everybody_accepted_who_was_not_enrolled_still_is_not() -> None:
    scores, same = [0.9, 0.8, 0.1, 0.2], [True, True, False, False]
    assert tar_at_far(scores, same, 1.0, enrolled=[True, False, True, True]) == 0.5
    assert roc(scores, same, [True, True, True, False]).far[-1] == 0.5


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 0.9]))
def test_nearest_is_read_off_the_points_that_there_are(seed: int, lost: float) -> None:
    scores, same, enrolled = made_up(seed, lost=lost)
    points = [(far, tar) for _, far, tar in longhand_roc(scores, same, enrolled)]
    kept = [
        point
        for i, point in enumerate(points)
        if i in (0, 1, len(points) - 1)
        or any(abs(points[i + 1][k] - 2 * point[k] + points[i - 1][k]) > 1e-9 for k in (0, 1))
    ]
    for far, got in zip(FARS, tar_at_far(scores, same, FARS, "nearest", enrolled), strict=True):
        assert got == min(kept, key=lambda point: (abs(point[0] - far), -point[0], -point[1]))[1]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.4, 0.8]))
def test_equal_error_rate_is_where_the_rates_meet_or_nowhere(seed: int, lost: float) -> None:
    scores, same, enrolled = made_up(seed, lost=lost)
    points = [(far, 1 - tar) for _, far, tar in longhand_roc(scores, same, enrolled)]
    found = equal_error_rate(scores, same, enrolled).rate
    crossing = next((k for k in range(1, len(points)) if points[k][0] >= points[k][1]), None)
    if crossing is None:
        assert math.isnan(found)
        return
    (far, frr), (next_far, next_frr) = points[crossing - 1], points[crossing]
    share = (frr - far) / (next_far - far + frr - next_frr)
    assert found == pytest.approx(far + share * (next_far - far), abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 10), st.sampled_from([0.1, 0.5]))
def test_a_fold_is_judged_with_its_failures_by_the_threshold_of_the_others(seed: int, folds: int, lost: float) -> None:
    rng = np.random.default_rng(seed)
    _, same, enrolled = made_up(seed, lost=lost)
    a = rng.normal(size=(len(same), 4))
    b = np.where(same[:, None], a, 0) + rng.normal(size=a.shape)
    result = verification_accuracy(a, b, same, folds, enrolled)
    unit_a, unit_b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (a, b))
    distances = ((unit_a - unit_b) ** 2).sum(axis=1)
    for fold, rows in enumerate(np.array_split(np.arange(len(same)), folds)):
        others = np.setdiff1d(np.arange(len(same)), rows)
        right_at = [
            sum(bool(enrolled[i] and distances[i] < t) == bool(same[i]) for i in others) for t in np.arange(0, 4, 0.01)
        ]
        threshold = np.arange(0, 4, 0.01)[right_at.index(max(right_at))]
        assert result.per_fold_thresholds[fold] == threshold
        right = [bool(enrolled[i] and distances[i] < threshold) == bool(same[i]) for i in rows]
        assert result.per_fold[fold] == sum(right) / len(right)
        assert not result.accepted[~enrolled].any()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([None, 4]))
@example(1271, None)  # error rates that are equal nowhere
def test_a_resample_has_the_figures_of_its_pairs_written_out(seed: int, levels: int | None) -> None:
    people, pairs = 12, 80
    rng = np.random.default_rng(seed)
    scores, same, enrolled = made_up(seed, pairs, 0.2, levels)
    first = rng.integers(0, people, pairs)
    second = np.where(same, first, (first + rng.integers(1, people, pairs)) % people)
    counts = draw_people(people, draws=3, seed=seed)
    resamples = [
        tuple(np.repeat(of, row) for of in (scores, same, enrolled)) for row in pair_weights(counts, first, second)
    ]
    found = tars_at_fars(scores, first, second, FARS, counts, enrolled=enrolled)
    try:
        eers = equal_error_rates(scores, first, second, counts, enrolled)
    except CannotDraw:  # in one of them too many genuine pairs were not enrolled
        assert any(np.isnan(equal_error_rate(*resample).rate) for resample in resamples)
        return
    for number, (listed, kinds, there) in enumerate(resamples):
        np.testing.assert_array_equal(found["at-most"][number], tar_at_far(listed, kinds, FARS, enrolled=there))
        points = [(far, tar) for _, far, tar in longhand_roc(listed, kinds, there)]
        for far, got in zip(FARS, found["nearest"][number], strict=True):
            assert got == min(points, key=lambda point: (abs(point[0] - far), -point[0], -point[1]))[1]
        assert eers[number] == pytest.approx(equal_error_rate(listed, kinds, there).rate, abs=1e-12)


def test_resamples_without_equal_rates_are_said() -> None:
    scores, same, _ = made_up(0, lost=0)
    people = np.arange(60) // 2 % 10
    second = np.where(same, people, (people + 1) % 10)
    enrolled = np.arange(60) < 4
    with pytest.raises(CannotDraw, match="equal nowhere"):
        equal_error_rates(scores, people, second, np.ones((1, 10), np.int32), enrolled)


def test_what_cannot_be_judged_is_refused() -> None:
    figure = sys.modules["elasticface.metrics.roc"].roc
    with pytest.raises(ValueError, match="of 3 pairs none of one kind was enrolled"):
        figure([1.0, 2.0, 3.0], [True, False, True], [True, False, True])
    with pytest.raises(ValueError, match=r"scores and enrolled must both be \[P\]"):
        figure([1.0, 2.0], [True, False], [True])
    with pytest.raises(ValueError, match="1 of 3 scores are NaN or inf"):
        figure([np.nan, 2.0, np.nan], [True, False, True], [True, True, False])
