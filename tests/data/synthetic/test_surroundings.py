"""elasticface.data.synthetic.surroundings: what is behind the person, and things held before the face."""

import numpy as np
import pytest

from elasticface.data.synthetic import surroundings
from elasticface.data.synthetic.scene import Occluder

# ---------------------------------------------------------------------------------------------- backgrounds


@pytest.mark.parametrize("size", [2, 33, 56, 112, 113, 224])
def test_a_background_is_finite_light_of_the_asked_size(size):
    for key in range(5):
        image = surroundings.background(key, size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() > 0


def test_a_background_is_a_function_of_its_key():
    assert np.array_equal(surroundings.background(3, 112), surroundings.background(3, 112))
    assert len({surroundings.background(key, 28).tobytes() for key in range(30)}) == 30
    with pytest.raises(ValueError, match="must be >= 0"):
        surroundings.background(-1, 112)


def test_a_larger_background_shows_the_same_place():
    for key in range(5):
        small, large = surroundings.background(key, 56), surroundings.background(key, 112)
        halved = large.reshape(56, 2, 56, 2, 3).mean((1, 3))
        assert np.abs(halved - small).mean() < 0.1 * small.mean() + 0.01


def test_some_places_are_dark_and_some_are_bright():
    means = [surroundings.background(key, 28).mean() for key in range(60)]
    assert min(means) < 0.12
    assert max(means) > 0.4


def test_some_places_are_in_focus_and_most_are_not():
    """The sharpest edge in shares of the picture's contrast: one pixel wide, or soft."""
    places = [surroundings.background(key, 112).mean(-1) for key in range(60)]
    steps = np.array([np.abs(np.diff(place, axis=1)).max() / np.ptp(place) for place in places])
    assert 0.1 < (steps > 0.25).mean() < 0.5
    assert (steps < 0.15).mean() > 0.3


def test_some_places_are_colourful_and_most_are_muted():
    means = np.array([surroundings.background(key, 28).mean((0, 1)) for key in range(100)])
    chroma = np.ptp(means, axis=1) / means.max(1)
    assert (chroma > 0.5).mean() > 0.08
    assert np.median(chroma) < 0.45


# ---------------------------------------------------------------------------------------------- objects


def thing(**changes) -> Occluder:
    values = {"centre": (0.4, 0.6), "size": (0.25, 0.1), "angle": 0.5, "roundness": 0.5, "colour": (0.2, 0.3, 0.1)}
    values |= changes
    return Occluder(
        *(np.array(values[name]) for name in ("centre", "size")),
        values["angle"],
        values["roundness"],
        np.array(values["colour"]),
    )


def held(one: Occluder, size: int = 112, light: float = 1.0, before: float = 0.77) -> np.ndarray:
    image = np.full((size, size, 3), before, np.float32)
    surroundings.hold_before(image, one, np.full(3, light))
    return image


def sides(one: Occluder, size: int = 112) -> np.ndarray:
    """How far out each pixel lies along and across the object, 1 at its border: [size, size, 2]."""
    y, x = np.mgrid[0:size, 0:size] / size
    dx, dy = x - one.centre[0], y - one.centre[1]
    along = np.cos(one.angle) * dx + np.sin(one.angle) * dy
    across = np.cos(one.angle) * dy - np.sin(one.angle) * dx
    return np.abs(np.stack([along / one.size[0], across / one.size[1]], -1))


@pytest.mark.parametrize("size", [56, 112])
@pytest.mark.parametrize(("angle", "roundness"), [(0.0, 0.0), (0.5, 0.3), (2.0, 1.0)])
def test_an_object_hides_its_area_and_touches_nothing_else(size, angle, roundness):
    one = thing(angle=angle, roundness=roundness)
    image, out = held(one, size), sides(one, size)
    edge = 1.5 / (size * one.size.min())  # it is soft over a pixel or two
    assert (image[(out > 1 + edge).any(-1)] == np.float32(0.77)).all()
    inside = image[np.hypot(*np.moveaxis(out, -1, 0)) < 1 - edge]
    assert len(inside)
    assert (inside < 0.5).all()


def test_a_round_object_has_no_corners():
    one, other = thing(roundness=0.0), thing(roundness=1.0)
    corner = (sides(one) > 0.75).all(-1) & (sides(one) < 0.85).all(-1)
    assert (held(one)[corner] < 0.6).all()
    assert (held(other)[corner] == np.float32(0.77)).all()


def test_an_object_has_its_colour_in_the_light_that_falls_on_it():
    middle = (int(0.6 * 112), int(0.4 * 112))
    dim, bright = (held(thing(), light=amount)[middle] for amount in (0.5, 1.0))
    np.testing.assert_allclose(bright, 2 * dim, rtol=1e-4)
    np.testing.assert_allclose(bright / bright.sum(), np.array([0.2, 0.3, 0.1]) / 0.6, rtol=1e-4)


def test_an_object_outside_of_the_picture_is_not_seen():
    assert (held(thing(centre=(2.0, 2.0))) == np.float32(0.77)).all()
