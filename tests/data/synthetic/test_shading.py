"""elasticface.data.synthetic.shading: light, materials and translucent sheets on small made-up surfaces."""

import numba
import numpy as np
import pytest

from elasticface.data.synthetic import camera, hair, raster, shading, shape, surface, surroundings, texture
from elasticface.data.synthetic.shading import (
    ATTRIBUTES,
    COVER,
    EYE,
    FABRIC,
    HAIR,
    LASHES,
    LENS,
    NORMAL,
    OPENNESS,
    RIM,
    SKIN,
    TANGENT,
    TEETH,
    TEXTURE,
    TONGUE,
    Light,
    Materials,
)

SOLID = (SKIN, EYE, TEETH, TONGUE, RIM, FABRIC)
DISTANCE = 12.0
SIZE = 24
NOWHERE = np.full((16, 16), -1e9, np.float32)  # a shadow map without anything in it


def f32(*values) -> np.ndarray:
    return np.ascontiguousarray(np.array(values, np.float32))


def a_light(direction=(0, 0, 1), colour=1.0, ambient=0.3, gradient=None, meshes=(), **changes) -> Light:
    """White unless told otherwise, and the shadows of some meshes."""
    forward = np.array(direction, np.float64) / np.linalg.norm(direction)
    right = np.cross([0.1, 1, 0.2], forward)
    right /= np.linalg.norm(right)
    frame = f32(right, np.cross(forward, right), forward)
    return Light(
        *map(shading.vector, frame),
        colour=shading.vector(np.broadcast_to(colour, 3)),
        ambient=shading.vector(np.broadcast_to(ambient, 3)),
        gradient=tuple(map(shading.vector, np.zeros((3, 3)) if gradient is None else gradient)),
        shadow=raster.cast_shadows(list(meshes), frame, 1.6) if meshes else NOWHERE,
        reach=1.6,
    )._replace(**changes)


def some_materials(**changes) -> Materials:
    skin = np.empty((40, 48, 4), np.float32)
    skin[:] = 0.5, 0.4, 0.3, 0.4
    return Materials(
        skin=skin,
        relief=np.zeros((40, 48), np.float32),
        hair=f32(0.06, 0.03, 0.02),
        gloss=0.5,
        curls=0.0,
        strands=np.full((64, 64), 0.5, np.float32),
        lumps=np.full((64, 64), 0.5, np.float32),
        eyes=f32([-1, 0, 0], [0, 0, 0]),
        gaze=np.eye(3, dtype=np.float32),
        iris=f32(0.1, 0.2, 0.3),
        pupil=0.2,
        sclera=0.9,
        rim=f32(0.2, 0.3, 0.1),
        lens=f32(0.02, 0.03, 0.04, 0.5),
        fabric=f32(0.5, 0.4, 0.3),
        cloth=f32(0.1, 0.6, 0.1),
        neckline=2.0,
    )._replace(**changes)


class Surface:
    """Vertices with what is known of them, seen by a camera that shows 2 decimetres."""

    def __init__(self, points: np.ndarray, normals: np.ndarray, triangles: np.ndarray, **columns) -> None:
        self.triangles = triangles.astype(np.int32)
        self.attributes = np.zeros((len(points), ATTRIBUTES), np.float32)
        self.attributes[:, :3] = points
        self.attributes[:, NORMAL : NORMAL + 3] = normals
        self.attributes[:, OPENNESS] = columns.get("openness", 1.0)
        self.attributes[:, COVER] = columns.get("cover", 1.0)
        self.attributes[:, TEXTURE : TEXTURE + 2] = columns.get("texture", 0.5)
        self.attributes[:, TANGENT : TANGENT + 3] = 0, -1, 0

    @property
    def mesh(self) -> tuple[np.ndarray, np.ndarray, int]:
        return np.ascontiguousarray(self.attributes[:, :3]), self.triangles, 1

    def seen(self, seen: raster.Buffers | None = None, size: int = SIZE) -> raster.Buffers:
        buffers = raster.buffers(size) if seen is None else seen
        matrix = np.array([[size, 0, size], [0, size, size]], np.float64)  # at twice the resolution
        raster.rasterise(raster.project(self.attributes, DISTANCE, matrix), self.triangles, *buffers, 1)
        return buffers


def a_square(half: float = 2.0, z: float = 0.0, **columns) -> Surface:
    points = np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])
    return Surface(points, [0, 0, 1], np.array([[0, 1, 2], [0, 2, 3]]), **columns)


def a_ball(radius: float = 0.7, **columns) -> Surface:
    polar, azimuth = np.meshgrid(np.linspace(0.01, 3.13, 40), np.linspace(-np.pi, np.pi, 61), indexing="ij")
    out = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1).reshape(-1, 3)
    return Surface(radius * out, out, surface.grid_triangles(40, 61), **columns)


def normals_of_ball(radius: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """[3, SIZE, SIZE], nearly, since the camera is far away; and which pixels are not at its rim."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    flat = np.stack([(x + 0.5) / SIZE * 2 - 1, 1 - (y + 0.5) / SIZE * 2]) / radius
    out = (flat**2).sum(0)
    return np.stack([*flat, np.sqrt(np.maximum(1 - out, 0))]), out < 0.7


def paper(size: int = SIZE, value: float = 0.2) -> np.ndarray:
    return np.full((size, size, 3), value, np.float32)


def solid(thing: Surface, part: int, light: Light, image=None, seen=None, **changes) -> np.ndarray:
    """The thing, all of one part, drawn over an image."""
    image = paper() if image is None else image.copy()
    seen = thing.seen(size=len(image)) if seen is None else seen
    parts = np.full(len(thing.triangles), part, np.uint8)
    materials = some_materials(**changes)
    shading.draw_surfaces(image, seen, thing.attributes, thing.triangles, parts, materials, light, DISTANCE)
    return image


def sheet(thing: Surface, kind: int, light: Light, image=None, layer=0.0, seen=None, **changes) -> np.ndarray:
    image = paper() if image is None else image.copy()
    seen = thing.seen(size=len(image)) if seen is None else seen
    materials = some_materials(**changes)
    shading.draw_sheet(image, seen, thing.attributes, thing.triangles, kind, layer, materials, light, DISTANCE)
    return image


# ---------------------------------------------------------------------------------------------- coverage


def test_empty_buffers_leave_the_image_alone():
    before = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    thing, nothing = a_square(), raster.buffers(SIZE)
    assert np.array_equal(solid(thing, SKIN, a_light(), before, nothing), before)
    for kind in (HAIR, LASHES, LENS):
        assert np.array_equal(sheet(thing, kind, a_light(), before, seen=nothing), before)


@pytest.mark.parametrize("part", SOLID)
@pytest.mark.parametrize("hidden", [[(0, 0)], [(0, 0), (0, 1)], [(1, 0), (0, 1)], [(0, 0), (1, 0), (1, 1)]])
def test_a_partly_covered_pixel_is_a_mean_of_background_and_surface(part, hidden):
    thing, image, light = a_square(), paper(value=0.9), a_light(ambient=0.5)
    full = solid(thing, part, light, image)
    seen = thing.seen()
    for row, column in hidden:
        seen.triangle[10 + row, 10 + column] = -1
    partly = solid(thing, part, light, image, seen)
    share = len(hidden) / 4
    np.testing.assert_allclose(partly[5, 5], share * image[5, 5] + (1 - share) * full[5, 5], rtol=0.01)
    rest = np.ones((SIZE, SIZE), bool)
    rest[5, 5] = False
    assert np.array_equal(partly[rest], full[rest])


def test_an_edge_through_a_pixel_s_middle_halves_it():
    thing, light = a_square(), a_light()
    thing.attributes[[0, 3], 0] = 0.5 / SIZE * 2  # the left edge goes half a pixel to the right of the middle
    image = solid(thing, FABRIC, light)
    half, full = SIZE // 2, SIZE // 2 + 1
    assert np.array_equal(image[:, :half], paper()[:, :half])
    np.testing.assert_allclose(image[:, half], (0.2 + image[:, full]) / 2, rtol=1e-5)


def test_two_materials_in_a_pixel_mix_by_their_samples():
    thing, light = a_square(), a_light(ambient=0.5)
    rim, fabric = (solid(thing, part, light) for part in (RIM, FABRIC))
    one, other = a_square(), a_square()
    both = Surface(
        np.concatenate([one.attributes[:, :3], other.attributes[:, :3]]),
        [0, 0, 1],
        np.concatenate([one.triangles, other.triangles + 4]),
    )
    seen = one.seen()
    seen.triangle[0::2, 0::2] += 2  # one sample of each pixel belongs to the other square
    image = paper()
    parts = np.array([RIM, RIM, FABRIC, FABRIC], np.uint8)
    shading.draw_surfaces(image, seen, both.attributes, both.triangles, parts, some_materials(), light, DISTANCE)
    np.testing.assert_allclose(image, 0.75 * rim + 0.25 * fabric, rtol=0.01)


def test_what_a_pixel_shows_is_not_kept_for_the_next_one():
    """A pixel of its own gives what it gives in a picture."""
    thing, light = a_ball(), a_light((1, 1, 1))
    whole, seen = solid(thing, TEETH, light), thing.seen()
    alone = raster.buffers(SIZE)
    for buffer, full in zip(alone, seen, strict=True):
        buffer[24:26, 22:24] = full[24:26, 22:24]
    assert np.array_equal(solid(thing, TEETH, light, seen=alone)[12, 11], whole[12, 11])


# ---------------------------------------------------------------------------------------------- light


@pytest.mark.parametrize("part", SOLID)
def test_light_from_the_left_brightens_the_left_side(part):
    ball, dark = a_ball(cover=part != SKIN), paper(value=0.0)
    left, right = (solid(ball, part, a_light((side, 0.2, 0.5)), dark) for side in (-1, 1))
    half = SIZE // 2
    assert left[:, :half].mean() > 1.2 * left[:, half:].mean()
    assert right[:, half:].mean() > 1.2 * right[:, :half].mean()


@pytest.mark.parametrize("part", [TEETH, TONGUE, RIM, FABRIC, SKIN])
def test_a_mirrored_lamp_gives_the_mirrored_picture(part):
    ball = a_ball(cover=part != SKIN)
    left, right = (solid(ball, part, a_light((side, 0.4, 0.6))) for side in (-1, 1))
    np.testing.assert_allclose(left[:, ::-1], right, atol=0.03)
    assert np.abs(left[:, ::-1] - right).mean() < 2e-3


def test_light_from_above_brightens_the_upper_side():
    image = solid(a_ball(), FABRIC, a_light((0, 1, 0.4)))
    assert image[: SIZE // 2].mean() > 1.2 * image[SIZE // 2 :].mean()


def test_diffuse_light_adds_up():
    """Of two lamps, one coloured, and light from around: the picture is linear in all of them."""
    ball, image = a_ball(), paper(value=0.0)
    gradient = [[0.1, 0.05, 0.0], [0.0, 0.1, 0.02], [0.05, 0.0, 0.1]]
    once = solid(ball, FABRIC, a_light((1, 1, 2), (1.0, 0.5, 0.2), 0.4, gradient), image)
    twice = solid(ball, FABRIC, a_light((1, 1, 2), (2.0, 1.0, 0.4), 0.8, 2 * np.array(gradient)), image)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-6)
    lamp = solid(ball, FABRIC, a_light((1, 1, 2), (1.0, 0.5, 0.2), 0.1), image)
    around = solid(ball, FABRIC, a_light((1, 1, 2), 0.0, 0.1), image)
    both = solid(ball, FABRIC, a_light((1, 1, 2), (3.0, 1.5, 0.6), 0.1), image)
    np.testing.assert_allclose(both - around, 3 * (lamp - around), rtol=1e-4, atol=1e-5)


def test_diffuse_light_is_nearly_lambert_s():
    """Cloth lets hardly any light creep around."""
    ball, image = a_ball(), paper(value=0.0)
    direction = np.array([0.5, 0.3, 0.9]) / np.linalg.norm([0.5, 0.3, 0.9])
    lit = solid(ball, FABRIC, a_light(direction, 1.0, 0.1), image) - solid(
        ball, FABRIC, a_light(direction, 0.0, 0.1), image
    )
    normal, on_ball = normals_of_ball()
    expected = np.maximum(np.tensordot(direction, normal, 1), 0)[..., None] * [0.5, 0.4, 0.3]
    np.testing.assert_allclose(lit[on_ball], expected[on_ball], atol=0.08)


@pytest.mark.parametrize("channel", range(3))
def test_a_lamp_of_one_colour_changes_that_channel_alone(channel):
    colour = np.zeros(3)
    colour[channel] = 1.0
    for part in SOLID:
        lit, unlit = (solid(a_ball(), part, a_light((1, 1, 2), amount * colour, 0.2)) for amount in (1, 0))
        changed = np.abs(lit - unlit).max((0, 1))
        assert changed[channel] > 0.05
        assert np.delete(changed, channel).max() == 0


def test_ambient_light_comes_from_where_its_gradient_says():
    up = solid(a_ball(), FABRIC, a_light(colour=0.0, ambient=0.5, gradient=[[0, 0.3, 0]] * 3))
    assert up[: SIZE // 2].mean() > 1.1 * up[SIZE // 2 :].mean()
    left = solid(a_ball(), FABRIC, a_light(colour=0.0, ambient=0.5, gradient=[[-0.3, 0, 0]] * 3))
    assert left[:, : SIZE // 2].mean() > 1.1 * left[:, SIZE // 2 :].mean()


@pytest.mark.parametrize("part", SOLID)
def test_what_is_hidden_from_the_sky_gets_less_ambient_light(part):
    light = a_light(colour=0.0, ambient=0.6)
    middle = SIZE // 2
    shades = [solid(a_square(openness=openness), part, light)[middle, middle] for openness in (0.0, 0.3, 0.7, 1.0)]
    assert (np.diff(shades, axis=0) > 0).all()


def test_the_back_of_a_lamp_gets_light_from_around_only():
    far = f32([0, 0, -50], [0, 0, -50])  # eyeballs so large that the square is a part of them
    for part in SOLID:
        behind, off = (solid(a_square(), part, a_light((0.3, 0.2, -1), colour), eyes=far) for colour in (2.0, 0.0))
        np.testing.assert_allclose(behind, off, atol=1e-6)


@pytest.mark.parametrize("part", [EYE, RIM])
def test_glossy_things_shine_where_they_mirror_the_lamp(part):
    direction = np.array([0.6, 0.4, 1.0]) / np.linalg.norm([0.6, 0.4, 1.0])
    black = {"rim": f32(0, 0, 0), "iris": f32(0, 0, 0), "sclera": 0.0}
    shine = solid(a_ball(), part, a_light(direction, 1.0), paper(value=0.0), **black)
    row, column = np.unravel_index(shine.sum(-1).argmax(), (SIZE, SIZE))
    place = np.array([(column + 0.5) / SIZE * 2 - 1, 1 - (row + 0.5) / SIZE * 2]) / 0.7
    half = direction + np.array([0, 0, 1])
    assert np.linalg.norm(place - (half / np.linalg.norm(half))[:2]) < 0.25


# ---------------------------------------------------------------------------------------------- shadows


def test_what_lies_behind_an_occluder_is_darker():
    wall, thing = a_square(1.5), a_square(0.3, z=0.8)
    direction = (0.7, 0, 1)
    lit = solid(wall, FABRIC, a_light(direction))
    shaded = solid(wall, FABRIC, a_light(direction, meshes=[wall.mesh, thing.mesh]))
    darker = (lit - shaded).mean(-1)
    # The lamp is to the right, so the shadow falls to the left: around x = -0.8 · 0.7.
    columns = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    row = darker[SIZE // 2]
    assert (row[np.abs(columns + 0.56) < 0.15] > 0.2).all()
    assert (row[np.abs(columns + 0.56) > 0.5] < 1e-6).all()
    assert (darker > -1e-6).all()
    np.testing.assert_allclose(
        shaded[SIZE // 2, np.abs(columns + 0.56) < 0.15],
        solid(wall, FABRIC, a_light(direction, 0.0))[SIZE // 2, np.abs(columns + 0.56) < 0.15],
        rtol=1e-5,
    )


def test_an_occluder_behind_the_wall_casts_no_shadow():
    wall, thing = a_square(1.5), a_square(0.3, z=-0.8)
    lit = solid(wall, FABRIC, a_light((0.5, 0.2, 1)))
    assert np.array_equal(solid(wall, FABRIC, a_light((0.5, 0.2, 1), meshes=[wall.mesh, thing.mesh])), lit)


@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 0.2, 0.8), (-0.5, 1, 0.3), (1, 0, 0.1)])
def test_a_ball_casts_no_shadow_on_its_own_lit_side(direction):
    ball = a_ball()
    alone, with_map = (solid(ball, FABRIC, a_light(direction, meshes=meshes)) for meshes in ([], [ball.mesh]))
    normal, on_ball = normals_of_ball()
    facing = np.tensordot(np.array(direction) / np.linalg.norm(direction), normal, 1)
    clear = on_ball & (facing > 0.25)
    assert clear.sum() > 20
    np.testing.assert_allclose(with_map[clear], alone[clear], rtol=1e-5)
    assert (with_map <= alone + 1e-6).all()


def test_beyond_the_shadow_map_everything_is_lit():
    thing, far = a_square(0.3, z=0.8), a_square(1.5)
    far.attributes[:, 0] += 5
    seen = a_square(1.5).seen()
    shaded, lit = (
        solid(far, FABRIC, light, seen=seen) for light in (a_light((0, 0, 1), meshes=[thing.mesh]), a_light((0, 0, 1)))
    )
    assert np.array_equal(shaded, lit)


# ---------------------------------------------------------------------------------------------- skin and eyes


def wall_with_texture(**columns) -> Surface:
    """Its texture's corners are those of the picture."""
    return a_square(1.0, texture=np.array([[0, 1], [1, 1], [1, 0], [0, 0]]), **columns)


def test_skin_shows_its_texture_where_it_is():
    skin = np.empty((64, 64, 4), np.float32)
    skin[..., 0] = np.linspace(0.1, 0.9, 64)  # to the right
    skin[..., 1] = np.linspace(0.1, 0.9, 64)[:, None]  # down
    skin[..., 2:] = 0.3, 0.0
    relief = np.zeros((64, 64), np.float32)
    image = solid(wall_with_texture(), SKIN, a_light(ambient=0.0), skin=skin, relief=relief)[2:-2, 2:-2]
    for channel, axis in ((0, 1), (1, 0), (2, None)):
        values = image[..., channel]
        if axis is None:
            assert np.ptp(values) < 1e-3
        else:
            assert (np.diff(values, axis=axis) > 0).all()
            assert np.abs(np.diff(values, axis=1 - axis)).max() < 1e-3
            steps = np.diff(values, axis=axis)
            np.testing.assert_allclose(steps, steps.mean(), rtol=0.05)


def test_skin_is_clothed_below_the_neckline():
    bare, clothed = (solid(wall_with_texture(), SKIN, a_light(), neckline=line) for line in (2.0, 0.5))
    assert np.array_equal(bare[: SIZE // 2], clothed[: SIZE // 2])
    green = clothed[SIZE // 2 + 3 :]
    assert (green[..., 1] > 2 * green[..., 0]).all()


def test_skin_under_hair_takes_its_colour():
    dark, covered, half = (
        solid(a_square(cover=cover), SKIN, a_light(), hair=f32(0.01, 0.01, 0.01))[12, 12] for cover in (0.0, 1.0, 0.5)
    )
    assert (covered < 0.4 * dark).all()
    assert (covered < half).all()
    assert (half < dark).all()


@pytest.mark.parametrize("bright", [(-1, 0, 1), (1, 0, 1), (0, -1, 1), (0, 1, 1)])
def test_relief_tilts_the_skin(bright):
    """A slope that rises to the right looks to the left, one that rises downwards looks up, and so on."""
    right, down = np.meshgrid(np.linspace(0, 4, 48), np.linspace(0, 4, 40))
    relief = (-bright[0] * right + bright[1] * down).astype(np.float32)
    towards, away = (
        solid(wall_with_texture(cover=0), SKIN, a_light(direction), relief=relief)[12, 12].mean()
        for direction in (np.array(bright), np.array(bright) * [-1, -1, 1])
    )
    assert towards > 1.05 * away


def test_skin_shines_as_its_texture_says():
    dull, shining = (np.empty((40, 48, 4), np.float32) for _ in range(2))
    dull[:], shining[:] = (0.1, 0.1, 0.1, 0.0), (0.1, 0.1, 0.1, 1.0)
    one, other = (
        solid(a_ball(cover=0), SKIN, a_light((0.5, 0.5, 1)), paper(value=0.0), skin=skin) for skin in (dull, shining)
    )
    assert (other >= one - 1e-6).all()
    assert other.max() > one.max() + 0.05


@pytest.mark.parametrize("yaw", [-0.4, 0.0, 0.4])
def test_an_eye_looks_where_its_gaze_goes(yaw):
    gaze = f32([np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)])
    eye = a_ball(0.7)
    image = solid(eye, EYE, a_light(colour=0.0, ambient=0.8), image=paper(60), gaze=gaze)
    columns = (np.arange(60) + 0.5) / 60 * 2 - 1
    dark = image.sum(-1)[29:31].mean(0)
    on_eye = np.abs(columns) < 0.65
    pupil = columns[on_eye][dark[on_eye].argmin()]
    assert abs(pupil - 0.7 * np.sin(yaw)) < 0.15
    white = image[29:31, np.argmin(np.abs(columns - 0.7 * np.sin(yaw + 0.75)))].mean(0)
    assert white.min() > 2 * dark.min() / 3
    iris = image[29:31, np.argmin(np.abs(columns - 0.7 * np.sin(yaw + 0.38)))].mean(0)
    assert iris[2] > iris[1] > iris[0]  # the iris of these materials is blue


def test_the_white_of_an_eye_is_as_bright_as_it_says():
    light = a_light(colour=0.0, ambient=0.8)
    dull, bright = (solid(a_ball(), EYE, light, sclera=sclera)[12, 4].mean() for sclera in (0.6, 1.0))
    assert dull < 0.9 * bright


def test_the_upper_lid_shades_the_eye():
    """The ball is both eyes: a lamp from the front lights its lower half more than its upper one."""
    image = solid(a_ball(), EYE, a_light(ambient=0.0), sclera=1.0)[..., 1]
    assert image[4:7, 8:16].mean() < 0.7 * image[17:20, 8:16].mean()


def test_teeth_are_never_quite_in_the_dark():
    before = a_square(z=1.0)
    light = a_light(ambient=0.0, meshes=[before.mesh])
    in_light, in_shadow = (solid(a_square(), TEETH, one)[12, 12].mean() for one in (a_light(ambient=0.0), light))
    assert 0.4 * in_light < in_shadow < 0.7 * in_light


# ---------------------------------------------------------------------------------------------- sheets


def test_lenses_mix_by_their_opacity():
    thing, light = a_square(), a_light(colour=0.0, ambient=0.5)
    image = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    opaque = sheet(thing, LENS, light, image, lens=f32(0.3, 0.2, 0.4, 1.0))
    for opacity in (0.0, 0.25, 0.8):
        found = sheet(thing, LENS, light, image, lens=f32(0.3, 0.2, 0.4, opacity))
        np.testing.assert_allclose(found, opacity * opaque + (1 - opacity) * image, atol=1e-5)


def test_the_sheet_drawn_last_lies_on_top():
    thing, light = a_square(), a_light(colour=0.0, ambient=0.5)
    red, blue = f32(0.8, 0.1, 0.1, 0.6), f32(0.1, 0.1, 0.8, 0.6)
    of_red, of_blue = (sheet(thing, LENS, light, lens=f32(*lens[:3], 1.0)) for lens in (red, blue))
    for first, then, below, above in ((red, blue, of_red, of_blue), (blue, red, of_blue, of_red)):
        found = sheet(thing, LENS, light, sheet(thing, LENS, light, lens=first), lens=then)
        expected = 0.6 * above + 0.4 * (0.6 * below + 0.4 * paper())
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [LASHES, LENS, HAIR])
def test_a_sheet_that_covers_half_a_pixel_hides_half_as_much(kind):
    thing, light = a_square(), a_light(colour=0.0, ambient=0.5)
    full = sheet(thing, kind, light)
    seen = thing.seen()
    seen.triangle[:, 1::2] = -1
    half = sheet(thing, kind, light, seen=seen)
    np.testing.assert_allclose(half, (full + paper()) / 2, atol=1e-4)
    assert np.abs(full - paper()).max() > 0.01


def test_lenses_reflect_the_lamp():
    """Clear glass is seen by its highlights alone."""
    ball, clear = a_ball(), f32(0.01, 0.01, 0.01, 0.0)
    dark = paper(value=0.0)
    off, on = (sheet(ball, LENS, a_light((0.3, 0.3, 1), colour), dark, lens=clear) for colour in (0.0, 2.0))
    assert (on >= off - 1e-6).all()
    assert on.max() > off.max() + 0.1


def test_lenses_shine_between_their_corners_as_at_them():
    flat, bent = a_square(), a_square()
    bent.attributes[:, NORMAL] = np.array([-1, 1, 1, -1]) * np.sin(0.15)
    bent.attributes[:, NORMAL + 2] = np.cos(0.15)
    clear, dark, light = f32(0.01, 0.01, 0.01, 0.0), paper(value=0.0), a_light((0, 0, 1), 2.0)
    one, other = (sheet(thing, LENS, light, dark, lens=clear)[12, 11:13].max() for thing in (flat, bent))
    assert other > 0.5 * one


def test_lashes_darken():
    image = sheet(a_square(), LASHES, a_light())
    assert (image < 0.5 * paper()).all()
    assert image.min() > 0


def test_hair_without_cover_is_not_seen_and_thins_with_it():
    opacity = []
    for cover in (0.0, 0.3, 0.6, 1.0):
        black, white = (
            sheet(a_square(cover=cover), HAIR, a_light(ambient=0.1), image=paper(value=value)) for value in (0.0, 1.0)
        )
        opacity.append(1 - (white - black).mean())
    assert opacity[0] == 0
    assert opacity == sorted(opacity)
    assert opacity[-1] > 0.9


def test_outer_layers_of_hair_are_thinner():
    through = [
        np.subtract(
            *(
                sheet(a_square(cover=0.6), HAIR, a_light(), image=paper(value=value), layer=layer)
                for value in (1.0, 0.0)
            )
        ).mean()
        for layer in (0.0, 0.5, 1.0)
    ]
    assert through[0] < through[1] < through[2]


def test_strands_show_in_hair_as_their_noise():
    strands = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    thing = a_square(1.0, texture=np.array([[0, 1], [1, 1], [1, 0], [0, 0]]))
    even, streaky = (
        sheet(thing, HAIR, a_light(), hair=f32(0.3, 0.2, 0.1), strands=noise)[..., 0].std()
        for noise in (np.full((64, 64), 0.5, np.float32), strands)
    )
    assert streaky > even + 0.01


def test_hair_has_its_colour_and_shines_when_it_is_glossy():
    black, blond = (
        sheet(a_square(), HAIR, a_light(), hair=f32(*colour))[12, 12]
        for colour in ((0.01, 0.008, 0.007), (0.3, 0.2, 0.1))
    )
    assert (blond > 2 * black).all()
    assert blond[0] > blond[1] > blond[2]
    dull, glossy = (sheet(a_square(), HAIR, a_light((0, 0.1, 1)), gloss=gloss).mean() for gloss in (0.0, 1.0))
    assert glossy > dull


def test_hair_in_the_shade_is_darker():
    wall, thing = a_square(1.5), a_square(0.4, z=0.8)
    lit, shaded = (
        sheet(wall, HAIR, a_light((0, 0, 1), meshes=meshes))[12, 12] for meshes in ([], [wall.mesh, thing.mesh])
    )
    assert (shaded < 0.8 * lit).all()


def test_the_inside_of_a_lock_is_lit_as_its_outside():
    outside, inside = a_square(), a_square()
    inside.attributes[:, NORMAL + 2] = -1
    one, other = (sheet(thing, HAIR, a_light((0.3, 0.2, 1))) for thing in (outside, inside))
    np.testing.assert_allclose(one, other, atol=1e-6)


# ---------------------------------------------------------------------------------------------- anything


@pytest.mark.parametrize("seed", range(10))
def test_random_scenes_give_finite_light_that_is_not_negative(seed):
    r = np.random.default_rng(seed)
    normals = r.normal(0, 1, (40, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    thing = Surface(r.normal(0, 0.8, (40, 3)), normals, r.integers(0, 40, (60, 3)))
    thing.attributes[:, TEXTURE : TEXTURE + 2] = r.uniform(-0.5, 1.5, (40, 2))
    thing.attributes[:, [OPENNESS, COVER]] = r.random((40, 2))
    thing.attributes[:, TANGENT : TANGENT + 3] = r.normal(0, 1, (40, 3))
    thing.attributes[:3, NORMAL : TANGENT + 3] = 0  # neither normal nor tangent
    materials = some_materials(
        skin=r.random((40, 48, 4)).astype(np.float32),
        relief=r.normal(0, 1, (40, 48)).astype(np.float32),
        strands=r.random((64, 64)).astype(np.float32),
        curls=float(r.random()),
        neckline=float(r.random()),
        eyes=r.normal(0, 0.5, (2, 3)).astype(np.float32),
    )
    light = a_light(r.normal(0, 1, 3), r.random(3), r.random(3), r.normal(0, 1, (3, 3)), [thing.mesh])
    image, seen = r.random((SIZE, SIZE, 3)).astype(np.float32), thing.seen()
    parts = r.integers(1, 8, len(thing.triangles)).astype(np.uint8)
    shading.draw_surfaces(image, seen, thing.attributes, thing.triangles, parts, materials, light, DISTANCE)
    assert (seen.triangle >= 0).mean() > 0.2
    assert np.isfinite(image).all()
    assert image.min() >= 0
    for kind in (HAIR, LASHES, LENS):
        shading.draw_sheet(
            image, seen, thing.attributes, thing.triangles, kind, float(r.random()), materials, light, DISTANCE
        )
        assert np.isfinite(image).all()
        assert image.min() >= -1e-6


@pytest.mark.parametrize("module", [camera, hair, raster, shading, shape, surface, surroundings, texture])
def test_compiled_code_calls_none_of_another_file(module):
    """A kept compilation is renewed when its own file changes, and then only."""
    compiled = {
        name: value for name, value in vars(module).items() if isinstance(value, numba.core.dispatcher.Dispatcher)
    }
    assert compiled
    for name, function in compiled.items():
        for used in function.py_func.__code__.co_names:
            called = function.py_func.__globals__.get(used)
            if isinstance(called, numba.core.dispatcher.Dispatcher):
                assert called.py_func.__module__ == function.py_func.__module__, f"{name} calls {used}"
