"""What is seen and light in, linear RGB out. Each pixel of the picture is shaded once per material that it shows.

Visibility is known at twice the picture's resolution; the (up to four) samples of a pixel that show the same material
are averaged *before* shading, and the materials then mixed by how many samples each has. So edges are smooth at the
price of one shading a pixel.

Everything is in camera space: x right, y up, z towards the camera, which is at (0, 0, distance). Units: decimetres.

All compiled code that calls other compiled code is in one file with it: numba renews its cache when the caller's file
changes, not when the callee's does. There an array handed to a function costs atomic counts of its references: so
functions take a row of the picture at a time, and those that a single pixel calls take vectors that are tuples.

Light is reckoned for many fragments of a row at once, in *lanes*: a flat array that has ``_BATCH`` neighbouring places
for each quantity, one a fragment. As quantities begin a constant number of places apart, the compiler sees that none
overlaps another, and takes eight fragments at a time. Numbers there are float32 throughout, for which constants must be
so too.
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

_BATCH = 480  # fragments at a time, at most; not a power of two, or all quantities would fall on the same cache lines
_FULL = 32  # lanes are reckoned up to a multiple of it: what is left over would go through a loop of its own
_lane = np.uint64  # the type of a place in the lanes: unsigned, since any other index may count from the end


def _begin(*quantities: int) -> tuple[np.uint64, ...]:
    return tuple(_lane(quantity * _BATCH) for quantity in quantities)


# Where in the lanes a quantity begins, of vectors each part.
# What is seen, and how much of the lamp's light arrives:
_PLACES, _NORMALS, _LITS, _OPENNESSES = _begin(0, 1, 2), _begin(3, 4, 5), _begin(6)[0], _begin(7)[0]
# of surfaces:
_GLOSSES, _POWERS, _WRAPS = _begin(8)[0], _begin(9)[0], _begin(10, 11, 12)
# of hair:
_TANGENTS, _SHADES, _SHINES, _SHIFTS = _begin(8, 9, 10), _begin(11)[0], _begin(12)[0], _begin(13)[0]
# and the albedo, which light replaces:
_COLOURS = _begin(14, 15, 16)
_QUANTITIES = 17

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
    reach: float  # half the width that the shadow map shows, decimetres


class Materials(NamedTuple):
    """What the surfaces of one person in one photo look like."""

    skin: Array  # [H, W, 4] linear RGB albedo and gloss
    relief: Array  # [H, W]
    hair: Array  # [3] albedo
    gloss: float  # of the hair, 0 dull .. 1
    curls: float  # of the hair, 0 straight .. 1
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
_ONLY_COMPILED: dict[str, Any] = {
    "cache": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,  # what Python needs to call a function takes as long to compile as the function
    # Compiled by itself and within its caller, a function rounds differently. Without this the process that compiles
    # calls the former, and those that read the compiler's cache the latter.
    "forceinline": True,
}
_f = np.float32


def _inner(function: _Function) -> _Function:
    """For compiled code alone. Sums and products may be taken in any order, without which the compiler would not take
    eight fragments at a time.
    """
    compiled: _Function = numba.njit(**_ONLY_COMPILED, fastmath=True)(function)
    return compiled


def _in_order(function: _Function) -> _Function:
    """The same, in the order that is written."""
    compiled: _Function = numba.njit(**_ONLY_COMPILED)(function)
    return compiled


@_inlined
def _vector(array: Any) -> Any:  # pragma: no cover - compiled
    return array[0], array[1], array[2]


@_inlined
def _dot(a: Any, b: Any) -> Any:  # pragma: no cover - compiled
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_inlined
def _unit(a: Any) -> Any:  # pragma: no cover - compiled
    share = _f(1) / (math.sqrt(_dot(a, a)) + _f(1e-9))
    return a[0] * share, a[1] * share, a[2] * share


@_inlined
def _triple(lanes: Any, at: Any, n: Any) -> Any:  # pragma: no cover - compiled
    """A vector of one fragment."""
    return lanes[at[0] + n], lanes[at[1] + n], lanes[at[2] + n]


@_inlined
def _around(normal: Any, lamp: Any, colour: Any) -> Any:  # pragma: no cover - compiled
    """The ambient light of one colour that falls on a surface."""
    return max(_f(0.02), lamp.ambient[colour] + _dot(lamp.gradient[colour], normal))


@_inner
def _spread(fragments: Any, first: int, count: int, lanes: Any) -> None:  # pragma: no cover - compiled
    """Write into the lanes what is seen in ``count`` fragments."""
    for number in range(count):
        n, fragment = _lane(number), first + number
        for a in range(3):
            lanes[_PLACES[a] + n] = fragments[fragment, POSITION + a]
            lanes[_NORMALS[a] + n] = fragments[fragment, NORMAL + a]
        lanes[_LITS + n] = fragments[fragment, _LIT]
        lanes[_OPENNESSES + n] = fragments[fragment, OPENNESS]


@_inner
def _radiate(lanes: Any, count: int, lamp: Any, distance: Any) -> None:  # pragma: no cover - compiled
    """Light of surfaces in the place of their albedo, for ``count`` lanes, rounded up.

    Wrapped diffuse light (how far it creeps around says the wrap of each colour: scattering under the skin), a Blinn
    highlight with Schlick's Fresnel term, and ambient light under occlusion. The highlight's power is 16, 32, 128 or
    256: by multiplication, so without a libm that differs between machines.
    """
    zero, one = _f(0), _f(1)
    for number in range((count + _FULL - 1) // _FULL * _FULL):
        n = _lane(number)
        x, y, z = _triple(lanes, _PLACES, n)
        normal = _unit(_triple(lanes, _NORMALS, n))
        view = _unit((-x, -y, distance - z))
        facing = _dot(normal, lamp.direction)
        halfway = _unit((lamp.direction[0] + view[0], lamp.direction[1] + view[1], lamp.direction[2] + view[2]))
        half = max(zero, _dot(normal, halfway))
        glance = one - max(zero, _dot(view, halfway))
        fresnel = _f(0.04) + _f(0.96) * (glance * glance) * (glance * glance) * glance
        gloss, lit, openness, power = lanes[_GLOSSES + n], lanes[_LITS + n], lanes[_OPENNESSES + n], lanes[_POWERS + n]
        to_4 = half * half * half * half
        to_16 = to_4 * to_4 * to_4 * to_4
        to_32 = to_16 * to_16
        to_128 = to_32 * to_32 * to_32 * to_32
        peak = to_16 if power == 16 else to_32 if power == 32 else to_128 if power == 128 else to_128 * to_128
        highlight = gloss * (power + _f(8)) * _f(0.125) * peak * fresnel * max(zero, facing) * lit
        highlight = highlight if half > _f(0.5) else zero
        rim = one - max(zero, _dot(normal, view))
        sheen = _f(0.10) * gloss * rim * rim * openness
        # Light that comes back from the skin around a crease is red: occlusion bites less there.
        red = openness * (_f(0.9) + _f(0.1) * openness) + _f(0.03)
        others = openness * (_f(0.85) + _f(0.15) * openness)
        for c in range(3):
            wrap = lanes[_WRAPS[c] + n]
            diffuse = max(zero, (facing + wrap) / (one + wrap)) * lit
            around = _around(normal, lamp, c) * (red if c == 0 else others)
            albedo = lanes[_COLOURS[c] + n]
            light = albedo * (lamp.colour[c] * diffuse + around) + highlight * lamp.colour[c] + sheen * lamp.ambient[c]
            lanes[_COLOURS[c] + n] = light


@_inner
def _radiate_hair(lanes: Any, count: int, hair: Any, lamp: Any, distance: Any) -> None:  # pragma: no cover - compiled
    """Light of hair of albedo ``hair``, for ``count`` lanes, rounded up.

    It is lit as strands: by the sine of the light to their tangent (Kajiya and Kay 1989).
    """
    zero, one = _f(0), _f(1)
    for number in range((count + _FULL - 1) // _FULL * _FULL):
        n = _lane(number)
        x, y, z = _triple(lanes, _PLACES, n)
        normal = _triple(lanes, _NORMALS, n)
        tangent = _unit(_triple(lanes, _TANGENTS, n))
        view = _unit((-x, -y, distance - z))
        frontal = _dot(normal, view)
        side = _f(-1) if frontal < 0 else one  # the inside of a lock
        normal, frontal = (side * normal[0], side * normal[1], side * normal[2]), side * frontal
        lit = lanes[_LITS + n] * min(one, max(zero, _f(0.5) + _f(1.2) * _dot(normal, lamp.direction)))
        along = _dot(tangent, lamp.direction)
        diffuse = math.sqrt(max(zero, one - along * along)) * lit
        halfway = _unit((lamp.direction[0] + view[0], lamp.direction[1] + view[1], lamp.direction[2] + view[2]))
        half = _dot(tangent, halfway) + lanes[_SHIFTS + n]
        shine = max(zero, one - half * half)
        shine = shine * shine * shine * shine
        shine = shine * shine  # to the 8th
        shine = _f(0.06) * lanes[_SHINES + n] * (shine * shine * shine) * lit
        shine *= min(one, _f(1.5) * frontal)  # else single hairs glint along the outline
        shade = lanes[_SHADES + n]
        for c in range(3):
            body = hair[c] * shade * (lamp.colour[c] * _f(0.9) * diffuse + _f(0.8) * _around(normal, lamp, c))
            lanes[_COLOURS[c] + n] = body + shine * lamp.colour[c] * (_f(0.4) + _f(2) * hair[c])


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
    index, weights = seen.triangle, seen.weights
    upper, lower = 2 * y, 2 * y + 1
    together = -1
    for column in range(index.shape[1]):
        together &= index[upper, column] & index[lower, column]
    if together == -1:  # nothing in this row
        return 0
    for x in range(index.shape[1] // 2):
        left, right = 2 * x, 2 * x + 1
        t = index[upper, left]
        if (t & index[upper, right] & index[lower, left] & index[lower, right]) < 0:  # -1, all of them
            continue
        if t == index[upper, right] and t == index[lower, left] and t == index[lower, right]:
            u = weights[upper, left, 0] + weights[upper, right, 0] + weights[lower, left, 0] + weights[lower, right, 0]
            v = weights[upper, left, 1] + weights[upper, right, 1] + weights[lower, left, 1] + weights[lower, right, 1]
            u, v = _f(0.25) * u, _f(0.25) * v
            w = _f(1) - u - v
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            pixels[found], kinds[found], samples[found] = x, parts[t], 4
            for a in range(ATTRIBUTES):
                fragments[found, a] = u * attributes[i, a] + v * attributes[j, a] + w * attributes[k, a]
            found += 1
            continue
        first = found  # of this pixel
        last, count, u, v = -1, 0, _f(0), _f(0)  # neighbours mostly lie in one triangle
        for sample in range(5):
            # Around the pixel's middle, so that an edge through it parts them once or twice.
            t, row, column = -1, upper + ((sample + 1) // 2) % 2, left + sample // 2
            if sample < 4:
                t = index[row, column]
            if t != last:
                if last >= 0:
                    w = _f(count) - u - v
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
                last, count, u, v = t, 0, _f(0), _f(0)
            if t >= 0:
                u += weights[row, column, 0]
                v += weights[row, column, 1]
                count += 1
        for n in range(first, found):
            share = _f(1) / _f(samples[n])
            for a in range(ATTRIBUTES):
                fragments[n, a] *= share
    return found


@_inner
def _cast(fragments: Any, lamp: Any) -> None:  # pragma: no cover - compiled
    """Write what share of the lamp's light arrives at fragments: four looks at the shadow map for each.

    The bias grows where light grazes the surface; a constant one would draw stripes.
    """
    shadow, size = lamp.shadow, len(lamp.shadow)
    reach = _f(lamp.reach)
    scale, last = _f(size) / (reach + reach), _f(size - 1)
    for n in range(len(fragments)):
        place = fragments[n, POSITION], fragments[n, POSITION + 1], fragments[n, POSITION + 2]
        facing = _dot((fragments[n, NORMAL], fragments[n, NORMAL + 1], fragments[n, NORMAL + 2]), lamp.direction)
        right = (_dot(lamp.right, place) + reach) * scale
        up = (_dot(lamp.up, place) + reach) * scale
        near = _dot(lamp.direction, place) + _f(0.05) + _f(0.15) * (_f(1) - max(_f(0), facing))
        if min(right, up) < _f(1) or max(right, up) >= last:  # beyond the map everything is lit
            fragments[n, _LIT] = 1
            continue
        left, right = int(right - _f(0.8)), int(right + _f(0.8))
        low, high = int(up - _f(0.8)), int(up + _f(0.8))
        looks = (near > shadow[low, left]) + (near > shadow[low, right])
        looks += (near > shadow[high, left]) + (near > shadow[high, right])
        fragments[n, _LIT] = _f(0.25) * _f(looks)


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
    zero, one, half = _f(0), _f(1), _f(0.5)
    across, down, neckline = _f(columns), _f(rows), _f(materials.neckline)
    for n in range(len(fragments)):
        if kinds[n] != SKIN:
            continue
        v = fragments[n, TEXTURE + 1]
        x = min(max(fragments[n, TEXTURE] * across - half, one), across - _f(2.001))
        y = min(max(v * down - half, one), down - _f(2.001))
        i, j = int(y), int(x)
        fy, fx = y - _f(i), x - _f(j)
        here, right, below, opposite = (one - fy) * (one - fx), (one - fy) * fx, fy * (one - fx), fy * fx
        for c in range(4):  # the fourth is the gloss
            fragments[n, _ALBEDO + c] = (
                here * texture[i, j, c]
                + right * texture[i, j + 1, c]
                + below * texture[i + 1, j, c]
                + opposite * texture[i + 1, j + 1, c]
            )
        slope_x = relief[i, j + 1] - relief[i, j - 1]
        slope_y = relief[i + 1, j] - relief[i - 1, j]
        nx, nz = fragments[n, NORMAL], fragments[n, NORMAL + 2]
        bent = slope_x / (math.sqrt(nx * nx + nz * nz) + _f(1e-6))
        fragments[n, NORMAL] = nx - bent * nz
        fragments[n, NORMAL + 1] += slope_y
        fragments[n, NORMAL + 2] = nz + bent * nx
        cover = fragments[n, COVER]
        if cover > zero:
            noise = strands[i % strands.shape[0], (2 * j) % strands.shape[1]]
            hidden = min(one, max(zero, cover * (_f(0.6) + _f(0.8) * noise)))
            for c in range(3):
                fragments[n, _ALBEDO + c] += hidden * (_f(0.8) * hair[c] - _f(0.9) * fragments[n, _ALBEDO + c])
            fragments[n, _GLOSS] *= one - _f(0.8) * hidden
        depth = v - neckline
        if depth > zero:
            worn = min(one, depth * _f(90))
            fold = _f(0.85) + _f(0.3) * texture[(3 * i) % rows, (2 * j) % columns, 3]
            for c in range(3):
                fragments[n, _ALBEDO + c] += worn * (cloth[c] * fold - fragments[n, _ALBEDO + c])
            fragments[n, _GLOSS] *= one - worn


@_inner
def _comb(
    fragments: Any, found: int, pixels: Any, samples: Any, materials: Any, layer: Any, alphas: Any
) -> int:  # pragma: no cover - compiled
    """Strands and curls of the hair in fragments: moves those that are seen to the front, and says how many they are.

    Writes their opacity, and in the place of their texture coordinates and cover what :func:`_radiate_hair` needs: how
    bright they are, how glossy, and how far their highlight is shifted.
    """
    strands, lumps = materials.strands, materials.lumps
    width, height = strands.shape[1], strands.shape[0]  # powers of two, so that & is the remainder
    curls, gloss = _f(materials.curls), _f(materials.gloss)
    zero, one, kept = _f(0), _f(1), 0
    for n in range(found):
        u, v = fragments[n, TEXTURE] * _f(width), fragments[n, TEXTURE + 1] * _f(60)
        fine = strands[int(v) & (height - 1), int(_f(2) * u) & (width - 1)]
        coarse = strands[int(_f(0.4) * v + _f(31)) & (height - 1), int(_f(0.45) * u + _f(57)) & (width - 1)]
        lump = lumps[int(v * _f(2.2)) & (lumps.shape[0] - 1), int(_f(0.7) * u) & (lumps.shape[1] - 1)]
        grain = (_f(0.55) * fine + _f(0.45) * coarse) * (one - curls) + lump * curls
        alpha = min(one, fragments[n, COVER] * _f(2) - _f(0.7) + _f(0.8) * grain - _f(0.5) * layer)
        if alpha <= zero:
            continue
        for a in range(ATTRIBUTES):
            fragments[kept, a] = fragments[n, a]
        pixels[kept], samples[kept], alphas[kept] = pixels[n], samples[n], alpha
        fragments[kept, TEXTURE] = (_f(0.5) + _f(0.9) * grain) * (_f(0.45) + _f(0.55) * layer)
        fragments[kept, TEXTURE + 1] = gloss * (one - _f(0.7) * curls) * (_f(0.5) + fine)
        fragments[kept, COVER] = _f(0.22) * (coarse - _f(0.5))
        kept += 1
    return kept


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
    mirrored = 0.03  # of what is all around, in the cornea
    for c in range(3):
        white = (0.40, 0.35, 0.32)[c] * materials.sclera * (0.5 + 0.5 * edge)
        coloured = mirrored + inside * 1.3 * materials.iris[c] * rays * ring
        fragment[_ALBEDO + c] = coloured * (1 - edge) + white * edge
        fragment[NORMAL + c] = normal[c]
    lid = min(1.0, max(0.35, 1.15 - 2.2 * max(0.0, up - 0.1)))  # the upper one's shadow
    fragment[OPENNESS] = (0.35 + 0.65 * fragment[OPENNESS]) * lid
    fragment[_LIT] = (0.45 + 0.55 * fragment[_LIT]) * lid  # too small for the shadow map


@_in_order
def _describe(
    fragments: Any, first: int, count: int, kinds: Any, rim: Any, fabric: Any, lanes: Any
) -> None:  # pragma: no cover - compiled
    """Write into the lanes the albedo, gloss and wrap of ``count`` fragments, by what they are made of."""
    for number in range(count):
        n, fragment = _lane(number), first + number
        kind = kinds[fragment]
        openness = fragments[fragment, OPENNESS]
        gloss, power, wrap = _f(0.2), 32, (0.1, 0.1, 0.1)
        if kind in (SKIN, EYE):
            albedo = (
                fragments[fragment, _ALBEDO],
                fragments[fragment, _ALBEDO + 1],
                fragments[fragment, _ALBEDO + 2],
            )
            if kind == SKIN:
                gloss, power, wrap = fragments[fragment, _GLOSS], 16, (0.34, 0.16, 0.10)
            else:
                gloss, power, wrap = _f(0.7), 128, (0.3, 0.2, 0.18)
        elif kind == TEETH:
            # Too small for the shadow map: under the lips it is brighter than there.
            albedo, openness = (_f(0.8), _f(0.74), _f(0.63)), _f(0.75) + _f(0.25) * openness
            lanes[_LITS + n] = _f(0.6) + _f(0.4) * lanes[_LITS + n]
        elif kind == TONGUE:
            albedo, openness = (_f(0.34), _f(0.11), _f(0.10)), _f(0.4) * openness
        elif kind == RIM:
            albedo, gloss = rim, _f(0.8)
        else:
            shade = fragments[fragment, COVER]
            albedo, gloss = (fabric[0] * shade, fabric[1] * shade, fabric[2] * shade), _f(0)
        lanes[_OPENNESSES + n], lanes[_GLOSSES + n], lanes[_POWERS + n] = openness, gloss, power
        for c in range(3):
            lanes[_COLOURS[c] + n] = albedo[c]
            lanes[_WRAPS[c] + n] = wrap[c]


@_in_order
def _describe_strands(fragments: Any, first: int, count: int, lanes: Any) -> None:  # pragma: no cover - compiled
    """Write into the lanes what :func:`_radiate_hair` needs of ``count`` fragments beside what is seen."""
    for number in range(count):
        n, fragment = _lane(number), first + number
        for a in range(3):
            lanes[_TANGENTS[a] + n] = fragments[fragment, TANGENT + a]
        # _comb left these three where they were needed no more.
        lanes[_SHADES + n] = fragments[fragment, TEXTURE]
        lanes[_SHINES + n] = fragments[fragment, TEXTURE + 1]
        lanes[_SHIFTS + n] = fragments[fragment, COVER]


@_compiled
def attributes_of(places: Any, normals: Any) -> Any:  # pragma: no cover - compiled
    """Attributes of vertices, float32 [V, ATTRIBUTES], with their positions and normals [V, 3]; all else is 0."""
    result = np.zeros((len(places), ATTRIBUTES), np.float32)
    for n in range(len(places)):
        for axis in range(3):
            result[n, POSITION + axis] = places[n, axis]
            result[n, NORMAL + axis] = normals[n, axis]
    return result


@_compiled
def draw_surfaces(
    image: Any, seen: Any, attributes: Any, triangles: Any, parts: Any, materials: Any, lamp: Any, distance: float
) -> None:  # pragma: no cover - compiled
    """Shade what the buffers show onto ``image``, float32 [S, S, 3] linear RGB, in place."""
    size = len(image)
    fragments, lanes = np.empty((4 * size, ATTRIBUTES), np.float32), np.zeros(_QUANTITIES * _BATCH, np.float32)
    pixels, samples, kinds = np.empty(4 * size, np.int64), np.empty(4 * size, np.int64), np.empty(4 * size, np.uint8)
    rim, fabric = _vector(materials.rim), _vector(materials.fabric)
    uncovered = np.empty(size, np.float32)
    for y in range(size):
        found = _gather(seen, y, attributes, triangles, parts, fragments, pixels, samples, kinds)
        _cast(fragments[:found], lamp)
        _colour_skin(fragments[:found], kinds, materials)
        row = image[y]
        uncovered[:] = 1
        for fragment in range(found):
            uncovered[pixels[fragment]] -= _f(0.25) * _f(samples[fragment])
            if kinds[fragment] == EYE:
                _colour_eye(fragments[fragment], materials)
        for x in range(size):
            for c in range(3):
                row[x, c] *= uncovered[x]
        for first in range(0, found, _BATCH):
            count = min(found - first, _BATCH)
            _spread(fragments, first, count, lanes)
            _describe(fragments, first, count, kinds, rim, fabric, lanes)
            _radiate(lanes, count, lamp, _f(distance))
            for number in range(count):
                n, x, share = _lane(number), pixels[first + number], _f(0.25) * _f(samples[first + number])
                for c in range(3):
                    row[x, c] += share * lanes[_COLOURS[c] + n]


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
    lanes, alphas = np.zeros(_QUANTITIES * _BATCH, np.float32), np.empty(size, np.float32)
    pixels, samples, kinds = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint8)
    hair, lens, opacity = _vector(materials.hair), _vector(materials.lens), materials.lens[3]
    for y in range(size):
        found = _gather(seen, y, attributes, triangles, parts, fragments, pixels, samples, kinds)
        if found == 0:
            continue
        if kind == HAIR:
            found = _comb(fragments, found, pixels, samples, materials, _f(layer), alphas)
        if kind != LASHES:
            _cast(fragments[:found], lamp)
        row = image[y]
        for first in range(0, found, _BATCH):
            count = min(found - first, _BATCH)
            if kind == HAIR:
                _spread(fragments, first, count, lanes)
                _describe_strands(fragments, first, count, lanes)
                _radiate_hair(lanes, count, hair, lamp, _f(distance))
            elif kind == LENS:
                _spread(fragments, first, count, lanes)
                for number in range(count):
                    n = _lane(number)
                    lanes[_OPENNESSES + n], lanes[_GLOSSES + n], lanes[_POWERS + n] = 1, 1, 256
                    for c in range(3):
                        lanes[_COLOURS[c] + n], lanes[_WRAPS[c] + n] = lens[c], 0.1
                _radiate(lanes, count, lamp, _f(distance))
                for number in range(count):
                    shine = max(_f(0), lanes[_COLOURS[0] + _lane(number)] - 2 * lens[0])
                    alphas[first + number] = min(_f(1), opacity + _f(0.4) * min(_f(1), shine))
            else:
                for number in range(count):
                    alphas[first + number] = 0.55
                    for c in range(3):
                        lanes[_COLOURS[c] + _lane(number)] = (0.006, 0.005, 0.004)[c]
            for number in range(count):
                n, fragment = _lane(number), first + number
                x, share = pixels[fragment], alphas[fragment] * _f(0.25) * _f(samples[fragment])
                for c in range(3):
                    row[x, c] += share * (lanes[_COLOURS[c] + n] - row[x, c])
