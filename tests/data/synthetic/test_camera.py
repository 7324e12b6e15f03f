"""elasticface.data.synthetic.camera: what a camera makes of light."""

from dataclasses import replace

import numpy as np
import pytest

from elasticface.data.synthetic import camera
from elasticface.data.synthetic.scene import Quality

FAITHFUL = Quality(
    exposure=0.0,
    metering=0.6,
    white_balance=np.ones(3),
    contrast=1.0,
    saturation=1.0,
    blur=0.0,
    resolution=112,
    noise=0.0,
    jpeg=100,
    sharpness=0.0,
)


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    """A colourful picture with small and large shapes."""
    r = np.random.default_rng(0)
    coarse = np.kron(r.random((7, 7, 3)), np.ones((16, 16, 1)))
    return (0.4 * coarse + 0.15 * r.random((112, 112, 3))).astype(np.float32)


def develop(light: np.ndarray, seed: int = 0, **changes) -> np.ndarray:
    return camera.develop(light, replace(FAITHFUL, **changes), np.random.default_rng(seed))


def detail(picture: np.ndarray) -> float:
    """The mean step between neighbouring pixels."""
    pixels = picture.astype(np.float64)
    return float(np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean())


@pytest.mark.parametrize("size", [33, 56, 112, 160])
@pytest.mark.parametrize("quality", [{}, {"blur": 1.0, "noise": 4.0, "jpeg": 50, "resolution": 30}])
def test_a_picture_is_uint8_of_the_light_s_size(light, size, quality):
    part = np.ascontiguousarray(np.tile(light, (2, 2, 1))[:size, :size])
    picture = develop(part, **quality)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("quality", [{}, {"noise": 4.0}, {"jpeg": 50}, {"blur": 1.0, "noise": 2.0, "resolution": 40}])
def test_a_picture_is_a_function_of_light_quality_and_generator(light, quality):
    before = light.copy()
    first = develop(light, **quality)
    assert np.array_equal(develop(light, **quality), first)
    assert np.array_equal(light, before)
    assert np.array_equal(develop(light, seed=1, **quality), first) == ("noise" not in quality)


def test_more_exposure_is_brighter_everywhere(light):
    dark, plain, bright = (develop(light, exposure=exposure).astype(int) for exposure in (-0.5, 0.0, 0.5))
    assert (dark <= plain).all()
    assert (plain <= bright).all()
    assert dark.mean() < plain.mean() - 10
    assert plain.mean() < bright.mean() - 10


def test_an_exposure_meter_follows_the_face(light):
    """Twice the light gives the same picture if it follows it all the way, and a brighter one the less it does."""
    means = [develop(2 * light, metering=m).mean() - develop(light, metering=m).mean() for m in (0.0, 0.5, 1.0)]
    assert means[0] > means[1] + 5
    assert means[1] > 5
    assert abs(means[2]) < 0.5


def test_what_is_around_the_face_does_not_change_the_exposure(light):
    around = light.copy()
    around[:10], around[:, :10], around[:, -10:] = 1.0, 1.0, 1.0
    same = develop(around)[40:80, 40:72]
    assert np.array_equal(same, develop(light)[40:80, 40:72])


def test_brighter_light_never_gets_darker():
    ramp = np.repeat(np.linspace(0, 3, 112, dtype=np.float32)[None, :, None], 112, 0).repeat(3, 2)
    picture = develop(ramp, metering=0.0).astype(int)
    assert (np.diff(picture, axis=1) >= 0).all()
    assert picture.min() == 0
    assert picture.max() == 255


@pytest.mark.parametrize("quality", [{}, {"contrast": 1.2, "exposure": 1.0}, {"noise": 6.0, "saturation": 1.2}])
def test_black_and_white_do_not_wrap_around(quality):
    black, white = (develop(np.full((112, 112, 3), value, np.float32), metering=0.0, **quality) for value in (0, 50))
    assert black.max() < 64
    assert white.min() > 192


@pytest.mark.parametrize("channel", range(3))
def test_white_balance_raises_its_channel(light, channel):
    gains = np.ones(3)
    gains[channel] = 1.4
    change = develop(light, white_balance=gains).astype(int) - develop(light).astype(int)
    assert (change[..., channel] >= 0).all()
    assert change[..., channel].mean() > 8
    assert not np.delete(change, channel, axis=2).any()


def test_contrast_spreads_grey_levels_around_the_middle(light):
    flat, plain, hard = (develop(light, contrast=contrast).astype(float) for contrast in (0.8, 1.0, 1.2))
    assert flat.std() < plain.std() < hard.std()
    dark, bright = plain < 100, plain > 150
    assert (flat[dark] >= plain[dark]).all()
    assert (flat[bright] <= plain[bright]).all()


def test_saturation_spreads_the_channels(light):
    spread = [np.ptp(develop(light, saturation=s).astype(int), axis=2).mean() for s in (0.0, 0.6, 1.0, 1.3)]
    assert spread == sorted(spread)
    assert spread[0] == 0
    assert spread[1] > 5
    # What is grey stays as it is.
    grey = np.repeat(light.mean(-1, keepdims=True), 3, axis=2)
    assert np.abs(develop(grey, saturation=0.3).astype(int) - develop(grey)).max() <= 1


@pytest.mark.parametrize("quality", [{}, {"blur": 1.0}, {"resolution": 40}, {"jpeg": 40}, {"exposure": 1.0}])
def test_without_saturation_a_picture_is_grey(light, quality):
    picture = develop(light, saturation=0.0, **quality)
    assert (picture[..., 0] == picture[..., 1]).all()
    assert (picture[..., 1] == picture[..., 2]).all()


def test_without_saturation_a_noisy_picture_is_grey(light):
    assert np.ptp(develop(light, saturation=0.0, noise=4.0).astype(int), axis=2).max() == 0


def test_blur_takes_detail_away(light):
    details = [detail(develop(light, blur=blur)) for blur in (0.0, 0.5, 1.0, 2.0)]
    assert details[0] > details[1] > details[2] > details[3]
    assert abs(develop(light, blur=1.0).mean() - develop(light).mean()) < 3


def test_sharpness_adds_contrast_in_the_small_and_keeps_the_mean(light):
    plain, sharp = develop(light), develop(light, sharpness=0.6)
    assert detail(sharp) > 1.2 * detail(plain)
    assert abs(sharp.mean() - plain.mean()) < 2


def test_a_lower_resolution_takes_detail_away(light):
    details = [detail(develop(light, resolution=resolution)) for resolution in (112, 80, 50, 28)]
    assert details[0] > details[1] > details[2] > details[3]
    assert abs(develop(light, resolution=28).mean() - develop(light).mean()) < 3


def test_full_resolution_changes_nothing(light):
    assert np.array_equal(develop(light, resolution=112), develop(light, resolution=500))


@pytest.mark.parametrize("amount", [1.0, 3.0, 6.0])
def test_noise_has_its_standard_deviation_and_no_bias(amount):
    grey = np.full((112, 112, 3), 0.2, np.float32)
    noise = develop(grey, noise=amount).astype(float) - develop(grey).astype(float)
    assert abs(noise.std() / np.hypot(amount, 0.29) - 1) < 0.05  # and that of rounding
    assert abs(noise.mean()) < 0.5 + 4 * amount / np.sqrt(noise.size)  # the picture without noise is rounded as well


def test_noise_of_neighbours_is_independent():
    noise = develop(np.full((112, 112, 3), 0.2, np.float32), noise=5.0).astype(float)
    noise -= noise.mean()
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert abs(shifted.mean() / noise.var()) < 0.05


def test_worse_jpeg_is_farther_from_the_picture(light):
    plain = develop(light).astype(int)
    errors = [np.abs(develop(light, jpeg=quality).astype(int) - plain).mean() for quality in (100, 95, 70, 30)]
    assert errors[0] == 0
    assert 0 < errors[1] < errors[2] < errors[3]


def test_channels_keep_their_order_through_a_file(light):
    red = np.zeros((112, 112, 3), np.float32)
    red[..., 0] = 0.5
    for quality in ({}, {"jpeg": 90}, {"resolution": 50}):
        picture = develop(red, **quality).mean((0, 1))
        assert picture[0] > 100
        assert picture[1:].max() < 40
