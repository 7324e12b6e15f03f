"""The ROC and what is read off it, against counting at every threshold."""

import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticface.metrics import equal_error_rate, operating_points, roc, spread_fars, tar_at_far

rates = sys.modules["elasticface.metrics.roc"]  # the module: the package has the function under its name

FARS = [0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]
seeds = st.integers(0, 2**32 - 1)


def longhand_roc(scores, same):
    """FAR and TAR at +inf and at each distinct score, descending."""
    thresholds = [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    far = [np.mean(scores[~same] >= t) for t in thresholds]
    tar = [np.mean(scores[same] >= t) for t in thresholds]
    return np.array(far), np.array(tar), np.array(thresholds)


def script_tar_at_far(scores, same, fars):
    """What the field's IJB scripts print: roc_curve with its default dropping of points, reversed, nearest FAR."""
    thresholds = sorted(set(scores.tolist()), reverse=True)
    fps = [int(np.sum(scores[~same] >= t)) for t in thresholds]
    tps = [int(np.sum(scores[same] >= t)) for t in thresholds]
    kept = [
        i
        for i in range(len(thresholds))
        if i in (0, len(thresholds) - 1)
        or fps[i + 1] - 2 * fps[i] + fps[i - 1] != 0
        or tps[i + 1] - 2 * tps[i] + tps[i - 1] != 0
    ]
    fpr = np.flipud(np.array([0] + [fps[i] for i in kept]) / fps[-1])
    tpr = np.flipud(np.array([0] + [tps[i] for i in kept]) / tps[-1])
    nearest = [min(zip(abs(fpr - far), range(len(fpr)), strict=True))[1] for far in fars]
    return tpr[nearest]


@st.composite
def scored_pairs(draw):
    """Scores with at least one genuine and one impostor pair: few or many ties, all equal, or all distinct."""
    pairs = draw(st.integers(2, 80))
    rng = np.random.default_rng(draw(seeds))
    same = rng.random(pairs) < draw(st.sampled_from([0.05, 0.3, 0.5, 0.95]))
    mate, impostor = rng.choice(pairs, 2, replace=False)
    same[mate], same[impostor] = True, False
    scores = rng.normal(size=pairs) + same * draw(st.sampled_from([0.0, 1.0, 10.0]))
    levels = draw(st.sampled_from([0, 1, 4, None]))  # per unit of score
    if levels is not None:
        scores = np.round(scores * levels)
    return scores.astype(draw(st.sampled_from([np.float32, np.float64]))), same


@pytest.fixture(params=[1 << 20, 7, 1], ids=["one block", "blocks of 7", "blocks of 1"])
def block(request, monkeypatch):
    """The curve is walked along in blocks of so many pairs."""
    monkeypatch.setattr(rates, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scored_pairs())
def test_roc_has_one_point_per_distinct_score(pairs):
    curve = roc(*pairs)
    np.testing.assert_array_equal(curve.frr, 1 - curve.tar)
    for got, want in zip((curve.far, curve.tar, curve.thresholds), longhand_roc(*pairs), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.float64


@settings(max_examples=80)
@given(scored_pairs(), st.lists(st.floats(0, 1), max_size=5))
def test_tar_at_most_is_largest_tar_of_any_threshold_within_far(pairs, more):
    scores, same = pairs
    fars = np.array(FARS + more)
    far, tar, _ = longhand_roc(scores, same)
    got = tar_at_far(scores, same, fars)
    np.testing.assert_array_equal(got, [max(tar[far <= target]) for target in fars])
    assert got.dtype == np.float64


@pytest.mark.usefixtures("block")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scored_pairs(), st.lists(st.floats(0, 1), max_size=5))
def test_tar_nearest_equals_the_scripts_of_the_field(pairs, more):
    scores, same = pairs
    fars = np.array(FARS + more)
    np.testing.assert_array_equal(tar_at_far(scores, same, fars, rule="nearest"), script_tar_at_far(*pairs, fars))


@settings(max_examples=80)
@given(scored_pairs(), st.lists(st.floats(0, 1), max_size=5))
def test_operating_point_is_the_last_point_of_the_curve_within_far(pairs, more):
    fars = np.array(more or [FARS, FARS[::-1]])
    far, tar, thresholds = longhand_roc(*pairs)
    points = operating_points(*pairs, fars)
    for index in np.ndindex(fars.shape):
        last = np.flatnonzero(far <= fars[index])[-1]
        got = points.far[index], points.tar[index], points.thresholds[index]
        assert got == (far[last], tar[last], thresholds[last])


def test_figures_of_one_pair_of_each_kind():
    scores, same = [0.9, 0.1], [True, False]
    assert tar_at_far(scores, same, [0, 1]).tolist() == [1, 1]
    assert tar_at_far(scores, same, [0, 1], "nearest").tolist() == [1, 1]
    assert tar_at_far(scores, [False, True], [0, 0.99, 1]).tolist() == [0, 0, 1]
    assert operating_points(scores, same, [0, 1]).thresholds.tolist() == [0.9, 0.1]
    assert roc(scores, same).tar.tolist() == [0, 1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_figures_hold_on_many_scores_most_of_them_tied_or_none(dtype):
    rng = np.random.default_rng(0)
    same = rng.random(150_000) < 0.01
    scores = (rng.normal(0, 0.06, len(same)) + 0.2 * same).astype(dtype)
    impostors, mates = np.sort(scores[~same])[::-1], scores[same]
    for far in (1e-5, 1e-4, 1e-2):
        accepted = int(far * len(impostors))
        assert tar_at_far(scores, same, far) == np.mean(mates > impostors[accepted])
    # Ties everywhere: the levels are few enough for the scripts' own way.
    levels = np.round(scores, 3)
    np.testing.assert_array_equal(tar_at_far(levels, same, FARS, "nearest"), script_tar_at_far(levels, same, FARS))


@settings(max_examples=30)
@given(seeds, st.integers(1, 40), st.integers(1, 40))
def test_tar_at_most_holds_on_targets_that_are_observed_fars(seed, mates, impostors):
    rng = np.random.default_rng(seed)
    same = np.arange(mates + impostors) < mates
    scores = rng.normal(size=len(same))
    ranked = np.sort(scores[~same])[::-1]
    for accepted in range(impostors):
        # All genuine scores above the first impostor that the target has no room for.
        want = np.mean(scores[same] > ranked[accepted])
        assert tar_at_far(scores, same, accepted / impostors) == want


def test_nearest_skips_points_inside_a_run_of_impostors():
    scores = np.arange(12.0)[::-1]
    same = np.array([True] + [False] * 10 + [True])
    # Each of the FARs 0, .1, … 1 is observed, but the points between the run's ends lie on a straight line.
    assert tar_at_far(scores, same, 0.4, "nearest") == 0.5
    np.testing.assert_array_equal(tar_at_far(scores, same, [0.4, 0.6], "nearest"), [0.5, 1.0])
    np.testing.assert_array_equal(tar_at_far(scores, same, [0.4, 0.6], "at-most"), [0.5, 0.5])


def test_nearest_prefers_higher_far_of_two_equally_near():
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    same = np.array([True, False, True, False, True])
    assert tar_at_far(scores, same, 0.25, "nearest") == 2 / 3  # FAR 0 and 0.5 are as near


def test_tar_is_zero_where_best_impostor_ties_with_best_genuine():
    assert tar_at_far([1.0, 1.0, 0.0], [True, False, False], 0.1) == 0.0


@pytest.mark.parametrize("rule", ["at-most", "nearest"])
@pytest.mark.parametrize("fars", [0.1, [0.1, 0.2], [[0.1, 0.2, 0.3]], []])
def test_tar_has_the_shape_of_fars(rule, fars):
    got = tar_at_far([3.0, 2.0, 1.0], [True, False, True], fars, rule)
    assert got.shape == np.shape(fars)
    assert got.dtype == np.float64


@settings(max_examples=80)
@given(scored_pairs())
def test_equal_error_rate_is_the_crossing_of_far_and_frr_on_the_interpolated_roc(pairs):
    far, tar, thresholds = longhand_roc(*pairs)
    frr = 1 - tar
    for k in range(1, len(far)):
        rise, fall = far[k] - far[k - 1], frr[k - 1] - frr[k]
        share = (frr[k - 1] - far[k - 1]) / (rise + fall)
        if share <= 1 + 1e-9:
            break
    result = equal_error_rate(*pairs)
    assert result.rate == pytest.approx(far[k - 1] + share * rise, abs=1e-12)
    assert result.rate == pytest.approx(frr[k - 1] - share * fall, abs=1e-12)
    want = thresholds[k] if k == 1 else thresholds[k - 1] + share * (thresholds[k] - thresholds[k - 1])
    assert result.threshold == pytest.approx(want, abs=1e-9)


def test_equal_error_rate_of_separated_scores_is_zero_at_lowest_genuine_score():
    result = equal_error_rate([0.9, 0.8, 0.7, 0.1, 0.2], [True, True, True, False, False])
    assert (result.rate, result.threshold) == (0.0, 0.7)


def test_equal_error_rate_of_all_equal_scores_is_half():
    result = equal_error_rate([0.3] * 5, [True, True, False, False, False])
    assert (result.rate, result.threshold) == (0.5, 0.3)


def test_equal_error_rate_of_all_impostors_above_is_one():
    assert equal_error_rate([3.0, 1.0], [False, True]).rate == 1.0


@pytest.mark.parametrize(
    "figure",
    [
        roc,
        equal_error_rate,
        lambda scores, same: tar_at_far(scores, same, [0.1]),
        lambda scores, same: tar_at_far(scores, same, [0.1], "nearest"),
        lambda scores, same: operating_points(scores, same, [0.1]),
    ],
)
def test_roc_figures_name_what_is_wrong_with_the_pairs(figure):
    with pytest.raises(ValueError, match="no genuine pair among 3"):
        figure([1.0, 2.0, 3.0], [False] * 3)
    with pytest.raises(ValueError, match="no impostor pair among 3"):
        figure([1.0, 2.0, 3.0], [True] * 3)
    with pytest.raises(ValueError, match="no genuine pair among 0"):
        figure([], [])
    with pytest.raises(ValueError, match="2 of 3 scores are NaN or inf"):
        figure([np.nan, 2.0, -np.inf], [True, False, True])
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        figure([1.0, 2.0], [True, False, True])
    with pytest.raises(ValueError, match="0 and 1 alone"):
        figure([1.0, 2.0], [1, -1])


@pytest.mark.parametrize("fars", [-0.1, [0.1, 1.5], [np.nan]])
def test_tar_refuses_a_target_that_is_no_rate(fars):
    with pytest.raises(ValueError, match="fars must lie in"):
        tar_at_far([1.0, 2.0], [True, False], fars)


def test_tar_refuses_an_unknown_rule():
    with pytest.raises(ValueError, match="closest"):
        tar_at_far([1.0, 2.0], [True, False], [0.1], rule="closest")


@pytest.mark.parametrize(("impostors", "points"), [(1, 5), (7, 500), (3000, 500), (15_638_932, 500)])
def test_spread_fars_are_counts_of_impostors_from_none_to_all(impostors: int, points: int) -> None:
    fars = spread_fars(impostors, points)
    counts = fars * impostors
    assert len(fars) <= points
    assert (fars[0], fars[-1]) == (0, 1)
    assert (np.diff(fars) > 0).all()
    np.testing.assert_allclose(counts, counts.round(), atol=1e-6)
