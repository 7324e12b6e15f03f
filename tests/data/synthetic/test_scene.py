"""elasticface.data.synthetic.scene: what photos show, how far it varies, and what stays when something else changes."""

import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from elasticface.data.synthetic.look import APPEARANCES, draw_glasses
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.scene import Occluder, Scene, Variation, draw_scene, plain_scene
from elasticface.data.synthetic.studio import Studio

ANGLES = ("yaw", "pitch", "roll")


def shot(person: Person, photo: int = 0, appearance: str = "varying", seed: int = 0) -> Scene:
    return draw_scene(person, seed, photo, appearance)


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
    glasses = draw_glasses(0, dark=worn["glasses"] == "dark") if "glasses" in worn else None
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
