"""elasticface.data.synthetic.wear: glasses and masks sit outside of every face, whatever it does."""

from dataclasses import replace

import numpy as np
import pytest

from elasticface.data.synthetic import hair, shape, wear
from elasticface.data.synthetic.expression import EXPRESSIONS, units_of
from elasticface.data.synthetic.look import HATS, Glasses, Hat, draw_glasses


@pytest.fixture(scope="module")
def faces(studio):
    """Eight people at rest, and with every expression at full strength: (expression, person, vertices)."""
    found = []
    for number in range(8):
        sitter = studio.sitter(number)
        found.append(("rest", sitter.person, sitter.vertices))
        for expression in EXPRESSIONS:
            units = units_of(expression, 1.0, sitter.person)
            found.append((expression, sitter.person, shape.express(sitter.vertices, units)))
    return found


@pytest.fixture(scope="module")
def frames() -> list[Glasses]:
    return [draw_glasses(key, dark=False) for key in range(3)]


@pytest.fixture(scope="module")
def earless(skin):
    return skin[~hair.ears()[skin].any(1)]


def eyeballs(head, vertices: np.ndarray) -> np.ndarray:
    return vertices[np.concatenate([head.left_eye, head.right_eye])]


# ---------------------------------------------------------------------------------------------- glasses


def test_frame_and_lenses_are_whole_meshes(faces, frames):
    for glasses in frames:
        for mesh in wear.glasses_on(glasses, faces[0][2]):
            assert mesh.points.dtype == np.float32
            assert mesh.triangles.dtype == np.int32
            assert np.isfinite(mesh.points).all()
            assert mesh.shade.shape == (len(mesh.points),)
            assert np.array_equal(np.unique(mesh.triangles), np.arange(len(mesh.points)))


def test_glasses_lie_before_the_eyes(head, faces, frames):
    for _, _, vertices in faces[::4]:
        eyes = eyeballs(head, vertices)
        for glasses in frames:
            frame, lenses = wear.glasses_on(glasses, vertices)
            assert lenses.points[:, 2].min() > eyes[:, 2].max()
            before = frame.points[np.abs(frame.points[:, 0]) < np.abs(eyes[:, 0]).max()]
            assert before[:, 2].min() > eyes[:, 2].max()


def test_glasses_lie_before_the_eyes_without_a_nose_as_well(head, faces, frames):
    vertices = faces[0][2].copy()
    eyes = eyeballs(head, vertices)
    vertices[:, 2] = np.minimum(vertices[:, 2], eyes[:, 2].max())
    frame, lenses = wear.glasses_on(frames[0], vertices)
    front = frame.points[np.abs(frame.points[:, 0]) < np.abs(eyes[:, 0]).max()]
    assert min(front[:, 2].min(), lenses.points[:, 2].min()) > eyes[:, 2].max()


def test_each_eye_looks_through_its_lens(head, faces, frames):
    for _, _, vertices in faces[::4]:
        for glasses in frames:
            lenses = wear.glasses_on(glasses, vertices)[1].points
            for eye, side in ((head.left_eye, 1), (head.right_eye, -1)):
                own = lenses[lenses[:, 0] * side > 0]
                pupil = vertices[eye].mean(0)[:2]
                assert (own.min(0)[:2] < pupil).all()
                assert (own.max(0)[:2] > pupil).all()


def test_no_part_of_the_glasses_sinks_deep_into_the_face(faces, frames, skin, outermost):
    """They rest on the nose, where the skin gives way by some millimetres; nowhere is more of them inside."""
    inside, depth = [], []
    for _, _, vertices in faces[::3]:
        for glasses in frames:
            points = wear.glasses_on(glasses, vertices)[0].points
            front = points[points[:, 2] > vertices[:, 2].max() - 0.45]
            skin_before = outermost(vertices, skin, front[:, :2], 0.01)
            deep = skin_before - front[:, 2]
            inside.append((deep > 0).mean())
            depth.append(deep.max())
    assert np.mean(inside) < 0.15
    assert max(depth) < 0.14


def test_temples_run_beside_the_head_to_the_ears(head, faces, frames, earless, outermost):
    ears = hair.ears()
    for _, _, vertices in faces[::4]:
        for glasses in frames:
            points = wear.glasses_on(glasses, vertices)[0].points
            behind = points[points[:, 2] < vertices[:, 2].max() - 0.45]
            for side in (-1, 1):
                own = behind[behind[:, 0] * side > 0].astype(np.float64)
                half = earless[(vertices[earless, 0] * side > 0).all(1)]
                beside = vertices[:, [2, 1, 0]] * [1, 1, side]
                assert (outermost(beside, half, own[:, [2, 1]], 0.01) < own[:, 0] * side).all()
                ear = vertices[ears & (head.vertices[:, 0] * side > 0)]
                assert np.linalg.norm(own[:, None] - ear, axis=2).min() < 0.2


def test_wider_lenses_make_wider_glasses(faces, frames):
    vertices = faces[0][2]
    narrow, wide = (
        wear.glasses_on(replace(frames[0], width=width), vertices)[1].points[:, 0] for width in (0.18, 0.25)
    )
    assert np.ptp(wide) > np.ptp(narrow) + 0.1
    flat, high = (
        wear.glasses_on(replace(frames[0], height=height), vertices)[1].points[:, 1] for height in (0.12, 0.2)
    )
    assert np.isclose(np.ptp(high) - np.ptp(flat), 0.16, atol=1e-3)


def test_a_frame_is_as_thick_as_it_says(faces, frames):
    vertices = faces[0][2]
    thin, thick = (
        wear.glasses_on(replace(frames[0], thickness=thickness), vertices)[0].points for thickness in (0.005, 0.02)
    )
    moved = np.linalg.norm(thick - thin, axis=1)
    assert np.isclose(moved.max(), 0.015, atol=1e-4)
    assert moved.min() > 0.01


def test_glasses_follow_a_head_that_is_moved(faces, frames):
    vertices = faces[0][2]
    shift = np.float32([0, -0.7, 0.2])
    for here, there in zip(
        wear.glasses_on(frames[1], vertices), wear.glasses_on(frames[1], vertices + shift), strict=True
    ):
        np.testing.assert_allclose(there.points, here.points + shift, atol=1e-4)
        assert np.array_equal(there.triangles, here.triangles)


def test_glasses_are_symmetrical_on_a_symmetrical_head(head, frames):
    for mesh in wear.glasses_on(frames[0], head.vertices):
        points = mesh.points.astype(np.float64)
        mirrored = points * [-1, 1, 1]
        distance = np.linalg.norm(points[:, None] - mirrored[None], axis=2).min(1)
        assert distance.max() < 0.02  # the rings of a tube begin on its right on both sides


# ---------------------------------------------------------------------------------------------- masks


def cloth_of(mesh: wear.Mesh) -> np.ndarray:
    """The cloth's points, which come first; the loops to the ears are tubes that end at them."""
    first = wear._MASK_ROWS * wear._MASK_COLUMNS
    return mesh.points[:first].astype(np.float64)


def around(points: np.ndarray) -> np.ndarray:
    """Angle, height and distance from the axis that masks are laid around."""
    x, y, z = points.astype(np.float64).T
    return np.stack([np.arctan2(x, z - 0.3), y, np.hypot(x, z - 0.3)], 1)


def how_far_inside(vertices: np.ndarray, points: np.ndarray, skin: np.ndarray, outermost) -> np.ndarray:
    """How far the skin is out beyond each point, seen from the axis."""
    places = around(points)
    before = skin[(np.abs(around(vertices)[skin, 0]) < 1.4).all(1)]
    return outermost(around(vertices), before, places[:, :2], 0.01) - places[:, 2]


@pytest.mark.parametrize("expression", ["rest", *EXPRESSIONS])
def test_a_mask_lies_outside_of_nearly_all_skin(faces, skin, outermost, expression):
    """A chin may push some points of it by less than a centimetre."""
    for name, _, vertices in faces:
        if name == expression:
            inside = how_far_inside(vertices, cloth_of(wear.mask_on(vertices, 3)), skin, outermost)
            assert (inside > 0).mean() < 0.02
            assert inside.max() < 0.15


def test_no_point_of_a_mask_lies_inside(faces, skin, outermost):
    for _, _, vertices in faces:
        assert how_far_inside(vertices, cloth_of(wear.mask_on(vertices, 3)), skin, outermost).max() < 0


@pytest.mark.parametrize("key", range(1, 7))
def test_pleats_are_shallow(faces, skin, outermost, key):
    vertices = faces[0][2]
    one, other = (how_far_inside(vertices, cloth_of(wear.mask_on(vertices, k)), skin, outermost) for k in (0, key))
    assert 0 < np.abs(one - other).max() < 0.04


def test_a_mask_hides_mouth_and_nostrils_and_leaves_the_eyes(head, faces):
    for _, _, vertices in faces[::4]:
        cloth = cloth_of(wear.mask_on(vertices, 0))
        mouth, nose = vertices[[head.left_mouth, head.right_mouth]], vertices[head.nose_tip]
        low, high = cloth.min(0), cloth.max(0)
        assert (low[:2] < mouth.min(0)[:2]).all()
        assert (high[:2] > mouth.max(0)[:2]).all()
        assert high[1] > nose[1]
        assert high[2] > nose[2]
        assert high[1] < eyeballs(head, vertices)[:, 1].mean()


def test_a_mask_is_a_whole_mesh_with_loops_to_the_ears(head, faces):
    ears = hair.ears()
    for _, _, vertices in faces[::8]:
        mesh = wear.mask_on(vertices, 1)
        assert np.isfinite(mesh.points).all()
        assert mesh.shade.shape == (len(mesh.points),)
        assert mesh.shade.min() > 0
        assert np.array_equal(np.unique(mesh.triangles), np.arange(len(mesh.points)))
        loops = mesh.points[len(cloth_of(mesh)) :]
        for side in (-1, 1):
            ear = vertices[ears & (head.vertices[:, 0] * side > 0)]
            own = loops[loops[:, 0] * side > 0]
            assert np.linalg.norm(own[:, None] - ear, axis=2).min() < 0.1


def test_cloth_that_faces_outwards_has_no_hole(faces, outermost):
    """What is seen from within is not drawn; under a nose cloth may fold, but then more of it lies before."""
    for _, _, vertices in faces[::6]:
        mesh = wear.mask_on(vertices, 0)
        cloth = mesh.triangles[(mesh.triangles < len(cloth_of(mesh))).all(1)]
        a, b, c = mesh.points[cloth].astype(np.float64).transpose(1, 0, 2)
        outwards = (np.cross(b - a, c - a) * ((a + b + c) / 3 * [1, 0, 1] - [0, 0, 0.3])).sum(1) > 0
        assert outwards.mean() > 0.98
        angle, height = np.meshgrid(np.linspace(-0.7, 0.7, 50), np.linspace(-0.3, 0.4, 50))
        places = np.stack([angle.ravel(), height.ravel() + cloth_of(mesh)[:, 1].mean()], 1)
        seen, drawn = (outermost(around(mesh.points), which, places, 0.01) for which in (cloth, cloth[outwards]))
        assert np.isfinite(seen).mean() > 0.95
        there = np.isfinite(seen)
        assert (np.abs(drawn[there] - seen[there]) < 1e-6).mean() > 0.99


def test_cloth_spans_hollows(faces, skin, outermost):
    """It is smoother than the face under it."""
    vertices = faces[0][2]
    cloth = cloth_of(wear.mask_on(vertices, 0)).reshape(wear._MASK_ROWS, wear._MASK_COLUMNS, 3)
    off = -how_far_inside(vertices, cloth.reshape(-1, 3), skin, outermost).reshape(cloth.shape[:2])
    assert off.max() > off.min() + 0.1


# ---------------------------------------------------------------------------------------------- meshes


def test_joined_meshes_keep_their_triangles():
    r = np.random.default_rng(0)
    meshes = [
        wear.Mesh(
            r.normal(0, 1, (count, 3)).astype(np.float32),
            r.integers(0, count, (5, 3)).astype(np.int32),
            r.random(count).astype(np.float32),
        )
        for count in (4, 7, 3)
    ]
    joined = wear.join(meshes)
    assert joined.triangles.dtype == np.int32
    np.testing.assert_array_equal(
        joined.points[joined.triangles], np.concatenate([mesh.points[mesh.triangles] for mesh in meshes])
    )
    np.testing.assert_array_equal(
        joined.shade[joined.triangles], np.concatenate([mesh.shade[mesh.triangles] for mesh in meshes])
    )


# ---------------------------------------------------------------------------------------------- hats


def a_hat(kind: str, height: float = 7.8) -> Hat:
    return Hat(kind, height, 0.1, np.full(3, 0.2))


@pytest.mark.parametrize("kind", HATS)
def test_a_hat_is_a_whole_mesh_that_sits_on_the_head_and_leaves_the_eyes_free(head, faces, kind):
    for _, _, vertices in faces[::5]:
        mesh = wear.hat_on(a_hat(kind), vertices)
        assert mesh.points.dtype == mesh.shade.dtype == np.float32
        assert np.isfinite(mesh.points).all()
        assert mesh.shade.shape == (len(mesh.points),)
        assert mesh.triangles.max() < len(mesh.points)
        assert mesh.points[:, 1].max() > vertices[:, 1].max()
        eyes = eyeballs(head, vertices)
        before = (np.abs(mesh.points[:, 0]) < np.abs(eyes[:, 0]).max()) & (mesh.points[:, 2] > eyes[:, 2].max())
        assert (mesh.points[before, 1] > eyes[:, 1].max() + 0.05).all()


def test_a_cap_has_a_peak_and_a_scarf_covers_the_ears(head, faces):
    vertices = faces[0][2]
    cap, knitted, scarf = (wear.hat_on(a_hat(kind), vertices).points for kind in ("cap", "knitted", "scarf"))
    assert cap[:, 2].max() > knitted[:, 2].max() + 0.3
    ears = vertices[hair.ears()]
    assert scarf[:, 1].min() < ears[:, 1].min() < knitted[np.abs(knitted[:, 0]) > 0.5][:, 1].min()


def test_a_lower_hat_hides_more_of_the_forehead(faces):
    high, low = (wear.hat_on(a_hat("knitted", height), faces[0][2]).points for height in (7.9, 7.7))
    assert low[-1 - 24][1] < high[-1 - 24][1] - 0.1
