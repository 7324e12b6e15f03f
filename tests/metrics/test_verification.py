"""The k-fold accuracy against the double loop over folds and thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.metrics import accuracy_from_distances, verification_accuracy

seeds = st.integers(0, 2**32 - 1)


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


@settings(max_examples=60)
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


@settings(max_examples=15)
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
