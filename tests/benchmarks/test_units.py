"""Units: people by their folders; images that genuine pairs join; pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.benchmarks.units import OF_PAIRS, OF_TRIALS, UNITS, units_of


def made(pairs: list[tuple[str, str, int]], folds: int = 2, content: str = ""):
    first, second, same = zip(*pairs, strict=True)
    return units_of(first, second, np.array(same, np.bool_), folds, content)


@pytest.mark.parametrize("deeper", ["", "faces/", "a/b/c/"])
def test_people_are_the_folders_of_their_photos(deeper: str) -> None:
    units = made([(f"{deeper}{a}", f"{deeper}{b}", s) for a, b, s in (("x/1", "x/2", 1), ("y/1", "x/2", 0))])
    assert (units.kind, units.first.tolist(), units.second.tolist()) == ("people", [0, 1], [0, 0])


def test_people_are_folders_further_up_where_photos_are_sorted_within() -> None:
    units = made([("I/1/frontal/1", "I/1/profile/1", 1), ("I/1/frontal/2", "I/2/profile/1", 0)])
    assert (units.kind, units.first.tolist(), units.second.tolist()) == ("people", [0, 0], [0, 1])


def test_people_are_told_by_names_where_folders_do_not() -> None:
    pairs = [("A_B_0001.jpg", "A_B_0002.jpg", 1), ("A_B_0001.jpg", "C_1.png", 0), ("C_1.png", "C_12.jpg", 1)]
    units = made([(f"photos/{a}", f"photos/{b}", same) for a, b, same in pairs])
    assert (units.kind, units.first.tolist(), units.second.tolist()) == ("people", [0, 0, 1], [0, 1, 1])
    assert made([*pairs, ("C_12.jpg", "D.jpg", 0)]).kind == "images"  # not every name has a number
    assert made([*pairs, ("C_12.jpg", "C_3.jpg", 0)]).kind == "images"  # a label that contradicts


def test_folders_that_contradict_the_labels_are_no_people() -> None:
    assert made([("x/1", "x/2", 1), ("x/1", "x/3", 0)]).kind == "images"
    assert made([("x/1", "y/2", 1), ("x/1", "z/3", 0)]).kind == "images"


def test_images_that_genuine_pairs_join_are_one_unit_by_way_of_others_too() -> None:
    units = made([("0", "1", 1), ("2", "3", 1), ("4", "5", 0), ("3", "1", 1), ("0", "5", 0), ("0", "2", 0)])
    assert units.kind == "images"
    assert units.first.tolist() == [0, 0, 1, 0, 0, 0]
    assert units.second.tolist() == [0, 0, 2, 0, 2, 0]  # the last contradicts the others: both within one unit


def test_every_unit_is_of_one_kind_of_benchmark() -> None:
    assert (*OF_PAIRS, *OF_TRIALS) == tuple(UNITS)


def test_pairs_are_the_units_where_no_image_is_in_two() -> None:
    units = made([("0", "1", 1), ("2", "3", 0), ("4", "4", 1)])
    assert (units.kind, units.first.tolist(), units.second.tolist()) == ("pairs", [0, 1, 2], [0, 1, 2])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=30))
def test_joined_images_are_the_reachable_ones(pairs: list[tuple[int, int, bool]]) -> None:
    units = made([(str(a), str(b), int(same)) for a, b, same in pairs])
    if units.kind == "pairs":
        return
    reach = np.eye(10, dtype=bool)
    for a, b, same in pairs:
        if same:
            reach[a, b] = reach[b, a] = True
    for _ in range(4):
        reach = reach @ reach
    unit = {image: int(u) for pair, *us in zip(pairs, units.first, units.second) for image, u in zip(pair, us)}  # noqa: B905
    for a, ua in unit.items():
        for b, ub in unit.items():
            assert (ua == ub) == reach[a, b]


def test_digest_is_that_of_the_pairs_in_their_folds() -> None:
    pairs = [("0", "1", 1), ("2", "\udcff", 0)]
    digest = made(pairs).digest
    assert made(list(pairs)).digest == digest
    others = [made(pairs, folds=3), made(pairs, content="x"), made(pairs[::-1]), made([("0", "1", 0), pairs[1]])]
    assert len({digest, *(units.digest for units in others)}) == 5
