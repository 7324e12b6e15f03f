"""elasticface.data.synthetic.texture: skin by two pigments, and what is painted over it where it belongs."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from elasticface.data.synthetic import asset, texture
from elasticface.data.synthetic.texture import BEARDS, EYE_SHADOWS, LIPSTICKS, Paint, Skin

BARE = Paint(1.0, 1.0, np.array([0.01, 0.008, 0.007]), 0.0, 0, 0.0, 0, 0.0, 0)


@pytest.fixture(scope="module")
def sitter(sitters):
    """Someone fair, so that everything painted is darker than the skin, without moles or freckles."""
    person = replace(sitters[0].person, melanin=0.3, freckles=0.0, moles=np.zeros((0, 4)), scar=None, age=0.3)
    return replace(sitters[0], person=person, skin=texture.draw_skin(person, 0))


@pytest.fixture(scope="module")
def place(head) -> np.ndarray:
    """Where on the average head the texels are, [H, W, 3], far away where there is no skin."""
    positions, covered = asset.position_map(head, texture.HEIGHT, texture.WIDTH)
    return np.where(covered[..., None], positions, 99.0)


@pytest.fixture(scope="module")
def covered(head) -> np.ndarray:
    return asset.position_map(head, texture.HEIGHT, texture.WIDTH)[1]


@pytest.fixture(scope="module")
def lips(head) -> np.ndarray:
    """How much of a texel is lips, [H, W]."""
    return cv2.resize(head.lips, (texture.WIDTH, texture.HEIGHT), interpolation=cv2.INTER_AREA)


def change(skin: Skin, person, **look) -> np.ndarray:
    """How much brighter the albedo is with these changes to a bare look, [H, W, 3]."""
    bare = texture.paint(skin, person, BARE).surface
    return (texture.paint(skin, person, replace(BARE, **look)).surface - bare)[..., :3]


# ---------------------------------------------------------------------------------------------- skin


def test_skin_is_finite_and_reflects_no_more_than_falls_on_it(sitters):
    for sitter in sitters:
        surface, relief = sitter.skin.surface, sitter.skin.relief
        assert surface.shape == (texture.HEIGHT, texture.WIDTH, 4)
        assert relief.shape == surface.shape[:2]
        assert surface.dtype == relief.dtype == np.float32
        assert np.isfinite(surface).all()
        assert np.isfinite(relief).all()
        assert surface[..., :3].min() > 0
        assert surface[..., :3].max() <= 1
        assert surface[..., 3].min() > 0


def test_skin_is_a_function_of_person_and_seed(sitters, studio):
    person = sitters[1].person
    again, other_seed = (texture.draw_skin(person, studio.seed + more) for more in (0, 1))
    assert np.array_equal(again.surface, sitters[1].skin.surface)
    assert np.array_equal(again.relief, sitters[1].skin.relief)
    assert not np.array_equal(again.surface, other_seed.surface)
    renumbered = texture.draw_skin(replace(person, number=person.number + 1), studio.seed)
    assert not np.array_equal(again.surface, renumbered.surface)


def test_skin_is_redder_than_green_and_greener_than_blue(sitters, covered):
    for sitter in sitters:
        red, green, blue = sitter.skin.surface[covered][:, :3].mean(0)
        assert red > green > blue


@pytest.mark.parametrize(("field", "value"), [("melanin", 1.0), ("haemoglobin", 0.9)])
def test_more_pigment_is_darker_in_every_channel(sitter, covered, field, value):
    little, much = (
        texture.draw_skin(replace(sitter.person, **{field: amount}), 0).surface[covered][:, :3]
        for amount in (getattr(sitter.person, field), value)
    )
    assert (much <= little).all()
    assert (much < little).mean() > 0.99


@pytest.mark.parametrize(("field", "absorption"), [("melanin", texture.MELANIN), ("haemoglobin", texture.HAEMOGLOBIN)])
def test_pigments_absorb_by_beer_and_lambert(sitter, covered, field, absorption):
    little, much = (
        texture.draw_skin(replace(sitter.person, **{field: amount}), 0).surface[covered][:, :3].astype(np.float64)
        for amount in (0.4, 0.9)
    )
    np.testing.assert_allclose(np.median(np.log(little / much), axis=0), 0.5 * absorption, rtol=0.05)


def test_texels_without_skin_have_its_mean_colour(sitter, covered):
    beyond = sitter.skin.surface[~covered]
    np.testing.assert_allclose(beyond, np.broadcast_to(sitter.skin.surface[covered].mean(0), beyond.shape), rtol=1e-5)


def test_a_mole_darkens_its_own_place_alone(sitter, place):
    mole = np.array([[0.4, 6.9, 0.02, 1.0]])
    spotted = texture.draw_skin(replace(sitter.person, moles=mole), 0).surface[..., :3]
    darker = (sitter.skin.surface[..., :3] - spotted).max(-1)
    distance = np.hypot(place[..., 0] - 0.4, place[..., 1] - 6.9)
    assert darker[(distance < 0.01) & (place[..., 2] > 1)].min() > 0.05
    assert darker[np.isfinite(distance) & (distance > 0.1) & (distance < 50)].max() < 1e-6


def test_a_scar_reddens_its_own_place_alone(sitter, place):
    scar = np.array([-0.3, 7.8, 0.5, 0.1, 0.03, 0.5])
    scarred = texture.draw_skin(replace(sitter.person, scar=scar), 0).surface[..., :3]
    ratio = (scarred / sitter.skin.surface[..., :3])[(np.abs(place - [-0.3, 7.8, 0])[..., :2] < 0.01).all(-1)]
    assert len(ratio)
    assert (ratio[:, 1] < ratio[:, 0]).all()  # blood takes green before red
    away = (np.hypot(place[..., 0] + 0.3, place[..., 1] - 7.8) > 0.4) & (place[..., 0] < 50)
    assert np.abs(scarred - sitter.skin.surface[..., :3])[away].max() < 1e-4


def test_freckles_darken_and_stay_off_the_forehead_and_the_neck(sitter, place):
    # Their grains are drawn before the relief, so the skins are compared where neither pores nor gloss count: in sums.
    freckled = texture.draw_skin(replace(sitter.person, freckles=0.6), 0).surface[..., :3]

    def darker(low: float, high: float) -> float:
        where = (np.abs(place[..., 0]) < 0.5) & (place[..., 1] > low) & (place[..., 1] < high) & (place[..., 2] > 1)
        return float((sitter.skin.surface[..., :3] - freckled)[where].mean())

    assert darker(6.8, 7.1) > 0.004
    assert abs(darker(7.8, 8.2)) < 0.2 * darker(6.8, 7.1)


def test_relief_deepens_with_age(sitter, place):
    forehead = (np.abs(place[..., 0]) < 0.3) & (place[..., 1] > 7.6) & (place[..., 1] < 8.0) & (place[..., 2] > 1)
    depth = [
        -np.percentile(texture.draw_skin(replace(sitter.person, age=age), 0).relief[forehead], 2)
        for age in (0.0, 0.5, 1.0)
    ]
    assert depth[0] < depth[1] < depth[2]


@pytest.mark.parametrize(("fold", "where"), [(4, (0.2, 6.8)), (5, (0.3, 7.12)), (6, (0.56, 7.27)), (7, (0.05, 7.45))])
def test_a_deeper_fold_is_deeper_in_its_own_place(sitter, place, fold, where):
    flat, deep = np.full(8, 0.3), np.full(8, 0.3)
    deep[fold] = 1.0
    low, high = (
        texture.draw_skin(replace(sitter.person, age=1.0, wrinkles=wrinkles), 0).relief for wrinkles in (deep, flat)
    )
    across, y, z = np.abs(place[..., 0]), place[..., 1], place[..., 2]
    near = (np.hypot(across - where[0], y - where[1]) < 0.17) & (z > 0.8)
    assert (high - low)[near].max() > 0.01
    assert np.abs(high - low)[~near & (np.hypot(across - where[0], y - where[1]) > 0.4)].max() < 0.005


def test_blotches_make_the_colour_uneven(sitter, covered):
    even, uneven = (
        texture.draw_skin(replace(sitter.person, blotches=amount), 0).surface[covered][:, 1] for amount in (0.5, 2.0)
    )
    assert uneven.std() > 1.3 * even.std()


def test_oily_skin_has_more_gloss(sitter, covered):
    dull, shining = (
        texture.draw_skin(replace(sitter.person, oiliness=oil), 0).surface[covered][:, 3] for oil in (0.3, 0.8)
    )
    assert (shining >= dull).all()
    assert shining.mean() > 1.5 * dull.mean()


# ---------------------------------------------------------------------------------------------- paint


def everything(form: int = 0) -> Paint:
    return Paint(1.2, 0.9, np.array([0.02, 0.01, 0.01]), 0.9, form, 0.8, 1, 0.6, 2)


def test_paint_leaves_the_skin_it_is_given(sitters):
    for sitter in sitters:
        before = sitter.skin.surface.copy(), sitter.skin.relief.copy()
        painted = texture.paint(sitter.skin, sitter.person, everything())
        assert np.array_equal(sitter.skin.surface, before[0])
        assert np.array_equal(sitter.skin.relief, before[1])
        assert not np.shares_memory(painted.surface, sitter.skin.surface)
        assert not np.array_equal(painted.surface, sitter.skin.surface)


@pytest.mark.parametrize("form", range(len(BEARDS)))
def test_painted_skin_is_finite_deterministic_and_still_an_albedo(sitters, form):
    for sitter in sitters:
        painted = texture.paint(sitter.skin, sitter.person, everything(form))
        assert np.isfinite(painted.surface).all()
        assert painted.surface[..., :3].min() > 0
        assert painted.surface[..., :3].max() <= 1
        again = texture.paint(sitter.skin, sitter.person, everything(form))
        assert np.array_equal(painted.surface, again.surface)


@pytest.mark.parametrize("form", range(len(BEARDS)))
def test_a_beard_darkens_its_place_and_nothing_else(sitter, place, lips, form):
    brighter = change(sitter.skin, sitter.person, beard=1.0, beard_form=form)
    assert brighter.max() <= 0
    changed = brighter.min(-1) < 0
    heights = place[..., 1][changed]
    assert heights.max() < 7.3  # the eyes
    assert heights.min() > 5.9  # the neck
    assert np.abs(brighter[lips == 1]).max() == 0
    assert np.abs(place[..., 0][(brighter.min(-1) < -0.05) & (place[..., 1] > 6.9)]).min(initial=1) > 0.3  # the nose


def test_each_form_of_beard_has_its_parts(sitter, place):
    x, y, z = np.abs(place[..., 0]), place[..., 1], place[..., 2]
    parts = {
        "moustache": (x < 0.15) & (x > 0.08) & (np.abs(y - 6.76) < 0.02) & (z > 1),
        "chin": (x < 0.1) & (np.abs(y - 6.33) < 0.03) & (z > 1),
        "cheeks": (np.abs(x - 0.55) < 0.04) & (np.abs(y - 6.6) < 0.05) & (z > 0.6),
    }
    has = {"full": 3, "moustache and chin": 2, "moustache": 1, "goatee": 1}
    for form, name in enumerate(BEARDS):
        brighter = change(sitter.skin, sitter.person, beard=1.0, beard_form=form).mean(-1)
        there = {part for part, where in parts.items() if brighter[where].mean() < -0.1}
        assert len(there) == has[name], (name, there)
        for part in parts.keys() - there:
            assert brighter[parts[part]].mean() > -0.02, (name, part)
        for word in ("moustache", "chin"):
            if word in name:
                assert word in there


def test_a_fuller_beard_is_darker(sitter):
    total = [change(sitter.skin, sitter.person, beard=beard).sum() for beard in (0.0, 0.2, 0.6, 1.0)]
    assert total[0] == 0
    assert total[0] > total[1] > total[2] > total[3]


def test_a_beard_takes_the_colour_of_the_hair(sitter, place):
    chin = (np.abs(place[..., 0]) < 0.1) & (np.abs(place[..., 1] - 6.33) < 0.03) & (place[..., 2] > 1)
    black, red = (
        texture.paint(sitter.skin, sitter.person, replace(BARE, beard=1.0, hair_colour=np.array(colour)))
        .surface[chin][:, :3]
        .mean(0)
        for colour in ([0.01, 0.008, 0.007], [0.16, 0.055, 0.022])
    )
    assert red[0] / red[2] > 1.3 * black[0] / black[2]


def test_brows_darken_a_band_over_the_eyes(sitter, place):
    # Without lashes: whatever else is painted is on both pictures.
    brighter = change(sitter.skin, sitter.person, brow_density=0.2).mean(-1) - change(
        sitter.skin, sitter.person, brow_density=1.0
    ).mean(-1)
    changed = brighter > 0.02
    x, y = place[..., 0][changed], place[..., 1][changed]
    assert y.min() > 7.25
    assert y.max() < 7.75
    assert abs((x > 0).mean() - 0.5) < 0.1
    assert np.abs(x).max() < sitter.person.brows.outer + 0.1


def test_thicker_brows_cover_more(sitter):
    thin, thick = (change(sitter.skin, sitter.person, brow_thickness=factor).sum() for factor in (0.6, 1.5))
    assert thin > 0 > thick


def test_joined_brows_meet_over_the_nose(sitter, place):
    between = (np.abs(place[..., 0]) < 0.03) & (np.abs(place[..., 1] - sitter.person.brows.height) < 0.04)
    brows = replace(sitter.person.brows, density=0.8)
    apart, joined = (replace(sitter.person, brows=replace(brows, joined=amount)) for amount in (0.0, 0.8))
    free, hairy = (
        texture.paint(sitter.skin, person, BARE).surface[between][:, :3].mean() for person in (apart, joined)
    )
    assert hairy < 0.8 * free


@pytest.mark.parametrize("colour", range(len(LIPSTICKS)))
def test_lipstick_is_on_the_lips_alone(sitter, lips, colour):
    painted = change(sitter.skin, sitter.person, lipstick=0.8, lipstick_colour=colour)
    assert (np.abs(painted[lips == 0]) == 0).all()
    opaque = texture.paint(sitter.skin, sitter.person, replace(BARE, lipstick=1.0, lipstick_colour=colour))
    full = opaque.surface[lips == 1][:, :3]
    np.testing.assert_allclose(full, np.broadcast_to(LIPSTICKS[colour], full.shape), atol=1e-6)


@pytest.mark.parametrize("colour", range(len(EYE_SHADOWS)))
def test_eye_shadow_is_around_the_eyes_alone(sitter, place, colour):
    painted = np.abs(change(sitter.skin, sitter.person, eye_shadow=0.6, eye_shadow_colour=colour)).max(-1)
    strong = painted > 0.1
    assert strong.any()
    x, y = np.abs(place[..., 0][strong]), place[..., 1][strong]
    assert x.min() > 0.05
    assert x.max() < 0.6
    assert y.min() > 7.15
    assert y.max() < 7.6
    assert painted[(place[..., 1] < 7.1)].max() == 0


def test_nothing_painted_changes_gloss_or_relief(sitter):
    painted = texture.paint(sitter.skin, sitter.person, everything())
    assert np.array_equal(painted.surface[..., 3], sitter.skin.surface[..., 3])
    assert np.array_equal(painted.relief, sitter.skin.relief)


def test_strands_are_drawn_out_along_the_columns():
    noise = texture.hairs()
    assert abs(noise.std() - 1) < 0.01
    along, across = (np.abs(np.diff(noise, axis=axis)).mean() for axis in (0, 1))
    assert along < 0.6 * across
