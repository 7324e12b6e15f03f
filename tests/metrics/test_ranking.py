"""The Borda count against counting who beats whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.metrics import borda_count


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_borda_count_is_the_number_of_candidates_beaten_with_half_for_ties(candidates, benchmarks, seed):
    figures = np.random.default_rng(seed).integers(0, 5, (candidates, benchmarks)) / 5
    want = [
        sum(
            (figures[a, k] > figures[b, k]) + (figures[a, k] == figures[b, k]) / 2
            for k in range(benchmarks)
            for b in range(candidates)
            if b != a
        )
        for a in range(candidates)
    ]
    got = borda_count(figures)
    assert got.tolist() == want
    assert got.sum() == benchmarks * candidates * (candidates - 1) / 2


def test_the_best_has_one_point_for_each_other_candidate():
    # Three candidates on the paper's five benchmarks; the first two tie on the first one.
    figures = [
        [99.50, 94.0, 93.0, 89.0, 95.0],
        [99.50, 94.5, 93.5, 89.5, 95.5],
        [99.30, 93.0, 92.0, 88.0, 96.0],
    ]
    assert borda_count(figures).tolist() == [1.5 + 1 + 1 + 1 + 0, 1.5 + 2 + 2 + 2 + 1, 2]


def test_borda_count_refuses_nan_and_other_shapes():
    with pytest.raises(ValueError, match="without NaN"):
        borda_count([[1.0, np.nan]])
    with pytest.raises(ValueError, match=r"\[S, B\]"):
        borda_count([1.0, 2.0])
    assert borda_count(np.empty((0, 3))).shape == (0,)
