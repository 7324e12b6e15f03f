"""elasticface.data.synthetic.look: what people wear, around their habits, frozen or redrawn."""

import math
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from elasticface.data.synthetic import hair
from elasticface.data.synthetic.look import APPEARANCES, FRAME_COLOURS, HATS, Look, draw_glasses, draw_look
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.scene import Scene, draw_scene


def shot(person: Person, photo: int = 0, appearance: str = "varying", seed: int = 0) -> Scene:
    return draw_scene(person, seed, photo, appearance)


def look(person: Person, photo: int, appearance: str) -> Look:
    return draw_look(person, np.random.default_rng(photo), appearance)


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
            assert worn.hat.kind in HATS
            assert 7.6 < worn.hat.height < 8
            assert 0 < worn.hat.colour.min() <= worn.hat.colour.max() <= 1
        if worn.mask is not None:
            assert 0 < worn.mask.min() <= worn.mask.max() <= 1


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
        assert frozen.hair == hair.draw_style(person.habits.hair, person)
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


def test_a_frame_is_a_function_of_its_key():
    assert repr(draw_glasses(3, dark=True)) == repr(draw_glasses(3, dark=True))
    assert len({draw_glasses(key, dark=False).width for key in range(20)}) == 20
    light, dark = draw_glasses(3, dark=False), draw_glasses(3, dark=True)
    assert light.dark < 0.5 < dark.dark
    assert light.width == dark.width
    assert any(np.array_equal(light.colour, colour) for colour in FRAME_COLOURS)
