"""Batch tensors on their way into the network: ranges, keys, and that every change is the one it is named after."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elasticface.base import keyed
from elasticface.data.feed import transforms
from elasticface.data.feed.transforms import RowsOfBatch, augment, change_surroundings, flip, relight, to_input

CHANGES = "_ZOOM _ROTATION _SHIFT _CONTRAST _BRIGHTNESS _TINT _GREY _LOW_RESOLUTION _ERASED_SIDE".split()


def noise(count: int = 4, size: int = 112, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pixels(count: int, size: int) -> Tensor:
    """uint8 [count, size, size, 3], as images are read."""
    return torch.randint(256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def ramps(count: int = 1, size: int = 112) -> Tensor:
    """Red rises from left to right, green from top to bottom: a pixel's colour says where it comes from. Blue is 0."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    image = torch.stack([line.expand(size, size), line[:, None].expand(size, size), torch.zeros(size, size)])
    return image.expand(count, 3, size, size).clone()


def key(step: int = 0) -> np.random.Generator:
    return keyed.generator(0, "augment", step)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> object:
    """Every change but the named ones is set to nothing."""

    def leave(**strengths: float) -> None:
        for name in CHANGES:
            monkeypatch.setattr(transforms, name, strengths.get(name, 0.0))
        monkeypatch.setattr(transforms, "_ERASED", 1.0 if "_ERASED_SIDE" in strengths else 0.0)

    return leave


# ---------------------------------------------------------------------------------------------- to_input


def test_input_is_the_papers_formula_and_spans_minus_one_to_one() -> None:
    values = np.arange(256, dtype=np.uint8)
    pixels = torch.from_numpy(np.stack([values, values[::-1], values], -1)[None, None])  # [1, 1, 256, 3]
    found = to_input(pixels)
    assert found.shape == (1, 3, 1, 256)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0, :, 0].T, (pixels[0, 0].double() / 255 - 0.5) / 0.5, atol=1e-6)
    assert found.min() == -1
    assert found.max() == 1


def test_input_leaves_the_pixels_alone() -> None:
    pixels = torch.arange(48, dtype=torch.uint8).view(1, 4, 4, 3)
    before = pixels.clone()
    to_input(pixels)
    assert torch.equal(pixels, before)


# ---------------------------------------------------------------------------------------------- flip


def test_flip_mirrors_whole_images_left_to_right_and_nothing_else() -> None:
    images = pixels(50, 8)
    found = flip(images, key())
    mirrored = [bool(torch.equal(new, old.flip(1))) for new, old in zip(found, images, strict=True)]
    same = [bool(torch.equal(new, old)) for new, old in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))


def test_flip_mirrors_about_half() -> None:
    images = pixels(10_000, 2)
    share = (flip(images, key()) != images).flatten(1).any(1).double().mean()
    assert abs(share - 0.5) < 0.02  # four standard deviations of the share


def test_flip_is_keyed() -> None:
    images = pixels(64, 4)
    assert torch.equal(flip(images, key(3)), flip(images, key(3)))
    assert not torch.equal(flip(images, key(3)), flip(images, key(4)))


# ---------------------------------------------------------------------------------------------- augment

each_change = pytest.mark.parametrize("change", [augment, relight, change_surroundings])


@each_change
def test_strength_zero_leaves_the_images_as_they_are(change) -> None:
    images = noise()
    assert torch.equal(change(images, key(), 0.0), noise())


@each_change
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("content", [-1.0, 1.0, None], ids=["black", "white", "noise"])
def test_the_result_stays_in_range_and_the_input_as_it_was(change, strength: float, content: float | None) -> None:
    images = noise() if content is None else torch.full((4, 3, 112, 112), content)
    before = images.clone()
    for step in range(5):
        found = change(images, key(step), strength)
        assert found.shape == images.shape
        assert found.dtype == images.dtype
        assert found.min() >= -1
        assert found.max() <= 1
    assert torch.equal(images, before)


@each_change
def test_the_same_key_gives_the_same_bits_and_another_key_others(change) -> None:
    images = noise()
    assert torch.equal(change(images, key(5), 1.0), change(images, key(5), 1.0))
    assert not torch.equal(change(images, key(5), 1.0), change(images, key(6), 1.0))


@each_change
def test_memory_format_does_not_matter(change) -> None:
    images = noise()
    found = change(images.contiguous(memory_format=torch.channels_last), key(), 1.0)
    torch.testing.assert_close(found, change(images, key(), 1.0), rtol=0, atol=1e-5)


@each_change
@given(step=st.integers(0, 1000), strength=st.sampled_from([0.01, 0.5, 1.0, 2.0]))
def test_the_number_of_draws_does_not_depend_on_values_or_strength(change, step: int, strength: float) -> None:
    one, other = key(step), key(step)
    change(noise(2, 32), one, strength)
    change(torch.zeros(2, 3, 32, 32), other, 1.0)
    assert one.bit_generator.state == other.bit_generator.state


@each_change
def test_an_images_change_is_its_own(change) -> None:
    found = change(ramps(8), key(), 1.0)
    assert all(not torch.equal(found[0], other) for other in found[1:])


def test_faces_remain_recognisable() -> None:
    """In the mean over many draws an augmented image is far more like itself than like another one."""
    images = torch.nn.functional.interpolate(noise(2, 7), size=112, mode="bilinear")

    def alike(a: Tensor, b: Tensor) -> Tensor:
        a, b = a.flatten(1) - a.flatten(1).mean(1, keepdim=True), b.flatten(1) - b.flatten(1).mean(1, keepdim=True)
        return torch.cosine_similarity(a, b).mean()

    found = torch.cat([augment(images, key(step), 1.0) for step in range(30)])
    assert alike(found, images.repeat(30, 1, 1, 1)) > 0.6
    assert alike(found, images.flip(0).repeat(30, 1, 1, 1)) < 0.2


# ---------------------------------------------------------------------------------------------- its parts


def test_with_every_change_set_to_nothing_the_image_is_as_it_was(only) -> None:
    only()
    torch.testing.assert_close(augment(noise(), key(), 1.0), noise(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_shift_is_a_share_of_half_the_side(only, strength: float) -> None:
    only(_SHIFT=0.08)
    drawn = key()
    drawn.uniform(size=4), drawn.uniform(size=4)  # zoom and rotation
    shift = drawn.uniform(-0.08, 0.08, (4, 2)) * strength
    found = augment(ramps(4), key(), strength)[:, :2, 30:80, 30:80]
    expected = ramps(4)[:, :2, 30:80, 30:80] + torch.from_numpy(shift).float()[:, :, None, None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_zoom_and_rotation_turn_and_scale_about_the_centre(only) -> None:
    only(_ZOOM=0.15, _ROTATION=0.15)
    drawn = key()
    zoom, angle = 1 + drawn.uniform(-0.15, 0.15, 4), drawn.uniform(-0.15, 0.15, 4)
    found = augment(ramps(4), key(), 1.0)
    line = (np.arange(112) + 0.5) / 56 - 1
    x, y = line[None, :], line[:, None]
    for image, z, a in zip(found, zoom, angle, strict=True):
        for channel, expected in enumerate([z * (x * np.cos(a) - y * np.sin(a)), z * (x * np.sin(a) + y * np.cos(a))]):
            inner = slice(20, 92)  # at the rim it is reflected
            np.testing.assert_allclose(image[channel, inner, inner], expected[inner, inner], atol=1e-4)


def test_contrast_brightness_and_tint_are_the_longhand(only) -> None:
    only(_CONTRAST=0.4, _BRIGHTNESS=0.3, _TINT=0.1)
    images = 0.3 * noise(4, 32).double()
    drawn = key()
    for count in (4, 4, 8):  # zoom, rotation and shift
        drawn.uniform(size=count)
    contrast, brightness = 1 + drawn.uniform(-0.4, 0.4, 4), drawn.uniform(-0.3, 0.3, 4)
    tint = drawn.uniform(-0.1, 0.1, (4, 3))
    found = augment(images, key(), 1.0).numpy()
    for i, image in enumerate(images.numpy()):
        for channel in range(3):
            expected = (image[channel] - image.mean()) * contrast[i] + image.mean() + brightness[i] + tint[i, channel]
            np.testing.assert_allclose(found[i, channel], expected.clip(-1, 1), atol=1e-6)


def test_grey_images_have_three_equal_channels(only) -> None:
    only(_GREY=1.0)
    found = augment(noise(), key(), 1.0)
    assert torch.equal(found, found[:, :1].expand_as(found))
    torch.testing.assert_close(found[:, 0], noise().mean(1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "share"), [("_GREY", 0.15), ("_LOW_RESOLUTION", 0.2)])
def test_as_large_a_share_is_changed_as_it_says(only, name: str, share: float) -> None:
    only(**{name: share})
    images = noise(2000, 48)
    changed = ((augment(images, key(), 1.0) - images).abs() > 1e-3).flatten(1).any(1).double().mean()
    assert abs(changed - share) < 0.04  # four standard deviations


def test_low_resolution_keeps_what_is_large_and_drops_what_is_small(only) -> None:
    only(_LOW_RESOLUTION=1.0)
    checks = torch.ones(112, 112)
    checks[::2, ::2] = checks[1::2, 1::2] = -1
    fine = checks.expand(2, 3, 112, 112)
    for step in range(5):
        found = augment(torch.cat([fine, ramps(2)]), key(step), 1.0)
        assert found[:2].std() < 0.5 * fine.std()
        torch.testing.assert_close(found[2:], ramps(2), rtol=0, atol=0.05)


def test_an_erased_part_is_one_rectangle_of_one_colour(only) -> None:
    only(_ERASED_SIDE=0.4)
    images = noise(32)
    found = augment(images, key(), 1.0)
    erased = 0
    for new, old in zip(found, images, strict=True):
        changed = ((new - old).abs() > 1e-4).any(0)
        if not changed.any():
            continue  # a side of no pixels
        erased += 1
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        part = new[:, top:bottom, left:right]
        assert torch.equal(part, part[:, :1, :1].expand_as(part))
        assert changed.sum() == (bottom - top) * (right - left)
        assert max(bottom - top, right - left) <= 0.4 * 112 + 1
    assert erased > 25


def test_an_image_is_changed_alike_in_whatever_share_of_the_batch_it_is() -> None:
    images = pixels(7, 64)

    def changed(rows: list[int]) -> Tensor:
        draws = [RowsOfBatch(keyed.generator(3, purpose, 9), 7, np.array(rows)) for purpose in ("flip", "augment")]
        return augment(to_input(flip(images[rows], draws[0])), draws[1], 1.0)

    whole = augment(to_input(flip(images, keyed.generator(3, "flip", 9))), keyed.generator(3, "augment", 9), 1.0)
    assert torch.equal(changed(list(range(7))), whole)
    for rows in ([0, 1, 2, 3], [4, 5, 6], [2, 5], [6]):
        torch.testing.assert_close(changed(rows), whole[rows], rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------- light, surroundings


def test_light_is_the_longhand_formula() -> None:
    images, strength = noise(3), 0.7
    drawn = key()
    slopes, bends, exponents = (
        drawn.uniform(-1, 1, (3, 2)),
        drawn.uniform(-0.6, 0.6, (3, 3)),
        drawn.uniform(-0.4, 0.4, (3, 1)),
    )
    y, x = np.mgrid[-1:1:112j, -1:1:112j]
    for image, (a, b), (c, d, e), (g,), found in zip(
        images.double().numpy(),
        slopes,
        bends,
        exponents,
        relight(images, key(), strength).double().numpy(),
        strict=True,
    ):
        field = a * x + b * y + c * x * y + d * (x**2 - 1 / 3) + e * (y**2 - 1 / 3)
        levels = np.clip((image + 1) / 2, 1e-3, 1) ** np.exp(strength * g) * np.exp(strength * field / 2)
        np.testing.assert_allclose(found, 2 * np.clip(levels, 0, 1) - 1, atol=1e-5)


def test_surroundings_change_and_the_middle_of_the_face_does_not() -> None:
    images = noise(64)
    found = change_surroundings(images, key(), 1.0)
    assert (found - images)[:, :, 58:72, 50:62].abs().max() < 0.08
    assert all((one - other)[:, :6, :6].abs().mean() > 0.1 for one, other in zip(found, images, strict=True))


def test_surroundings_change_in_that_share_of_the_images() -> None:
    images = noise(16)
    changed = sum(
        (change_surroundings(images, key(step), 0.4) != images).flatten(1).any(1).float().mean().item() / 40
        for step in range(40)
    )
    assert changed == pytest.approx(0.4, abs=0.06)
