"""elasticface.data.synthetic.renderer: heads stand where the template wants them, and scenes look as they say."""

from dataclasses import replace

import numpy as np
import pytest

from elasticface.data.images import alignment
from elasticface.data.synthetic import hair, raster, renderer, shape
from elasticface.data.synthetic.look import draw_glasses
from elasticface.data.synthetic.renderer import expose, rotation
from elasticface.data.synthetic.scene import Lamp, Occluder, plain_scene

SIZE = alignment.SIZE
MASK = np.array([0.02, 0.6, 0.02])


@pytest.fixture
def plain(sitters):
    """A man and his portrait: short hair, nothing worn."""
    sitter = sitters[2]
    scene = plain_scene(sitter.person)
    style = next(
        style for key in range(500) if (style := hair.draw_style(key, replace(sitter.person, sex=1.0))).kind == "short"
    )
    paint = replace(scene.look.paint, beard=0.0)
    return sitter, replace(scene, look=replace(scene.look, hair=style, paint=paint))


@pytest.fixture
def drawn(monkeypatch, head):
    """Where the head's vertices are drawn, [V, 2] pixels: what the z-buffer of a picture is given first."""

    def of(sitter, scene, size: int = SIZE) -> np.ndarray:
        calls = []
        rasterise = raster.rasterise

        def spy(points, triangles, depth, *rest) -> None:
            if len(depth) == 2 * size and len(points) >= len(head.vertices):
                calls.append(points[: len(head.vertices), :2].astype(np.float64) / 2)
            rasterise(points, triangles, depth, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(raster, "rasterise", spy)
            expose(sitter, scene, size)
        return calls[0]

    return of


def longhand(head, sitter, scene) -> tuple[np.ndarray, np.ndarray]:
    """A photo before alignment, float64: where vertices [V, 2] and the five landmarks [5, 2] are; any unit, y down."""
    vertices = shape.express(sitter.vertices, scene.units).astype(np.float64)
    eyes = [vertices[eye].mean(0) for eye in (head.left_eye, head.right_eye)]
    centre = np.array([0, (eyes[0] + eyes[1])[1] / 2 - 0.1, (eyes[0] + eyes[1])[2] / 2 - 0.75])
    (cy, cp, cr), (sy, sp, sr) = (f([scene.yaw, scene.pitch, scene.roll]) for f in (np.cos, np.sin))
    turn = (
        np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    )

    def photo(points: np.ndarray) -> np.ndarray:
        x, y, z = turn @ (points - centre).T
        return np.stack([x, -y], 1) * (scene.distance / (scene.distance - z))[:, None]

    ahead = np.array([0, 0, 0.13])
    # As seen in the picture, so the subject's right eye comes first.
    nose, mouth = vertices[head.nose_tip] + [0, 0.045, 0], vertices[[head.right_mouth, head.left_mouth]]
    landmarks = [eyes[1] + ahead, eyes[0] + ahead, nose, *mouth]
    return photo(vertices), photo(np.array(landmarks))


def best_similarity(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """The least-squares similarity onto the template by a solver for linear equations, and its residual."""
    x, y = landmarks.T
    one, zero = np.ones(5), np.zeros(5)
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    solution, residual, *_ = np.linalg.lstsq(system, alignment.TEMPLATE.T.ravel(), rcond=None)
    a, b, dx, dy = solution
    return np.array([[a, -b, dx], [b, a, dy]]), float(residual[0])


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


# ---------------------------------------------------------------------------------------------- alignment


@pytest.mark.parametrize("photo", range(4))
def test_the_head_is_drawn_where_its_landmarks_fit_the_template_best(head, studio, drawn, photo):
    sitter = studio.sitter(photo)
    scene = replace(studio.scene(photo, photo), jitter=np.zeros((5, 2)))
    vertices, landmarks = longhand(head, sitter, scene)
    matrix, residual = best_similarity(landmarks)
    found = drawn(sitter, scene)
    assert np.abs(found - move(matrix, vertices)).max() < 0.05
    # The landmarks that are vertices themselves: no further from the template than they must be.
    corners = found[[head.right_mouth, head.left_mouth]]
    assert np.abs(corners - move(matrix, landmarks)[3:]).max() < 0.05
    of_align = ((move(alignment.similarity(landmarks), landmarks) - alignment.TEMPLATE) ** 2).sum()
    assert np.isclose(residual, of_align, rtol=1e-6)


def test_a_frontal_face_s_landmarks_are_near_the_template(head, studio):
    for number in range(6):
        sitter = studio.sitter(number)
        _, landmarks = longhand(head, sitter, plain_scene(sitter.person))
        matrix, _ = best_similarity(landmarks)
        assert np.abs(move(matrix, landmarks) - alignment.TEMPLATE).max() < 8


@pytest.mark.parametrize("size", [40, 160])
def test_another_size_shows_the_same_at_another_scale(plain, drawn, size):
    np.testing.assert_allclose(drawn(*plain, size), drawn(*plain) * size / SIZE, atol=0.05)


def test_roll_is_undone_by_alignment(plain, drawn):
    sitter, scene = plain
    np.testing.assert_allclose(drawn(sitter, replace(scene, roll=0.3)), drawn(*plain), atol=0.01)


def test_jitter_of_all_landmarks_moves_the_picture_against_it(plain, drawn):
    sitter, scene = plain
    shifted = drawn(sitter, replace(scene, jitter=np.tile([2.0, -1.0], (5, 1))))
    np.testing.assert_allclose(shifted, drawn(*plain) + np.array([-2.0, 1.0]), atol=0.1)


def test_jitter_that_spreads_the_landmarks_makes_the_face_smaller(plain, drawn, head):
    sitter, scene = plain
    spread = 0.1 * (alignment.TEMPLATE - alignment.TEMPLATE.mean(0))
    near = np.abs(head.vertices[:, 2] - 1.3) < 0.3
    smaller = np.ptp(drawn(sitter, replace(scene, jitter=spread))[near], axis=0) / np.ptp(drawn(*plain)[near], axis=0)
    np.testing.assert_allclose(smaller, 1 / 1.1, atol=0.01)


def test_zoom_shows_more_around_the_middle(plain, drawn):
    sitter, scene = plain
    zoomed = drawn(sitter, replace(scene, zoom=0.5))
    np.testing.assert_allclose(zoomed, (drawn(*plain) - SIZE / 2) / 2 + SIZE / 2, atol=0.01)


def test_yaw_turns_to_the_picture_s_right_and_pitch_down(plain, drawn, head):
    sitter, scene = plain

    def nose(**turned: float) -> np.ndarray:
        """From between the eyes."""
        points = drawn(sitter, replace(scene, **turned))
        return points[head.nose_tip] - (points[head.left_eye].mean(0) + points[head.right_eye].mean(0)) / 2

    ahead = nose()
    assert nose(yaw=0.4)[0] > ahead[0] + 3
    assert nose(yaw=-0.4)[0] < ahead[0] - 3
    assert nose(pitch=0.3)[1] > ahead[1] + 2
    assert nose(pitch=-0.3)[1] < ahead[1] - 2


def test_a_near_camera_makes_ears_small_and_noses_large(plain, drawn, head):
    sitter, scene = plain
    ears = hair.ears()
    near, far = (np.ptp(drawn(sitter, replace(scene, distance=distance))[ears, 0]) for distance in (5.5, 25.0))
    assert near < far - 2


def test_an_open_jaw_lengthens_the_face(plain, drawn):
    sitter, scene = plain
    opened = drawn(sitter, replace(scene, units={"jawOpen": 0.6}))
    closed = drawn(sitter, replace(scene, units={}))
    assert np.abs(opened - closed).max() > 2


@pytest.mark.parametrize(
    ("angles", "vector", "turned"),
    [
        ((np.pi / 2, 0, 0), [0, 0, 1], [1, 0, 0]),
        ((0, np.pi / 2, 0), [0, 0, 1], [0, -1, 0]),
        ((0, 0, np.pi / 2), [1, 0, 0], [0, 1, 0]),
        ((np.pi / 2, np.pi / 2, 0), [0, 0, 1], [1, 0, 0]),
        ((np.pi / 2, 0, np.pi / 2), [0, 0, 1], [0, 1, 0]),
    ],
)
def test_rotation_turns_about_y_then_x_then_z(angles, vector, turned):
    np.testing.assert_allclose(rotation(*angles) @ vector, turned, atol=1e-6)


def test_rotations_keep_lengths_and_handedness():
    r = np.random.default_rng(0)
    for _ in range(20):
        turn = rotation(*r.uniform(-2, 2, 3)).astype(np.float64)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
        assert np.isclose(np.linalg.det(turn), 1, atol=1e-6)


# ---------------------------------------------------------------------------------------------- light


@pytest.mark.parametrize("photo", range(6))
def test_light_is_finite_and_not_negative(studio, photo):
    sitter = studio.sitter(photo % 4)
    light = expose(sitter, studio.scene(photo % 4, photo), SIZE)
    assert light.shape == (SIZE, SIZE, 3)
    assert light.dtype == np.float32
    assert np.isfinite(light).all()
    assert light.min() >= 0


def lamp(azimuth: float, elevation: float = 0.3, strength: float = 1.5) -> Lamp:
    return Lamp(azimuth, elevation, strength, np.ones(3), np.full(3, 0.2), np.zeros((3, 3)))


FACE = (slice(45, 100), slice(36, 76))  # of an aligned picture, nearly all of it skin


def test_the_lamp_brightens_its_own_side(plain):
    sitter, scene = plain
    left, right = (expose(sitter, replace(scene, lamp=lamp(azimuth)), SIZE)[FACE].mean(-1) for azimuth in (-1.2, 1.2))
    half = left.shape[1] // 2
    assert left[:, :half].mean() > 1.3 * left[:, half:].mean()
    assert right[:, half:].mean() > 1.3 * right[:, :half].mean()


def test_light_from_above_puts_the_shadow_of_the_nose_under_it(plain):
    sitter, scene = plain
    shadow, lit = (expose(sitter, replace(scene, lamp=lamp(0.0, e)), SIZE).mean(-1) for e in (1.2, 0.0))
    under, cheek = (slice(76, 82), slice(52, 60)), (slice(70, 78), slice(30, 38))
    assert shadow[under].mean() / shadow[cheek].mean() < 0.8 * lit[under].mean() / lit[cheek].mean()


def test_a_stronger_lamp_gives_more_light(plain):
    sitter, scene = plain
    weak, strong = (expose(sitter, replace(scene, lamp=lamp(0.3, strength=s)), SIZE)[FACE] for s in (0.5, 1.5))
    assert (strong >= weak - 1e-5).all()
    assert strong.mean() > 1.5 * weak.mean()


def test_a_coloured_lamp_colours_the_face(plain):
    sitter, scene = plain
    red, blue = (
        expose(sitter, replace(scene, lamp=replace(lamp(0.3), colour=np.array(colour))), SIZE)[FACE].mean((0, 1))
        for colour in ([1.4, 1.0, 0.6], [0.6, 1.0, 1.4])
    )
    assert red[0] / red[2] > 1.5 * blue[0] / blue[2]


# ---------------------------------------------------------------------------------------------- what is worn


def changed(sitter, scene, **look) -> np.ndarray:
    """Where a change of the look changes the light, [SIZE, SIZE]."""
    other = replace(scene, look=replace(scene.look, **look))
    return np.abs(expose(sitter, other, SIZE) - expose(sitter, scene, SIZE)).max(-1) > 0.01


def test_glasses_are_seen_around_the_eyes_and_beside_the_head(plain):
    where = changed(*plain, glasses=replace(draw_glasses(0, dark=False), colour=np.full(3, 0.9)))
    rows = np.flatnonzero(where.any(1))
    assert where[40:65, 20:92].mean() > 0.05
    assert rows.min() > 30
    assert rows.max() < 75


def test_sunglasses_hide_the_eyes(plain):
    sitter, scene = plain
    dark = expose(sitter, replace(scene, look=replace(scene.look, glasses=draw_glasses(0, dark=True))), SIZE)
    bare = expose(sitter, scene, SIZE)
    for column, row in alignment.TEMPLATE[:2].astype(int):
        eye = (slice(row - 5, row + 6), slice(column - 8, column + 9))
        assert dark[eye].mean() < 0.6 * bare[eye].mean()


@pytest.mark.parametrize("yaw", [-0.9, 0.0, 0.9])
def test_a_mask_hides_mouth_and_chin(plain, yaw):
    sitter, scene = plain
    scene = replace(scene, yaw=yaw, look=replace(scene.look, mask=MASK))
    light = expose(sitter, scene, SIZE)
    mouth = light[88:96, 50:62]
    assert (mouth[..., 1] > 2 * mouth[..., 0]).all()  # the mask is green
    eyes = light[49:54, 50:62]
    assert (eyes[..., 1] < 2 * eyes[..., 0]).all()


def test_an_object_lies_before_everything(plain):
    sitter, scene = plain
    thing = Occluder(np.array([0.5, 0.9]), np.array([0.3, 0.2]), 0.0, 0.0, np.array([0.0, 0.5, 0.0]))
    with_it, without = (expose(sitter, replace(scene, occluder=one), SIZE) for one in (thing, None))
    inside = with_it[90:108, 35:77]
    assert (inside[..., 1] > 5 * inside[..., 0]).all()
    assert np.array_equal(with_it[:60], without[:60])


def test_hair_is_around_the_face_and_not_on_it(plain):
    sitter, scene = plain
    blond = replace(scene.look.paint, hair_colour=np.array([0.3, 0.2, 0.1]))
    look = replace(scene.look, paint=replace(blond, brow_density=0.0), glasses=None)
    with_hair, bald = (
        expose(sitter, replace(scene, look=replace(look, hair=style)), SIZE)
        for style in (scene.look.hair, replace(scene.look.hair, kind="bald", cover=0.0, top=0.0, side=0.0))
    )
    where = np.abs(with_hair - bald).max(-1) > 0.03
    assert where[:15].mean() > 0.15
    assert not where[45:100, 40:72].any()


def test_long_hair_hides_the_neck_and_shoulders_beside_the_chin(plain):
    sitter, scene = plain
    style = replace(scene.look.hair, length=5.2, opening=1.0, side=0.1, top=0.15)
    where = changed(sitter, scene, hair=style)
    assert where[70:, :30].mean() > 0.04
    assert where[70:, -30:].mean() > 0.1


def test_clothes_begin_at_the_neckline(plain):
    sitter, scene = plain
    scene = replace(scene, zoom=0.5)
    high, low = (
        expose(
            sitter,
            replace(scene, look=replace(scene.look, cloth=np.array([0.0, 0.8, 0.0]), neckline=neckline)),
            SIZE,
        )
        for neckline in (6.0, 5.5)
    )
    green = [(light[..., 1] > 3 * light[..., 0]).sum() for light in (high, low)]
    assert green[0] > green[1] > 0


def test_the_gaze_moves_the_irises_alone(plain):
    sitter, scene = plain
    left, right = (
        expose(sitter, replace(scene, gaze=np.array([yaw, 0.0]), units={"eyeWideLeft": 0.8, "eyeWideRight": 0.8}), 224)
        for yaw in (-0.4, 0.4)
    )
    where = np.abs(left - right).max(-1) > 1e-4
    rows, columns = np.nonzero(where)
    for eye in 2 * alignment.TEMPLATE[:2]:
        assert (np.hypot(columns - eye[0], rows - eye[1]) < 20).any()
    distance = np.minimum(*(np.hypot(columns - eye[0], rows - eye[1]) for eye in 2 * alignment.TEMPLATE[:2]))
    assert distance.max() < 30
    # The dark follows the gaze: to the picture's right with a positive yaw.
    for eye in 2 * alignment.TEMPLATE[:2]:
        window = (slice(int(eye[1]) - 10, int(eye[1]) + 11), slice(int(eye[0]) - 16, int(eye[0]) + 17))
        move_right = (left - right).mean(-1)[window]  # brighter where the iris has left
        assert (move_right * np.arange(-16, 17)).sum() > 0


def test_what_is_behind_shows_around_the_head(plain):
    sitter, scene = plain
    one, other = (expose(sitter, replace(scene, background=key), SIZE) for key in (1, 2))
    where = np.abs(one - other).max(-1) > 1e-6
    assert where[:10, :8].all()
    assert where[:10, -8:].all()
    assert where[FACE].mean() < 0.01


def test_nothing_of_what_is_behind_shines_through_a_face(studio):
    for number in range(6):
        sitter = studio.sitter(number)
        one, other = (expose(sitter, replace(plain_scene(sitter.person), background=key), SIZE) for key in (1, 2))
        assert np.array_equal(one[FACE], other[FACE])


@pytest.mark.parametrize("part", ["glasses", "mask"])
def test_what_is_worn_follows_the_turned_head(plain, part):
    """Its middle moves with the nose."""
    sitter, scene = plain
    look = {"glasses": replace(draw_glasses(0, dark=True), thickness=0.02), "mask": MASK}[part]
    middles = []
    for yaw in (-0.7, 0.0, 0.7):
        where = changed(sitter, replace(scene, yaw=yaw), **{part: look})
        middles.append(np.nonzero(where)[1].mean())
    assert middles[0] != pytest.approx(middles[1], abs=0.5)
    assert (middles[0] - middles[1]) * (middles[2] - middles[1]) < 0


def test_the_sitter_and_the_scene_are_left_as_they_are(plain):
    sitter, scene = plain
    vertices, surface = sitter.vertices.copy(), sitter.skin.surface.copy()
    expose(sitter, replace(scene, units={"jawOpen": 1.0}, look=replace(scene.look, mask=MASK)), SIZE)
    assert np.array_equal(sitter.vertices, vertices)
    assert np.array_equal(sitter.skin.surface, surface)


def test_a_sitter_is_a_person_with_head_and_skin(sitters, head):
    for sitter in sitters:
        assert isinstance(sitter, renderer.Sitter)
        assert sitter.vertices.shape == head.vertices.shape
