"""Intervals and tests of counts against sums of binomial probabilities."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.metrics import binomial_interval, mcnemar


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


@settings(max_examples=80)
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


@settings(max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_twice_the_binomial_tail_at_one_half(only_first, only_second):
    fewer, of = min(only_first, only_second), only_first + only_second
    tail = sum(comb(of, k) for k in range(fewer + 1)) / 2**of
    assert mcnemar(only_first, only_second) == pytest.approx(min(1.0, 2 * tail), rel=1e-11)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first)


def test_mcnemar_holds_at_many_pairs():
    # Normal approximation with continuity correction: z = (|b − c| − 1) / √(b + c), here 1.96.
    assert mcnemar(500_000 - 980, 500_000 + 981) == pytest.approx(0.05, rel=2e-3)
    assert mcnemar(0, 100) == pytest.approx(2 * 0.5**100, rel=1e-9)
    assert mcnemar(0, 0) == 1.0


def test_mcnemar_refuses_what_is_no_count():
    with pytest.raises(ValueError, match="need counts >= 0, got -1 and 5"):
        mcnemar(-1, 5)
    with pytest.raises(TypeError):
        mcnemar(1.5, 2)
