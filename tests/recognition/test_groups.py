"""Groups at a common threshold: their rates, longhand, and the worst over the geometric mean."""

import dataclasses

import numpy as np
import pytest
from compared import photos_of

from elasticface.metrics.resampling import draw_people, pair_weights
from elasticface.recognition.comparisons import Compared, compare_embeddings
from elasticface.recognition.groups import differentials, worst_over_mean

SEXES = ("f", "m", "f", "m", "")
AGES = ("0–19", "20–34", "20–34", "65 and over", "abc")


@pytest.fixture
def part() -> Compared:
    rows, names = photos_of(30, 3, spread=1.2)
    person = [int(name[7:10]) for name in names]
    metadata = {
        "sex": {name: SEXES[p % 5] for name, p in zip(names, person, strict=True)},
        "age": {name: AGES[p % 5] for name, p in zip(names, person, strict=True)},
    }
    return compare_embeddings("folder", rows, names, 10**6, metadata)


@pytest.mark.parametrize("as_list", [False, True])
def test_rates_of_a_group_are_those_of_comparisons_within_it(part: Compared, as_list: bool) -> None:
    if as_list:
        part = dataclasses.replace(part, unit_of=None)
    counts = draw_people(30, 200)
    found = differentials([(part, counts)], [0.1, 0.01], [0.3, 0.6])
    assert [(one.column, one.fmr, one.threshold) for one in found] == [
        ("sex", 0.1, 0.3), ("sex", 0.01, 0.6), ("age", 0.1, 0.3), ("age", 0.01, 0.6)
    ]  # fmt: skip
    assert [group.name for group in found[0].groups] == ["f", "m"]
    assert [group.name for group in found[2].groups] == ["0–19", "20–34", "65 and over", "abc"]
    sex_of = np.array([part.metadata["sex"][photo] for photo in part.photos])
    for one in found[:2]:
        longhand = []
        for group in one.groups:
            for scores, photos, units, rate, number in (
                (part.impostors, part.impostor_photos, part.impostor_units, group.fmr, group.impostors),
                (-part.genuine, part.genuine_photos, part.genuine_units, group.fnmr, group.genuine),
            ):
                inside = (sex_of[photos] == group.name).all(axis=1)
                sign = 1 if rate is group.fmr else -1
                hits = sign * scores[inside] >= np.float32(one.threshold)
                hits = hits if sign == 1 else ~hits
                weights = pair_weights(counts, *units[inside].T)
                samples = weights[:, hits].sum(1) / weights.sum(1)
                assert number == inside.sum()
                assert rate.value == pytest.approx(hits.mean())
                if rate.interval is not None:
                    assert rate.interval == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
            longhand.append(group.fmr.value)
        first, second = longhand
        assert one.fmr_worst_over_mean.value == pytest.approx(max(first, second) / np.sqrt(first * second))


def test_one_group_alone_is_no_differential(part: Compared) -> None:
    same = dataclasses.replace(part, metadata={"sex": dict.fromkeys(part.photos, "f")})
    assert differentials([(same, draw_people(30, 5))], [0.1], [0.3]) == []
    names = dataclasses.replace(part, metadata={"race": {photo: photo for photo in part.photos}})
    assert differentials([(names, draw_people(30, 5))], [0.1], [0.3]) == []


def test_benchmarks_without_the_column_are_left_out(part: Compared) -> None:
    other = dataclasses.replace(part, metadata={})
    counts = draw_people(60, 50)
    halves = [(part, counts[:, :30]), (other, counts[:, 30:])]
    assert differentials(halves, [0.1], [0.3]) == differentials(halves[:1], [0.1], [0.3])


def test_worst_over_geometric_mean() -> None:
    rates = np.array([[0.01, 0.0, 0.2], [0.04, 0.1, 0.2], [0.02, 0.1, 0.2]])
    found = worst_over_mean(rates)
    assert found[0] == pytest.approx(0.04 / (0.01 * 0.04 * 0.02) ** (1 / 3))
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(1)


def test_a_group_without_a_false_match_leaves_the_ratio_open(part: Compared) -> None:
    part = dataclasses.replace(part, metadata={"sex": part.metadata["sex"]})
    (one,) = differentials([(part, draw_people(30, 50))], [0.1], [1.5])
    assert (one.fmr_worst_over_mean.value, one.fmr_worst_over_mean.interval) == (None, None)
    assert all(group.fmr.value == 0 and group.fmr.interval is None for group in one.groups)
    assert all(group.fnmr.value == 1 for group in one.groups)
