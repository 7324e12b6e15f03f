"""Pooling and scoring of templates against plain loops in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.metrics import kernels, pair_scores, pool_templates, template_rows
from elasticface.metrics import templates as rooms

seeds = st.integers(0, 2**32 - 1)


def longhand_pool(features, templates, media, mirrored=None, detector_scores=None, keep_norms=True):
    ids = sorted(set(templates.tolist()))
    pooled = []
    for template in ids:
        total = np.zeros(features.shape[1])
        for medium in set(media[templates == template].tolist()):
            images = []
            for row in np.flatnonzero((templates == template) & (media == medium)):
                image = features[row].astype(np.float64)
                if mirrored is not None:
                    image = image + mirrored[row].astype(np.float64)
                if not keep_norms:
                    image = image / np.linalg.norm(image)
                if detector_scores is not None:
                    image = image * float(detector_scores[row])
                images.append(image)
            total += np.mean(images, axis=0)
        pooled.append(total / np.linalg.norm(total))
    return ids, np.array(pooled)


@settings(max_examples=50)
@given(
    seeds,
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
)
def test_pooling_is_mean_over_media_then_sum_then_unit_length(
    seed, rows, templates, media, mirror, detector, keep_norms, dtype
):
    rng = np.random.default_rng(seed)
    features, mirrored = rng.normal(size=(2, rows, 4)).astype(dtype)
    template_ids, media_ids = rng.integers(-3, templates, rows), rng.integers(0, media, rows)
    detector_scores = rng.uniform(0.1, 1, rows).astype(np.float32)
    options = {"mirrored": mirrored} if mirror else {}
    options |= {"detector_scores": detector_scores} if detector else {}
    want_ids, want = longhand_pool(features, template_ids, media_ids, keep_norms=keep_norms, **options)
    if mirror:
        options["mirrored_features"] = options.pop("mirrored")
    ids, pooled = pool_templates(features, template_ids, media_ids, keep_norms=keep_norms, **options)
    assert ids.tolist() == want_ids
    assert pooled.dtype == dtype
    np.testing.assert_allclose(pooled, want, rtol=0, atol=1e-11 if dtype == np.float64 else 1e-7)


def test_pooling_does_not_depend_on_the_number_of_threads(monkeypatch):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(500, 16)).astype(np.float32)
    templates, media = rng.integers(0, 40, 500), rng.integers(0, 90, 500)
    found = []
    for count in (1, 2, 7, 600):
        monkeypatch.setattr(kernels, "threads", lambda count=count: count)
        found.append(pool_templates(features, templates, media)[1])
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_longer_features_count_for_more_unless_norms_are_removed():
    features, ids = np.array([[3.0, 0.0], [0.0, 1.0]]), np.zeros(2, dtype=int)
    kept = pool_templates(features, ids, [0, 1])[1]
    removed = pool_templates(features, ids, [0, 1], keep_norms=False)[1]
    np.testing.assert_allclose(kept, [[3 / np.sqrt(10), 1 / np.sqrt(10)]])
    np.testing.assert_allclose(removed, [[np.sqrt(0.5), np.sqrt(0.5)]])


def test_a_zero_feature_adds_nothing_where_norms_are_removed():
    pooled = pool_templates(np.array([[0.0, 0.0], [0.0, 2.0]]), [5, 5], [0, 0], keep_norms=False)[1]
    np.testing.assert_array_equal(pooled, [[0.0, 1.0]])


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
    with pytest.raises(ValueError, match="1 of 3 rows of mirrored_features hold NaN or inf"):
        pool_templates(np.ones((3, 2)), ids, ids, mirrored_features=np.array([[0, 1], [1, np.nan], [1, 1]]))
    with pytest.raises(ValueError, match=r"mirrored_features must be of the features' shape \(3, 4\)"):
        pool_templates(np.ones((3, 4)), ids, ids, mirrored_features=np.ones((3, 5)))
    with pytest.raises(ValueError, match="2 of 3 detector_scores are negative, NaN or inf"):
        pool_templates(np.ones((3, 4)), ids, ids, detector_scores=[0.5, -1, np.nan])
    with pytest.raises(ValueError, match="detector_scores must hold one per row"):
        pool_templates(np.ones((3, 4)), ids, ids, detector_scores=[0.5])


@pytest.mark.parametrize("keep_norms", [True, False])
def test_pooling_finds_nan_whatever_the_options(keep_norms):
    features = np.ones((4, 3), np.float32)
    features[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 4 rows of features"):
        pool_templates(features, [0, 0, 1, 1], [0, 1, 0, 0], keep_norms=keep_norms, detector_scores=[0, 0, 0, 0])


# Scores of listed pairs.


@settings(max_examples=50)
@given(seeds, st.integers(1, 40), st.integers(1, 200), st.integers(0, 50), st.sampled_from([64, 1 << 12, 1 << 20]))
def test_pair_scores_are_dot_products_in_the_order_of_the_list(seed, templates, size, pairs, block_bytes):
    rng = np.random.default_rng(seed)
    for dtype in (np.float32, np.float64):
        rows = rng.normal(size=(templates, size)).astype(dtype)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        first, second = rng.integers(0, templates, (2, pairs))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rooms, "_BLOCK_BYTES", block_bytes)
            scores = pair_scores(rows, first, second)
        want = [
            sum(float(x) * float(y) for x, y in zip(rows[a], rows[b], strict=True))
            for a, b in zip(first, second, strict=True)
        ]
        assert scores.dtype == dtype
        # 2⁻²⁴ a rounding, of terms that sum up to 1 at most, in a tree of some ten levels.
        np.testing.assert_allclose(scores, np.array(want), rtol=0, atol=10 * np.finfo(dtype).eps)


def test_a_score_depends_on_its_two_vectors_alone(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 100)).astype(np.float32)
    rows[20:] = rows[:10]  # equal templates
    first, second = rng.integers(0, 20, (2, 400))
    scores = pair_scores(rows, first, second)
    np.testing.assert_array_equal(pair_scores(rows, second, first), scores)
    shuffled = rng.permutation(400)
    np.testing.assert_array_equal(pair_scores(rows, first[shuffled], second[shuffled]), scores[shuffled])
    twins = np.where(first < 10, first + 20, first)
    np.testing.assert_array_equal(pair_scores(rows, twins, second), scores)
    for count in (1, 3, 1000):
        monkeypatch.setattr(kernels, "threads", lambda count=count: count)
        np.testing.assert_array_equal(pair_scores(rows, first, second), scores)


def test_pair_scores_of_integers_are_exact():
    rng = np.random.default_rng(1)
    rows = rng.integers(-9, 10, (50, 130))
    first, second = rng.integers(0, 50, (2, 300))
    for dtype in (np.float32, np.float64, np.int64):
        scores = pair_scores(rows.astype(dtype), first, second)
        np.testing.assert_array_equal(scores, (rows[first] * rows[second]).sum(axis=1))


def test_pair_scores_name_what_is_wrong_with_their_input():
    rows = np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match="second must be rows 0 to 2 of templates, got 0 to 3"):
        pair_scores(rows, [0, 1], [0, 3])
    with pytest.raises(ValueError, match="first must be rows 0 to 2 of templates, got -1 to 0"):
        pair_scores(rows, [0, -1], [0, 1])
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(1,\)"):
        pair_scores(rows, [0, 1], [0])
    with pytest.raises(ValueError, match="first must be ints, got float64"):
        pair_scores(rows, [0.0], [0])
    with pytest.raises(ValueError, match="1 of 3 rows of templates hold NaN or inf"):
        pair_scores(np.where(np.eye(3, 4) * [0, 1, 0, 0] > 0, np.nan, rows), [0], [0])
    with pytest.raises(ValueError, match="too large"):
        pair_scores(np.full((2, 4), 1e30, np.float32), [0], [1])
    assert pair_scores(rows, [], []).shape == (0,)


# Ids to rows.


@settings(max_examples=40)
@given(st.sets(st.integers(-1000, 10**12), min_size=1), st.data())
def test_template_rows_find_each_id(ids, data):
    ascending = np.array(sorted(ids))
    wanted = np.array(data.draw(st.lists(st.sampled_from(sorted(ids)), max_size=20)), dtype=np.int64)
    np.testing.assert_array_equal(ascending[template_rows(ascending, wanted)], wanted)


@settings(max_examples=40)
@given(st.sets(st.integers(-128, 127), min_size=1), st.sampled_from([np.int8, np.int64]), st.integers(0, 2**16))
def test_template_rows_find_each_id_where_many_are_wanted(ids, kind, seed):
    ascending = np.array(sorted(ids), kind)
    wanted = np.random.default_rng(seed).choice(ascending, 300)
    np.testing.assert_array_equal(ascending[template_rows(ascending, wanted)], wanted)
    absent = next((value for value in range(min(ids), max(ids)) if value not in ids), None)
    if absent is not None:
        with pytest.raises(ValueError, match=f"2 wanted ids are no templates, the first of them {absent}"):
            template_rows(ascending, np.append(wanted, [absent, max(ids) + 1]).astype(np.int64))
        with pytest.raises(ValueError, match=f"1 wanted ids are no templates, the first of them {absent}"):
            template_rows(ascending, np.append(wanted, absent).astype(kind))


def test_template_rows_name_an_id_that_is_not_there():
    with pytest.raises(ValueError, match="2 wanted ids are no templates, the first of them 4"):
        template_rows([1, 3, 5], [[1, 4], [4, 99]])
    with pytest.raises(ValueError, match="ascending"):
        template_rows([3, 1], [1])
    with pytest.raises(ValueError, match="wanted must be ints"):
        template_rows([1, 3], [1.0])
    with pytest.raises(ValueError, match="1 wanted ids"):
        template_rows(np.array([], dtype=int), [7])
