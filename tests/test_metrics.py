"""Every figure against its definition written out longhand in float64: plain loops, no shortcuts."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface import metrics
from elasticface.metrics import (
    accuracy_from_distances,
    binomial_interval,
    equal_error_rate,
    pool_templates,
    roc,
    tar_at_far,
    verification_accuracy,
)

FARS = [0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]
seeds = st.integers(0, 2**32 - 1)


# Longhand references.


def longhand_accuracy(distances, same, folds):
    """LFW protocol, one pass over the pairs per fold and threshold. Returns accuracies and thresholds, [folds] each."""
    thresholds = np.arange(0, 4, 0.01)
    parts = np.array_split(np.arange(len(same)), folds)  # contiguous, the first ones larger
    accuracies, chosen = [], []
    for test in parts:
        train = np.setdiff1d(np.arange(len(same)), test)
        best, best_threshold = -1.0, None
        for threshold in thresholds:
            accuracy = np.mean((distances[train] < threshold) == same[train])
            if accuracy > best:
                best, best_threshold = accuracy, threshold
        accuracies.append(np.mean((distances[test] < best_threshold) == same[test]))
        chosen.append(best_threshold)
    return np.array(accuracies), np.array(chosen)


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


def longhand_pool(features, templates, media):
    ids = sorted(set(templates.tolist()))
    pooled = []
    for template in ids:
        total = np.zeros(features.shape[1])
        for medium in set(media[templates == template].tolist()):
            total += features[(templates == template) & (media == medium)].astype(np.float64).mean(axis=0)
        pooled.append(total / np.linalg.norm(total))
    return ids, np.array(pooled)


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


# K-fold accuracy.


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(2, 60), st.integers(2, 12), st.sampled_from([None, 100, 20, 1]), st.floats(0, 1))
def test_accuracy_equals_the_double_loop_over_thresholds_and_folds(seed, pairs, folds, levels, share):
    folds = min(folds, pairs)
    rng = np.random.default_rng(seed)
    same = rng.random(pairs) < share
    distances = np.clip(rng.normal(1.5, 0.7, pairs) - 0.6 * same, 0, 4.2)
    if levels is not None:
        distances = np.round(distances * levels) / levels  # on the thresholds themselves, where < and <= differ
    accuracies, thresholds = longhand_accuracy(distances, same, folds)
    result = accuracy_from_distances(distances, same, folds)
    assert result.per_fold == tuple(accuracies)
    assert result.per_fold_thresholds == tuple(thresholds)
    assert result.accuracy == np.mean(accuracies)
    assert result.std == np.std(accuracies)
    assert result.threshold == np.mean(thresholds)
    of_pairs = [t for t, fold in zip(thresholds, np.array_split(distances, folds), strict=True) for _ in fold]
    assert result.accepted.tolist() == [bool(d < t) for d, t in zip(distances, of_pairs, strict=True)]


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(10, 60), st.sampled_from([np.float32, np.float64]))
def test_verification_accuracy_is_accuracy_of_squared_distance_between_unit_embeddings(seed, pairs, dtype):
    rng = np.random.default_rng(seed)
    same = rng.random(pairs) < 0.5
    a = rng.normal(size=(pairs, 8)).astype(dtype)
    b = (rng.normal(size=(pairs, 8)) * rng.uniform(0.1, 30, (pairs, 1)) + 2 * same[:, None] * a).astype(dtype)
    u, v = a.astype(np.float64), b.astype(np.float64)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    accuracies, thresholds = longhand_accuracy(np.sum((u - v) ** 2, axis=1), same, 10)
    result = verification_accuracy(a, b, same)
    assert result.per_fold == tuple(accuracies)
    assert result.threshold == np.mean(thresholds)


def test_accuracy_does_not_depend_on_embedding_lengths():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40, 16))
    same = np.arange(40) % 2 == 0
    assert verification_accuracy(a, b, same) == verification_accuracy(4 * a, b / 2, same)


def test_all_zero_embedding_stays_zero_so_lies_at_distance_one():
    a = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    b = np.array([[0.0, 5.0], [0.0, 5.0], [2.0, 0.0], [2.0, 0.0]])
    result = verification_accuracy(a, b, [False, False, True, True], folds=2)
    assert result == accuracy_from_distances([1.0, 1.0, 0.0, 0.0], [0, 0, 1, 1], folds=2)


def test_fold_takes_first_of_equally_good_thresholds():
    result = accuracy_from_distances(np.array([0.5, 0.5, 3.0, 3.0]), np.array([True, True, False, False]), folds=2)
    # All others different: even threshold 0 is perfect. All others same: 0.51 is the first above 0.5.
    assert result.per_fold_thresholds == (0.0, pytest.approx(0.51))
    assert result.per_fold == (0.0, 1.0)


def test_first_folds_are_one_pair_larger():
    distances, same = np.full(11, 0.5), np.ones(11, dtype=bool)
    same[:2] = False  # wrong in the first fold, which so must hold both
    assert accuracy_from_distances(distances, same).per_fold == (0.0,) + (1.0,) * 9


@pytest.mark.parametrize("label", [True, False])
def test_accuracy_is_defined_for_pairs_of_one_kind(label):
    result = accuracy_from_distances(np.tile([0.5, 1.5, 2.5], 10), np.full(30, label))
    assert (result.accuracy, result.std) == (1.0, 0.0)


def test_accuracy_accepts_lists_and_zero_one_labels():
    result = accuracy_from_distances([0.1, 3.0, 0.2, 3.1], [1, 0, 1, 0], folds=2)
    assert result == accuracy_from_distances(np.array([0.1, 3.0, 0.2, 3.1]), np.array([True, False, True, False]), 2)
    assert type(result.accuracy) is float
    assert all(type(fold) is float for fold in result.per_fold + result.per_fold_thresholds)


# ROC and what is read off it.


@settings(max_examples=80, deadline=None)
@given(scored_pairs())
def test_roc_has_one_point_per_distinct_score(pairs):
    curve = roc(*pairs)
    for got, want in zip((curve.far, curve.tar, curve.thresholds), longhand_roc(*pairs), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.float64


@settings(max_examples=80, deadline=None)
@given(scored_pairs(), st.lists(st.floats(0, 1), max_size=5))
def test_tar_at_most_is_largest_tar_of_any_threshold_within_far(pairs, more):
    scores, same = pairs
    fars = np.array(FARS + more)
    far, tar, _ = longhand_roc(scores, same)
    got = tar_at_far(scores, same, fars)
    np.testing.assert_array_equal(got, [max(tar[far <= target]) for target in fars])
    assert got.dtype == np.float64


@settings(max_examples=150, deadline=None)
@given(scored_pairs(), st.lists(st.floats(0, 1), max_size=5))
def test_tar_nearest_equals_the_scripts_of_the_field(pairs, more):
    scores, same = pairs
    fars = np.array(FARS + more)
    np.testing.assert_array_equal(tar_at_far(scores, same, fars, rule="nearest"), script_tar_at_far(*pairs, fars))


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=80, deadline=None)
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


# Templates.


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 60), st.integers(1, 12), st.integers(1, 5), st.sampled_from([1, 3, 16, 4096]))
def test_pooling_is_mean_over_media_then_sum_then_unit_length(seed, rows, templates, media, block):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 4))
    template_ids, media_ids = rng.integers(-3, templates, rows), rng.integers(0, media, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_POOLING_ROWS", block)
        ids, pooled = pool_templates(features, template_ids, media_ids)
    want_ids, want = longhand_pool(features, template_ids, media_ids)
    assert ids.tolist() == want_ids
    np.testing.assert_allclose(pooled, want, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("given_dtype", "want"), [(np.float32, np.float32), (np.float64, np.float64)])
def test_pooling_keeps_dtype_but_sums_in_float64(given_dtype, want):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(3000, 2)) + 1000).astype(given_dtype)
    templates, media = np.arange(3000) % 2, np.arange(3000) % 3
    _, pooled = pool_templates(features, templates, media)
    assert pooled.dtype == want
    exact = longhand_pool(features, templates, media)[1]
    np.testing.assert_allclose(pooled, exact, rtol=np.finfo(want).eps * 4)


def test_video_counts_as_much_as_a_still():
    features = np.array([[1.0, 0.0]] * 99 + [[0.0, 1.0]])
    media = np.array([7] * 99 + [8])
    _, pooled = pool_templates(features, np.zeros(100, dtype=int), media)
    np.testing.assert_allclose(pooled, [[np.sqrt(0.5), np.sqrt(0.5)]])


def test_template_that_cancels_stays_zero():
    _, pooled = pool_templates(np.array([[1.0, 2.0], [-1.0, -2.0]]), np.array([4, 4]), np.array([0, 1]))
    np.testing.assert_array_equal(pooled, [[0.0, 0.0]])


# Intervals.


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.30849710781876083),  # 1 − 0.025^(1/10)
        (10, 10, 0.6915028921812392, 1.0),
        (5, 10, 0.187086, 0.812914),
        (1, 10, 0.002529, 0.445016),
        (1, 1, 0.025, 1.0),
        (0, 1, 0.0, 0.975),
    ],
)
def test_interval_equals_the_tables(successes, trials, low, high):
    got_low, got_high = binomial_interval(successes, trials)
    digits = 1e-10 if 0 in (successes, trials - successes) else 5e-7
    assert got_low == pytest.approx(low, abs=digits)
    assert got_high == pytest.approx(high, abs=digits)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 120), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_interval_ends_put_half_the_rest_in_the_binomial_tails(trials, share, level):
    successes = round(share * trials)
    low, high = binomial_interval(successes, trials, level)
    assert 0 <= low <= successes / trials <= high <= 1

    def probability(counts, p):
        return sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in counts)

    for end, tail in ((low, range(successes, trials + 1)), (high, range(successes + 1))):
        if 0 < end < 1:
            assert probability(tail, end) == pytest.approx((1 - level) / 2, rel=1e-9)


def test_interval_holds_at_the_size_of_ijb():
    # No accept among n impostors: (1 − p)^n = 0.025, so p = 1 − 0.025^(1/n).
    low, high = binomial_interval(0, 15_638_932)
    assert low == 0.0
    assert high == pytest.approx(-np.expm1(np.log(0.025) / 15_638_932), rel=1e-7)
    low, high = binomial_interval(7_819_466, 15_638_932)
    assert (low + high) / 2 == pytest.approx(0.5, abs=1e-10)
    assert high - low == pytest.approx(2 * 1.959963984540054 * 0.5 / np.sqrt(15_638_932), rel=1e-3)


@pytest.mark.parametrize(("successes", "trials", "level"), [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_interval_refuses_arguments_out_of_range(successes, trials, level):
    with pytest.raises(ValueError, match=r"need trials|level must"):
        binomial_interval(successes, trials, level)


# What is refused.


@pytest.mark.parametrize("figure", [roc, equal_error_rate, lambda scores, same: tar_at_far(scores, same, [0.1])])
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


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_accuracy_refuses_folds_that_cannot_be_filled(folds):
    with pytest.raises(ValueError, match=f"folds must lie in 2..3, the number of pairs; got {folds}"):
        accuracy_from_distances([1.0, 2.0, 3.0], [True, False, True], folds)


def test_accuracy_names_how_many_distances_are_not_finite():
    with pytest.raises(ValueError, match="1 of 3 distances are NaN or inf"):
        accuracy_from_distances([1.0, np.inf, 3.0], [True, False, True], 2)


def test_verification_accuracy_refuses_embeddings_that_do_not_pair_up():
    same = np.array([True, False, True])
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(3, 5\)"):
        verification_accuracy(np.ones((3, 4)), np.ones((3, 5)), same, folds=2)
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        verification_accuracy(np.ones((2, 4)), np.ones((2, 4)), same, folds=2)
    broken = np.ones((3, 4))
    broken[1, 2:] = np.nan
    with pytest.raises(ValueError, match="1 of 3 pairs have an embedding with NaN or inf"):
        verification_accuracy(broken, np.ones((3, 4)), same, folds=2)


def test_pooling_names_what_is_wrong_with_its_input():
    ids = np.array([0, 0, 1])
    broken = np.ones((3, 4))
    broken[0, 0], broken[2, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 3 rows of features hold NaN or inf"):
        pool_templates(broken, ids, ids)
    with pytest.raises(ValueError, match=r"media must hold one id per row of features, \[3\]"):
        pool_templates(np.ones((3, 4)), ids, ids[:2])
    with pytest.raises(ValueError, match="templates must be ints, got float64"):
        pool_templates(np.ones((3, 4)), ids / 1, ids)
    with pytest.raises(ValueError, match="N >= 1"):
        pool_templates(np.ones((0, 4)), ids[:0], ids[:0])
