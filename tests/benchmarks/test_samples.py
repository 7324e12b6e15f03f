"""Outcomes: stored as bits and back, accepted by a threshold, shared out over galleries; a digest of lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.benchmarks.outcomes import MOST_FIGURES, Outcomes, accepted, digest_of, hits_of, numbered


def outcomes(hits: np.ndarray, groups: list[int]) -> Outcomes:
    return Outcomes(hits, np.zeros(len(groups), np.int32), np.array(groups, np.uint8), "subjects", "")


@given(st.integers(1, MOST_FIGURES), st.integers(1, 40), st.integers(0, 99))
def test_hits_are_those_that_their_bits_say(figures: int, trials: int, seed: int) -> None:
    hits = np.random.default_rng(seed).random((figures, trials)) < 0.5
    bits = outcomes(hits, [0] * trials).bits()
    assert [[bool(int(bit) >> f & 1) for bit in bits] for f in range(figures)] == hits.tolist()
    np.testing.assert_array_equal(hits_of(bits, figures), hits)


def test_more_figures_than_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="33 figures, more than the 32"):
        outcomes(np.zeros((33, 1), bool), [0]).bits()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 10))
def test_accepted_are_those_at_the_threshold_or_above(scores: list[int], threshold: int) -> None:
    expected = [score >= threshold for score in scores]
    found = accepted(np.array(scores, np.float32), sum(expected) / len(scores))
    assert found.tolist() == expected


def test_a_share_that_no_threshold_accepts_is_refused() -> None:
    with pytest.raises(ValueError, match="no threshold accepts 1 of 3"):
        accepted(np.array([1, 1, 0.0]), 1 / 3)


def test_a_share_is_that_of_each_gallery() -> None:
    hits = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], bool)
    assert outcomes(hits, [0, 0, 1, 0]).shares().tolist() == [[2 / 3, 1 / 3], [1, 0]]


def test_units_are_numbers_from_0() -> None:
    assert numbered(np.array([70, 5, 70, 9])).tolist() == [2, 0, 2, 1]


def test_digest_is_that_of_the_lists() -> None:
    names, numbers, flags = ["a", "\udcff"], np.array([1, 2]), np.array([True, False])
    digest = digest_of(names, numbers, flags)
    assert digest_of(tuple(names), numbers.astype(np.int32)[:], flags.copy()) == digest
    others = [
        digest_of(names, numbers),
        digest_of(names[::-1], numbers, flags),
        digest_of(names, numbers[::-1], flags),
        digest_of(names, numbers, ~flags),
        digest_of(names, numbers[:1], numbers[1:], flags),
        digest_of([*names, "b"], numbers, flags),
        digest_of([], np.zeros(0, np.int32)),
    ]
    assert len({digest, *others}) == 8
