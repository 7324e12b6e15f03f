"""What is seen and light in, linear RGB out. Each pixel of the picture is shaded once per material that it shows.

Visibility is known at twice the picture's resolution; the (up to four) samples of a pixel that show the same material
are averaged *before* shading, and the materials then mixed by how many samples each has. So edges are smooth at the
price of one shading a pixel.

Everything is in camera space: x right, y up, z towards the camera, which is at (0, 0, distance). Units: decimetres.

All compiled code that calls other compiled code is in one file with it: numba renews its cache when the caller's file
changes, not when the callee's does. There an array handed to a function costs atomic counts of its references: so
functions take a row of the picture at a time, and those that a single pixel calls take vectors that are tuples.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Vector = tuple[np.float32, np.float32, np.float32]
_Function = TypeVar("_Function", bound=Callable[..., Any])

# Columns of a vertex' attributes.
POSITION, NORMAL, TEXTURE, OPENNESS, COVER, TANGENT = 0, 3, 6, 8, 9, 10
ATTRIBUTES = 16  # 13, and room to add them up eight at a time
# What a fragment, which is one material's share of a pixel, has in these columns once its material is known.
_ALBEDO, _GLOSS, _LIT = 10, 13, 14

# What a triangle is made of. The first five are the asset's.
SKIN, EYE, TEETH, TONGUE, LASHES, RIM, FABRIC = range(1, 8)
HAIR, LENS = 8, 9  # translucent, drawn by `draw_sheet`


def vector(values: ArrayLike) -> Vector:
    """Three numbers as compiled code is handed them."""
    x, y, z = np.asarray(values, np.float32)
    return x, y, z


class Light(NamedTuple):
    """One far lamp with its shadow, and light from all around that varies with direction to first order.

    Vectors are tuples of three float32.
    """

    right: Vector  # across the shadow map
    up: Vector
    direction: Vector  # towards the lamp
    colour: Vector
    ambient: Vector
    gradient: tuple[Vector, ...]  # of each colour of the ambient light: its change with the normal
    shadow: Array  # [S, S] nearness of what the lamp sees first
    reach: float  # half the width that the shadow map shows


class Materials(NamedTuple):
    """What the surfaces of one person in one photo look like."""

    skin: Array  # [H, W, 4] linear RGB albedo and gloss
    relief: Array  # [H, W]
    hair: Array  # [3] albedo
    gloss: float  # of the hair
    curls: float  # 0 straight .. 1
    strands: Array  # [h, w] noise along hairs, mean 0.5
    lumps: Array  # [h, w] noise of curls
    eyes: Array  # [2, 3] centres of the eyeballs
    gaze: Array  # [3, 3] right, up and direction of the gaze
    iris: Array  # [3] albedo
    pupil: float  # angle from the gaze, radians
    sclera: float
    rim: Array  # [3] albedo of the glasses' frame
    lens: Array  # [4] colour and opacity of the glasses
    fabric: Array  # [3] albedo of a mask
    cloth: Array  # [3] albedo of what is worn below the neck
    neckline: float  # height below which it is worn, in texture rows


_compiled = numba.njit(cache=True, error_model="numpy")
_inlined = numba.njit(cache=True, error_model="numpy", inline="always")


def _inner(function: _Function) -> _Function:
    """For compiled code alone: what Python needs to call a function takes as long to compile as the function."""
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "no_cpython_wrapper": True}
    compiled: _Function = numba.njit(**options)(function)
    return compiled


@_inlined
def _vector(array: Any) -> Any:  # pragma: no cover - compiled
    return array[0], array[1], array[2]


@_inlined
def _dot(a: Any, b: Any) -> Any:  # pragma: no cover - compiled
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_inlined
def _unit(a: Any) -> Any:  # pragma: no cover - compiled
    share = 1 / (math.sqrt(_dot(a, a)) + 1e-9)
    return a[0] * share, a[1] * share, a[2] * share


@_inlined
def _times(a: Any, factor: Any) -> Any:  # pragma: no cover - compiled
    return a[0] * factor, a[1] * factor, a[2] * factor


@_inlined
def _around(normal: Any, lamp: Any) -> Any:  # pragma: no cover - compiled
    """The ambient light that falls on a surface, a vector of colours."""
    return (
        max(0.02, lamp.ambient[0] + _dot(lamp.gradient[0], normal)),
        max(0.02, lamp.ambient[1] + _dot(lamp.gradient[1], normal)),
        max(0.02, lamp.ambient[2] + _dot(lamp.gradient[2], normal)),
    )


@_inlined
def _reflected(
    albedo: Any, facing: Any, wrap: Any, lit: Any, lamp: Any, around: Any, highlight: Any, sheen: Any
) -> Any:  # pragma: no cover - compiled
    """One colour of what a surface sends to the camera."""
    diffuse = max(0.0, (facing + wrap) / (1 + wrap)) * lit
    return albedo * (lamp * diffuse + around) + highlight * lamp + sheen


@_inner
def _radiance(
    albedo: Any,
    normal: Any,  # unit
    place: Any,
    openness: float,
    wrap: Any,  # how far light creeps around, per colour (scattering under the skin)
    gloss: Any,  # 0..1
    squarings: Any,
    lit: Any,  # share of the lamp's light, 0..1
    lamp: Any,
    distance: float,
) -> Any:  # pragma: no cover - compiled
    """Wrapped diffuse light, a Blinn highlight with Schlick's Fresnel term, and ambient light under occlusion.

    The highlight's exponent is 2**squarings: by multiplication, so without a libm that differs between machines.
    """
    view = _unit((-place[0], -place[1], distance - place[2]))
    facing = _dot(normal, lamp.direction)
    halfway = _unit((lamp.direction[0] + view[0], lamp.direction[1] + view[1], lamp.direction[2] + view[2]))
    half = max(0.0, _dot(normal, halfway))
    glance = 1 - max(0.0, _dot(view, halfway))
    fresnel = 0.04 + 0.96 * (glance * glance) * (glance * glance) * glance
    highlight = 0.0
    if facing > 0 and half > 0.5 and lit > 0:
        for _ in range(squarings):
            half *= half
        highlight = gloss * (2**squarings + 8) / 8 * half * fresnel * facing * lit
    rim = 1 - max(0.0, _dot(normal, view))
    sheen = 0.10 * gloss * rim * rim * openness
    around = _around(normal, lamp)
    # Light that comes back from the skin around a crease is red: occlusion bites less there.
    red, others = openness * (0.9 + 0.1 * openness) + 0.03, openness * (0.85 + 0.15 * openness)
    return (
        _reflected(
            albedo[0], facing, wrap[0], lit, lamp.colour[0], around[0] * red, highlight, sheen * lamp.ambient[0]
        ),
        _reflected(
            albedo[1], facing, wrap[1], lit, lamp.colour[1], around[1] * others, highlight, sheen * lamp.ambient[1]
        ),
        _reflected(
            albedo[2], facing, wrap[2], lit, lamp.colour[2], around[2] * others, highlight, sheen * lamp.ambient[2]
        ),
    )


@_inner
def _hair_radiance(
    hair: Any,
    place: Any,
    normal: Any,
    tangent: Any,
    shade: float,
    gloss: float,
    shift: float,  # of the highlight along the hair
    lit: float,
    lamp: Any,
    distance: float,
) -> Any:  # pragma: no cover - compiled
    """Radiance of hair, lit as strands: by the sine of the light to their tangent (Kajiya and Kay 1989)."""
    tangent = _unit(tangent)
    view = _unit((-place[0], -place[1], distance - place[2]))
    frontal = _dot(normal, view)
    if frontal < 0:  # the inside of a lock
        normal, frontal = _times(normal, -1.0), -frontal
    lit *= min(1.0, max(0.0, 0.5 + 1.2 * _dot(normal, lamp.direction)))
    along = _dot(tangent, lamp.direction)
    diffuse = math.sqrt(max(0.0, 1 - along * along)) * lit
    halfway = _unit((lamp.direction[0] + view[0], lamp.direction[1] + view[1], lamp.direction[2] + view[2]))
    half = _dot(tangent, halfway) + shift
    shine = max(0.0, 1 - half * half)
    shine *= shine
    shine *= shine
    shine *= shine
    shine = 0.06 * gloss * (shine * shine * shine) * lit
    shine *= min(1.0, 1.5 * frontal)  # else single hairs glint along the outline
    around = _around(normal, lamp)
    colour = lamp.colour
    return (
        hair[0] * shade * (colour[0] * 0.9 * diffuse + 0.8 * around[0]) + shine * colour[0] * (0.4 + 2 * hair[0]),
        hair[1] * shade * (colour[1] * 0.9 * diffuse + 0.8 * around[1]) + shine * colour[1] * (0.4 + 2 * hair[1]),
        hair[2] * shade * (colour[2] * 0.9 * diffuse + 0.8 * around[2]) + shine * colour[2] * (0.4 + 2 * hair[2]),
    )


@_inner
def _gather(
    seen: Any,
    y: int,
    attributes: Any,
    triangles: Any,
    parts: Any,
    fragments: Any,
    pixels: Any,
    samples: Any,
    kinds: Any,
) -> int:  # pragma: no cover - compiled
    """The fragments of a row of pixels: of each the means of its samples' attributes.

    Args:
        seen: the buffers.
        y: the row.
        attributes: [V, ATTRIBUTES] of the vertices.
        triangles: [T, 3].
        parts: [T].
        fragments: [F, ATTRIBUTES], written.
        pixels: [F] columns, written.
        samples: [F] how many of the pixel's four, written.
        kinds: [F] parts, written.

    Returns:
        How many there are.
    """
    found = 0
    for x in range(seen.triangle.shape[1] // 2):
        first = found  # of this pixel
        last, count, u, v = -1, 0, np.float32(0), np.float32(0)  # neighbours mostly lie in one triangle
        for sample in range(5):
            t = -1
            if sample < 4:
                row, column = 2 * y + sample // 2, 2 * x + sample % 2
                t = seen.triangle[row, column]
            if t != last:
                if last >= 0:
                    w = np.float32(count) - u - v
                    i, j, k = triangles[last, 0], triangles[last, 1], triangles[last, 2]
                    n = first
                    while n < found and kinds[n] != parts[last]:
                        n += 1
                    if n == found:
                        found += 1
                        pixels[n], kinds[n], samples[n] = x, parts[last], 0
                        for a in range(ATTRIBUTES):
                            fragments[n, a] = u * attributes[i, a] + v * attributes[j, a] + w * attributes[k, a]
                    else:
                        for a in range(ATTRIBUTES):
                            fragments[n, a] += u * attributes[i, a] + v * attributes[j, a] + w * attributes[k, a]
                    samples[n] += count
                last, count, u, v = t, 0, np.float32(0), np.float32(0)
            if t >= 0:
                u += seen.weights[row, column, 0]
                v += seen.weights[row, column, 1]
                count += 1
        for n in range(first, found):
            share = np.float32(1) / np.float32(samples[n])
            for a in range(ATTRIBUTES):
                fragments[n, a] *= share
    return found


@_inner
def _cast(fragments: Any, lamp: Any) -> None:  # pragma: no cover - compiled
    """Write what share of the lamp's light arrives at fragments: four looks at the shadow map for each.

    The bias grows where light grazes the surface; a constant one would draw stripes.
    """
    shadow, size = lamp.shadow, len(lamp.shadow)
    scale = size / (2 * lamp.reach)
    for n in range(len(fragments)):
        place = fragments[n, POSITION], fragments[n, POSITION + 1], fragments[n, POSITION + 2]
        facing = _dot((fragments[n, NORMAL], fragments[n, NORMAL + 1], fragments[n, NORMAL + 2]), lamp.direction)
        right = (_dot(lamp.right, place) + lamp.reach) * scale
        up = (_dot(lamp.up, place) + lamp.reach) * scale
        near = _dot(lamp.direction, place) + 0.05 + 0.15 * (1 - max(0.0, facing))
        lit = np.float32(0)
        for j in range(2):
            row = math.floor(up + 1.6 * j - 0.8)
            for i in range(2):
                column = math.floor(right + 1.6 * i - 0.8)
                if column < 0 or row < 0 or column >= size or row >= size or near > shadow[row, column]:
                    lit += np.float32(0.25)
        fragments[n, _LIT] = lit


@_inner
def _colour_skin(fragments: Any, kinds: Any, materials: Any) -> None:  # pragma: no cover - compiled
    """Write albedo and gloss of the skin, and its normal bent by the relief; hair's roots and clothes are on it too."""
    texture, relief, strands, hair, cloth = (
        materials.skin,
        materials.relief,
        materials.strands,
        materials.hair,
        materials.cloth,
    )
    rows, columns = relief.shape
    one = np.float32(1)
    for n in range(len(fragments)):
        if kinds[n] != SKIN:
            continue
        v = fragments[n, TEXTURE + 1]
        x = min(max(fragments[n, TEXTURE] * columns - 0.5, 1.0), columns - 2.001)
        y = min(max(v * rows - 0.5, 1.0), rows - 2.001)
        i, j = int(y), int(x)
        fy, fx = np.float32(y - i), np.float32(x - j)
        here, right, below, across = (one - fy) * (one - fx), (one - fy) * fx, fy * (one - fx), fy * fx
        for c in range(4):  # the fourth is the gloss
            fragments[n, _ALBEDO + c] = (
                here * texture[i, j, c]
                + right * texture[i, j + 1, c]
                + below * texture[i + 1, j, c]
                + across * texture[i + 1, j + 1, c]
            )
        slope_x = relief[i, j + 1] - relief[i, j - 1]
        slope_y = relief[i + 1, j] - relief[i - 1, j]
        nx, nz = fragments[n, NORMAL], fragments[n, NORMAL + 2]
        flat = math.sqrt(nx * nx + nz * nz) + 1e-6
        fragments[n, NORMAL] = nx - slope_x * nz / flat
        fragments[n, NORMAL + 1] += slope_y
        fragments[n, NORMAL + 2] = nz + slope_x * nx / flat
        cover = fragments[n, COVER]
        if cover > 0:
            noise = strands[i % strands.shape[0], (2 * j) % strands.shape[1]]
            hidden = min(1.0, max(0.0, cover * (0.6 + 0.8 * noise)))
            for c in range(3):
                fragments[n, _ALBEDO + c] += hidden * (0.8 * hair[c] - 0.9 * fragments[n, _ALBEDO + c])
            fragments[n, _GLOSS] *= 1 - 0.8 * hidden
        depth = v - materials.neckline
        if depth > 0:
            worn = min(1.0, depth * 90)
            fold = 0.85 + 0.3 * texture[(3 * i) % rows, (2 * j) % columns, 3]
            for c in range(3):
                fragments[n, _ALBEDO + c] += worn * (cloth[c] * fold - fragments[n, _ALBEDO + c])
            fragments[n, _GLOSS] *= 1 - worn


@_inner
def _colour_eye(fragment: Any, materials: Any) -> None:  # pragma: no cover - compiled
    """Pupil, iris with a dark ring, and sclera by the angle from the gaze: write albedo, normal and openness."""
    eyes, gaze = materials.eyes, materials.gaze
    place = fragment[POSITION], fragment[POSITION + 1], fragment[POSITION + 2]
    from_one = place[0] - eyes[0, 0], place[1] - eyes[0, 1], place[2] - eyes[0, 2]
    from_other = place[0] - eyes[1, 0], place[1] - eyes[1, 1], place[2] - eyes[1, 2]
    normal = _unit(from_one if _dot(from_one, from_one) <= _dot(from_other, from_other) else from_other)
    right, up, forward = _dot(gaze[0], normal), _dot(gaze[1], normal), _dot(gaze[2], normal)
    angle = math.acos(min(max(forward, -1.0), 1.0))
    iris = 0.53
    edge = min(1.0, max(0.0, (angle - iris) / 0.10))
    turn = math.atan2(up, right)
    rays = 0.85 + 0.15 * math.sin(17 * turn + 3 * math.sin(5 * turn))
    across = min(1.0, max(0.0, (angle - materials.pupil) / (iris - materials.pupil)))
    ring = 1 - 0.75 * max(0.0, (across - 0.75) / 0.25)
    inside = min(1.0, max(0.0, (angle - materials.pupil) / 0.05))
    for c in range(3):
        white = (0.56, 0.51, 0.47)[c] * materials.sclera * (0.5 + 0.5 * edge)
        fragment[_ALBEDO + c] = (0.008 + inside * (materials.iris[c] * rays * ring - 0.008)) * (1 - edge) + white * edge
        fragment[NORMAL + c] = normal[c]
    lid = min(1.0, max(0.35, 1.15 - 2.2 * max(0.0, up - 0.1)))  # the upper one's shadow
    fragment[OPENNESS] = (0.35 + 0.65 * fragment[OPENNESS]) * lid
    fragment[_LIT] = (0.45 + 0.55 * fragment[_LIT]) * lid  # too small for the shadow map


@_compiled
def draw_surfaces(
    image: Any, seen: Any, attributes: Any, triangles: Any, parts: Any, materials: Any, lamp: Any, distance: float
) -> None:  # pragma: no cover - compiled
    """Shade what the buffers show onto ``image``, float32 [S, S, 3] linear RGB, in place."""
    size = len(image)
    fragments = np.empty((4 * size, ATTRIBUTES), np.float32)
    pixels, samples, kinds = np.empty(4 * size, np.int64), np.empty(4 * size, np.int64), np.empty(4 * size, np.uint8)
    rim, fabric = _vector(materials.rim), _vector(materials.fabric)
    uncovered = np.empty(size, np.float32)
    for y in range(size):
        found = _gather(seen, y, attributes, triangles, parts, fragments, pixels, samples, kinds)
        _cast(fragments[:found], lamp)
        _colour_skin(fragments[:found], kinds, materials)
        row = image[y]
        uncovered[:] = 4
        for n in range(found):
            uncovered[pixels[n]] -= samples[n]
        for x in range(size):
            for c in range(3):
                row[x, c] *= uncovered[x] / 4
        for n in range(found):
            kind = kinds[n]
            if kind == EYE:
                _colour_eye(fragments[n], materials)
            openness = fragments[n, OPENNESS]
            gloss, squarings, wrap = np.float32(0.2), 5, (0.1, 0.1, 0.1)
            if kind in (SKIN, EYE):
                albedo = fragments[n, _ALBEDO], fragments[n, _ALBEDO + 1], fragments[n, _ALBEDO + 2]
                if kind == SKIN:
                    gloss, squarings, wrap = fragments[n, _GLOSS], 4, (0.34, 0.16, 0.10)
                else:
                    gloss, squarings, wrap = np.float32(1.2), 7, (0.2, 0.12, 0.1)
            elif kind == TEETH:
                # Too small for the shadow map: under the lips it is brighter than there.
                albedo, openness = (0.8, 0.74, 0.63), 0.75 + 0.25 * openness
                fragments[n, _LIT] = 0.6 + 0.4 * fragments[n, _LIT]
            elif kind == TONGUE:
                albedo, openness = (0.34, 0.11, 0.10), 0.4 * openness
            elif kind == RIM:
                albedo, gloss = rim, np.float32(0.8)
            else:
                albedo, gloss = _times(fabric, fragments[n, COVER]), np.float32(0)
            colour = _radiance(
                albedo,
                _unit((fragments[n, NORMAL], fragments[n, NORMAL + 1], fragments[n, NORMAL + 2])),
                (fragments[n, POSITION], fragments[n, POSITION + 1], fragments[n, POSITION + 2]),
                openness,
                wrap,
                gloss,
                squarings,
                fragments[n, _LIT],
                lamp,
                distance,
            )
            x = pixels[n]
            for c in range(3):
                row[x, c] += colour[c] * (samples[n] / 4)


@_compiled
def draw_sheet(
    image: Any,
    seen: Any,
    attributes: Any,
    triangles: Any,
    kind: int,
    layer: float,
    materials: Any,
    lamp: Any,
    distance: float,
) -> None:  # pragma: no cover - compiled
    """Mix a translucent sheet (HAIR, LASHES or LENS) that the buffers show over ``image``, in place.

    ``layer`` of hair is 0 at the scalp .. 1 outside.
    """
    size = len(image)
    fragments, parts = np.empty((size, ATTRIBUTES), np.float32), np.zeros(len(triangles), np.uint8)
    pixels, samples, kinds = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint8)
    strands, lumps, curls = materials.strands, materials.lumps, materials.curls
    across, down = strands.shape[1] - 1, strands.shape[0] - 1  # sizes are powers of two, so & is the remainder
    hair, lens = _vector(materials.hair), _vector(materials.lens)
    for y in range(size):
        found = _gather(seen, y, attributes, triangles, parts, fragments, pixels, samples, kinds)
        if kind != LASHES:
            _cast(fragments[:found], lamp)
        row = image[y]
        for n in range(found):
            place = fragments[n, POSITION], fragments[n, POSITION + 1], fragments[n, POSITION + 2]
            normal = fragments[n, NORMAL], fragments[n, NORMAL + 1], fragments[n, NORMAL + 2]
            lit = fragments[n, _LIT]
            if kind == HAIR:
                u, v = fragments[n, TEXTURE] * strands.shape[1], fragments[n, TEXTURE + 1] * 60
                fine = strands[int(v) & down, int(2.0 * u) & across]
                coarse = strands[int(0.4 * v + 31) & down, int(0.45 * u + 57) & across]
                lump = lumps[int(v * 2.2) & (lumps.shape[0] - 1), int(0.7 * u) & (lumps.shape[1] - 1)]
                grain = (0.55 * fine + 0.45 * coarse) * (1 - curls) + lump * curls
                alpha = min(1.0, max(0.0, fragments[n, COVER] * 2.0 - 0.3 + 0.8 * (grain - 0.5) - 0.5 * layer))
                if alpha == 0:
                    continue
                colour = _hair_radiance(
                    hair,
                    place,
                    normal,
                    (fragments[n, TANGENT], fragments[n, TANGENT + 1], fragments[n, TANGENT + 2]),
                    (0.5 + 0.9 * grain) * (0.45 + 0.55 * layer),
                    materials.gloss * (1 - 0.7 * curls) * (0.5 + fine),
                    0.22 * (coarse - 0.5),
                    lit,
                    lamp,
                    distance,
                )
            elif kind == LASHES:
                alpha, colour = 0.55, (0.006, 0.005, 0.004)
            else:
                # In the types that solid surfaces have, so that it is compiled once.
                albedo, wrap, gloss = _times(lens, 1.0), (0.1, 0.1, 0.1), np.float32(1)
                colour = _radiance(albedo, _unit(normal), place, 1.0, wrap, gloss, np.int64(8), lit, lamp, distance)
                alpha = min(1.0, materials.lens[3] + min(0.4, max(0.0, colour[0] - 2 * lens[0]) * 0.4))
            alpha *= samples[n] / 4
            x = pixels[n]
            for c in range(3):
                row[x, c] += alpha * (colour[c] - row[x, c])
