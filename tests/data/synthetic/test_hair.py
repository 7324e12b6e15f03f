"""elasticface.data.synthetic.hair: it lies on every skull, ends where its style says, and stays off the face."""

from dataclasses import replace

import numpy as np
import pytest

from elasticface.data.synthetic import hair, shape
from elasticface.data.synthetic.hair import KINDS, LAYERS, SHEET_ROWS, HairStyle, draw_style, grow, scalp_cover

GROWING = [kind for kind in KINDS if kind not in ("bald", "buzz")]


def a_style(kind: str, person) -> HairStyle:
    """The first style of this kind that somebody would wear."""
    return next(
        style
        for key in range(2000)
        for sex in (0.0, 1.0)
        if (style := draw_style(key, replace(person, sex=sex))).kind == kind
    )


@pytest.fixture(scope="module")
def grown(sitters) -> dict[tuple[str, int], tuple[HairStyle, hair.Sheets]]:
    """Every kind on every head."""
    styles = {kind: a_style(kind, sitters[0].person) for kind in GROWING}
    return {
        (kind, n): (style, grow(style, sitter.person, sitter.vertices))
        for kind, style in styles.items()
        for n, sitter in enumerate(sitters)
    }


@pytest.fixture(scope="module")
def scalp(head, skin):
    """(skull's triangles, how far a head lies from the average one): without ears, under which hair lies."""
    hairless = hair.ears() | (head.vertices[:, 1] < 6.2)
    triangles = skin[~hairless[skin].any(1)]
    upper = (head.vertices[:, 1] > 7.6) & np.isin(np.arange(len(head.vertices)), skin)
    return triangles, lambda vertices: (vertices[upper] - head.vertices[upper]).mean(0).astype(np.float64)


def chin(head, vertices: np.ndarray) -> float:
    """The height of its tip."""
    front = (np.abs(head.vertices[:, 0]) < 0.05) & (head.vertices[:, 1] < 6.5) & (head.vertices[:, 2] > 1.2)
    return float(vertices[front, 1].min())


# ---------------------------------------------------------------------------------------------- styles


def test_a_style_is_a_function_of_its_key_and_the_person(sitters):
    person = sitters[0].person
    assert draw_style(5, person) == draw_style(5, person)
    assert len({draw_style(key, person).top for key in range(50)}) > 30
    assert draw_style(5, person).key == 5
    with pytest.raises(ValueError, match="must be >= 0"):
        draw_style(-1, person)


def test_women_and_men_wear_every_kind_between_them(sitters):
    kinds = {
        sex: [draw_style(key, replace(sitters[0].person, sex=sex)).kind for key in range(400)] for sex in (0.1, 0.9)
    }
    assert set(kinds[0.1]) | set(kinds[0.9]) == set(KINDS)
    long = {sex: np.mean([kind in ("bob", "long", "tied") for kind in found]) for sex, found in kinds.items()}
    assert long[0.1] > 2 * long[0.9]


def test_lengths_and_fringes_belong_to_their_kinds(sitters):
    for key in range(300):
        style = draw_style(key, sitters[key % 4].person)
        assert (style.length is not None) == (style.kind in ("long", "bob"))
        assert style.fringe is not None or style.kind != "fringe"
        assert 0 <= style.cover <= 1
        assert -1 <= style.parting <= 1
        assert 0 <= style.curls <= 1
        assert 0 <= style.gloss <= 1
        assert min(style.top, style.side, style.waves) >= 0


# ---------------------------------------------------------------------------------------------- the scalp


@pytest.mark.parametrize("kind", KINDS)
def test_the_face_is_free_of_roots(head, sitters, kind):
    x, y, z = head.vertices.T
    face = (np.abs(x) < 0.5) & (y > 6.0) & (y < 7.55) & (z > 0.9)
    for sitter in sitters:
        cover = scalp_cover(a_style(kind, sitter.person), sitter.person)
        assert cover.shape == (len(head.vertices),)
        assert cover.dtype == np.float32
        assert cover[face].max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_roots_cover_the_crown_and_no_more_than_the_style_says(head, sitters, kind):
    x, y, z = head.vertices.T
    crown = (np.abs(x) < 0.3) & (y > 8.4) & (z < 0.6)
    for sitter in sitters:
        style = a_style(kind, sitter.person)
        cover = scalp_cover(style, sitter.person)
        assert cover.min() >= 0
        assert cover.max() <= np.float32(style.cover)
        assert np.allclose(cover[crown], style.cover, atol=0.02)


def test_a_bald_head_has_no_roots_where_the_style_says_none(sitters):
    style = replace(a_style("bald", sitters[0].person), cover=0.0)
    assert not scalp_cover(style, sitters[0].person).any()


def test_a_receding_hairline_bares_the_forehead(sitters):
    style = a_style("short", sitters[0].person)
    young, old = (
        scalp_cover(style, replace(sitters[0].person, receding=receding, hairline=0.0)) for receding in (0.0, 0.3)
    )
    assert (old <= young).all()
    assert old.sum() < young.sum() - 5


# ---------------------------------------------------------------------------------------------- sheets


@pytest.mark.parametrize("kind", ["bald", "buzz"])
def test_hair_too_short_to_stand_out_does_not_grow(sitters, kind):
    assert grow(a_style(kind, sitters[0].person), sitters[0].person, sitters[0].vertices) is None


@pytest.mark.parametrize("kind", GROWING)
def test_every_kind_grows_on_every_head(grown, sitters, kind):
    for n in range(len(sitters)):
        sheets = grown[kind, n][1]
        columns = sheets.alpha.shape[1]
        assert sheets.points.shape == (len(LAYERS), SHEET_ROWS, columns, 3)
        assert sheets.alpha.shape == sheets.along.shape == (SHEET_ROWS, columns)
        for values in (sheets.points, sheets.alpha, sheets.along):
            assert values.dtype == np.float32
            assert np.isfinite(values).all()
        assert sheets.alpha.min() >= 0
        assert sheets.alpha.max() <= 1
        assert sheets.along.min() >= 0
        assert (np.diff(sheets.along, axis=0) > -1e-6).all()  # away from the root
        assert hair.sheet_triangles().max() == SHEET_ROWS * columns - 1


@pytest.mark.parametrize("kind", GROWING)
def test_a_sheet_closes_around_the_head(grown, kind):
    sheets = grown[kind, 0][1]
    np.testing.assert_allclose(sheets.points[:, :, -1], sheets.points[:, :, 0], atol=1e-5)
    np.testing.assert_allclose(sheets.alpha[:, -1], sheets.alpha[:, 0], atol=1e-5)


@pytest.mark.parametrize("kind", GROWING)
def test_no_hair_lies_inside_the_skull(sitters, grown, scalp, outermost, kind):
    triangles, shift = scalp
    for n, sitter in enumerate(sitters):
        moved = shift(sitter.vertices)
        centre = hair.CENTRE + moved

        def around(points: np.ndarray, centre: np.ndarray = centre) -> np.ndarray:
            """A map of all directions around straight up, and the distance: [N, 3]."""
            out = points.astype(np.float64) - centre
            distance = np.linalg.norm(out, axis=-1)
            polar, azimuth = np.arccos(out[:, 1] / distance), np.arctan2(out[:, 0], out[:, 2])
            return np.stack([polar * np.sin(azimuth), polar * np.cos(azimuth), distance], -1)

        nodes = grown[kind, n][1].points.reshape(-1, 3)
        # Below the jaw hair that falls lies on the shoulders.
        places = around(nodes[nodes[:, 1] - moved[1] > 6.5])
        skull = outermost(around(sitter.vertices), triangles, places[:, :2], 0.01)
        assert np.isfinite(skull).mean() > 0.9
        assert (skull - places[:, 2]).max() < 0.05


def test_outer_layers_lie_farther_out(grown, sitters, scalp):
    for (kind, n), (_, sheets) in grown.items():
        moved = scalp[1](sitters[n].vertices)
        upper = sheets.points[0, ..., 1] - moved[1] > 7.8
        distance = np.linalg.norm(sheets.points - (hair.CENTRE + moved), axis=-1)
        assert (np.diff(distance, axis=0)[:, upper] > 0).all(), kind


def test_hair_is_thinnest_at_its_ends(grown):
    for kind, n in grown:
        alpha = grown[kind, n][1].alpha
        assert alpha[0].min() > 0.9
        assert (alpha[-1] < 0.5).all()


def test_long_hair_reaches_below_the_chin(head, sitters):
    for sitter in sitters:
        style = replace(a_style("long", sitter.person), length=5.4)
        sheets = grow(style, sitter.person, sitter.vertices)
        visible = sheets.points[:, sheets.alpha > 0.5]
        assert visible[..., 1].min() < chin(head, sitter.vertices) - 0.1


def test_falling_hair_ends_where_its_style_says(sitters, scalp):
    for sitter in sitters:
        moved = scalp[1](sitter.vertices)[1]
        for length in (5.4, 5.9, 6.5):
            style = replace(a_style("long", sitter.person), length=length)
            lowest = grow(style, sitter.person, sitter.vertices).points[..., 1].min()
            assert abs(lowest - length - moved) < 0.15


def test_falling_hair_leaves_the_face_open(head, sitters):
    for sitter in sitters:
        style = replace(a_style("long", sitter.person), fringe=None)
        points = grow(style, sitter.person, sitter.vertices).points
        eyes = sitter.vertices[head.left_eye].mean(0), sitter.vertices[head.right_eye].mean(0)
        before = (
            (np.abs(points[..., 0]) < np.abs(eyes[0][0]))
            & (points[..., 1] < eyes[0][1] + 0.1)
            & (points[..., 1] > chin(head, sitter.vertices))
            & (points[..., 2] > 1.0)
        )
        assert not before.any()


def test_a_fringe_hangs_into_the_forehead(sitters, scalp):
    for sitter in sitters:
        style = replace(a_style("short", sitter.person), parting=0.0)
        free, fringe = (
            grow(replace(style, fringe=height), sitter.person, sitter.vertices).points for height in (None, 7.6)
        )
        front = np.abs(free[0, -1, :, 0]) < 0.3
        front &= free[0, -1, :, 2] > 0.8
        moved = scalp[1](sitter.vertices)[1]
        assert front.sum() >= 2
        assert np.abs(fringe[:, -1, front, 1] - 7.6 - moved).max() < 0.3
        assert (fringe[:, -1, front, 1] < free[:, -1, front, 1]).all()


def test_swept_hair_lies_lower_on_its_own_side(sitters):
    sitter = sitters[1]
    style = replace(a_style("side", sitter.person), fringe=None, length=None, parting=0.0)
    free, left, right = (
        grow(replace(style, sweep=sweep), sitter.person, sitter.vertices).points[0, -1] for sweep in (0.0, 0.3, -0.3)
    )
    front = (free[:, 2] > 0.8) & (np.abs(free[:, 0]) > 0.15)
    its, other = front & (free[:, 0] > 0), front & (free[:, 0] < 0)
    for swept, own, opposite in ((left, its, other), (right, other, its)):
        fallen = free[:, 1] - swept[:, 1]
        assert fallen[own].mean() > 0.08
        assert fallen[own].mean() > 1.5 * fallen[opposite].mean()


def test_thicker_hair_stands_farther_out(sitters):
    style = a_style("short", sitters[1].person)
    flat, high = (
        grow(replace(style, top=top), sitters[1].person, sitters[1].vertices).points[-1, ..., 1].max()
        for top in (0.05, 0.3)
    )
    assert high > flat + 0.15


def test_a_parting_makes_one_side_higher(sitters):
    style = replace(a_style("side", sitters[1].person), curls=0.0)
    left, right = (
        grow(replace(style, parting=parting), sitters[1].person, sitters[1].vertices).points[-1]
        for parting in (0.8, -0.8)
    )
    upper = left[..., 1] > left[..., 1].max() - 0.4
    tilt = [np.corrcoef(points[upper][:, 0], points[upper][:, 1])[0, 1] for points in (left, right)]
    assert tilt[0] != pytest.approx(tilt[1], abs=0.02)


def test_growing_is_a_function_of_style_person_and_head(sitters, grown):
    style, first = grown["curly", 0]
    again = grow(style, sitters[0].person, sitters[0].vertices)
    for name in ("points", "alpha", "along"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    other = grow(replace(style, key=style.key + 1), sitters[0].person, sitters[0].vertices)
    assert not np.array_equal(other.points, first.points)


def test_hair_follows_a_head_that_is_moved_up(sitters, grown):
    up = np.float32([0, 0.5, 0])
    for kind in ("short", "long", "curly"):
        style, sheets = grown[kind, 1]
        moved = grow(style, sitters[1].person, sitters[1].vertices + up)
        np.testing.assert_allclose(moved.points, sheets.points + up, atol=1e-4)
        np.testing.assert_allclose(moved.alpha, sheets.alpha, atol=1e-5)


def test_hair_stays_where_it_is_while_the_face_moves(sitters, grown):
    sitter = sitters[2]
    smiling = shape.express(sitter.vertices, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.4})
    style, sheets = grown["short", 2]
    moved = np.abs(grow(style, sitter.person, smiling).points - sheets.points)
    assert np.median(moved) < 0.01


def test_ears_are_on_either_side_of_the_head(head):
    ears = hair.ears()
    x, y, _ = head.vertices[ears].T
    assert ((x > 0).sum(), (x < 0).sum()) == (ears.sum() // 2, ears.sum() // 2)
    assert np.abs(x).min() > 0.5
    assert y.min() > 6.5
    assert y.max() < 7.8
