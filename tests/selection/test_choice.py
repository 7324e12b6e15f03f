"""The choice among candidates: Borda counts longhand, ties, and how much of a difference is chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from elasticface.selection.choice import Rule, choose, probability_by_chance

BENCHMARKS = ["lfw", "agedb_30", "calfw", "cplfw", "cfp_fp"]
# Two seeds of three margins on the paper's five benchmarks.
RUNS = [
    [[0.994, 0.94, 0.93, 0.89, 0.95], [0.996, 0.94, 0.93, 0.89, 0.95]],
    [[0.995, 0.95, 0.94, 0.90, 0.95], [0.995, 0.94, 0.93, 0.89, 0.96]],
    [[0.993, 0.93, 0.92, 0.88, 0.96], [0.993, 0.93, 0.92, 0.88, 0.96]],
]


def test_the_highest_sum_of_borda_counts_over_accuracies_averaged_over_seeds_is_chosen() -> None:
    stage = choose("margin", [0.45, 0.5, 0.55], RUNS, BENCHMARKS)
    # On lfw 0.45 and 0.5 tie for 2 + 1 points; on cfp_fp 0.55 is the best and 0.45 the last.
    longhand = {0.45: [1.5, 1, 1, 1, 0], 0.5: [1.5, 2, 2, 2, 1], 0.55: [0, 0, 0, 0, 2]}
    for one in stage.candidates:
        assert list(one.points) == BENCHMARKS
        assert list(one.points.values()) == longhand[one.value]
        assert one.borda == sum(longhand[one.value])
    assert (stage.chosen, stage.tied, stage.decided_by) == (0.5, [], "Borda count")
    assert stage.winner.accuracy == pytest.approx(dict(zip(BENCHMARKS, np.mean(RUNS[1], axis=0), strict=True)))
    assert stage.winner.mean == pytest.approx(np.mean(RUNS[1]))
    assert stage.winner.spread == pytest.approx(np.std(np.mean(RUNS[1], axis=1), ddof=1))
    assert stage.difference == pytest.approx(np.mean(RUNS[1]) - np.mean(RUNS[2]))


@pytest.mark.parametrize(
    ("accuracies", "chosen", "tied", "rule"),
    [
        # Each is ahead on one of two benchmarks; 0.55 by more.
        ([[0.9, 0.8], [0.8, 0.95]], 0.55, [0.45], "mean accuracy"),
        ([[0.9, 0.8], [0.8, 0.9]], 0.45, [0.55], "smaller value"),
        ([[0.9, 0.9], [0.9, 0.9]], 0.45, [0.55], "smaller value"),
        ([[0.1, 0.99], [0.2, 0.3]], 0.45, [0.55], "mean accuracy"),
        ([[0.1, 0.2], [0.1, 0.3]], 0.55, [], "Borda count"),
    ],
)
def test_equal_sums_are_told_apart_by_mean_accuracy_then_by_the_smaller_value(
    accuracies: list[list[float]], chosen: float, tied: list[float], rule: Rule
) -> None:
    for turn in (1, -1):  # in whatever order they are given
        runs = [[row] for row in accuracies[::turn]]
        stage = choose("margin", [0.45, 0.55][::turn], runs, ["one", "two"])
        assert (stage.chosen, stage.tied, stage.decided_by) == (chosen, tied, rule)


def test_means_that_differ_by_rounding_alone_tie() -> None:
    runs = [[[0.1], [0.2], [0.3]], [[0.3], [0.2], [0.1]]]
    assert sum([0.1, 0.2, 0.3]) != sum([0.3, 0.2, 0.1])
    stage = choose("std", [0.05, 0.01], runs, ["one"])
    assert [one.borda for one in stage.candidates] == [0.5, 0.5]
    assert (stage.chosen, stage.difference) == (0.01, 0)


def test_the_fixed_margin_is_compared_and_cannot_be_chosen() -> None:
    stage = choose("std", [0.01, 0.05], [[[0.8]], [[0.7]]], ["one"], reference=[[0.9]])
    assert stage.chosen == 0.01
    assert [one.borda for one in stage.candidates] == [1, 0]
    assert stage.reference is not None
    assert (stage.reference.value, stage.reference.borda, stage.reference.points) == (0, None, {})
    assert stage.gain == pytest.approx(-0.1)
    assert (stage.chance, stage.gain_chance) == (None, None)  # one seed


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_chance_between_two_candidates_is_that_of_the_t_test(seeds: int, seed: int) -> None:
    runs = np.random.default_rng(seed).normal(0.9, 0.01, (2, seeds))
    difference = abs(runs[0].mean() - runs[1].mean())
    assert probability_by_chance(runs, difference) == pytest.approx(ttest_ind(*runs).pvalue, abs=1e-6)


def test_chance_is_how_often_equal_candidates_differ_as_much() -> None:
    random = np.random.default_rng(0)
    runs = random.normal(0.9, 0.01, (4, 3))
    drawn = random.normal(0, 1, (40_000, 4, 3))
    in_spreads = np.ptp(drawn.mean(axis=2), axis=1) / np.sqrt(drawn.var(axis=2, ddof=1).mean(axis=1))
    for difference in (0.005, 0.01, 0.03):
        longhand = (in_spreads >= difference / np.sqrt(runs.var(axis=1, ddof=1).mean())).mean()
        assert probability_by_chance(runs, difference) == pytest.approx(longhand, abs=0.01)


def test_chance_where_seeds_do_not_differ_or_are_not_several() -> None:
    same = np.full((3, 2), 0.9)
    assert probability_by_chance(same, 0.0) == 1
    assert probability_by_chance(same + np.arange(3)[:, None] / 100, 0.02) == 0
    assert probability_by_chance(same[:, :1], 0.0) is None
    assert probability_by_chance(same[:1], 0.0) is None


@pytest.mark.parametrize("accuracies", [[[[0.9]]], [[[0.9, 0.8]], [[0.9, 0.8]]], [[], []], [[0.9], [0.8]]])
def test_accuracies_of_another_shape_are_refused(accuracies: list[list[list[float]]]) -> None:
    with pytest.raises(ValueError, match=r"accuracies must be \[2, S, 1\]"):
        choose("margin", [0.45, 0.5], accuracies, ["one"])
