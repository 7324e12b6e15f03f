"""Two models on the same pairs: their difference, how sure it is, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest
from test_report import make_result

from elasticface.benchmarks.pairs import PairResult
from elasticface.benchmarks.units import units_of
from elasticface.comparison import ACCURACY, compare
from elasticface.errors import InputError
from elasticface.metrics import resampling

PEOPLE, FOLDS = 12, 10


def result_on_people(model: str, seed: int, quality: float, benchmark: str = "lfw") -> PairResult:
    """Sixty pairs of each kind of twelve people; the same ones for every model."""
    pairs = np.random.default_rng(7)
    person = pairs.integers(PEOPLE, size=(120, 2))
    same = np.arange(120) % 2 == 0
    person[same, 1] = person[same, 0]
    person[~same, 1] = (person[~same, 0] + 1 + pairs.integers(PEOPLE - 1, size=60)) % PEOPLE
    names = [tuple(f"p{who}/{side}-{n}.png" for n, who in enumerate(person[:, side])) for side in range(2)]
    scores = (quality * same + np.random.default_rng(seed).normal(0, 1, 120)).astype(np.float32)
    accepted = scores > quality / 2
    return replace(
        make_result(),
        model=model,
        benchmark=benchmark,
        accuracy=float((accepted == same).mean()),
        tar_at_far={"at-most": {}, "nearest": {}},
        scores=scores,
        same=same,
        accepted=accepted,
        first=names[0],
        second=names[1],
        units=units_of(*names, same, FOLDS),
    )


def test_the_difference_and_its_interval_are_the_longhand() -> None:
    a, b = result_on_people("a", 1, 3.0), result_on_people("b", 2, 1.5)
    (contrast,) = compare([a, b], draws=200, seed=3).contrasts
    (difference,) = contrast.differences
    assert (contrast.units, contrast.pairs, difference.figure) == ("people", 120, ACCURACY)
    drawn = []
    for counts in resampling.draw_people(PEOPLE, 200, 3).tolist():
        accuracies = []
        for result in (a, b):
            right, total = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
            for n in range(120):
                one, other = int(result.units.first[n]), int(result.units.second[n])
                weight = counts[one] * (1 if result.same[n] else counts[other])
                right[bool(result.same[n])] += weight * bool(result.accepted[n] == result.same[n])
                total[bool(result.same[n])] += weight
            accuracies.append(0.5 * right[True] / total[True] + 0.5 * right[False] / total[False])
        drawn.append(accuracies[0] - accuracies[1])
    assert difference.value == pytest.approx(a.accuracy - b.accuracy, abs=1e-15)
    np.testing.assert_allclose(difference.interval, np.quantile(drawn, [0.025, 0.975]), atol=1e-12)
    against = min(sum(d <= 0 for d in drawn), sum(d >= 0 for d in drawn))
    assert difference.p_value == pytest.approx(min(1, 2 * (against + 1) / 201))


def test_a_model_is_not_ahead_of_its_own_copy() -> None:
    a = result_on_people("a", 1, 2.0)
    (contrast,) = compare([a, replace(a, model="copy")], draws=100).contrasts
    (difference,) = contrast.differences
    assert (difference.value, difference.interval, difference.p_value) == (0, (0, 0), 1)


def test_the_borda_count_is_over_the_benchmarks_that_all_models_have() -> None:
    results = [
        result_on_people(model, seed, quality, benchmark)
        for benchmark in ("lfw", "agedb_30")
        for model, seed, quality in (("good", 1, 4.0), ("bad", 2, 0.5))
    ]
    alone = result_on_people("good", 1, 4.0, "cfp_fp")
    found = compare([*results, alone], draws=100)
    assert found.borda == {"good": 2, "bad": 0}
    assert found.borda_benchmarks == ("lfw", "agedb_30")
    assert any("cfp_fp" in note for note in found.notes)


def test_other_pairs_are_refused() -> None:
    a, b = result_on_people("a", 1, 2.0), result_on_people("b", 2, 2.0)
    moved = units_of(b.second, b.first, b.same, FOLDS)
    with pytest.raises(InputError, match="lfw: a and b were not measured on the same pairs"):
        compare([a, replace(b, units=moved)])


@pytest.mark.parametrize("names", [("lfw",), ("lfw", "agedb_30")])
def test_nothing_to_compare_is_refused(names: tuple[str, ...]) -> None:
    results = [result_on_people(f"m{n}", n, 2.0, name) for n, name in enumerate(names)]
    with pytest.raises(InputError, match=r"two models or more|no benchmark of pairs that two"):
        compare(results)
