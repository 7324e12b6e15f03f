"""elasticface.data.synthetic.scene: what photos show, how far it varies, and what stays when something else changes."""

import math
from collections import Counter
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from elasticface.data.synthetic import scene
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.scene import (
    APPEARANCES,
    EXPRESSIONS,
    Occluder,
    Scene,
    Variation,
    draw_look,
    draw_scene,
    plain_scene,
    units_of,
)
from elasticface.data.synthetic.studio import Studio

ANGLES = ("yaw", "pitch", "roll")


@pytest.fixture(scope="module")
def person(studio) -> Person:
    """With glasses and a beard, so that both can vary."""
    someone = next(p for number in range(40) if (p := studio.person(number)).sex > 0.7)
    habits = replace(someone.habits, glasses=0.5, beard=0.6)
    return replace(someone, heterogeneity=1.0, habits=habits)


@pytest.fixture(scope="module")
def scenes(studio) -> list[Scene]:
    """Of many people, who vary more and less."""
    return [studio.scene(number, photo) for number in range(60) for photo in range(10)]


def shot(person: Person, photo: int = 0, appearance: str = "varying", seed: int = 0) -> Scene:
    return draw_scene(person, seed, photo, appearance)


def look(person: Person, photo: int, appearance: str) -> scene.Look:
    return draw_look(person, np.random.default_rng(photo), appearance)


# ---------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("heterogeneity", [0.0, 0.5, 2.0])
def test_angles_and_strengths_stay_within_their_bounds(heterogeneity):
    studio = Studio(1, Variation(heterogeneity=heterogeneity))
    for one in [studio.scene(number, photo) for number in range(30) for photo in range(10)]:
        assert abs(math.degrees(one.yaw)) <= 70
        assert abs(math.degrees(one.pitch)) <= 30
        assert abs(math.degrees(one.roll)) <= 20
        assert abs(one.lamp.azimuth) <= math.pi / 2 + 0.1
        assert abs(one.lamp.elevation) <= math.pi / 2
        assert 0 <= one.strength <= 1
        assert 6 <= one.distance <= 60
        assert np.abs(one.gaze).max() < 0.8
        assert one.jitter.shape == (5, 2)
        assert np.abs(one.jitter).max() < 8
        assert one.zoom == 1


def test_light_is_never_negative(scenes):
    for one in scenes:
        assert one.lamp.strength > 0
        assert one.lamp.colour.min() > 0
        assert one.lamp.ambient.min() > 0
        assert one.lamp.gradient.shape == (3, 3)


def test_quality_stays_within_its_documented_bounds(scenes):
    for quality in (one.quality for one in scenes):
        assert 0 <= quality.metering <= 1
        assert quality.white_balance.min() > 0
        assert quality.contrast > 0
        assert quality.saturation >= 0
        assert quality.blur >= 0
        assert 0 <= quality.sharpness <= 0.7
        assert 16 <= quality.resolution <= 112
        assert quality.noise >= 0
        assert 30 <= quality.jpeg <= 95 or quality.jpeg == 100


def test_looks_stay_within_what_can_be_worn(scenes):
    for worn in (one.look for one in scenes):
        paint = worn.paint
        for share in (paint.beard, paint.lipstick, paint.eye_shadow):
            assert 0 <= share <= 1
        assert min(paint.brow_thickness, paint.brow_density) > 0
        assert 0 < paint.hair_colour.min() <= paint.hair_colour.max() < 1
        assert 0 < worn.cloth.min() <= worn.cloth.max() <= 1
        assert 5.3 < worn.neckline < 6.3  # under the chin and on the head's shoulders
        if worn.glasses is not None:
            assert 0 < worn.glasses.thickness < worn.glasses.height < worn.glasses.width
            assert worn.glasses.squareness >= 2
            assert 0 <= worn.glasses.dark <= 1
        if worn.hat is not None:
            assert worn.hat.kind in scene.HATS
            assert 7.6 < worn.hat.height < 8
            assert 0 < worn.hat.colour.min() <= worn.hat.colour.max() <= 1
        if worn.mask is not None:
            assert 0 < worn.mask.min() <= worn.mask.max() <= 1


def test_objects_come_from_a_border_and_leave_most_of_the_face(scenes):
    objects = [one.occluder for one in scenes if one.occluder is not None]
    assert objects
    for thing in objects:
        assert 0.2 < np.linalg.norm(thing.centre - 0.5) < 0.8
        assert thing.size.max() < 0.4
        assert thing.size.min() > 0
        assert 0 <= thing.roundness <= 1
        assert 0 < thing.colour.min() <= thing.colour.max() <= 1


def test_every_factor_of_a_photo_varies(scenes):
    for field in fields(Scene):
        if field.name != "zoom":
            assert len({repr(getattr(one, field.name)) for one in scenes}) > 1, field.name
    assert {one.occlusion for one in scenes} == {"none", "mask", "sunglasses", "object"}
    assert any(one.quality.saturation == 0 for one in scenes)


# ---------------------------------------------------------------------------------------------- functions of a key


def test_a_scene_is_a_function_of_person_seed_and_photo(person):
    first = asdict(shot(person, 3))
    shot(person, 4)
    np.testing.assert_equal(asdict(shot(person, 3)), first)


@pytest.mark.parametrize("other", [{"photo": 4}, {"seed": 1}])
def test_another_photo_or_seed_is_another_scene(person, other):
    one, two = shot(person, 3), shot(person, **{"photo": 3} | other)
    for name in ("yaw", "pitch", "roll", "distance", "background"):
        assert getattr(one, name) != getattr(two, name)


@pytest.mark.parametrize(("seed", "photo"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(person, seed, photo):
    with pytest.raises(ValueError, match="must be >= 0"):
        shot(person, photo, seed=seed)


def test_photos_of_a_person_are_independent(person):
    yaws = np.array([shot(person, photo).yaw for photo in range(400)])
    assert abs(np.corrcoef(yaws[1:], yaws[:-1])[0, 1]) < 0.2


def test_appearance_changes_the_look_and_nothing_else(person):
    for photo in range(20):
        varying, *others = (asdict(shot(person, photo, appearance)) for appearance in APPEARANCES)
        del varying["look"]
        for other in others:
            del other["look"]
            np.testing.assert_equal(other, varying)


# ---------------------------------------------------------------------------------------------- heterogeneity


def varied(person: Person, k: float, count: int = 500) -> list[Scene]:
    return [shot(replace(person, heterogeneity=k), photo) for photo in range(count)]


@pytest.fixture(scope="module")
def calm_and_wild(person) -> tuple[list[Scene], list[Scene]]:
    return varied(person, 0.4), varied(person, 1.6)


@pytest.mark.parametrize(
    ("factor", "of"),
    [
        ("yaw", lambda one: abs(one.yaw)),
        ("pitch", lambda one: abs(one.pitch)),
        ("lamp", lambda one: abs(one.lamp.azimuth)),
        ("expression", lambda one: one.strength),
        ("occlusion", lambda one: one.occlusion in ("object", "mask")),
        ("quality", lambda one: one.quality.blur > 0.8 or one.quality.resolution < 112),
        ("light's colour", lambda one: abs(one.lamp.colour[0] - one.lamp.colour[2])),
    ],
)
def test_a_person_with_a_larger_multiplier_varies_more(calm_and_wild, factor, of):
    calm, wild = (np.array([of(one) for one in scenes], float) for scenes in calm_and_wild)
    error = math.hypot(calm.std(), wild.std()) / math.sqrt(len(calm))
    assert wild.mean() > calm.mean() + 3 * error, factor


def test_a_person_with_a_larger_multiplier_changes_hair_more_often(person, calm_and_wild):
    usual = shot(person, 0, "frozen").look.hair.kind
    calm, wild = (np.mean([one.look.hair.kind != usual for one in scenes]) for scenes in calm_and_wild)
    assert wild > calm + 0.1


@pytest.mark.parametrize("factor", ["roll", "distance", "jitter"])
def test_what_is_no_habit_varies_alike_in_everyone(calm_and_wild, factor):
    calm, wild = (np.std([getattr(one, factor) for one in scenes]) for scenes in calm_and_wild)
    assert 0.8 < calm / wild < 1.25


def test_many_turn_their_eyes_back_to_the_camera_and_many_do_not(calm_and_wild):
    turned = [one for one in calm_and_wild[1] if abs(one.yaw) > 0.25]
    back = np.array([-one.gaze[0] * np.sign(one.yaw) > 0.12 for one in turned])
    assert 0.3 < back.mean() < 0.75


def test_without_heterogeneity_everyone_varies_alike():
    studio = Studio(0, Variation(heterogeneity=0.0))
    assert {studio.person(number).heterogeneity for number in range(50)} == {1.0}
    yaw = [np.std([studio.scene(number, photo).yaw for photo in range(60)]) for number in range(12)]
    assert max(yaw) < 2 * min(yaw)


def test_even_a_person_who_never_varies_can_be_photographed(person):
    for k in (0.0, 1e-3, 50.0):
        for photo in range(20):
            one = shot(replace(person, heterogeneity=k), photo)
            assert math.isfinite(one.yaw)
            assert 0 <= one.strength <= 1


# ---------------------------------------------------------------------------------------------- looks


def test_a_frozen_look_is_the_same_on_all_photos_of_all_seeds(studio):
    for number in range(12):
        person = studio.person(number)
        first = asdict(replace(shot(person, 0, "frozen").look, mask=None))  # a mask is an occlusion, and no look
        for photo, seed in ((1, 0), (57, 0), (0, 3)):
            np.testing.assert_equal(asdict(replace(shot(person, photo, "frozen", seed).look, mask=None)), first)


def test_a_frozen_look_follows_the_person_s_habits(studio):
    for number in range(12):
        person = studio.person(number)
        frozen = shot(person, 0, "frozen").look
        assert frozen.hair == scene.hair.draw_style(person.habits.hair, person)
        assert frozen.paint.beard == person.habits.beard
        assert frozen.glasses is None or person.habits.glasses > 0


def test_frozen_looks_differ_between_people(studio):
    assert len({repr(shot(studio.person(number), 0, "frozen").look) for number in range(20)}) == 20


def test_nobody_wears_a_mask_on_all_photos(studio):
    for number in range(100):
        assert any(shot(studio.person(number), photo, "frozen").look.mask is None for photo in range(5))


def test_a_varying_look_is_mostly_the_usual_one_worn_anew_each_time(person):
    usual = look(person, 0, "frozen").hair.kind
    looks = [look(person, photo, "varying") for photo in range(100)]
    assert 0.4 < np.mean([one.hair.kind == usual for one in looks]) < 1
    assert len({one.hair.key for one in looks}) > 90
    for values in (
        [one.paint.beard for one in looks],
        [one.paint.brow_thickness for one in looks],
        [tuple(one.paint.hair_colour) for one in looks],
        [one.neckline for one in looks],
    ):
        assert len(set(values)) > 60


def test_a_redrawn_look_knows_no_habits(person):
    def kinds(appearance: str) -> Counter:
        return Counter(look(person, photo, appearance).hair.kind for photo in range(200))

    varying, redrawn = kinds("varying"), kinds("redrawn")
    assert len(redrawn) > 4
    assert max(redrawn.values()) < 0.8 * max(varying.values())
    frames = {
        appearance: Counter(
            one.glasses.width for photo in range(200) if (one := look(person, photo, appearance)).glasses is not None
        )
        for appearance in ("varying", "redrawn")
    }
    assert max(frames["varying"].values()) > 0.5 * frames["varying"].total()
    assert max(frames["redrawn"].values()) == 1


@pytest.mark.parametrize("habit", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_glasses_are_worn_as_often_as_is_usual(person, habit):
    person = replace(person, habits=replace(person.habits, glasses=habit))
    share = np.mean([look(person, photo, "varying").glasses is not None for photo in range(400)])
    assert abs(share - habit) <= 4 * math.sqrt(habit * (1 - habit) / 400)


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_the_shaven_stay_shaven_and_the_unpainted_unpainted(person, appearance):
    plain = replace(person, habits=replace(person.habits, beard=0.0, make_up=0.0))
    for photo in range(50):
        paint = look(plain, photo, appearance).paint
        assert paint.beard == paint.lipstick == paint.eye_shadow == 0


def test_make_up_is_worn_as_often_and_as_strongly_as_is_usual(person):
    some, much = (
        np.array([look(painted, photo, "varying").paint.eye_shadow for photo in range(200)])
        for painted in (replace(person, habits=replace(person.habits, make_up=amount)) for amount in (0.3, 0.9))
    )
    assert (much > 0).mean() > (some > 0).mean() + 0.3
    assert much[much > 0].mean() > some[some > 0].mean()


@pytest.mark.parametrize(
    ("worn", "expected"),
    [
        ({}, "none"),
        ({"glasses": "clear"}, "none"),
        ({"glasses": "dark"}, "sunglasses"),
        ({"object": True}, "object"),
        ({"glasses": "dark", "object": True}, "object"),
        ({"mask": True}, "mask"),
        ({"mask": True, "glasses": "dark", "object": True}, "mask"),
    ],
)
def test_occlusion_names_what_hides_most(person, worn, expected):
    plain = plain_scene(person)
    glasses = scene.draw_glasses(0, dark=worn["glasses"] == "dark") if "glasses" in worn else None
    thing = Occluder(np.zeros(2), np.ones(2), 0.0, 0.0, np.ones(3)) if "object" in worn else None
    dressed = replace(plain.look, glasses=glasses, mask=np.ones(3) if "mask" in worn else None)
    assert replace(plain, look=dressed, occluder=thing).occlusion == expected


# ---------------------------------------------------------------------------------------------- portraits


def test_a_plain_scene_has_no_variation(studio):
    for number in range(6):
        person = studio.person(number)
        one = plain_scene(person)
        assert [getattr(one, angle) for angle in ANGLES] == [0, 0, 0]
        assert not one.gaze.any()
        assert not one.jitter.any()
        assert (one.expression, one.strength) == ("neutral", 0)
        assert one.occlusion == "none"
        assert one.look.glasses is None
        assert one.look.hair == shot(person, 0, "frozen").look.hair
        quality = one.quality
        assert (quality.blur, quality.noise, quality.jpeg, quality.saturation, quality.exposure) == (0, 0, 100, 1, 0)
        assert (quality.white_balance == 1).all()
        np.testing.assert_equal(asdict(plain_scene(person)), asdict(one))


def test_plain_scenes_of_two_people_differ_in_their_looks_alone(studio):
    one, other = (asdict(plain_scene(studio.person(number))) for number in (0, 1))
    for plain in (one, other):
        del plain["look"], plain["units"]
    np.testing.assert_equal(one, other)


# ---------------------------------------------------------------------------------------------- expressions


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
        np.mean([s.strength for photo in range(400) if (s := shot(one, photo)).expression == "smile"])
        for one in (stern, friendly)
    ]
    assert smiles[0] < smiles[1] - 0.2
