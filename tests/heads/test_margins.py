"""elasticface.heads.margins: the one target cosine against cos(acos(c) + m) itself; draws and their "+" assignment."""

import math

import longhand
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from elasticface.heads.margins import arc_margin, assign_by_proximity, cosine_margin, draw

DTYPES = [torch.float32, torch.float64]
PAST_PI = ["monotone", "paper"]

cosines = st.floats(-1, 1)
arc_margins = st.floats(0, 3)
seeds = st.integers(0, 2**63 - 1)
steps = st.integers(0, 2**40)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def spearman(a: Tensor, b: Tensor) -> float:
    """Of two rankings without ties; −1 exactly if one is the other reversed."""
    ranks_a, ranks_b = a.argsort().argsort().double(), b.argsort().argsort().double()
    n = len(a)
    return float(1 - 6 * ((ranks_a - ranks_b) ** 2).sum() / (n * (n * n - 1)))


# cos(θ + m), its slope and what comes past π.


@settings(max_examples=300)
@given(cosines, arc_margins, st.sampled_from(PAST_PI))
def test_arc_value_is_cos_of_angle_plus_margin(c, m, past_pi):
    value, _ = arc_margin(f64(c), f64(m), past_pi)
    torch.testing.assert_close(value, longhand.arc(f64(c), f64(m), past_pi), rtol=0, atol=1e-13)


@settings(max_examples=300)
@given(st.floats(-0.999, 0.999), arc_margins, st.sampled_from(PAST_PI))
def test_arc_slope_is_the_gradient_of_the_acos_form(c, m, past_pi):
    if past_pi == "monotone":
        assume(abs(math.acos(c) + m - math.pi) > 1e-9)  # at the kink itself rounding decides which side is meant
    leaf = f64(c).requires_grad_()
    (expected,) = torch.autograd.grad(longhand.arc(leaf, f64(m), past_pi).sum(), leaf)
    _, slope = arc_margin(f64(c), f64(m), past_pi)
    torch.testing.assert_close(slope, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("past_pi", PAST_PI)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arc_is_right_at_both_ends_where_the_acos_form_has_no_gradient(dtype, past_pi):
    margins = torch.tensor([0.0, 0.5, 1.5, 3.0], dtype=dtype)
    for c in (1.0, -1.0):
        ends = torch.full_like(margins, c)
        value, slope = arc_margin(ends, margins, past_pi)
        expected = longhand.arc(ends, margins, past_pi)
        assert value.dtype == slope.dtype == dtype
        assert slope.isfinite().all()
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


@settings(max_examples=300)
@given(st.lists(cosines, min_size=2, max_size=30), arc_margins)
def test_monotone_arc_never_falls_as_the_cosine_grows(values, m):
    value, slope = arc_margin(f64(*sorted(values)), torch.full((len(values),), m, dtype=torch.float64))
    assert (value.diff() >= -1e-15).all()
    assert (slope >= -1e-7).all()  # sin(θ + m)/sin θ, whose rounding grows as sin θ goes to 0


@given(st.floats(0.01, 3))
def test_monotone_arc_goes_on_from_pi_without_a_jump_and_with_slope_1(m):
    at_pi = -math.cos(m)  # cos(π − m)
    value, _ = arc_margin(f64(at_pi - 1e-9, at_pi + 1e-9), f64(m, m))
    torch.testing.assert_close(value, f64(-1, -1), rtol=0, atol=1e-8)
    past = torch.linspace(-1, at_pi - 1e-6, 11, dtype=torch.float64)
    value, slope = arc_margin(past, torch.full_like(past, m))
    assert (slope == 1).all()
    torch.testing.assert_close(value, past + math.cos(m) - 1, rtol=0, atol=1e-15)


def test_bare_arc_turns_upwards_past_pi():
    cosines = f64(-1.0, -0.99, -0.95)  # θ + 0.5 > π up to cos θ = −0.878
    value, slope = arc_margin(cosines, torch.full_like(cosines, 0.5), "paper")
    assert (value.diff() < 0).all()
    assert (slope < 0).all()


@settings(max_examples=100)
@given(cosines, st.sampled_from(PAST_PI))
def test_arc_without_margin_changes_nothing(c, past_pi):
    value, slope = arc_margin(f64(c), f64(0), past_pi)
    assert value.item() == c
    assert slope.item() == 1


@settings(max_examples=100)
@given(st.floats(-0.999, 0.999), st.floats(-1, 0))
def test_arc_takes_the_negative_margin_that_a_wide_draw_may_give(c, m):
    torch.testing.assert_close(arc_margin(f64(c), f64(m))[0], (f64(c).acos() + m).cos(), rtol=0, atol=1e-13)


@given(cosines, st.floats(-2, 2))
def test_cosine_margin_is_the_plain_difference(c, m):
    value, slope = cosine_margin(f64(c), f64(m))
    assert value.item() == c - m
    assert slope.item() == 1


def test_arc_works_on_an_empty_batch():
    value, slope = arc_margin(torch.empty(0), torch.empty(0))
    assert value.shape == slope.shape == (0,)


# Draws.


@given(seeds, steps)
def test_draws_are_a_pure_function_of_seed_and_step(seed, step):
    first = draw(0.5, 0.05, 8, seed, step)
    torch.manual_seed(1)
    np.random.default_rng().random()
    assert first.dtype == torch.float64
    assert torch.equal(first, draw(0.5, 0.05, 8, seed, step))


@given(seeds, seeds, steps, steps)
def test_another_seed_or_step_draws_other_margins(seed, other_seed, step, other_step):
    first = draw(0.5, 0.05, 8, seed, step)
    assert (seed == other_seed) == torch.equal(first, draw(0.5, 0.05, 8, other_seed, step))
    assert (step == other_step) == torch.equal(first, draw(0.5, 0.05, 8, seed, other_step))


@pytest.mark.parametrize(("m", "std"), [(0.5, 0.05), (0.35, 0.025)])
def test_draws_have_the_mean_and_sigma_of_the_normal_distribution(m, std):
    count = 100_000
    drawn = draw(m, std, count, 0, 0)
    standard = (drawn - m) / std
    assert abs(standard.mean()) < 5 / math.sqrt(count)
    assert abs(standard.std() - 1) < 5 / math.sqrt(2 * count)
    assert abs((standard**3).mean()) < 5 * math.sqrt(15 / count)  # 15 and 96: variances of z³ and z⁴
    assert abs((standard**4).mean() - 3) < 5 * math.sqrt(96 / count)


def test_one_sample_of_many_steps_is_normal_too():
    standard = torch.cat([draw(0, 1, 1, 0, step) for step in range(10_000)])
    assert abs(standard.mean()) < 0.05
    assert abs(standard.std() - 1) < 0.05 / math.sqrt(2)
    assert abs((standard[1:] * standard[:-1]).mean()) < 0.05  # and says nothing about the next


@given(st.floats(0, 3), seeds, steps)
def test_sigma_zero_is_the_mean_exactly(m, seed, step):
    assert draw(m, 0, 5, seed, step).tolist() == [m] * 5


# "+": who gets which draw.


distinct_cosines = st.lists(cosines, min_size=2, max_size=64, unique=True).map(lambda values: f64(*values))


@given(distinct_cosines, seeds)
def test_smallest_cosine_gets_largest_margin(target_cosines, seed):
    draws = draw(0.5, 0.0175, len(target_cosines), seed, 0)
    given_out = assign_by_proximity(draws, target_cosines)
    assert given_out[target_cosines.argmin()] == draws.max()
    assert given_out[target_cosines.argmax()] == draws.min()
    assert spearman(target_cosines, given_out) == -1


@given(st.lists(st.sampled_from([-0.5, 0.0, 0.25]), min_size=1, max_size=40), seeds)
def test_equal_cosines_take_their_margins_in_the_order_of_the_batch(values, seed):
    target_cosines = f64(*values)
    given_out = assign_by_proximity(draw(0.5, 0.05, len(values), seed, 0), target_cosines)
    for value in set(values):
        assert (given_out[target_cosines == value].diff() <= 0).all()


@pytest.mark.parametrize("order", ["paper", "release"])
@given(values=st.lists(cosines, min_size=1, max_size=40), seed=seeds)
def test_assignment_is_a_permutation_of_the_draws(order, values, seed):
    draws = draw(0.5, 0.05, len(values), seed, 0)
    given_out = assign_by_proximity(draws, f64(*values), order)
    assert torch.equal(given_out.sort().values, draws.sort().values)


@pytest.mark.parametrize(
    ("order", "expected"),
    [("paper", [0.577, 0.391, 0.485, 0.528]), ("release", [0.485, 0.528, 0.577, 0.391])],
)
@given(draws=st.permutations([0.577, 0.528, 0.485, 0.391]))
def test_the_two_orders_hand_out_the_known_example_as_they_should(order, expected, draws):
    assert assign_by_proximity(f64(*draws), f64(0.1, 0.9, 0.5, 0.3), order).tolist() == expected


def test_released_order_has_nothing_to_do_with_the_cosine():
    rhos = []
    for seed in range(200):
        target_cosines = draw(0.3, 0.2, 512, seed, 1)
        rhos.append(
            spearman(target_cosines, assign_by_proximity(draw(0.5, 0.05, 512, seed, 0), target_cosines, "release"))
        )
    # Unrelated rankings of 512 have ρ ~ N(0, 1/511), so E|ρ| = √(2/π/511) = 0.035.
    assert np.mean(np.abs(rhos)) < 0.05
    assert abs(np.mean(rhos)) < 0.02
