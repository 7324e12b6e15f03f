"""The likelihood ratio: fitted, and what it costs."""

import numpy as np
import pytest

from elasticface.recognition import likelihood


def ones(values: np.ndarray) -> np.ndarray:
    return np.ones(len(values))


def drawn(genuine: int, impostors: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(apart, 1, genuine), rng.normal(0, 1, impostors)


def test_of_two_normal_distributions_it_is_the_ratio_of_their_densities() -> None:
    genuine, impostors = drawn(20_000, 60_000, 2.0)
    slope, offset = likelihood.fit(genuine, impostors, ones(genuine), ones(impostors), 20_000)
    # ln N(s; 2, 1) − ln N(s; 0, 1) = 2 s − 2
    assert (slope, offset) == (pytest.approx(2, abs=0.05), pytest.approx(-2, abs=0.05))


def test_numbers_of_either_kind_make_no_difference() -> None:
    genuine, impostors = drawn(300, 200, 1.5)
    once = likelihood.fit(genuine, impostors, ones(genuine), ones(impostors), 100)
    often = likelihood.fit(genuine, impostors, ones(genuine), 1000 * ones(impostors), 100)
    assert once == pytest.approx(often, rel=1e-9)


def test_it_has_the_least_penalised_cost() -> None:
    genuine, impostors = drawn(40, 60, 1.0, seed=3)
    people = 7

    def longhand(slope: float, offset: float) -> float:
        x = np.concatenate([genuine, impostors])
        weights = np.repeat([0.5 / 40, 0.5 / 60], [40, 60])
        spread = np.sqrt(np.sum(weights * (x - np.sum(weights * x)) ** 2))
        costs = sum(np.log(1 + np.exp(-(slope * s + offset))) for s in genuine) / 40
        costs += sum(np.log(1 + np.exp(slope * s + offset)) for s in impostors) / 60
        return float(costs + (slope * spread / likelihood.PRIOR) ** 2 / (2 * people))

    slope, offset = likelihood.fit(genuine, impostors, ones(genuine), ones(impostors), people)
    least = longhand(slope, offset)
    for step in (1e-3, -1e-3):
        assert longhand(slope + step, offset) > least
        assert longhand(slope, offset + step) > least


def test_people_told_apart_without_error_get_a_finite_slope_that_grows_with_their_number() -> None:
    genuine, impostors = np.array([0.6, 0.7, 0.8]), np.array([0.0, 0.1])
    few, many = (likelihood.fit(genuine, impostors, ones(genuine), ones(impostors), people) for people in (10, 1000))
    assert 0 < few[0] < many[0] < 1000


def test_no_comparison_of_a_kind_or_one_similarity_for_all_is_refused() -> None:
    one = np.array([0.5])
    with pytest.raises(ValueError, match="no comparison of one kind"):
        likelihood.fit(one, one, np.zeros(1), ones(one), 5)
    with pytest.raises(ValueError, match="all one"):
        likelihood.fit(one, one, ones(one), ones(one), 5)


def test_the_cost_is_the_longhand_formula() -> None:
    genuine, impostors = np.array([2.0, -1.0]), np.array([-3.0, 0.5])
    expected = (
        (np.log2(1 + np.exp(-2.0)) + 3 * np.log2(1 + np.exp(1.0))) / 4
        + (np.log2(1 + np.exp(-3.0)) + np.log2(1 + np.exp(0.5))) / 2
    ) / 2
    found = likelihood.cllr(genuine, impostors, np.array([1, 3]), np.array([1, 1]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_ratios_that_say_nothing_cost_one_bit() -> None:
    assert likelihood.cllr(np.zeros(3), np.zeros(2), np.ones(3), np.ones(2)) == pytest.approx(1)
