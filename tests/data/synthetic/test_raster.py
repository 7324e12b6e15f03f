"""elasticface.data.synthetic.raster: each pixel against a brute-force z-buffer, points against longhand, in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticface.data.synthetic.raster import buffers, cast_shadows, project, rasterise, rotate

FAR = np.float32(-1e9)

# ---------------------------------------------------------------------------------------------- the z-buffer


def empty(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(depth, index, weights), with marks that show whether they were written to."""
    return (
        np.full((height, width), FAR, np.float32),
        np.full((height, width), -7, np.int32),
        np.full((height, width, 2), 55, np.float32),
    )


def draw(points, triangles, height: int, width: int, facing: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    buffers = empty(height, width)
    rasterise(np.float32(points), np.int32(triangles), *buffers, facing)
    return buffers


def twice_area(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Signed; positive where corners run clockwise with y down."""
    a, b, c = np.float64(points)[triangles][..., :2].transpose(1, 0, 2)
    return (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]


def longhand(points, triangles, height: int, width: int, facing: int = 0):
    """Every triangle at every pixel, float64: (index, nearness, weights [.., 3], where rounding may decide)."""
    points = np.float32(points).astype(np.float64)
    triangles = np.asarray(triangles)
    area = twice_area(points, triangles)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    corners = points[triangles]  # [T, corner, 3]
    weights = np.zeros((len(triangles), height, width, 3))
    for corner in range(3):
        b, c = corners[:, (corner + 1) % 3], corners[:, (corner + 2) % 3]
        edge = (c - b)[:, :2, None, None]
        from_b = np.stack([columns - b[:, 0, None, None], rows - b[:, 1, None, None]], 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights[..., corner] = (edge[:, 0] * from_b[:, 1] - edge[:, 1] * from_b[:, 0]) / area[:, None, None]
    taken = (area != 0) & (area * facing <= 0)
    inside = (weights.min(-1) >= 0) & taken[:, None, None]
    nearness = np.where(inside, (weights * corners[:, None, None, :, 2]).sum(-1), -np.inf)
    first = nearness.argmax(0)
    best = np.take_along_axis(nearness, first[None], 0)[0]
    # float32 resolves the products of coordinates to their size times 2⁻²⁴, and the weights to that over the area.
    size = np.abs(corners[..., :2]).max((1, 2)) + 1
    rounding = (4 * size**2 * 2.0**-23 / np.maximum(np.abs(area), 1e-12))[:, None, None]
    on_edge = ((np.abs(weights).min(-1) < rounding) & taken[:, None, None]).any(0)
    ordered = np.sort(np.where(inside, nearness, -1e9), axis=0)
    tie = ordered[-1] - ordered[-2] < 1e-3
    chosen = np.take_along_axis(weights, first[None, ..., None], 0)[0]
    return np.where(np.isfinite(best), first, -7), best, chosen, on_edge | (tie & np.isfinite(best)), rounding.ravel()


def some_triangles(seed: int, count: int = 40, low: float = -20, high: float = 50) -> tuple[np.ndarray, np.ndarray]:
    """Of all sizes, many of them partly or wholly outside; without slivers, which rounding alone decides."""
    r = np.random.default_rng(seed)
    centres = r.uniform(low, high, (count, 1, 2))
    corners = centres + r.normal(0, 1, (count, 3, 2)) * np.exp(r.uniform(-1, 3.5, (count, 1, 1)))
    points = np.concatenate([corners, r.uniform(0, 1, (count, 3, 1))], 2).reshape(-1, 3).astype(np.float32)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    return points, triangles[np.abs(twice_area(points, triangles)) > 0.05]


@pytest.mark.parametrize("facing", [0, 1, -1])
@pytest.mark.parametrize("seed", range(12))
def test_each_pixel_equals_a_brute_force_z_buffer(seed, facing):
    points, triangles = some_triangles(seed)
    height, width = 24, 33
    depth, index, weights = draw(points, triangles, height, width, facing)
    expected, nearness, exact, unclear, rounding = longhand(points, triangles, height, width, facing)
    clear = ~unclear
    assert clear.mean() > 0.9
    assert np.array_equal(index[clear], expected[clear])
    seen = clear & (expected >= 0)
    assert seen.any()
    assert (np.abs(depth - nearness)[seen] <= 3 * rounding[expected[seen]] + 1e-6).all()
    assert (np.abs(weights - exact[..., :2]).max(-1)[seen] <= rounding[expected[seen]] + 1e-6).all()
    hidden = clear & (expected < 0)
    assert (depth[hidden] == FAR).all()
    assert (weights[hidden] == 55).all()


@given(st.lists(st.tuples(*[st.integers(-12, 36)] * 6), min_size=1, max_size=6), st.sampled_from([0, 1, -1]))
def test_triangles_with_corners_on_a_grid_are_exact(corners, facing):
    """Quarters of a pixel, edges through centres included, are exact in float32: an edge belongs to its triangle."""
    flat = np.array(corners, np.float64).reshape(-1, 2) / 4
    points = np.column_stack([flat, np.repeat(np.arange(len(corners)), 3) / 8])
    triangles = np.arange(len(points)).reshape(-1, 3)
    depth, index, _ = draw(points, triangles, 6, 7, facing)
    expected = np.full((6, 7), -7)
    for number, triangle in enumerate(triangles):  # later ones are nearer
        a, b, c = points[triangle, :2]
        area = twice_area(points, triangle[None])[0]
        if area == 0 or area * facing > 0:
            continue
        for row in range(6):
            for column in range(7):
                p = np.array([column + 0.5, row + 0.5])
                signs = [
                    np.sign((t - s)[0] * (p - s)[1] - (t - s)[1] * (p - s)[0]) * np.sign(area)
                    for s, t in ((a, b), (b, c), (c, a))
                ]
                if min(signs) > 0:
                    expected[row, column] = number
                elif min(signs) == 0 and index[row, column] == number:
                    expected[row, column] = number  # on the edge itself: 1 / area is rounded
    assert np.array_equal(index, expected)
    np.testing.assert_allclose(depth[index >= 0], index[index >= 0] / 8, atol=1e-6)


def test_facing_takes_one_winding_or_the_other_or_both():
    points, triangles = some_triangles(3)
    clockwise = twice_area(points, triangles) > 0
    for facing, kept in ((1, ~clockwise), (-1, clockwise), (0, clockwise | True)):
        found = draw(points, triangles, 24, 33, facing)
        expected = draw(points, triangles[kept], 24, 33, 0)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[2], expected[2])
        assert kept[np.unique(found[1][found[1] >= 0])].all()


def test_a_counter_clockwise_square_faces_the_viewer():
    """With y down, as pixels have it, so counter-clockwise to whoever looks at the picture."""
    points = [[1, 1, 1], [1, 5, 1], [5, 5, 1], [5, 1, 1]]
    square = [[0, 1, 2], [0, 2, 3]]
    assert (draw(points, square, 6, 6, 1)[1] >= 0).sum() == 16
    assert (draw(points, square, 6, 6, -1)[1] >= 0).sum() == 0


def test_buffers_are_left_alone_where_nothing_is_nearer():
    points, triangles = some_triangles(5)
    r = np.random.default_rng(0)
    before = (
        r.uniform(0, 1, (24, 33)).astype(np.float32),
        r.integers(100, 200, (24, 33)).astype(np.int32),
        r.uniform(0, 1, (24, 33, 2)).astype(np.float32),
    )
    alone = draw(points, triangles, 24, 33)
    after = tuple(buffer.copy() for buffer in before)
    rasterise(points, triangles, *after, 0)
    nearer = alone[0] > before[0]
    assert 0.1 < nearer.mean() < 0.9
    for now, then, drawn in zip(after, before, alone, strict=True):
        assert np.array_equal(now[~nearer], then[~nearer])
        assert np.array_equal(now[nearer], drawn[nearer])


def test_of_two_equally_near_the_first_stays():
    points = np.array([[0, 0, 0.5], [0, 9, 0.5], [9, 0, 0.5]])
    assert np.unique(draw(points, [[0, 1, 2], [1, 2, 0]], 4, 4)[1]).tolist() == [0]


def test_the_order_of_triangles_does_not_change_what_is_seen():
    points, triangles = some_triangles(7)
    one, other = draw(points, triangles, 24, 33), draw(points, triangles[::-1].copy(), 24, 33)
    assert np.array_equal(one[0], other[0])


def test_meshes_drawn_one_after_the_other_hide_each_other_as_in_one_call():
    points, triangles = some_triangles(8)
    together = draw(points, triangles, 24, 33)
    apart = empty(24, 33)
    for part in (triangles[:9], triangles[9:]):
        rasterise(points, part, *apart, 0)
    assert np.array_equal(apart[0], together[0])
    assert np.array_equal(apart[2], together[2])


@pytest.mark.parametrize("facing", [0, 1, -1])
def test_depth_alone_is_the_depth_that_is_drawn_with_all_else(facing):
    points, triangles = some_triangles(9)
    alone = empty(24, 33)[0]
    rasterise(points, triangles, alone, None, None, facing)
    assert np.array_equal(alone, draw(points, triangles, 24, 33, facing)[0])


def test_what_reaches_out_of_the_picture_is_cut_off_at_its_border():
    """Moved by a power of two and with coordinates to 1/8, everything is exact."""
    r = np.random.default_rng(1)
    flat = np.round(r.uniform(-16, 48, (90, 2)) * 8) / 8
    points = np.column_stack([flat, r.integers(0, 64, 90) / 64])
    triangles = np.arange(90).reshape(-1, 3)
    small = draw(points, triangles, 32, 32)
    large = draw(points + np.array([16, 16, 0]), triangles, 64, 64)
    agree = small[1] == large[1][16:48, 16:48]
    assert agree.mean() > 0.99  # 1 / area is rounded, which decides on an edge
    np.testing.assert_allclose(small[0][agree], large[0][16:48, 16:48][agree], atol=1e-5)


@pytest.mark.parametrize("shift", [(-100, 0), (100, 0), (0, -100), (0, 100), (-1e6, 1e6)])
def test_triangles_wholly_outside_change_nothing(shift):
    points = np.array([[0, 0, 1], [0, 20, 1], [20, 0, 1]]) + np.array([*shift, 0])
    for buffer, before in zip(draw(points, [[0, 1, 2]], 20, 20), empty(20, 20), strict=True):
        assert np.array_equal(buffer, before)


@pytest.mark.parametrize(
    "corners",
    [
        [[3, 3], [3, 3], [3, 3]],
        [[0, 0], [4, 4], [8, 8]],
        [[0.5, 0.5], [7.5, 0.5], [3.5, 0.5]],
        [[2, 1], [2, 9], [2, 4]],
        [[1, 1], [8, 2], [1, 1]],
    ],
    ids=["a point", "a diagonal", "a row of centres", "a column", "a corner twice"],
)
@pytest.mark.parametrize("facing", [0, 1, -1])
def test_degenerate_triangles_are_not_seen(corners, facing):
    points = np.column_stack([corners, np.ones(3)])
    for buffer, before in zip(draw(points, [[0, 1, 2]], 9, 9, facing), empty(9, 9), strict=True):
        assert np.array_equal(buffer, before)


def test_a_triangle_between_the_centres_is_not_seen():
    points = [[2.6, 2.6, 1], [2.6, 3.4, 1], [3.4, 2.6, 1]]
    assert (draw(points, [[0, 1, 2]], 8, 8)[1] == -7).all()


def test_no_triangles_change_nothing():
    for buffer, before in zip(draw(np.zeros((3, 3)), np.zeros((0, 3)), 5, 5), empty(5, 5), strict=True):
        assert np.array_equal(buffer, before)


def test_weights_are_shares_that_give_back_the_pixel():
    points, triangles = some_triangles(11)
    depth, index, weights = draw(points, triangles, 24, 33)
    seen = index >= 0
    u, v = weights[seen].T
    assert min(u.min(), v.min()) >= 0
    assert (u + v).max() <= 1 + 1e-6
    shares = np.stack([u, v, 1 - u - v], 1)
    place = (shares[..., None] * points[triangles[index[seen]]]).sum(1)
    rows, columns = np.nonzero(seen)
    assert np.abs(place[:, :2] - np.stack([columns + 0.5, rows + 0.5], 1)).max() < 0.01
    np.testing.assert_allclose(place[:, 2], depth[seen], atol=1e-4)


def test_neighbours_leave_no_hole_between_them():
    """A crumpled grid of triangles about as large as a head's, over the whole of a picture as large as a photo's."""
    holes = 0
    for seed in range(8):
        r = np.random.default_rng(seed)
        side = 97
        node = np.arange(side * side).reshape(side, side)
        x, y = np.meshgrid(np.linspace(-4, 228, side), np.linspace(-4, 228, side))
        points = np.stack([x, y, np.ones_like(x)], -1) + r.uniform(-0.7, 0.7, (side, side, 3)) * [1, 1, 0]
        a, b, c, d = node[:-1, :-1], node[1:, :-1], node[1:, 1:], node[:-1, 1:]
        triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
        holes += (draw(points.reshape(-1, 3), triangles, 224, 224)[1] < 0).sum()
    assert holes == 0


def test_new_buffers_show_nothing_and_everything_is_nearer():
    seen = buffers(5)
    assert seen.depth.shape == seen.triangle.shape == (10, 10)
    assert seen.weights.shape == (10, 10, 2)
    assert (seen.triangle == -1).all()
    assert seen.depth.max() < -1e6
    rasterise(np.float32([[0, 0, -50], [0, 40, -50], [40, 0, -50]]), np.int32([[0, 1, 2]]), *seen, 0)
    assert (seen.triangle == 0).all()


# ---------------------------------------------------------------------------------------------- points


@given(st.integers(0, 10**6))
def test_rotate_is_a_product_with_the_transposed_frame(seed):
    r = np.random.default_rng(seed)
    points, frame = r.normal(0, 3, (7, 3)).astype(np.float32), r.normal(0, 1, (3, 3)).astype(np.float32)
    before = points.copy()
    found = rotate(points, frame)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, points.astype(np.float64) @ frame.astype(np.float64).T, rtol=1e-5, atol=1e-5)
    assert np.array_equal(points, before)


@given(st.integers(0, 10**6))
def test_project_is_a_pinhole_camera_before_an_affine_map(seed):
    r = np.random.default_rng(seed)
    attributes = r.uniform(-2, 2, (9, 16)).astype(np.float32)
    distance, matrix = float(r.uniform(5, 30)), r.normal(0, 50, (2, 3))
    found = project(attributes, distance, matrix)
    x, y, z = attributes[:, :3].astype(np.float64).T
    flat = np.stack([x * distance / (distance - z), -y * distance / (distance - z), np.ones(9)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :2], (matrix @ flat).T, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found[:, 2], 1 / (distance - z), rtol=1e-5)


def test_what_is_nearer_to_the_camera_has_the_larger_nearness():
    points = np.float32([[0, 0, z] for z in np.linspace(-2, 2, 9)])
    assert (np.diff(project(points, 8.0, np.eye(2, 3))[:, 2]) > 0).all()


# ---------------------------------------------------------------------------------------------- shadows


def a_square(half: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Around the z axis, counter-clockwise to who looks down it."""
    points = np.float32([[-half, -half, height], [half, -half, height], [half, half, height], [-half, half, height]])
    return points, np.int32([[0, 1, 2], [0, 2, 3]])


def test_a_shadow_map_holds_how_near_the_lamp_the_first_thing_is():
    low, high = a_square(0.8, 0.1), a_square(0.25, 0.7)
    reach, size = 1.0, 40
    seen = cast_shadows([(*low, 1), (*high, 1)], np.eye(3, dtype=np.float32), reach, size)
    assert seen.shape == (size, size)
    assert seen.dtype == np.float32
    centres = np.abs((np.arange(size) + 0.5) / size * 2 * reach - reach)
    out = np.maximum(centres[:, None], centres[None])  # rows go up, columns right
    np.testing.assert_allclose(seen[out < 0.25], 0.7, atol=1e-6)
    np.testing.assert_allclose(seen[(out > 0.25) & (out < 0.8)], 0.1, atol=1e-6)
    assert (seen[out > 0.8] < -1e6).all()


def test_what_turns_its_back_to_the_lamp_casts_no_shadow_unless_it_has_two_sides():
    points, triangles = a_square(0.5, 0.3)
    backs = triangles[:, ::-1].copy()
    for facing, casts in ((1, False), (0, True)):
        seen = cast_shadows([(points, backs, facing)], np.eye(3, dtype=np.float32), 1.0, 16)
        assert (seen > -1e6).any() == casts


def test_a_shadow_map_turns_with_the_lamp():
    points, triangles = a_square(0.4, 0.2)
    r = np.random.default_rng(0)
    frame = np.linalg.qr(r.normal(0, 1, (3, 3)))[0]
    frame *= np.sign(np.linalg.det(frame))
    turned = (points.astype(np.float64) @ frame).astype(np.float32)  # by the inverse of what the lamp turns them
    straight = cast_shadows([(points, triangles, 1)], np.eye(3, dtype=np.float32), 1.0, 33)
    found = cast_shadows([(turned, triangles, 1)], frame.astype(np.float32), 1.0, 33)
    assert ((found > -1e6) == (straight > -1e6)).mean() > 0.995
    both = (found > -1e6) & (straight > -1e6)
    np.testing.assert_allclose(found[both], straight[both], atol=1e-5)
