"""Rank-k and TPIR at FPIR against plain loops over probes, gallery and thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.metrics import (
    closed_set_rank,
    identification,
    mean_over_galleries,
    open_set_rates,
    rank_rates,
    search_templates,
    searches,
    tpir_at_fpir,
)

FPIRS = [0.0, 0.01, 0.1, 1 / 3, 0.5, 0.9, 1.0]


def longhand_rank(row, probe, gallery):
    """1 + how many others score at least as much as the best mate; 0 without a mate."""
    mates = [s for s, subject in zip(row, gallery, strict=True) if subject == probe]
    if not mates:
        return 0
    return 1 + sum(subject != probe and s >= max(mates) for s, subject in zip(row, gallery, strict=True))


def longhand_tpir(scores, probes, gallery, fpir, rank=None):
    """The largest share of mated probes found by any threshold with few enough false alarms."""
    mated = [p in gallery for p in probes]
    best = 0.0
    for threshold in [np.inf, *scores.ravel()]:
        alarms = [max(row) >= threshold for row, m in zip(scores, mated, strict=True) if not m]
        if np.mean(alarms) <= fpir:
            found = [
                max(s for s, subject in zip(row, gallery, strict=True) if subject == p) >= threshold
                and (rank is None or longhand_rank(row, p, gallery) <= rank)
                for row, p, m in zip(scores, probes, mated, strict=True)
                if m
            ]
            best = max(best, np.mean(found))
    return best


@st.composite
def searched(draw, everybody=False):
    """Scores [Q, G], probes' and gallery's subjects: with ties or without, one entry a subject or several."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people = draw(st.integers(2, 8))
    gallery = rng.permutation(np.append(np.arange(people), rng.integers(0, people, draw(st.integers(0, 4)))))
    probes = rng.integers(0, people if everybody else 2 * people, draw(st.integers(1, 20)))
    if not everybody:
        probes = np.append(probes, [0, people])  # one of each kind at least
    scores = rng.normal(size=(len(probes), len(gallery))) + (probes[:, None] == gallery)
    levels = draw(st.sampled_from([None, 1, 3]))
    if levels:
        scores = np.round(scores * levels)
    return scores.astype(draw(st.sampled_from([np.float32, np.float64]))), probes, gallery


@settings(max_examples=80)
@given(searched(), st.sampled_from([1, 10, 1 << 22]))
def test_searches_hold_best_mate_best_other_and_rank(case, cells):
    scores, probes, gallery = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "_CELLS", cells)
        outcome = searches(scores, probes, gallery)
    for row, probe, mate, other, rank in zip(scores, probes, outcome.mate, outcome.other, outcome.rank, strict=True):
        assert mate == max([s for s, who in zip(row, gallery, strict=True) if who == probe], default=-np.inf)
        assert other == max([s for s, who in zip(row, gallery, strict=True) if who != probe], default=-np.inf)
        assert rank == longhand_rank(row, probe, gallery)
    assert outcome.mated.tolist() == [p in gallery for p in probes]
    assert outcome.mate.dtype == scores.dtype


@settings(max_examples=60)
@given(searched(everybody=True))
def test_rank_k_is_the_share_of_probes_with_fewer_than_k_others_ahead(case):
    ranks = [1, 2, 5, 10, 100]
    found = [longhand_rank(row, probe, case[2]) for row, probe in zip(case[0], case[1], strict=True)]
    assert closed_set_rank(*case, ranks).tolist() == [np.mean([r <= k for r in found]) for k in ranks]


@settings(max_examples=80)
@given(searched(), st.sampled_from([None, 1, 2]), st.lists(st.floats(0, 1), max_size=3))
def test_tpir_is_the_largest_of_any_threshold_within_fpir(case, rank, more):
    fpirs = FPIRS + more
    want = [longhand_tpir(*case, fpir, rank) for fpir in fpirs]
    assert tpir_at_fpir(*case, fpirs, rank=rank).tolist() == want


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 20, 1 << 22]))
def test_search_of_templates_equals_search_of_their_scores(seed, cells):
    rng = np.random.default_rng(seed)
    probes, gallery = rng.integers(-3, 4, (17, 6)), rng.integers(-3, 4, (9, 6))  # ints: products are exact, with ties
    who, enrolled = rng.integers(0, 12, 17), np.arange(9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "_CELLS", cells)
        found = search_templates(probes.astype(np.float32), gallery.astype(np.float32), who, enrolled)
    want = searches(probes @ gallery.T, who, enrolled)
    for name in ("mate", "other", "rank"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))


def test_a_mate_that_ties_with_another_subject_is_second():
    assert closed_set_rank([[0.5, 0.5]], [7], [7, 8], [1, 2]).tolist() == [0, 1]


def test_a_mate_that_ties_with_the_silenced_alarm_is_not_found():
    scores, probes, gallery = [[0.5], [0.5]], [7, 9], [7]
    assert tpir_at_fpir(scores, probes, gallery, [0, 0.99, 1]).tolist() == [0, 0, 1]


def test_several_entries_of_a_subject_do_not_push_each_other_back():
    assert searches([[0.9, 0.8, 0.7]], [1], [1, 1, 2]).rank.tolist() == [1]


def test_open_set_figure_is_the_mean_over_galleries():
    rng = np.random.default_rng(0)
    probes = np.arange(20) % 10
    outcomes = [searches(rng.normal(size=(20, 5)), probes, gallery) for gallery in (np.arange(5), np.arange(5, 10))]
    each = [open_set_rates(outcome, [0.1, 0.5], rank=1) for outcome in outcomes]
    np.testing.assert_allclose(mean_over_galleries(outcomes, [0.1, 0.5], rank=1), (each[0] + each[1]) / 2, rtol=1e-15)
    with pytest.raises(ValueError, match="one gallery"):
        mean_over_galleries([], [0.1])


@pytest.mark.parametrize("fpirs", [0.1, [0.1, 0.2], [[0.1], [0.3]], []])
def test_tpir_has_the_shape_of_fpirs(fpirs):
    assert tpir_at_fpir([[0.5], [0.4]], [1, 2], [1], fpirs).shape == np.shape(fpirs)


def test_identification_names_what_is_wrong_with_its_input():
    with pytest.raises(ValueError, match="1 of 2 probes have no mate"):
        closed_set_rank([[0.1], [0.2]], [1, 2], [1])
    with pytest.raises(ValueError, match="0 of 0 probes"):
        rank_rates(searches(np.empty((0, 1)), np.empty(0, int), [1]))
    with pytest.raises(ValueError, match="ranks must be ints >= 1"):
        closed_set_rank([[0.1]], [1], [1], [0])
    with pytest.raises(ValueError, match="no mated probe among 1"):
        tpir_at_fpir([[0.1]], [2], [1], [0.1])
    with pytest.raises(ValueError, match="no unmated probe among 1"):
        tpir_at_fpir([[0.1]], [1], [1], [0.1])
    with pytest.raises(ValueError, match="no mated probe among 0"):
        tpir_at_fpir(np.empty((0, 1)), np.empty(0, int), [1], [0.1])
    with pytest.raises(ValueError, match="fpirs must lie"):
        tpir_at_fpir([[0.1], [0.2]], [1, 2], [1], [1.5])
    with pytest.raises(ValueError, match="rank must be at least 1"):
        tpir_at_fpir([[0.1], [0.2]], [1, 2], [1], [0.5], rank=0)
    with pytest.raises(ValueError, match="1 of probes 0 to 1 have scores that are NaN or inf"):
        searches([[0.1], [np.nan]], [1, 2], [1])
    with pytest.raises(ValueError, match="G >= 1"):
        searches(np.empty((3, 0)), [1, 2, 3], [])
    with pytest.raises(ValueError, match="probe_subjects must hold one id per row"):
        searches([[0.1]], [1, 2], [1])
    with pytest.raises(ValueError, match="gallery_subjects must be ints"):
        searches([[0.1]], [1], [1.5])
    with pytest.raises(ValueError, match="1 of 2 rows of probes hold NaN or inf"):
        search_templates([[0.1], [np.inf]], [[1.0]], [1, 2], [1])
    with pytest.raises(ValueError, match="Q, D"):
        search_templates([[0.1, 0.2]], [[1.0]], [1], [1])
