"""Comparisons equal those of pairs resampled longhand, one by one; and results on other pairs are refused."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resampled_pairs as longhand
from benchmarks.test_stored import with_units, write
from judged import judged
from made_results import ALL, make_result
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.pairs import PairResult
from elasticface.benchmarks.results import DistractorSearch, LargeResult, TemplateIdentification
from elasticface.benchmarks.samples import Samples
from elasticface.metrics import borda_count
from elasticface.metrics.resampling import draw_people
from elasticface.report.comparison import Contrast, compare, read_folders

DRAWS = 60
FARS = ("0.01", "0.1")


def make(model: str, kind: str = "people", seed: int = 0, shift: float = 0.2, benchmark: str = "lfw") -> PairResult:
    first, second, same = longhand.names_of(kind, 150, np.random.default_rng(7))
    rng = np.random.default_rng(seed)
    scores = np.where(same, rng.normal(shift, 0.15, 150), rng.normal(0, 0.15, 150)).round(2).astype(np.float32)
    accepted = scores > shift / 2
    once = list(range(150))
    tars = {far: longhand.tar(scores, same, once, float(far)) for far in FARS}
    result = replace(
        make_result(model, benchmark, accuracy=float((accepted == same).mean()), pairs=150),
        scores=scores,
        same=same,
        accepted=accepted,
        first=tuple(first),
        second=tuple(second),
        tar_at_far={"at-most": tars, "nearest": {}},
        eer=longhand.equal_error_rate(scores, same, once),
        counts={"pairs": 150, "genuine": int(same.sum()), "impostor": int((~same).sum())},
    )
    return with_units(result)


def longhand_samples(result: PairResult, figure: str) -> NDArray[np.float64]:
    units, same, scores = result.units, result.same, result.scores
    assert units is not None
    found = []
    for drawn in draw_people(int(max(units.first.max(), units.second.max())) + 1, DRAWS, 3):
        listed = longhand.written_out(units, same, drawn)
        if figure == "accuracy":
            found.append(longhand.accuracy(result.accepted == same, same, listed))
        elif figure == "eer":
            found.append(longhand.equal_error_rate(scores, same, listed))
        else:
            found.append(longhand.tar(scores, same, listed, float(figure)))
    return np.array(found)


def longhand_mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    counts = int((a & ~b).sum()), int((b & ~a).sum())
    tail = sum(math.comb(sum(counts), k) for k in range(min(counts) + 1)) / 2 ** sum(counts)
    return min(1.0, 2 * tail)


@pytest.mark.parametrize("kind", ["people", "images", "pairs"])
def test_differences_are_those_of_pairs_resampled_one_by_one(kind: str) -> None:
    a, b = make("one", kind, 1), make("two", kind, 2, shift=0.3)
    made = compare([a, b], DRAWS, seed=3)
    (contrast,) = made.contrasts
    assert (contrast.first, contrast.second, contrast.units) == ("one", "two", kind)
    assert (contrast.trials, contrast.what, contrast.draws) == (150, "pairs", DRAWS)
    assert [difference.figure for difference in contrast.differences] == ["accuracy", *FARS, "eer"]
    for difference in contrast.differences:
        samples = longhand_samples(a, difference.figure) - longhand_samples(b, difference.figure)
        assert difference.value == difference.first - difference.second
        assert difference.interval == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=1e-12)
        against = min((samples <= 1e-12).sum(), (samples >= -1e-12).sum())
        assert difference.p_value == pytest.approx(min(1, 2 * (against + 1) / (DRAWS + 1)), abs=1e-12)
        if difference.figure == "accuracy" and kind == "pairs":
            exact = longhand_mcnemar(a.accepted == a.same, b.accepted == b.same)
            assert difference.mcnemar == pytest.approx(exact, rel=1e-9)
        else:
            assert difference.mcnemar is None


def test_swapped_models_have_the_opposite_difference() -> None:
    a, b = make("one", seed=1), make("two", seed=2)
    (there,), (back,) = (compare(pair, DRAWS).contrasts for pair in ([a, b], [b, a]))
    for x, y in zip(there.differences, back.differences, strict=True):
        assert x.interval is not None
        assert y.interval is not None
        assert (x.value, x.p_value) == (-y.value, y.p_value)
        assert x.interval == pytest.approx((-y.interval[1], -y.interval[0]), abs=1e-12)


def test_equal_models_differ_by_nothing() -> None:
    (contrast,) = compare([make("one"), make("two")], DRAWS).contrasts
    assert {(d.value, d.interval, d.p_value) for d in contrast.differences} == {(0.0, None, None)}


def test_every_two_models_are_compared_on_every_benchmark_that_both_have() -> None:
    results = [make(model, seed=i, benchmark=b) for i, model in enumerate("abc") for b in ("lfw", "cplfw")]
    results += [make("a", benchmark="calfw"), make("b", benchmark="calfw"), make("c", benchmark="alone")]
    made = compare([*results, *ALL], DRAWS)
    found = [(c.benchmark, c.first, c.second) for c in made.contrasts]
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert found == [*(("lfw", *p) for p in pairs), *(("cplfw", *p) for p in pairs), ("calfw", "a", "b")]
    alone = ("alone: c", "IJB-C 1:1: one", "IJB-C 1:N: one", "MegaFace: one", "MegaFace (R): one")
    assert made.notes[:-1] == tuple(f"{name} alone was measured on it" for name in alone)


def test_borda_count_is_over_the_benchmarks_that_all_models_have() -> None:
    results = [make(model, seed=i, benchmark=b) for i, model in enumerate("abc") for b in ("lfw", "cplfw")]
    made = compare([*results, make("a", benchmark="calfw")], DRAWS)
    assert made.borda_benchmarks == ("lfw", "cplfw")
    figures = [[r.accuracy for r in results if r.model == model] for model in "abc"]
    assert list(made.borda.values()) == borda_count(figures).tolist()


def test_borda_count_is_over_the_papers_benchmarks_alone() -> None:
    names = ("LFW", "cfp_ff", "mine", "CFP-FP", "lfw-a")
    made = compare([make(model, seed=i, benchmark=b) for i, model in enumerate("ab") for b in names], DRAWS)
    assert made.borda_benchmarks == ("LFW", "CFP-FP")
    assert sum(made.borda.values()) == 2


def test_models_without_pairs_are_left_out_of_the_borda_count_and_named() -> None:
    results = [make("a", seed=1), make("b", seed=2)]
    made = compare([*results, of(ALL[2], "c"), of(ALL[2], "a")], DRAWS)
    assert made.borda == compare(results, DRAWS).borda
    assert made.notes == ("Borda count: without c, of whom there is no result on pairs",)


def test_why_there_is_no_borda_count_is_said() -> None:
    none = "no Borda count: none of LFW, AgeDB-30, CALFW, CPLFW, CFP-FP was measured with each of "
    assert compare([make(model, benchmark="mine") for model in "ab"], DRAWS).notes == (f"{none}a, b",)
    apart = [make("a"), make("a", benchmark="mine"), make("b", benchmark="mine")]
    assert compare(apart, DRAWS).notes == ("lfw: a alone was measured on it", f"{none}a, b")
    one = compare([make("a"), of(ALL[0], "a"), of(ALL[0], "b")], DRAWS)
    assert one.notes == ("lfw: a alone was measured on it", "no Borda count: a alone has results on pairs")
    assert one.borda == {}
    assert compare([of(ALL[0], "a"), of(ALL[0], "b")], DRAWS).notes == ()


def nobody_drawn(results: list[PairResult], why: str) -> None:
    made = compare(results, DRAWS)
    (contrast,) = made.contrasts
    assert {(d.interval, d.p_value) for d in contrast.differences} == {(None, None)}
    assert all(d.value == d.first - d.second for d in contrast.differences)
    assert contrast.draws == 0
    assert made.notes == (f"lfw: too few people: {why}; so there are no intervals",)


def of_units(result: PairResult, first: NDArray[Any], second: NDArray[Any]) -> PairResult:
    assert result.units is not None
    return replace(result, units=replace(result.units, first=first.astype(np.int32), second=second.astype(np.int32)))


def test_a_draw_without_pairs_of_one_kind_gives_no_interval_and_says_so() -> None:
    results = [make(model, seed=i) for i, model in enumerate(("one", "two"))]
    nobody = np.zeros(150)
    nobody_drawn([of_units(result, nobody, ~result.same) for result in results], "a resample has no pair of one kind")


def test_one_unit_alone_gives_no_interval_and_says_so() -> None:
    results = [make(model, "images", seed=i) for i, model in enumerate(("one", "two"))]
    nobody = np.zeros(150)
    nobody_drawn([of_units(result, nobody, nobody) for result in results], "every resample is the same")


def test_where_the_error_rates_of_a_resample_are_equal_nowhere_their_interval_alone_is_missing() -> None:
    a, b = make("one"), make("two", seed=1)
    lost = replace(b, scores=np.where(np.arange(150) % 15 > 1, -np.inf, b.scores))
    made = compare([a, lost], DRAWS)
    (contrast,) = made.contrasts
    assert [d.figure for d in contrast.differences if d.interval is None] == ["eer"]
    (note,) = made.notes
    assert note.startswith("lfw, two: so many pairs were not enrolled that in a resample the error rates are equal")


def test_figures_of_pairs_that_one_model_lacks_are_not_compared() -> None:
    a, b = make("one"), make("two", seed=1)
    others = {
        ("accuracy", *FARS): replace(b, eer=math.nan),
        ("accuracy", "0.1", "eer"): replace(b, tar_at_far={"at-most": {"0.1": 0.5, "0.2": 0.6}}),
        ("accuracy", "0.01", "eer"): replace(b, tar_at_far={"at-most": {"0.01": 0.5, "0.1": math.nan}}),
        ("accuracy", "eer"): replace(b, tar_at_far={}),
    }
    for figures, other in others.items():
        for pair in ([a, other], [other, a]):
            (contrast,) = compare(pair, DRAWS).contrasts
            assert tuple(d.figure for d in contrast.differences) == figures
            assert all(d.interval is not None for d in contrast.differences)


def test_other_protocols_are_noted() -> None:
    made = compare([make("one"), replace(make("two"), protocol="image alone")], DRAWS)
    assert made.notes == ("lfw: the models were not measured in one way; see the protocols in their results",)


def test_several_benchmarks_with_other_protocols_are_noted_together() -> None:
    both = [make("one"), make("one", benchmark="calfw")]
    made = compare([*both, *(replace(one, model="two", protocol="image alone") for one in both)], DRAWS)
    assert [note.partition(":")[0] for note in made.notes] == ["lfw, calfw"]


def test_other_pairs_are_refused() -> None:
    a, b = make("one"), make("two")
    assert b.units is not None
    others = [replace(b, units=replace(b.units, digest="0")), replace(b, same=~b.same), make("two", "images")]
    for other in others:
        with pytest.raises(
            InputError, match=r"^lfw: one \(150\) and two \(150\) were not measured on the same pairs; evaluate"
        ):
            compare([a, other], DRAWS)


def test_too_little_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="two models or more, not 1"):
        compare([make("one"), make("one", benchmark="cplfw")], DRAWS)
    with pytest.raises(InputError, match="no benchmark that two of the models"):
        compare([make("one"), make("two", benchmark="cplfw")], DRAWS)
    with pytest.raises(InputError, match="12 units, too many to resample 100,000,000 times; give fewer --draws"):
        compare([make("one"), make("two")], 100_000_000)


# ---------------------------------------------------------------------------------------------- large benchmarks


def of(result: LargeResult, model: str, seed: int = 0, **options: Any) -> LargeResult:
    return replace(judged(result, seed, **options), model=model)


def samples_of(result: LargeResult) -> Samples:
    assert result.samples is not None
    return result.samples


@pytest.mark.parametrize("result", ALL, ids=lambda result: result.benchmark)
def test_differences_on_large_benchmarks_are_those_of_the_samples_that_were_kept(result: LargeResult) -> None:
    a, b = of(result, "one", 1), of(result, "two", 2, ease=0.75)
    made = compare([a, b], 999, seed=3)  # which are for pairs alone
    (contrast,) = made.contrasts
    assert (contrast.benchmark, contrast.first, contrast.second) == (result.benchmark, "one", "two")
    assert (contrast.units, contrast.trials, contrast.what, contrast.draws) == ("subjects", 90, result.TRIALS, 40)
    rates = [(g.name, target, rate) for g in a.groups() for target, rate in g.rates.items()]
    assert [(d.rate, d.figure, d.first) for d in contrast.differences] == rates
    assert [d.second for d in contrast.differences] == [rate for g in b.groups() for rate in g.rates.values()]
    for column, difference in enumerate(contrast.differences):
        differences = [
            float(row[column] - other[column])
            for row, other in zip(samples_of(a).rates, samples_of(b).rates, strict=True)
        ]
        assert difference.value == difference.first - difference.second
        assert difference.interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=1e-12)
        ahead, behind = (sum(sign * one >= 0 for one in differences) for sign in (1, -1))
        assert difference.p_value == pytest.approx(min(1, 2 * (min(ahead, behind) + 1) / 41), abs=1e-12)
        assert difference.mcnemar is None
    assert len({d.interval for d in contrast.differences}) == len(rates)
    assert made.notes == ()
    assert made.borda == {}


def test_samples_of_one_draw_are_paired() -> None:
    a, b = of(ALL[2], "one", 1), of(ALL[2], "two", 1)
    known = samples_of(b)
    (same,) = compare([a, b]).contrasts
    assert {(d.interval, d.p_value) for d in same.differences} == {(None, None)}
    (other,) = compare([a, replace(b, samples=replace(known, rates=known.rates[::-1]))]).contrasts
    assert all(d.interval and d.interval[0] < 0 < d.interval[1] for d in other.differences)


def test_a_large_benchmark_is_judged_beside_pairs() -> None:
    results = [*(make(model, seed=i) for i, model in enumerate("ab")), of(ALL[0], "a", 1), of(ALL[0], "b", 2)]
    made = compare(results, DRAWS)
    assert [(c.benchmark, c.what) for c in made.contrasts] == [("lfw", "pairs"), ("IJB-C 1:1", "genuine pairs")]
    assert made.borda_benchmarks == ("lfw",)


def test_where_nobody_was_drawn_figures_are_without_intervals() -> None:
    results = [of(ALL[0], "one", 1), replace(of(ALL[0], "few", 2), samples=None), of(ALL[0], "two", 3)]
    made = compare(results, DRAWS)
    assert [(c.first, c.second, c.units, c.draws) for c in made.contrasts] == [
        ("one", "few", None, 0),
        ("one", "two", "subjects", 40),
        ("few", "two", None, 0),
    ]
    for contrast in made.contrasts:
        assert {d.interval is None for d in contrast.differences} == {contrast.units is None}
        assert {d.p_value is None for d in contrast.differences} == {contrast.units is None}
        assert all(d.value == d.first - d.second for d in contrast.differences)
    assert made.contrasts[1].differences == compare([results[0], results[2]], DRAWS).contrasts[0].differences
    assert made.notes == ("IJB-C 1:1: no resamples are stored for few, so their differences have no intervals",)


def test_other_trials_are_refused() -> None:
    a, b = of(ALL[1], "one", 1), of(ALL[1], "two", 2)
    assert isinstance(b, TemplateIdentification)
    known = samples_of(b)
    others: list[LargeResult] = [
        replace(b, samples=changed)
        for changed in (
            replace(known, digest="1"),
            replace(known, kind="templates"),
            replace(known, rates=known.rates[:-1]),
        )
    ]
    others.append(of(ALL[1], "two", trials=91))
    others.append(replace(b, samples=None, galleries=b.galleries[:1]))
    for other, count in zip(others, [90] * 3 + [91, 60], strict=True):
        message = rf"IJB-C 1:N: one \(90\) and two \({count}\) were not measured on the same searches of mated probes"
        with pytest.raises(InputError, match=f"^{message}; evaluate both on the same files$"):
            compare([a, other], DRAWS)
    unknown = replace(others[-1], model="zero")  # the first who has samples is the measure, wherever he is
    with pytest.raises(InputError, match=r"one \(90\) and zero \(60\) were not"):
        compare([unknown, a, b], DRAWS)


def test_what_one_model_was_measured_without_is_said() -> None:
    a, b = of(ALL[2], "one", 1), of(ALL[2], "two", 2)
    lost = replace(b, counts={**b.counts, "damaged_images": 3})
    assert compare([a, b], DRAWS).notes == ()
    assert compare([a, lost], DRAWS).notes == ("MegaFace, two: 3 images missing or damaged",)
    assert compare([replace(a, counts=lost.counts), lost], DRAWS).notes == ()  # both alike
    other = replace(lost, samples=replace(samples_of(lost), digest="1"))
    with pytest.raises(
        InputError, match=r"one \(90\) and two \(90, 3 images missing or damaged\) were not measured on"
    ):
        compare([a, other], DRAWS)


def test_a_difference_that_is_the_same_in_every_draw_has_no_interval() -> None:
    a, b = of(ALL[2], "one", 1), of(ALL[2], "two", 2)
    known = samples_of(b)
    ahead = replace(a, samples=replace(samples_of(a), rates=known.rates + 0.1))
    (contrast,) = compare([ahead, b], DRAWS).contrasts
    assert {(d.interval, d.p_value) for d in contrast.differences} == {(None, None)}


def test_a_figure_that_one_model_lacks_is_not_compared() -> None:
    a, b = (replace(of(ALL[2], model), samples=None) for model in ("one", "two"))
    assert isinstance(b, DistractorSearch)
    for rank in ({}, {"1": math.nan}, {"2": 0.5}):
        (contrast,) = compare([a, replace(b, rank=rank)], DRAWS).contrasts
        assert [(d.rate, d.figure) for d in contrast.differences] == [("TAR at FAR, at-most", "1e-06")]


def test_other_protocols_of_large_benchmarks_are_noted() -> None:
    made = compare([of(ALL[2], "one", 1), replace(of(ALL[2], "two", 2), protocol="features as given")], DRAWS)
    assert made.notes == ("MegaFace: the models were not measured in one way; see the protocols in their results",)


# ---------------------------------------------------------------------------------------------- folders


def test_models_of_one_name_get_their_folders_and_benchmarks_one_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a"), [make("net"), make("pca", seed=1), make("net", benchmark="AgeDB-30")])
    write(Path("b"), [make("net", benchmark="LFW"), make("other", benchmark="agedb_30")])
    results, versions = read_folders(["a", "b"])
    assert [(r.model, r.benchmark) for r in results] == [
        *(("a: net", "lfw"), ("pca", "lfw"), ("a: net", "AgeDB-30")),
        *(("b: net", "lfw"), ("other", "AgeDB-30")),
    ]
    assert list(versions) == ["a", "b"]
    kinds: list[Contrast] = list(compare(results, DRAWS).contrasts)
    assert len(kinds) == 4


@pytest.mark.parametrize("again", ["a", "a/", "a/results.json"])
def test_a_folder_that_is_given_twice_is_refused(tmp_path: Path, again: str) -> None:
    write(tmp_path / "a", [make("net")])
    with pytest.raises(InputError, match="is given twice"):
        read_folders([tmp_path / "a", f"{tmp_path}/{again}"])
