"""elasticface.metrics.checks: how many accepted impostors a rate leaves room for."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.metrics.checks import most_within


@pytest.mark.parametrize(("impostors", "most"), [(3_530_000_000, 3530), (1_000_000, 1), (999_999, 0), (2_000_001, 2)])
def test_as_many_impostors_are_accepted_as_the_rate_of_megaface_allows(impostors: int, most: int) -> None:
    assert most_within(np.array([1e-6]), impostors).tolist() == [most]


@given(st.floats(0, 1), st.integers(1, 10**12))
def test_one_more_would_be_above_the_rate(rate: float, total: int) -> None:
    most = int(most_within(np.array(rate), total))
    assert 0 <= most <= total
    assert most / total <= rate
    assert most == total or (most + 1) / total > rate


def test_whole_shares_are_reached() -> None:
    for total in range(1, 200):
        rates = [float(Fraction(part, total)) for part in range(total + 1)]
        assert most_within(np.array(rates), total).tolist() == list(range(total + 1))
