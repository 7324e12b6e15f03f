"""elasticface.data.synthetic.studio: a photo is a function of seed, variation, identity and number, and that is all."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from elasticface.data.images import decoding
from elasticface.data.synthetic import studio as module
from elasticface.data.synthetic.look import APPEARANCES
from elasticface.data.synthetic.scene import Variation, plain_scene
from elasticface.data.synthetic.studio import SIZE, Studio

PHOTOS = [(0, 0), (0, 1), (1, 0), (2, 3), (3, 1), (11, 5)]


def digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def taken() -> dict[tuple[int, int], np.ndarray]:
    """Some photos, each by a studio that has taken no other."""
    return {photo: Studio(0).image(*photo) for photo in PHOTOS}


@pytest.fixture(scope="module")
def make_reference():
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("make_reference", Path(__file__).with_name("make_reference.py"))
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


# ---------------------------------------------------------------------------------------------- the same bits


def test_a_photo_is_an_aligned_colour_picture(taken):
    for image in taken.values():
        assert image.shape == (SIZE, SIZE, 3) == (112, 112, 3)
        assert image.dtype == np.uint8
        assert image.std() > 15


def test_any_photo_can_be_taken_alone(taken):
    """In any order, by one studio, after others and twice."""
    studio = Studio(0)
    for photo in [*reversed(PHOTOS), *PHOTOS]:
        assert np.array_equal(studio.image(*photo), taken[photo])


def test_a_photo_is_the_same_after_its_sitter_has_left(taken, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 1)
    studio = Studio(0)
    first = studio.sitter(0)
    for photo in PHOTOS:
        assert np.array_equal(studio.image(*photo), taken[photo])
    assert studio.sitter(0) is not first
    assert np.array_equal(studio.image(0, 0), taken[0, 0])


def test_a_studio_keeps_few_sitters():
    own = Studio(0)
    sitters = [own.sitter(number) for number in range(module._KEPT + 1)]
    assert own.sitter(module._KEPT) is sitters[-1]
    assert own.sitter(0) is not sitters[0]


def test_another_process_takes_the_same_photos(taken):
    """A new interpreter, whose OpenCV has threads."""
    program = (
        "import hashlib, cv2; from elasticface.data.synthetic.studio import Studio; cv2.setNumThreads(2)\n"
        f"for photo in {PHOTOS}: print(hashlib.sha256(Studio(0).image(*photo).tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == [digest(taken[photo]) for photo in PHOTOS]


def test_the_process_that_compiles_the_renderer_draws_the_bits_of_those_that_find_it_compiled(tmp_path):
    """To the last bit of the light, which a photo has seldom."""
    program = (
        "import hashlib; from elasticface.data.synthetic.renderer import expose\n"
        "from elasticface.data.synthetic.studio import Studio\n"
        "studio = Studio(0); light = expose(studio.sitter(7), studio.scene(7, 8), 112)\n"
        "print(hashlib.sha256(light.tobytes()).hexdigest())"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    compiled, found = (
        subprocess.check_output([sys.executable, "-c", program], env=environment, text=True, timeout=300)
        for _ in range(2)
    )
    assert compiled == found


def test_a_photo_is_the_scene_taken(taken, studio):
    for identity, photo in PHOTOS:
        found = studio.take(studio.sitter(identity), studio.scene(identity, photo), photo)
        assert np.array_equal(found, taken[identity, photo])


def test_a_photo_may_be_written_to(taken):
    studio = Studio(0)
    studio.image(0, 0)[:] = 0
    assert np.array_equal(studio.image(0, 0), taken[0, 0])


# ---------------------------------------------------------------------------------------------- different bits


def test_identities_photos_seeds_and_variations_give_different_pictures(taken):
    found = [digest(image) for image in taken.values()]
    found += [digest(Studio(1).image(*photo)) for photo in PHOTOS[:3]]
    found += [digest(Studio(0, Variation(heterogeneity=2.0)).image(0, 0))]
    found += [digest(Studio(0, Variation(appearance="redrawn")).image(0, 0))]
    assert len(set(found)) == len(found)


def test_heterogeneity_leaves_who_a_person_is():
    calm, wild = (Studio(0, Variation(heterogeneity=sigma)) for sigma in (0.0, 1.5))
    for number in range(3):
        one, other = calm.sitter(number), wild.sitter(number)
        assert np.array_equal(one.vertices, other.vertices)
        assert np.array_equal(one.skin.surface, other.skin.surface)


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_appearance_leaves_who_a_person_is_and_how_the_photo_was_taken(studio, appearance):
    other = Studio(studio.seed, Variation(appearance=appearance))
    assert np.array_equal(other.sitter(2).vertices, studio.sitter(2).vertices)
    one, two = other.scene(2, 4), studio.scene(2, 4)
    assert (one.yaw, one.background, one.distance) == (two.yaw, two.background, two.distance)


def test_photos_of_a_person_are_more_alike_than_of_two(studio):
    """Portraits, so that neither pose nor light is in the way; in grey levels, framed as models see them."""

    def portrait(identity: int, photo: int) -> np.ndarray:
        sitter = studio.sitter(identity)
        scene = replace(plain_scene(sitter.person), jitter=studio.scene(identity, photo).jitter)
        return studio.take(sitter, scene, photo)[30:105, 25:87].astype(float)

    shots = {(who, photo): portrait(who, photo) for who in range(4) for photo in range(2)}
    own = [np.abs(shots[who, 0] - shots[who, 1]).mean() for who in range(4)]
    others = [np.abs(shots[one, 0] - shots[two, 0]).mean() for one in range(4) for two in range(one)]
    assert np.mean(own) < 0.7 * np.mean(others)


@pytest.mark.parametrize(("seed", "identity", "photo"), [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
@pytest.mark.parametrize("what", ["image", "metadata", "scene"])
def test_negative_numbers_are_refused(what, seed, identity, photo):
    with pytest.raises(ValueError, match="must be >= 0"):
        getattr(Studio(seed), what)(identity, photo)


# ---------------------------------------------------------------------------------------------- what is in a photo


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_metadata_says_what_the_scene_shows(appearance):
    studio = Studio(3, Variation(appearance=appearance))
    for number in range(5):
        person = studio.person(number)
        for photo in range(10):
            scene, said = studio.scene(number, photo), studio.metadata(number, photo)
            degrees = {"yaw": scene.yaw, "pitch": scene.pitch, "roll": scene.roll}
            degrees |= {"light_azimuth": scene.lamp.azimuth, "light_elevation": scene.lamp.elevation}
            for name, angle in degrees.items():
                assert abs(np.radians(said.pop(name)) - angle) < 1e-3
            quality, look = scene.quality, scene.look
            near = {
                "heterogeneity": person.heterogeneity,
                "distance": scene.distance,
                "light_strength": scene.lamp.strength,
                "expression_strength": scene.strength,
                "beard": look.paint.beard,
                "blur": quality.blur,
                "noise": quality.noise,
            }
            for name, value in near.items():
                assert abs(said.pop(name) - value) < 0.006
            assert said == {
                "expression": scene.expression,
                "occlusion": scene.occlusion,
                "glasses": int(look.glasses is not None),
                "hair": look.hair.kind,
                "hat": "none" if look.hat is None else look.hat.kind,
                "resolution": quality.resolution,
                "jpeg": quality.jpeg,
                "grey": int(quality.saturation == 0),
            }


def test_metadata_has_the_same_keys_and_types_for_every_photo(studio):
    first = {name: type(value) for name, value in studio.metadata(0, 0).items()}
    assert set(first.values()) <= {str, int, float}
    for number in range(30):
        said = studio.metadata(number, number % 7)
        assert list(said) == list(first)
        assert {name: type(value) for name, value in said.items()} == first


def test_asking_what_is_in_a_photo_makes_no_head():
    studio = Studio(0)
    studio.metadata(5, 0)
    studio.scene(5, 0)
    assert not studio._sitters


def test_grey_photos_are_grey(studio):
    sitter = studio.sitter(0)
    scene = plain_scene(sitter.person)
    image = studio.take(sitter, replace(scene, quality=replace(scene.quality, saturation=0.0, jpeg=60)))
    assert (np.ptp(image.astype(int), axis=2) == 0).all()


# ---------------------------------------------------------------------------------------------- other pictures


@pytest.mark.parametrize("size", [32, 64, 113, 224])
def test_a_picture_of_another_size_shows_the_same(studio, size):
    sitter = studio.sitter(1)
    scene = plain_scene(sitter.person)
    image, usual = studio.take(sitter, scene, 0, size), studio.take(sitter, scene)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    one, other = (
        cv2.resize(picture, (28, 28), interpolation=cv2.INTER_AREA).astype(float) for picture in (image, usual)
    )
    assert np.abs(one - other).mean() < 6


def test_a_larger_picture_shows_more_detail(studio):
    sitter = studio.sitter(1)
    scene = plain_scene(sitter.person)
    large = studio.take(sitter, scene, 0, 224)
    sharp = studio.take(sitter, replace(scene, quality=replace(scene.quality, resolution=224)), 0, 224)
    assert np.array_equal(large, sharp)


def test_someone_who_is_not_of_the_population_can_be_photographed(studio):
    person = studio.person(1)
    older = studio.seat(replace(person, age=1.0))
    scene = plain_scene(person)
    assert not np.array_equal(studio.take(older, scene), studio.take(studio.sitter(1), scene))
    assert np.array_equal(studio.take(studio.seat(person), scene), studio.take(studio.sitter(1), scene))


def test_the_grain_is_the_photo_s_own(studio):
    sitter = studio.sitter(0)
    scene = plain_scene(sitter.person)
    noisy = replace(scene, quality=replace(scene.quality, noise=4.0))
    one, again, other = (studio.take(sitter, noisy, photo) for photo in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(studio.take(sitter, scene, 0), studio.take(sitter, scene, 1))  # without noise


# ---------------------------------------------------------------------------------------------- machines


def test_the_stored_reference_is_what_is_rendered(make_reference):
    stored = decoding.decode(make_reference.FILE.read_bytes(), make_reference.FILE.name).astype(int)
    found = make_reference.reference().astype(int)
    assert found.shape == stored.shape
    difference = np.abs(found - stored)
    mean, off = difference.mean(), (difference.max(-1) > 8).mean()
    message = (
        f"the picture is {mean:.2f} grey levels off on average, and {off:.2%} of its pixels are off by over 8. Bits "
        "may differ between machines (libm, SIMD), not more than 0.5 and 0.5%. If the renderer was changed on purpose "
        "raise RENDERER_VERSION and run `python tests/data/synthetic/make_reference.py`"
    )
    assert mean <= 0.5, message
    assert off <= 0.005, message
