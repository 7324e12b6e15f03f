"""MegaFace's figures, streamed, against all scores at once and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticface.metrics import distractor_search, distractors, tar_at_far

FARS = [0.0, 1e-3, 0.01, 0.1, 0.5, 1.0]
seeds = st.integers(0, 2**32 - 1)


def made_up(seed, count, probes=12, people=4, spread=4):
    """Vectors of small ints, whose products are exact in any order, with ties."""
    rng = np.random.default_rng(seed)
    subjects = rng.integers(0, people, probes)
    subjects[1] = subjects[0]
    centres = rng.integers(-1, 2, (people, 6))
    images = centres[subjects] + rng.integers(-1, 2, (probes, 6))
    return images.astype(np.float32), subjects, rng.integers(-spread, spread, (count, 6)).astype(np.float32)


def chunks(rows, sizes):
    """Rows in pieces of these sizes, over and over."""
    start, turn = 0, 0
    while start < len(rows):
        yield rows[start : start + sizes[turn % len(sizes)]]
        start += sizes[turn % len(sizes)]
        turn += 1


@settings(max_examples=80)
@given(
    seeds,
    st.integers(3, 90),
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.sampled_from([1, 40, 1 << 22]),
    st.sampled_from([0, 1 << 16]),
    st.sampled_from([1, 2, 4]),
)
def test_streamed_figures_equal_those_of_all_scores_at_once(seed, count, sizes, cells, spare, spread):
    probes, subjects, strangers = made_up(seed, count, spread=spread)
    ranks = [1, 2, 3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distractors, "_BLOCK_CELLS", cells)
        patch.setattr(distractors, "_SOME_CELLS", cells // 2 + 1)
        patch.setattr(distractors, "_SPARE", spare)
        found = distractor_search(probes, subjects, chunks(strangers, sizes), count, ranks=ranks, fars=FARS)
    impostors = probes.astype(np.float64) @ strangers.T.astype(np.float64)
    pairs = [(a, b) for a in range(len(probes)) for b in range(len(probes)) if a != b and subjects[a] == subjects[b]]
    mates = [float(probes[a].astype(np.float64) @ probes[b]) for a, b in pairs]
    assert found.pairs.tolist() == [list(pair) for pair in pairs]
    assert found.mate_scores.tolist() == mates
    # A mate that ties with a distractor wins: only those that score more push it back.
    places = [1 + int(np.sum(impostors[a] > mate)) for (a, _), mate in zip(pairs, mates, strict=True)]
    assert found.rank_rates.tolist() == [np.mean([place <= k for place in places]) for k in ranks]
    assert found.hits.tolist() == [place if place <= 3 else 0 for place in places]
    assert found.best_distractor.tolist() == impostors.max(axis=1).tolist()
    assert found.best_at.tolist() == impostors.argmax(axis=1).tolist()
    scores = np.append(mates, impostors.ravel())
    want = tar_at_far(scores, np.arange(len(scores)) < len(mates), FARS)
    np.testing.assert_array_equal(found.tars, want)
    assert found.distractors == count


@settings(max_examples=40)
@given(seeds, st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 900), st.sampled_from([0, 1 << 16]))
def test_the_highest_scores_are_kept_with_whose_they_are(seed, sizes, keep, spare):
    probes, subjects, strangers = made_up(seed, 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distractors, "_SPARE", spare)
        found = distractor_search(probes, subjects, chunks(strangers, sizes), 60, fars=[0.01], keep=keep)
    impostors = probes @ strangers.T
    kept = min(max(keep, int(0.01 * impostors.size) + 1), impostors.size)
    assert found.highest.tolist() == np.sort(impostors.ravel())[::-1][:kept].tolist()
    lowest = found.highest[-1]
    for probe, scores in enumerate(impostors):
        own = sorted(found.highest[found.highest_of == probe].tolist(), reverse=True)
        above = sorted(scores[scores > lowest].tolist(), reverse=True)
        assert own[: len(above)] == above
        assert own[len(above) :] == [lowest] * (len(own) - len(above))
        assert len(own) <= np.count_nonzero(scores >= lowest)


def test_tar_at_a_rate_that_has_room_for_few_of_many():
    rng = np.random.default_rng(0)
    probes = rng.normal(size=(40, 16)).astype(np.float32)
    strangers = rng.normal(size=(30_000, 16)).astype(np.float32)
    subjects = np.arange(40) // 4
    found = distractor_search(probes, subjects, chunks(strangers, [7_000]), 30_000, fars=[1e-6, 1e-5, 1e-3])
    impostors = np.sort((probes.astype(np.float64) @ strangers.T.astype(np.float64)).ravel())[::-1]
    for far, tar in zip([1e-6, 1e-5, 1e-3], found.tars, strict=True):
        rejected = impostors[int(far * len(impostors))]
        assert tar == np.mean(found.mate_scores.astype(np.float64) > rejected)


def test_a_mate_that_is_a_distractor_byte_for_byte_wins():
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(80, 512)), 2, axis=0)
    probes = (centres + rng.normal(size=(160, 512))).astype(np.float32)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    others = rng.normal(size=(20_000, 512)).astype(np.float32)
    strangers = np.concatenate([others / np.linalg.norm(others, axis=1, keepdims=True), probes[1::2]])
    found = distractor_search(probes, np.arange(160) // 2, chunks(strangers, [7_001]), len(strangers))
    assert found.hits.tolist() == [1, 0] * 80  # the second ones score 1 with themselves


def test_chunks_are_taken_once_and_let_go():
    probes, subjects, strangers = made_up(0, 50)
    taken = []

    def one_after_the_other():
        for row in strangers:
            taken.append(row)
            yield row[None]

    distractor_search(probes, subjects, one_after_the_other(), 50)
    assert len(taken) == 50


def test_ranks_and_fars_may_be_none_or_of_any_order():
    probes, subjects, strangers = made_up(1, 20)
    nothing = distractor_search(probes, subjects, [strangers], 20, ranks=[], fars=[])
    assert (nothing.rank_rates.shape, nothing.tars.shape) == ((0,), (0,))
    assert not nothing.hits.any()
    back = distractor_search(probes, subjects, [strangers], 20, ranks=[5, 1], fars=[[0.5], [0.1]])
    forth = distractor_search(probes, subjects, [strangers], 20, ranks=[1, 5], fars=[0.1, 0.5])
    assert back.rank_rates.tolist() == forth.rank_rates.tolist()[::-1]
    assert back.tars.ravel().tolist() == forth.tars.tolist()[::-1]
    assert back.tars.shape == (2, 1)
    np.testing.assert_array_equal(back.hits, forth.hits)


def test_distractor_search_names_what_is_wrong_with_its_input():
    probes, subjects, strangers = made_up(2, 10)
    with pytest.raises(ValueError, match="there are 10 distractors where count says 11"):
        distractor_search(probes, subjects, [strangers], 11)
    with pytest.raises(ValueError, match="more distractors than the 9"):
        distractor_search(probes, subjects, [strangers], 9)
    with pytest.raises(ValueError, match="0 distractors where count says 1"):
        distractor_search(probes, subjects, [], 1)
    with pytest.raises(ValueError, match="count must be at least 1"):
        distractor_search(probes, subjects, [], 0)
    with pytest.raises(ValueError, match="no two of the 12 probes"):
        distractor_search(probes, np.arange(12), [strangers], 10)
    with pytest.raises(ValueError, match="keep at least 0"):
        distractor_search(probes, subjects, [strangers], 10, keep=-1)
    with pytest.raises(ValueError, match=r"ranks must be ints in 1..10"):
        distractor_search(probes, subjects, [strangers], 10, ranks=[11])
    with pytest.raises(ValueError, match="fars must lie"):
        distractor_search(probes, subjects, [strangers], 10, fars=[2])
    with pytest.raises(ValueError, match=r"\(12, 6\) and \(10, 5\)"):
        distractor_search(probes, subjects, [strangers[:, :5]], 10)
    broken = strangers.copy()
    broken[7, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 5 rows of distractors from 5 on hold NaN or inf"):
        distractor_search(probes, subjects, [broken[:5], broken[5:]], 10)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="beyond float32"):
        distractor_search(np.full((2, 2), 1e30, np.float32), [1, 1], [np.full((1, 2), 1e30)], 1)
    with pytest.raises(ValueError, match="rows of probes hold NaN"):
        distractor_search(np.full((2, 2), np.nan), [1, 1], [strangers], 10)
