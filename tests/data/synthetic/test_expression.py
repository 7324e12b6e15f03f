"""elasticface.data.synthetic.expression: action units that the head has, as often and as strong as they say."""

import math
from dataclasses import replace

import numpy as np
import pytest

from elasticface.data.synthetic.expression import EXPRESSIONS, units_of
from elasticface.data.synthetic.scene import draw_scene


def test_every_action_unit_is_one_of_the_head_s(head, scenes, person):
    used = {unit for one in scenes for unit in one.units}
    used |= {unit for name in EXPRESSIONS for unit in units_of(name, 1.0, person)}
    for unit in used:
        head.target(f"expr/{unit}")


def test_expressions_are_as_frequent_as_they_say(studio):
    names = [studio.scene(number, photo).expression for number in range(40) for photo in range(25)]
    total = sum(share for share, _ in EXPRESSIONS.values())
    assert np.isclose(total, 1)
    for name, (share, _) in EXPRESSIONS.items():
        assert abs(names.count(name) / len(names) - share) < 4 * math.sqrt(share * (1 - share) / len(names))


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_grows_with_its_strength(person, name):
    rest, half, full = (units_of(name, strength, person) for strength in (0.0, 0.5, 1.0))
    assert {unit: amount for unit, amount in rest.items() if amount} == units_of("neutral", 1.0, person)
    for unit in full:
        assert rest.get(unit, 0) <= half[unit] <= full[unit]
        assert half[unit] == pytest.approx((rest.get(unit, 0) + full[unit]) / 2)
    for unit in EXPRESSIONS[name][1]:
        assert unit in full or {f"{unit}Left", f"{unit}Right"} <= full.keys()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_without_a_generator_are_symmetrical(person, name):
    units = units_of(name, 1.0, person)
    for unit, amount in units.items():
        if unit.endswith("Left"):
            assert units[f"{unit.removesuffix('Left')}Right"] == amount


def test_drawn_expressions_are_a_little_uneven(person):
    units = units_of("smile", 1.0, person, np.random.default_rng(0))
    left, right = units["mouthSmileLeft"], units["mouthSmileRight"]
    assert left != right
    assert abs(left - right) < 0.5 * max(left, right)


def test_action_units_are_strengths(scenes):
    """A little over 1 is what the tilt of a full smile takes."""
    amounts = [amount for one in scenes for amount in one.units.values()]
    assert min(amounts) > 0
    assert max(amounts) < 1.25


def test_a_third_of_photos_show_teeth(scenes):
    """Lips apart while the jaw is nearly closed, or a wide laugh."""
    shown = [one.units.get("mouthUpperUpLeft", 0) > 0.3 for one in scenes]
    assert 0.2 < np.mean(shown) < 0.5


def test_the_stern_smile_less(person):
    stern, friendly = (replace(person, habits=replace(person.habits, smile=smile)) for smile in (-0.3, 0.3))
    rest = [units_of("neutral", 0.0, one)["mouthSmileLeft"] for one in (stern, friendly)]
    assert 0 <= rest[0] <= rest[1]
    smiles = [
        np.mean(
            [s.strength for photo in range(400) if (s := draw_scene(one, 0, photo, "varying")).expression == "smile"]
        )
        for one in (stern, friendly)
    ]
    assert smiles[0] < smiles[1] - 0.2
