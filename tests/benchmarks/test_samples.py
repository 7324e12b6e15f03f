"""Samples of figures: drawn over units, on pairs those of the pairs written out one by one; intervals; a digest."""

import math

import numpy as np
import pytest
import resampled_pairs as longhand
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elasticface.benchmarks import samples
from elasticface.benchmarks.samples import DRAWS, SEED, Drawn, bootstrap, digest_of, numbered, of_pairs, other_sides
from elasticface.benchmarks.units import NOUNS, OF_PAIRS, UNITS, Units, units_of
from elasticface.metrics.resampling import CannotDraw, Counts, draw_people

FARS = (0.0, 0.01, 0.1, 1.0)


def first_two(counts: Counts) -> NDArray[np.float64]:
    """Two figures: what share of a sample is the first unit, and the second."""
    return counts[:, :2] / counts.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------------------------------------- bootstrap


def test_bootstrap_takes_figures_of_the_draws_of_one_seed() -> None:
    drawn = bootstrap(first_two, 5, "subjects")
    np.testing.assert_array_equal(drawn.rates, first_two(draw_people(5, DRAWS, SEED)))
    assert (drawn.units, drawn.kind) == (5, "subjects")


@pytest.mark.parametrize("kind", UNITS)
def test_bootstrap_says_of_every_kind_what_was_drawn(kind: str) -> None:
    assert bootstrap(first_two, 2, kind).said == f"bootstrap over 2 {NOUNS[kind]}, 2,000 draws"


def never(counts: Counts) -> NDArray[np.float64]:
    raise AssertionError("nothing is to be drawn")


def without_impostors(counts: Counts) -> NDArray[np.float64]:
    raise CannotDraw("too few people: a resample has no pair of one kind")


def test_what_cannot_be_drawn_has_neither_intervals_nor_samples_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_DRAWN", 9 * DRAWS)
    for made, said in (
        (bootstrap(without_impostors, 9, "people"), "none, too few people: a resample has no pair of one kind"),
        (bootstrap(never, 1, "people"), "none, too few people: every resample is the same"),
        (bootstrap(never, 10, "templates"), "none, 10 groups of templates are too many to resample 2,000 times"),
    ):
        assert (made.rates, made.said) == (None, said)
        assert made.intervals({"accuracy": 0.9}, 7) == {}
        assert made.samples("0") is None
    assert bootstrap(first_two, 9, "people").rates is not None


def test_what_is_wrong_with_a_figure_is_not_taken_for_too_few_people() -> None:
    def wrong(counts: Counts) -> NDArray[np.float64]:
        raise ValueError("shapes disagree")

    with pytest.raises(ValueError, match="shapes disagree"):
        bootstrap(wrong, 5, "people")


# ---------------------------------------------------------------------------------------------- intervals


def longhand_quantile(column: NDArray[np.float64], level: float) -> float:
    """Between the two values nearest to the place of the level, in the order of size."""
    ordered = sorted(column.tolist())
    place = level * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def test_intervals_are_the_middle_of_each_figures_samples() -> None:
    rates = np.random.default_rng(0).random((501, 4))
    drawn = Drawn(rates, 7, "people", "")
    found = drawn.intervals({"a": 0.1, "b": 0.2}, 7)
    later = drawn.intervals({"c": 0.3, "d": 0.4}, 7, 2)
    assert list(found | later) == ["a", "b", "c", "d"]
    for (low, high), column in zip((found | later).values(), rates.T, strict=True):
        assert low == pytest.approx(longhand_quantile(column, 0.025), abs=1e-12)
        assert high == pytest.approx(longhand_quantile(column, 0.975), abs=1e-12)


def test_a_figure_that_varies_little_has_the_middle_of_its_samples() -> None:
    column = np.where(np.arange(100) < 10, 0.9999, 1)
    assert Drawn(column[:, None], 7, "people", "").intervals({"a": 1.0}, 7) == {"a": (0.9999, 1)}


@pytest.mark.parametrize("units", [2, 30])
def test_a_figure_that_never_varies_has_the_exact_binomial_interval_of_the_units_that_count(units: int) -> None:
    drawn = Drawn(np.tile([0.0, 1.0, 0.5], (9, 1)), 99, "people", "")
    found = drawn.intervals({"none": 0.0, "all": 1.0, "half": 0.5}, units)
    surely = 0.025 ** (1 / units)  # all of them succeed with a chance of 2.5 % where each does with this one
    assert found["all"] == pytest.approx((surely, 1))
    assert found["none"] == pytest.approx((0, 1 - surely))
    low, high = found["half"]
    tail = sum(math.comb(units, k) * low**k * (1 - low) ** (units - k) for k in range(units // 2, units + 1))
    assert tail == pytest.approx(0.025)
    assert high == pytest.approx(1 - low)


def test_samples_are_all_columns_with_the_digest() -> None:
    drawn = bootstrap(first_two, 5, "templates")
    kept = drawn.samples("abc")
    assert kept is not None
    assert kept.rates is drawn.rates
    assert (kept.kind, kept.digest) == ("templates", "abc")


# ---------------------------------------------------------------------------------------------- pairs


@settings(max_examples=30)
@given(st.sampled_from(OF_PAIRS), st.integers(0, 10**6), st.sampled_from([1, 2]))
def test_figures_of_pairs_are_those_of_the_pairs_written_out_one_by_one(kind: str, seed: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, same = longhand.names_of(kind, 90, rng)
    units = units_of(first, second, same, 10)
    assert units.kind == kind
    scores = np.where(same, rng.normal(0.25, 0.15, 90), rng.normal(0, 0.15, 90)).round(digits).astype(np.float32)
    accepted = scores > rng.choice([0.1, 0.2], 90)
    counts = draw_people(units.number, 4, seed)
    lists = [longhand.written_out(units, same, drawn) for drawn in counts]
    assume(all(same[listed].any() and not same[listed].all() for listed in lists))  # others cannot be drawn: below
    found = of_pairs(scores, same, accepted, units, FARS, counts)
    assert found.shape == (4, 2 + 2 * len(FARS))
    for row, listed in zip(found, lists, strict=True):
        expected = [
            longhand.accuracy(accepted == same, same, listed),
            *(longhand.tar(scores, same, listed, far) for far in FARS),
            longhand.equal_error_rate(scores, same, listed),
            *(longhand.nearest(scores, same, listed, far) for far in FARS),
        ]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


def test_a_sample_of_every_unit_once_has_the_figures_of_the_list() -> None:
    same = np.array([True, True, False, False])
    scores, accepted = np.array([0.9, 0.2, 0.3, 0.1], np.float32), np.array([True, False, True, False])
    units = Units("people", np.array([0, 1, 0, 1], np.int32), np.array([0, 1, 1, 2], np.int32), "")
    found = of_pairs(scores, same, accepted, units, [0.1, 0.5], np.ones((1, 3), np.int32))
    assert found.tolist() == [[0.5, 0.5, 1.0, 0.5, 0.5, 1.0]]


def test_without_equal_error_rates_in_a_resample_the_other_figures_have_intervals() -> None:
    people = np.arange(60, dtype=np.int32) // 2
    same, scores = np.arange(60) % 2 == 0, np.full(60, -np.inf)
    scores[:4] = [0.9, 0.1, 0.8, 0.2]
    units = Units("people", people, np.where(same, people, (people + 1) % 30).astype(np.int32), "")
    drawn = bootstrap(lambda counts: of_pairs(scores, same, scores > 0.5, units, [0.1], counts), 30, "people")
    assert set(drawn.intervals({"accuracy": 0.5, "tar": 0.1, "eer": 0.4, "nearest": 0.1}, 30)) == {
        "accuracy",
        "tar",
        "nearest",
    }


def test_pairs_at_no_far_have_accuracy_and_equal_error_rate() -> None:
    same = np.array([True, False])
    units = Units("pairs", np.array([0, 1], np.int32), np.array([0, 1], np.int32), "")
    found = of_pairs(np.array([0.9, 0.1]), same, same, units, [], np.ones((3, 2), np.int32))
    assert found.tolist() == [[1.0, 0.0]] * 3


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_sample_without_pairs_of_one_kind_cannot_be_drawn(lacking: int) -> None:
    same = np.array([True, False])
    units = Units("pairs", np.array([0, 1], np.int32), np.array([0, 1], np.int32), "")
    counts = np.ones((3, 2), np.int32)
    counts[1] = [2, 0] if lacking else [0, 2]
    with pytest.raises(CannotDraw, match="no pair of one kind"):
        of_pairs(np.array([0.9, 0.1]), same, same, units, [0.1], counts)


def test_impostor_pairs_within_one_unit_have_the_one_more_on_their_other_side() -> None:
    first, second = np.array([3, 3, 1, 1], np.int32), np.array([3, 3, 2, 1], np.int32)
    found = other_sides(first, second, np.array([True, False, False, True]), 4)
    assert found.tolist() == [3, 4, 2, 1]
    assert found.dtype == np.int32


# ---------------------------------------------------------------------------------------------- numbers and digests


def test_units_are_numbers_from_0() -> None:
    found = numbered(np.array([70, 5, 70, 9]))
    assert (found.tolist(), found.dtype) == ([2, 0, 2, 1], np.int32)


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


def test_digest_is_that_of_the_draws_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {digest_of(["a"])}
    for name, value in (("SEED", SEED + 1), ("DRAWS", DRAWS + 1)):
        monkeypatch.setattr(samples, name, value)
        found.add(digest_of(["a"]))
    assert len(found) == 3
