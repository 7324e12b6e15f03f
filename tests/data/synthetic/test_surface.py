"""elasticface.data.synthetic.surface: grids that stay on the skin, tubes, and the noise they carry."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.data.synthetic import asset, hair
from elasticface.data.synthetic.surface import Patch, attach, grid_triangles, smooth_noise, smooth_step, tube

INSIDE = np.array([0.0, 7.4, 0.5])


def rays(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """From about the middle of the head into all directions but down."""
    r = np.random.default_rng(seed)
    directions = r.normal(0, 1, (rows, columns, 3))
    directions[..., 1] = np.abs(directions[..., 1]) - 0.3
    return INSIDE + r.uniform(-0.1, 0.1, directions.shape), directions


def meetings(origin: np.ndarray, direction: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """After how many times its length a ray meets triangles, float64 in ascending order."""
    a, b, c = vertices.astype(np.float64)[triangles].transpose(1, 0, 2)
    system = np.stack([b - a, c - a, np.broadcast_to(-direction, a.shape)], -1)  # u (b - a) + v (c - a) - t d = o - a
    flat = np.abs(np.linalg.det(system)) < 1e-12
    u, v, t = np.linalg.solve(np.where(flat[:, None, None], np.eye(3), system), (origin - a)[..., None])[..., 0].T
    met = ~flat & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return np.sort(t[met])


@pytest.fixture(scope="module")
def nothing(head) -> np.ndarray:
    return np.zeros(len(head.vertices), bool)


@pytest.fixture(scope="module")
def patch(nothing) -> Patch:
    return attach(*rays(6, 8), nothing)


def test_nodes_lie_where_the_rays_leave_the_skin_for_good(head, patch):
    origins, directions = rays(6, 8)
    skin = head.triangles[head.parts == asset.SKIN]
    points = patch.on(head.vertices)
    assert points.shape == (6, 8, 3)
    assert points.dtype == np.float32
    for node in np.ndindex(6, 8):
        last = meetings(origins[node], directions[node], head.vertices, skin)[-1]
        np.testing.assert_allclose(points[node], origins[node] + last * directions[node], atol=1e-4)


def test_of_several_exits_the_last_one_counts(head, nothing):
    """Through an ear a ray leaves the head more than once."""
    skin = head.triangles[head.parts == asset.SKIN]
    ear = head.vertices[hair.ears() & (head.vertices[:, 0] > 0)][::4]
    origins = (ear * [0, 1, 1] + [0, 0.004, 0.003])[None]  # not through corners
    directions = np.broadcast_to([1.0, 0.0, 0.0], origins.shape)
    points = attach(origins, directions, nothing).on(head.vertices)
    several = 0
    for node in np.ndindex(origins.shape[:2]):
        met = meetings(origins[node], directions[node], head.vertices, skin)
        several += met[-1] - met[0] > 0.02
        assert abs(points[node][0] - met[-1]) < 1e-4
    assert several > 5


def test_nodes_lie_in_a_triangle_of_the_skin(head, patch):
    skin = {tuple(triangle) for triangle in head.triangles[head.parts == asset.SKIN].tolist()}
    assert {tuple(corners) for corners in patch.corners.reshape(-1, 3).tolist()} <= skin
    assert patch.weights.min() >= 0
    np.testing.assert_allclose(patch.weights.sum(-1), 1, atol=1e-6)


def test_rays_see_through_what_is_excluded(head, nothing):
    nose = np.linalg.norm(head.vertices - head.vertices[head.nose_tip], axis=1) < 0.25
    origin = head.vertices[head.nose_tip].astype(np.float64) * [1, 1, 0] + [0, 0, 0.5]
    ray = origin[None, None], np.array([[[0.0, 0.0, 1.0]]])
    tip, behind = attach(*ray, nothing), attach(*ray, nose)
    np.testing.assert_allclose(tip.on(head.vertices)[0, 0], head.vertices[head.nose_tip], atol=0.02)
    assert not nose[behind.corners].any()
    assert behind.on(head.vertices)[0, 0, 2] < tip.on(head.vertices)[0, 0, 2] - 0.1


def test_a_ray_that_misses_takes_the_place_of_the_nearest_node(head, nothing):
    origins, directions = rays(3, 5)
    origins, directions = origins.copy(), directions.copy()
    for node in ((0, 0), (2, 3)):
        origins[node], directions[node] = [0, 7, 50], [0, 0, 1]
    found = attach(origins, directions, nothing)
    points, full = found.on(head.vertices), attach(*rays(3, 5), nothing).on(head.vertices)
    hit = np.ones((3, 5), bool)
    hit[0, 0] = hit[2, 3] = False
    assert np.array_equal(points[hit], full[hit])
    for node in ((0, 0), (2, 3)):
        distance = np.array([abs(r - node[0]) + abs(c - node[1]) for r, c in np.ndindex(3, 5)]).reshape(3, 5)
        neighbours = points[distance == 1]
        assert (np.abs(neighbours - points[node]).max(-1) == 0).any()


@given(st.floats(0.5, 2, width=32), st.tuples(*[st.floats(-5, 5, width=32)] * 3))
def test_a_patch_follows_a_head_that_is_scaled_and_moved(scale, shift):
    head = asset.load()
    patch = attach(*rays(2, 3), np.zeros(len(head.vertices), bool))
    moved = (head.vertices * np.float32(scale) + np.float32(shift)).astype(np.float32)
    np.testing.assert_allclose(patch.on(moved), patch.on(head.vertices) * scale + np.float32(shift), atol=2e-5)


def test_a_patch_follows_the_skin_and_not_the_space(head, patch):
    bent = head.vertices.copy()
    bent[:, 2] += 0.1 * np.sin(5 * bent[:, 0])
    weights = patch.weights.astype(np.float64)[..., None]
    expected = (weights * bent.astype(np.float64)[patch.corners]).sum(2)
    np.testing.assert_allclose(patch.on(bent), expected, atol=1e-5)


# ---------------------------------------------------------------------------------------------- meshes


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 5), (4, 3), (14, 25)])
def test_a_grid_has_two_triangles_a_cell_that_cover_it_once(rows, columns):
    triangles = grid_triangles(rows, columns)
    assert triangles.shape == (2 * (rows - 1) * (columns - 1), 3)
    assert np.array_equal(np.unique(triangles), np.arange(rows * columns))
    places = np.stack(np.divmod(np.arange(rows * columns), columns), 1)  # row, column
    corners = places[triangles]
    assert (np.ptp(corners, axis=1) == 1).all()
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    assert (area == area[0]).all()  # all of half a cell, and turning the same way
    cells = Counter(tuple(cell) for cell in corners.min(1).tolist())
    assert set(cells.values()) == {2}
    # Neighbours turn the same way: each inner edge is run through once in either direction.
    edges = Counter((t[n], t[(n + 1) % 3]) for t in triangles.tolist() for n in range(3))
    assert set(edges.values()) == {1}


def test_a_grid_with_rows_downwards_faces_the_viewer():
    """Columns to the right, rows down: its triangles are counter-clockwise."""
    row, column = np.divmod(np.arange(12), 4)
    points = np.stack([column, -row, np.zeros(12)], 1)
    a, b, c = points[grid_triangles(3, 4)].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def a_path(seed: int, length: int = 9) -> np.ndarray:
    """A bent path that goes everywhere, straight up as well, without sharp turns."""
    r = np.random.default_rng(seed)
    angle = r.uniform(0, 6) + np.linspace(0, 1.2, length)[:, None] * r.choice([-1, 1])
    step = 0.2 * np.concatenate([np.cos(angle), np.sin(angle), r.uniform(-0.3, 0.3) + 0 * angle], 1)
    return np.cumsum(step[:, r.permutation(3)], 0).astype(np.float32)


@pytest.mark.parametrize("sides", [3, 5, 8])
@pytest.mark.parametrize("seed", range(6))
def test_a_tube_is_a_ring_of_its_radius_around_each_point_of_the_path(seed, sides):
    path = a_path(seed)
    points, triangles = tube(path, 0.02, sides)
    rings = points.reshape(len(path), sides + 1, 3).astype(np.float64)
    assert points.dtype == np.float32
    assert np.array_equal(np.unique(triangles), np.arange(len(points)))
    from_path = rings - path[:, None]
    np.testing.assert_allclose(np.linalg.norm(from_path, axis=2), 0.02, rtol=1e-4)
    forward = np.gradient(path.astype(np.float64), axis=0)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    assert np.abs((from_path * forward[:, None]).sum(2)).max() < 1e-5
    np.testing.assert_allclose(rings[:, -1], rings[:, 0], atol=1e-6)
    np.testing.assert_allclose(rings[:, :-1].mean(1), path, atol=1e-6)


@pytest.mark.parametrize("direction", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0], [0.3, 0.95, 0.1], [-1, 0, 0]])
def test_a_tube_s_triangles_face_outwards(direction):
    path = (np.linspace(0, 1, 5)[:, None] * np.array(direction)).astype(np.float32)
    points, triangles = tube(path, 0.1)
    a, b, c = points[triangles].astype(np.float64).transpose(1, 0, 2)
    middle = (a + b + c) / 3
    axis = np.array(direction) / np.linalg.norm(direction)
    outwards = middle - (middle @ axis)[:, None] * axis
    facing = (np.cross(b - a, c - a) * outwards).sum(1)
    assert (facing > 0).all()


# ---------------------------------------------------------------------------------------------- curves and noise


@pytest.mark.parametrize(("start", "end"), [(0, 1), (-2, 3), (1, 0), (0.9, 0.1)])
def test_smooth_step_rises_from_start_to_end_and_is_flat_beyond(start, end):
    x = np.linspace(start - (end - start), end + (end - start), 61)
    y = smooth_step(start, end, x)
    t = np.clip((x - start) / (end - start), 0, 1)
    np.testing.assert_allclose(y, 3 * t**2 - 2 * t**3, atol=1e-12)
    assert (np.diff(y) >= 0).all()
    assert (y[:20] == 0).all()
    assert (y[-20:] == 1).all()
    assert np.isclose(smooth_step(start, end, (start + end) / 2), 0.5)


def test_smooth_noise_is_a_function_of_its_purpose():
    one, again, other = (smooth_noise(purpose, 64, 128, 3, 1) for purpose in ("one", "one", "other"))
    assert one.shape == (64, 128)
    assert one.dtype == np.float32
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("along", "across"), [(1, 1), (14, 0.9), (2, 5)])
def test_smooth_noise_lies_in_0_to_1_around_a_half(along, across):
    noise = smooth_noise("test", 256, 512, along, across)
    assert noise.min() >= 0
    assert noise.max() <= 1
    assert abs(noise.mean() - 0.5) < 0.02
    assert noise.std() > 0.1


@pytest.mark.parametrize(("along", "across"), [(1.5, 1.5), (8, 1), (1, 4)])
def test_smooth_noise_has_no_seam_and_is_as_smooth_as_asked(along, across):
    noise = smooth_noise("test", 128, 256, along, across)
    for axis, length in ((0, along), (1, across)):
        steps = np.abs(noise - np.roll(noise, 1, axis)).mean(1 - axis)
        assert steps[0] < 2 * steps[1:].mean()  # from the last row to the first as from any to the next
        # Noise blurred with σ correlates over a step as exp(-1 / 4σ²).
        centred = noise - noise.mean()
        correlation = (centred * np.roll(centred, 1, axis)).mean() / centred.var()
        assert abs(correlation - np.exp(-1 / (4 * length**2))) < 0.05


def test_two_noises_are_not_one_noise():
    one, other = (smooth_noise(purpose, 128, 128, 1, 1).ravel() for purpose in ("one", "other"))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
