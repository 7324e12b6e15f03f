"""Thresholds for false match rates: the rule, longhand; the rule of three; what intervals hold."""

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from compared import photos_of
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.base.errors import InputError
from elasticface.metrics import binomial_interval
from elasticface.metrics.resampling import draw_people, pair_weights
from elasticface.recognition import calibration
from elasticface.recognition.calibration import (
    independent_comparisons,
    likelihood_ratio,
    operating_points,
    resamples,
    threshold_for,
)
from elasticface.recognition.comparable import some_of_each
from elasticface.recognition.comparisons import Compared, compare_embeddings
from elasticface.recognition.pool import Pool

Pairs = np.ndarray


def listed(genuine: Pairs, who: Pairs, impostors: Pairs, pairs: Pairs, units: int, kind: str = "people") -> Compared:
    """Comparisons of a list: genuine ones of people ``who`` [G], impostor ones of ``pairs`` [K, 2]."""
    themselves = np.stack([who, who], axis=1).astype(np.int32)
    return Compared(
        name="made up",
        kind=kind,
        photos=(),
        genuine=np.asarray(genuine, np.float32),
        genuine_photos=themselves,
        genuine_units=themselves,
        impostors=np.asarray(impostors, np.float32),
        impostor_photos=np.asarray(pairs, np.int32),
        impostor_units=np.asarray(pairs, np.int32),
        units=units,
        unit_of=None,
        histogram=np.zeros((2, 1 << 15), np.int64),
    )


def population(people: int, spread: float = 0.5, seed: int = 0) -> Compared:
    """All pairs of people who look more or less like others; the similarity of two is N(0, 1 + 2 spread²) / 10."""
    rng = np.random.default_rng(seed)
    alike = rng.normal(0, spread, people)
    pairs = np.stack(np.triu_indices(people, 1), axis=1)
    impostors = (alike[pairs].sum(axis=1) + rng.normal(size=len(pairs))) / 10
    return listed((rng.normal(size=people) + 5) / 10, np.arange(people), impostors, pairs, people)


# ---------------------------------------------------------------------------------------------- the threshold

few_scores = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@given(few_scores, few_scores, st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.7, 0.99]))
def test_the_threshold_is_the_lowest_score_within_the_rate(
    genuine: list[int], impostors: list[int], fmr: float
) -> None:
    def share(threshold: float) -> float:
        return sum(score >= threshold for score in impostors) / len(impostors)

    within = [score for score in {*genuine, *impostors} if share(score) <= fmr]
    # What lets no impostor in has no rate that was measured.
    expected = min(within) if within and share(min(within)) > 0 else None
    found = threshold_for(
        fmr, -np.sort(-np.array(impostors, np.float32)), np.sort(np.array(genuine, np.float32)), len(impostors)
    )
    assert found == expected


def test_of_a_folder_only_the_highest_impostors_are_needed() -> None:
    rng = np.random.default_rng(0)
    impostors, genuine = -np.sort(-rng.normal(size=1000).astype(np.float32)), np.sort(rng.normal(3, 1, 50))
    whole = threshold_for(0.02, impostors, genuine, 1000)
    assert threshold_for(0.02, impostors[:21], genuine, 1000) == whole


def test_too_few_impostors_to_find_the_threshold_are_an_error() -> None:
    impostors, genuine = np.array([0.5, 0.4, 0.3], np.float32), np.array([0.2, 0.9], np.float32)
    with pytest.raises(ValueError, match=r"the 3 highest impostor comparisons are too few for a rate of 0\.3"):
        threshold_for(0.3, impostors, genuine, 10)
    # The other seven were not enrolled: no threshold lets in more than three of ten.
    assert threshold_for(0.3, impostors, genuine, 10, all_kept=True) == np.float32(0.2)
    assert threshold_for(0.2, impostors, genuine, 10, all_kept=True) == np.float32(0.4)
    assert threshold_for(0.3, impostors[:0], genuine, 10, all_kept=True) is None


# ---------------------------------------------------------------------------------------------- comparisons


def test_all_comparisons_of_a_folder_are_those_of_two_loops() -> None:
    rows, names = photos_of(5, 3)
    rows, names = np.delete(rows, 4, axis=0), [*names[:4], *names[5:]]
    part = compare_embeddings("folder", rows, names, 10_000)
    genuine, impostors = [], []
    for i in range(len(names)):
        for j in range(i):
            kind = genuine if names[i].split("/")[0] == names[j].split("/")[0] else impostors
            kind.append(float(rows[i] @ rows[j]))
    assert part.impostor_count == len(impostors) == len(part.impostors)
    np.testing.assert_allclose(np.sort(part.genuine), np.sort(genuine), atol=1e-6)
    np.testing.assert_allclose(np.sort(part.impostors), np.sort(impostors), atol=1e-6)
    for scores, photos in ((part.genuine, part.genuine_photos), (part.impostors, part.impostor_photos)):
        of = [rows[[names.index(part.photos[photo]) for photo in side]] for side in photos.T]
        np.testing.assert_allclose(scores, np.einsum("nd,nd->n", *of), atol=1e-6)
    assert part.histogram.sum() < part.impostor_count  # of pairs within either half alone


def test_comparisons_of_photos_that_were_not_enrolled_are_non_matches() -> None:
    rows, names = photos_of(20, 3)
    enrolled = np.arange(len(names)) % 7 != 0
    part = compare_embeddings("folder", rows, names, 10**6, enrolled=enrolled)
    whole = compare_embeddings("folder", rows, names, 10**6)
    assert (part.impostor_count, len(part.genuine)) == (whole.impostor_count, len(whole.genuine))
    lost = ~enrolled[[names.index(photo) for photo in part.photos]][part.genuine_photos].all(axis=1)
    np.testing.assert_array_equal(part.genuine, np.where(lost, -np.inf, whole.genuine))
    kept = enrolled[whole.impostor_photos].all(axis=1)
    np.testing.assert_array_equal(np.sort(part.impostors), np.sort(whole.impostors[kept]))
    (point,) = operating_points(Pool((part,)), [0.05], resamples(Pool((part,))))
    assert point.observed_fmr == np.mean(whole.impostors[kept] >= point.threshold) * kept.sum() / len(kept)
    assert point.acceptance <= 1 - lost.mean()


def test_a_folder_of_mostly_unenrolled_photos_has_the_thresholds_of_the_list_of_its_pairs() -> None:
    rows, names = photos_of(60, 3)
    enrolled = np.arange(len(names)) % 5 < 2
    folder = compare_embeddings("folder", rows, names, 10**6, enrolled=enrolled)
    whole = compare_embeddings("folder", rows, names, 10**6)
    lost = ~enrolled[whole.impostor_photos].all(axis=1)
    assert lost.mean() > 0.8
    impostors = np.where(lost, -np.inf, whole.impostors).astype(np.float32)
    as_list = dataclasses.replace(whole, genuine=folder.genuine, impostors=impostors, unit_of=None)
    counts = resamples(Pool((folder,)))
    found = operating_points(Pool((folder,)), [0.5, 0.1, 0.05], counts)
    assert found == operating_points(Pool((as_list,)), [0.5, 0.1, 0.05], counts)
    lowest = min(scores[scores > -np.inf].min() for scores in (folder.genuine, folder.impostors))
    assert (found[0].threshold, found[0].observed_fmr) == (lowest, np.mean(~lost))


def test_the_highest_comparisons_are_kept_and_all_are_counted() -> None:
    rows, names = photos_of(40, 4)
    whole, some = (compare_embeddings("folder", rows, names, wanted) for wanted in (10**6, 200))
    assert some.impostor_count == whole.impostor_count == len(whole.impostors)
    assert 200 <= len(some.impostors) < 400
    kept = -np.sort(-some.impostors)
    np.testing.assert_array_equal(kept, -np.sort(-whole.impostors)[: len(kept)])
    counts = draw_people(40, 20)
    np.testing.assert_array_equal(some.impostor_weights(counts), whole.impostor_weights(counts))


def test_the_rate_in_each_resample_is_the_longhand_one() -> None:
    part = population(12)
    counts = draw_people(12, 30)
    thresholds = [0.0, 0.1, -0.05]
    found = Pool((part,)).match_rates(thresholds, counts)
    weights = pair_weights(counts, *part.impostor_units.T)
    for column, threshold in enumerate(thresholds):
        hits = part.impostors >= np.float32(threshold)
        np.testing.assert_allclose(found[:, column], weights[:, hits].sum(1) / weights.sum(1))
    accepted = Pool((part,)).acceptances([0.5], counts)[:, 0]
    hits = part.genuine >= 0.5
    np.testing.assert_allclose(accepted, counts[:, hits].sum(1) / counts.sum(1))


def test_a_folder_and_the_list_of_all_its_pairs_have_the_same_points() -> None:
    rows, names = photos_of(60, 2)
    folder = compare_embeddings("folder", rows, names, 10**6)
    as_list = dataclasses.replace(folder, unit_of=None)
    counts = resamples(Pool((folder,)))
    assert operating_points(Pool((folder,)), [0.1, 0.05], counts) == operating_points(
        Pool((as_list,)), [0.1, 0.05], counts
    )


def test_benchmarks_are_pooled_as_one_set_of_people() -> None:
    one, other = population(40, seed=1), population(50, seed=2)
    pool = Pool((one, other))
    both = listed(
        np.concatenate([one.genuine, other.genuine]),
        np.arange(90),
        np.concatenate([one.impostors, other.impostors]),
        np.concatenate([one.impostor_units, other.impostor_units + 40]),
        90,
    )
    assert operating_points(pool, [0.1, 0.05], resamples(pool)) == operating_points(
        Pool((both,)), [0.1, 0.05], resamples(pool)
    )


# ---------------------------------------------------------------------------------------------- rule of three


def alone(impostors: int) -> Compared:
    """A list in which no image is in two pairs."""
    rng = np.random.default_rng(0)
    numbers = np.arange(impostors)
    pairs = np.stack([numbers, numbers], axis=1)
    genuine = np.arange(impostors, impostors + 50)
    return listed(rng.normal(5, 1, 50), genuine, rng.normal(size=impostors), pairs, impostors + 50, "pairs")


def test_independent_comparisons_allow_three_over_their_number_and_no_less() -> None:
    pool = Pool((alone(600),))
    counts = resamples(pool)
    (point,) = operating_points(pool, [3 / 600], counts)
    assert (point.independent, point.observed_fmr) == (600, 3 / 600)
    assert point.fmr_interval == binomial_interval(3, 600)
    with pytest.raises(InputError, match=r"of 0\.0049 takes 613 independent impostor comparisons \(rule of three\)"):
        operating_points(pool, [0.1, 0.0049], counts)


def test_a_refusal_names_the_lowest_power_of_ten_that_is_allowed() -> None:
    pool = Pool((alone(600),))
    with pytest.raises(InputError, match=r"600 of 650 pairs are too few .*; ask for 0\.01, or give more"):
        operating_points(pool, [1e-3, 1e-4], resamples(pool))
    found = operating_points(pool, [0.1, 1e-2, 1e-3, 1e-4], resamples(pool), strict=False)
    assert [point.fmr for point in found] == [0.1, 1e-2]


def test_a_refusal_names_no_rate_for_which_too_few_comparisons_were_kept() -> None:
    rows, names = photos_of(40, 3)
    few, all_of_them = (Pool((compare_embeddings("folder", rows, names, wanted),)) for wanted in (20, 10**6))
    with pytest.raises(InputError, match=r"are worth \d+; ask for 0\.01, or give more people"):
        operating_points(all_of_them, [1e-3], resamples(all_of_them))
    with pytest.raises(InputError, match=r"are worth \d+; give more people"):
        operating_points(few, [1e-3], resamples(few))
    with pytest.raises(ValueError, match=r"too few for a rate of 0\.01"):
        operating_points(few, [0.01], resamples(few))


def test_no_more_rates_are_taken_than_a_calibration_may_have() -> None:
    rates = [0.5 - number / 200 for number in range(65)]
    with pytest.raises(InputError, match="65 false match rates; give 64 at most"):
        calibration._rates(rates, 10**6)


def test_rates_below_one_comparison_are_refused_too() -> None:
    pool = Pool((alone(50),))
    with pytest.raises(InputError, match=r"are too few for one false match; ask for 0\.1, or"):
        operating_points(pool, [1e-3], resamples(pool))


def test_comparisons_that_share_people_are_worth_fewer() -> None:
    part = population(100)
    total = part.impostor_count
    (point,) = operating_points(Pool((part,)), [0.05], resamples(Pool((part,))))
    assert 50 < point.independent < total / 3
    assert independent_comparisons(0.5, np.array([0.4, 0.6]), 10**6) == 25  # .5 · .5 / .1²
    assert independent_comparisons(0.5, np.array([0.4, 0.6]), 9) == 9
    assert independent_comparisons(0.5, np.array([0.5, 0.5]), 10**6) == 0


def test_too_few_people_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be calibrated: too few people"):
        resamples(Pool((population(1),)))
    pool = Pool((population(3),))
    with pytest.raises(InputError, match="cannot be calibrated: too few people"):
        operating_points(pool, [0.5], resamples(pool))


def test_too_many_people_to_resample_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_DRAWN", 200 * 40 + 199)
    assert resamples(Pool((population(40),))).shape == (204, 40)
    line = "cannot be calibrated: 41 people are more than the 40 that can be resampled 200 times; give a part of them"
    with pytest.raises(InputError, match=line):
        resamples(Pool((population(41),)))


# ---------------------------------------------------------------------------------------------- what intervals hold


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_intervals_hold_the_true_rate_of_other_people(spread: float) -> None:
    truth = NormalDist(0, np.sqrt(1 + 2 * spread**2) / 10)
    inside = []
    for world in range(60):
        pool = Pool((population(80, spread, world),))
        (point,) = operating_points(pool, [0.02], draw_people(80, 300, world))
        low, high = point.fmr_interval
        inside.append(low <= 1 - truth.cdf(point.threshold) <= high)
    # 95 % less three standard deviations of 60 draws.
    assert np.mean(inside) >= 0.86


# ---------------------------------------------------------------------------------------------- likelihood ratio


def test_the_ratio_is_judged_on_people_that_it_was_not_fitted_on() -> None:
    rows, names = photos_of(60, 3)
    part = compare_embeddings("folder", rows, names, 100)
    ratio, note = likelihood_ratio(Pool((part,)))
    assert note == ""
    assert ratio is not None
    assert (ratio.fitted_on, ratio.held_out) == (30, 30)
    assert ratio.slope > 0
    assert 0 < ratio.cllr < 0.5
    shuffled = compare_embeddings("folder", np.random.default_rng(1).permutation(rows), names, 100)
    useless, _ = likelihood_ratio(Pool((shuffled,)))
    assert useless is not None
    assert useless.cllr > 0.9


def test_too_few_people_have_no_likelihood_ratio() -> None:
    rows, names = photos_of(12, 3)
    ratio, note = likelihood_ratio(Pool((compare_embeddings("folder", rows, names, 100),)))
    assert ratio is None
    assert "too few people" in note


@settings(max_examples=20)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=8))
def test_folders_of_any_shape_are_counted_right(sizes: Sequence[int]) -> None:
    if max(sizes) < 2:
        sizes = [*sizes, 2]
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(sum(sizes), 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"p{p}/{k}" for p, size in enumerate(sizes) for k in range(size)]
    part = compare_embeddings("folder", rows, names, 10**6)
    pairs = len(rows) * (len(rows) - 1) // 2
    assert len(part.genuine) + part.impostor_count == pairs
    assert len(part.impostors) == part.impostor_count


def test_of_each_person_some_photos_are_taken_spread_evenly() -> None:
    names = [*(f"a/{k}" for k in range(10)), "b/0", *(f"c/{k}" for k in range(3))]
    assert some_of_each(names, 3) == ("a/1", "a/5", "a/8", "b/0", "c/0", "c/1", "c/2")
    assert some_of_each(names, 0) == some_of_each(names, 10) == tuple(names)


def test_a_folder_without_a_genuine_pair_is_refused() -> None:
    rows, names = photos_of(4, 1)
    with pytest.raises(InputError, match="4 people with 0 pairs of photos of one person; both are needed"):
        compare_embeddings("folder", rows, names, 100)
