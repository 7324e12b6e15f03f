"""What is seen and light in, linear RGB out. Each pixel of the picture is shaded once per material that it shows.

Visibility is known at twice the picture's resolution; the (up to four) samples of a pixel that show the same material
are averaged *before* shading, and the materials then mixed by how many samples each has. So edges are smooth at the
price of one shading a pixel.

Everything is in camera space: x right, y up, z towards the camera, which is at (0, 0, distance). Units: decimetres.

All compiled code that calls other compiled code is in one file with it: numba renews its cache when the caller's file
changes, not when the callee's does.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Columns of a vertex' attributes.
POSITION, NORMAL, TEXTURE, OPENNESS, COVER, TANGENT = 0, 3, 6, 8, 9, 10
ATTRIBUTES = 16  # 13, and room to add them up eight at a time

# What a triangle is made of. The first five are the asset's.
SKIN, EYE, TEETH, TONGUE, LASHES, RIM, FABRIC = range(1, 8)
MATERIALS = 8
HAIR, LENS = 8, 9  # translucent, drawn by `draw_sheet`


class Light(NamedTuple):
    """One far lamp with its shadow, and light from all around that varies with direction to first order."""

    direction: Array  # [3] towards the lamp
    colour: Array  # [3]
    ambient: Array  # [3]
    gradient: Array  # [3, 3] change of the ambient light's colour (rows) with the normal
    shadow: Array  # [S, S] nearness of what the lamp sees first
    frame: Array  # [3, 3] the lamp's right, up and direction
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


@numba.njit(cache=True, error_model="numpy", inline="always")
def _lit(x: float, y: float, z: float, facing: float, light: Any) -> float:  # pragma: no cover - compiled
    """The share of the lamp's light that arrives: four looks at the shadow map.

    The bias grows where light grazes the surface; a constant one would draw stripes.
    """
    frame, shadow, reach = light.frame, light.shadow, light.reach
    size = len(shadow)
    scale = size / (2 * reach)
    right = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z + reach) * scale
    up = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z + reach) * scale
    near = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z + 0.05 + 0.15 * (1 - max(0.0, facing))
    lit = 0.0
    for j in range(2):
        row = math.floor(up + 1.6 * j - 0.8)
        for i in range(2):
            column = math.floor(right + 1.6 * i - 0.8)
            if column < 0 or row < 0 or column >= size or row >= size or near > shadow[row, column]:
                lit += 0.25
    return lit


@numba.njit(cache=True, error_model="numpy", inline="always")
def _radiance(
    colour: Any,  # [3] albedo in, radiance out
    normal: Any,  # [3] unit
    place: Any,  # [3]
    openness: float,
    wrap: Any,  # [3] how far light creeps around, per channel (scattering under the skin)
    gloss: float,
    squarings: int,
    light: Any,
    distance: float,
) -> None:  # pragma: no cover - compiled
    """Wrapped diffuse light, a Blinn highlight with Schlick's Fresnel term, and ambient light under occlusion.

    The highlight's exponent is 2**squarings: by multiplication, so without a libm that differs between machines.
    """
    nx, ny, nz = normal[0], normal[1], normal[2]
    lx, ly, lz = light.direction[0], light.direction[1], light.direction[2]
    vx, vy, vz = -place[0], -place[1], distance - place[2]
    length = math.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx / length, vy / length, vz / length
    facing = nx * lx + ny * ly + nz * lz
    lit = _lit(place[0], place[1], place[2], facing, light)
    hx, hy, hz = lx + vx, ly + vy, lz + vz
    length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    half = max(0.0, (nx * hx + ny * hy + nz * hz) / length)
    glance = 1 - max(0.0, (vx * hx + vy * hy + vz * hz) / length)
    fresnel = 0.04 + 0.96 * (glance * glance) * (glance * glance) * glance
    highlight = 0.0
    if facing > 0 and half > 0.5 and lit > 0:
        for _ in range(squarings):
            half *= half
        highlight = gloss * (2**squarings + 8) / 8 * half * fresnel * facing * lit
    rim = 1 - max(0.0, nx * vx + ny * vy + nz * vz)
    sheen = 0.10 * gloss * rim * rim * openness
    for c in range(3):
        diffuse = max(0.0, (facing + wrap[c]) / (1 + wrap[c])) * lit
        around = light.ambient[c] + light.gradient[c, 0] * nx + light.gradient[c, 1] * ny + light.gradient[c, 2] * nz
        # Light that comes back from the skin around a crease is red: occlusion bites less there.
        closed = openness * (0.85 + 0.15 * openness) if c else openness * (0.9 + 0.1 * openness) + 0.03
        colour[c] = (
            colour[c] * (light.colour[c] * diffuse + max(0.02, around) * closed)
            + highlight * light.colour[c]
            + sheen * light.ambient[c]
        )


@numba.njit(cache=True, error_model="numpy", inline="always")
def _skin_colour(mean: Any, colour: Any, normal: Any, materials: Any) -> Any:  # pragma: no cover - compiled
    """Albedo into ``colour``, relief into ``normal``; returns the gloss."""
    texture, relief = materials.skin, materials.relief
    rows, columns = relief.shape
    x = min(max(mean[TEXTURE] * columns - 0.5, 1.0), columns - 2.001)
    y = min(max(mean[TEXTURE + 1] * rows - 0.5, 1.0), rows - 2.001)
    i, j = int(y), int(x)
    fy, fx = np.float32(y - i), np.float32(x - j)
    one = np.float32(1)
    here, right, below, across = (one - fy) * (one - fx), (one - fy) * fx, fy * (one - fx), fy * fx
    for channel in range(4):  # the fourth is the gloss
        colour[channel] = (
            here * texture[i, j, channel]
            + right * texture[i, j + 1, channel]
            + below * texture[i + 1, j, channel]
            + across * texture[i + 1, j + 1, channel]
        )
    gloss = colour[3]
    slope_x = relief[i, j + 1] - relief[i, j - 1]
    slope_y = relief[i + 1, j] - relief[i - 1, j]
    flat = math.sqrt(normal[0] ** 2 + normal[2] ** 2) + 1e-6
    normal[0], normal[2] = normal[0] - slope_x * normal[2] / flat, normal[2] + slope_x * normal[0] / flat
    normal[1] += slope_y
    cover = mean[COVER]
    if cover > 0:  # the scalp under hair
        strands = materials.strands
        noise = strands[i % strands.shape[0], (2 * j) % strands.shape[1]]
        cover = min(1.0, max(0.0, cover * (0.75 + 0.5 * noise)))
        for c in range(3):
            colour[c] += cover * (materials.hair[c] * 0.8 + 0.1 * colour[c] - colour[c])
        gloss *= 1 - 0.8 * cover
    depth = mean[TEXTURE + 1] - materials.neckline
    if depth > 0:  # clothes
        worn = min(1.0, depth * 90)
        fold = 0.85 + 0.3 * texture[(3 * i) % rows, (2 * j) % columns, 3]
        for c in range(3):
            colour[c] += worn * (materials.cloth[c] * fold - colour[c])
        gloss *= 1 - worn
    return gloss


@numba.njit(cache=True, error_model="numpy", inline="always")
def _eye_colour(mean: Any, colour: Any, normal: Any, materials: Any) -> Any:  # pragma: no cover - compiled
    """Pupil, iris with a dark ring, and sclera by the angle from the gaze; returns the openness to ambient light."""
    nearest, best = 0, 1e9
    for eye in range(2):
        d = 0.0
        for axis in range(3):
            d += (mean[POSITION + axis] - materials.eyes[eye, axis]) ** 2
        if d < best:
            nearest, best = eye, d
    radius = math.sqrt(best) + 1e-9
    for axis in range(3):
        normal[axis] = (mean[POSITION + axis] - materials.eyes[nearest, axis]) / radius
    gaze = materials.gaze
    right = gaze[0, 0] * normal[0] + gaze[0, 1] * normal[1] + gaze[0, 2] * normal[2]
    up = gaze[1, 0] * normal[0] + gaze[1, 1] * normal[1] + gaze[1, 2] * normal[2]
    forward = gaze[2, 0] * normal[0] + gaze[2, 1] * normal[1] + gaze[2, 2] * normal[2]
    angle = math.acos(min(max(forward, -1.0), 1.0))
    iris = 0.53
    edge = min(1.0, max(0.0, (angle - iris) / 0.10))
    turn = math.atan2(up, right)
    rays = 0.85 + 0.15 * math.sin(17 * turn + 3 * math.sin(5 * turn))
    across = min(1.0, max(0.0, (angle - materials.pupil) / (iris - materials.pupil)))
    ring = 1 - 0.75 * max(0.0, (across - 0.75) / 0.25)
    inside = min(1.0, max(0.0, (angle - materials.pupil) / 0.05))
    for c in range(3):
        white = (0.64, 0.59, 0.55)[c] * materials.sclera * (0.5 + 0.5 * edge)
        colour[c] = (0.008 + inside * (materials.iris[c] * rays * ring - 0.008)) * (1 - edge) + white * edge
    lid = min(1.0, max(0.4, 1.15 - 2.0 * max(0.0, up - 0.15)))
    return (0.35 + 0.65 * mean[OPENNESS]) * lid


@numba.njit(cache=True, error_model="numpy", inline="always")
def _hair_colour(
    mean: Any, colour: Any, layer: float, materials: Any, light: Any, distance: float
) -> Any:  # pragma: no cover - compiled
    """Radiance of hair into ``colour``; returns its opacity."""
    strands, lumps, curls = materials.strands, materials.lumps, materials.curls
    across, down = strands.shape[1] - 1, strands.shape[0] - 1  # sizes are powers of two, so & is the remainder
    u, v = mean[TEXTURE] * strands.shape[1], mean[TEXTURE + 1] * 60
    fine = strands[int(v) & down, int(2.0 * u) & across]
    coarse = strands[int(0.4 * v + 31) & down, int(0.45 * u + 57) & across]
    lump = lumps[int(v * 2.2) & (lumps.shape[0] - 1), int(0.7 * u) & (lumps.shape[1] - 1)]
    texture = (0.55 * fine + 0.45 * coarse) * (1 - curls) + lump * curls
    alpha = mean[COVER] * 2.3 - 0.35 + (texture - 0.5) - 0.5 * layer
    alpha = min(1.0, max(0.0, alpha))
    if alpha == 0:
        return alpha

    lx, ly, lz = light.direction[0], light.direction[1], light.direction[2]
    tx, ty, tz = mean[TANGENT], mean[TANGENT + 1], mean[TANGENT + 2]
    length = math.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
    tx, ty, tz = tx / length, ty / length, tz / length
    nx, ny, nz = mean[NORMAL], mean[NORMAL + 1], mean[NORMAL + 2]
    px, py, pz = mean[POSITION], mean[POSITION + 1], mean[POSITION + 2]
    vx, vy, vz = -px, -py, distance - pz
    length = math.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx / length, vy / length, vz / length
    frontal = nx * vx + ny * vy + nz * vz
    if frontal < 0:  # the inside of a lock
        nx, ny, nz, frontal = -nx, -ny, -nz, -frontal
    facing = nx * lx + ny * ly + nz * lz
    lit = _lit(px, py, pz, facing, light) * min(1.0, max(0.0, 0.5 + 1.2 * facing))
    along = tx * lx + ty * ly + tz * lz
    diffuse = math.sqrt(max(0.0, 1 - along * along)) * lit
    hx, hy, hz = lx + vx, ly + vy, lz + vz
    length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    shift = 0.22 * (coarse - 0.5)
    half = (tx * hx + ty * hy + tz * hz) / length + shift
    shine = max(0.0, 1 - half * half)
    shine *= shine
    shine *= shine
    shine *= shine
    shine = 0.06 * materials.gloss * (shine * shine * shine) * lit * (0.5 + fine) * (1 - 0.7 * curls)
    shine *= min(1.0, 1.5 * frontal)  # else single hairs glint along the outline
    shade = (0.5 + 0.9 * texture) * (0.45 + 0.55 * layer)
    for c in range(3):
        around = light.ambient[c] + light.gradient[c, 0] * nx + light.gradient[c, 1] * ny + light.gradient[c, 2] * nz
        body = materials.hair[c] * shade * (light.colour[c] * 0.9 * diffuse + 0.8 * max(0.02, around))
        colour[c] = body + shine * light.colour[c] * (0.4 + 2 * materials.hair[c])
    return alpha


@numba.njit(cache=True, error_model="numpy")
def draw_surfaces(
    image: Any, seen: Any, attributes: Any, triangles: Any, parts: Any, materials: Any, light: Any, distance: float
) -> None:  # pragma: no cover - compiled
    """Shade what the buffers show onto ``image``, float32 [S, S, 3] linear RGB, in place."""
    size = len(image)
    sums = np.zeros((MATERIALS, ATTRIBUTES), np.float32)
    counts = np.zeros(MATERIALS, np.int64)
    mean = np.zeros(ATTRIBUTES, np.float32)
    colour, normal, wrap = np.zeros(4), np.zeros(3), np.zeros(3)
    for y in range(size):
        for x in range(size):
            covered = _gather(seen, x, y, attributes, triangles, parts, sums, counts)
            if covered == 0:
                continue
            for c in range(3):
                image[y, x, c] *= 1 - covered / 4
            for part in range(MATERIALS):
                count = counts[part]
                if count == 0:
                    continue
                counts[part] = 0
                for a in range(ATTRIBUTES):
                    mean[a] = sums[part, a] / count
                for axis in range(3):
                    normal[axis] = mean[NORMAL + axis]
                openness = mean[OPENNESS]
                if part == SKIN:
                    gloss = _skin_colour(mean, colour, normal, materials)
                    squarings = 4
                    wrap[0], wrap[1], wrap[2] = 0.34, 0.16, 0.10
                elif part == EYE:
                    openness = _eye_colour(mean, colour, normal, materials)
                    gloss, squarings = 0.9, 8
                    wrap[0], wrap[1], wrap[2] = 0.2, 0.12, 0.1
                else:
                    wrap[0], wrap[1], wrap[2] = 0.1, 0.1, 0.1
                    gloss, squarings = 0.2, 5
                    if part == TEETH:
                        colour[0], colour[1], colour[2] = 0.58, 0.54, 0.45
                        openness = 0.45 + 0.4 * openness
                    elif part == TONGUE:
                        colour[0], colour[1], colour[2] = 0.34, 0.11, 0.10
                        openness = 0.4 * openness
                    elif part == RIM:
                        for c in range(3):
                            colour[c] = materials.rim[c]
                        gloss = 0.8
                    else:
                        for c in range(3):
                            colour[c] = materials.fabric[c] * mean[COVER]
                        gloss = 0.0
                _to_unit_length(normal)
                _radiance(colour, normal, mean, openness, wrap, gloss, squarings, light, distance)
                for c in range(3):
                    image[y, x, c] += colour[c] * (count / 4)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _to_unit_length(vector: Any) -> None:  # pragma: no cover - compiled
    length = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2) + 1e-9
    for axis in range(3):
        vector[axis] /= length


@numba.njit(cache=True, error_model="numpy", inline="always")
def _gather(
    seen: Any, x: int, y: int, attributes: Any, triangles: Any, parts: Any, sums: Any, counts: Any
) -> int:  # pragma: no cover - compiled
    """Add up the attributes of a pixel's four samples by material; returns how many samples show anything.

    ``counts`` must be zero for all materials; whoever reads a material's sum sets its count back to zero.
    """
    covered = 0
    last, samples, u, v = -1, 0, np.float32(0), np.float32(0)  # neighbours mostly lie in one triangle
    for sample in range(5):
        t = -1
        if sample < 4:
            row, column = 2 * y + sample // 2, 2 * x + sample % 2
            t = seen.triangle[row, column]
        if t != last:
            if last >= 0:
                w = samples - u - v
                i, j, k = triangles[last, 0], triangles[last, 1], triangles[last, 2]
                part = parts[last]
                if counts[part] == 0:
                    for a in range(ATTRIBUTES):
                        sums[part, a] = 0
                for a in range(ATTRIBUTES):
                    sums[part, a] += u * attributes[i, a] + v * attributes[j, a] + w * attributes[k, a]
                counts[part] += samples
                covered += samples
            last, samples, u, v = t, 0, np.float32(0), np.float32(0)
        if t >= 0:
            u += seen.weights[row, column, 0]
            v += seen.weights[row, column, 1]
            samples += 1
    return covered


@numba.njit(cache=True, error_model="numpy")
def draw_sheet(
    image: Any,
    seen: Any,
    attributes: Any,
    triangles: Any,
    kind: int,
    layer: float,
    materials: Any,
    light: Any,
    distance: float,
) -> None:  # pragma: no cover - compiled
    """Mix a translucent sheet (HAIR, LASHES or LENS) that the buffers show over ``image``, in place.

    Hair is lit as strands (Kajiya and Kay 1989): by the sine to the tangent. ``layer`` is 0 at the scalp .. 1 outside.
    """
    size = len(image)
    sums = np.zeros((1, ATTRIBUTES), np.float32)
    counts = np.zeros(1, np.int64)
    parts = np.zeros(len(triangles), np.uint8)
    mean = np.zeros(ATTRIBUTES, np.float32)
    colour, normal, wrap = np.zeros(3), np.zeros(3), np.full(3, 0.1)
    for y in range(size):
        for x in range(size):
            covered = _gather(seen, x, y, attributes, triangles, parts, sums, counts)
            if covered == 0:
                continue
            counts[0] = 0
            for a in range(ATTRIBUTES):
                mean[a] = sums[0, a] / covered
            if kind == HAIR:
                alpha = _hair_colour(mean, colour, layer, materials, light, distance)
            elif kind == LASHES:
                alpha = 0.55
                colour[0], colour[1], colour[2] = 0.006, 0.005, 0.004
            else:
                alpha = materials.lens[3]
                for c in range(3):
                    colour[c] = materials.lens[c]
                for axis in range(3):
                    normal[axis] = mean[NORMAL + axis]
                _to_unit_length(normal)
                before = colour[0]
                _radiance(colour, normal, mean, 1.0, wrap, 1.0, 8, light, distance)
                alpha = min(1.0, alpha + max(0.0, colour[0] - 2 * before) * 0.5)
            alpha *= covered / 4
            for c in range(3):
                image[y, x, c] += alpha * (colour[c] - image[y, x, c])
