"""A scene becomes light: the sitter's head is posed, dressed and lit, and what reaches the camera is drawn.

Alignment is exact: the five landmarks are known in 3-D, and the similarity onto the ArcFace template is applied to the
projected vertices before anything is drawn, so no picture is ever resampled.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.data.images import alignment
from elasticface.data.synthetic import asset, hair, raster, shading, shape, surface, surroundings, texture, wear
from elasticface.data.synthetic.look import Look
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.raster import Array, Triangles
from elasticface.data.synthetic.scene import Scene
from elasticface.data.synthetic.shading import FABRIC, HAIR, LASHES, LENS, RIM, Light, Materials

_SOLID = (asset.SKIN, asset.EYE, asset.TEETH, asset.TONGUE)
_REACH = 1.6  # decimetres around the face that cast and catch shadows
# From nose and mouth to what is marked of them. Detectors, and so the template, mark the middle of the nose's tip: it
# lies higher than the foremost vertex.
_TO_MARKS = np.array([[0, 0.045, 0], [0, 0, 0], [0, 0, 0]], np.float32)
_SPREAD = float(np.std(alignment.TEMPLATE, axis=0).max())  # of the landmarks from top to bottom, pixels

_AHEAD = np.array([0, 0, 0.13], np.float32)  # from an eye's centre to the front of the eyeball
_FLAT = np.eye(2, 3)  # leaves the plane through the head's centre as it is


@dataclass(frozen=True)
class Sitter:
    """A person with the head and skin that are the same on all photos."""

    person: Person
    vertices: Array  # [V, 3] at rest
    skin: texture.Skin


def expose(sitter: Sitter, scene: Scene, size: int) -> Array:
    """The light that reaches the camera, linear RGB [size, size, 3]."""
    look, person = scene.look, sitter.person
    vertices = shape.express(sitter.vertices, scene.units)
    view = _View(scene, vertices, size)

    places = view.place(vertices)
    solid = _head_attributes(places, hair.scalp_cover(look.hair, person))
    triangles, parts = _triangles_of(*_SOLID), _solid_parts()
    # What lies inside of the skin casts no shadow that shows.
    casting = [(places, _outer_triangles(), 1)]
    worn, lenses = _worn(scene, vertices)
    for mesh, part, casts in worn:
        triangles = np.concatenate([triangles, mesh.triangles + np.int32(len(solid))])
        parts = np.concatenate([parts, np.full(len(mesh.triangles), part, np.uint8)])
        placed = view.place(mesh.points)
        solid = np.concatenate([solid, _mesh_attributes(placed, mesh)])
        if casts:
            casting.append((placed, mesh.triangles, 0))
    style = look.hair if look.hat is None else hair.under_hat(look.hair)
    sheets, strands = hair.grow(style, person, vertices), []
    if sheets is not None:
        layers = [view.place(layer.reshape(-1, 3)) for layer in sheets.points]
        strands = _sheet_attributes(layers, sheets)
        casting.append((layers[-1], _dense_triangles(sheets), 0))
    light = _light(scene, casting)
    materials = _materials(sitter, scene, view)

    image = surroundings.background(scene.background, size)
    seen = raster.buffers(size)
    pixels = view.screen(solid)
    raster.rasterise(pixels, triangles, *seen, 1)
    shading.draw_surfaces(image, seen, solid, triangles, parts, materials, light, scene.distance)

    def draw(sheet: Array, pixels: Array, of: Triangles, kind: int, layer: float, facing: int = 0) -> None:
        seen.triangle.fill(-1)
        raster.rasterise(pixels, of, *seen, facing)
        shading.draw_sheet(image, seen, sheet, of, kind, layer, materials, light, scene.distance)

    draw(solid, pixels, _triangles_of(asset.LASHES), LASHES, 0.0)
    for sheet, layer in zip(strands, hair.LAYERS, strict=False):
        # Hair that falls shows its inside behind the neck; other hair has none to show.
        draw(sheet, view.screen(sheet), hair.sheet_triangles(), HAIR, layer, facing=int(look.hair.length is None))
    if lenses is not None:
        glass = _mesh_attributes(view.place(lenses.points), lenses)
        draw(glass, view.screen(glass), lenses.triangles, LENS, 0.0)
    if scene.occluder is not None:
        surroundings.hold_before(
            image, scene.occluder, scene.lamp.ambient + 0.5 * scene.lamp.strength * scene.lamp.colour
        )
    return image


def _worn(scene: Scene, vertices: Array) -> tuple[list[tuple[wear.Mesh, int, bool]], wear.Mesh | None]:
    """What is worn: meshes, what they are of, and whether they cast shadows; and the lenses of glasses."""
    look = scene.look
    worn: list[tuple[wear.Mesh, int, bool]] = []
    lenses = None
    if look.glasses is not None:
        frame, lenses = wear.glasses_on(look.glasses, vertices)
        worn.append((frame, RIM, False))  # too thin for the shadow map
    if look.mask is not None:
        worn.append((wear.mask_on(vertices, scene.background), FABRIC, False))  # too near to the skin for it
    if look.hat is not None:
        worn.append((wear.hat_on(look.hat, vertices), FABRIC, True))
    return worn, lenses


class _View:
    """From the head's space to the camera's, and on to the pixels of the aligned picture."""

    def __init__(self, scene: Scene, vertices: Array, size: int) -> None:
        eyes = vertices[_eyeballs()].mean(1)  # [2, 3]
        middle = (eyes[0] + eyes[1]) / 2
        centre = np.array([0, middle[1] - 0.1, middle[2] - 0.75], np.float32)  # of the head, which it turns about
        self.turn, self.distance = rotation(scene.yaw, scene.pitch, scene.roll), scene.distance
        self._shift = -(self.turn * centre).sum(1)
        marks = np.concatenate([eyes[::-1] + _AHEAD, vertices[_marks()] + _TO_MARKS])
        flat = raster.project(self.place(marks), self.distance, _FLAT)[:, :2]
        # The jitter stands for a detector's errors: what it would have found is sent to the template.
        scale = _SPREAD / math.sqrt(((flat - flat.sum(0) / 5) ** 2).sum(0).max() / 5)
        matrix = _onto_template(flat + scene.jitter / scale) * (size / alignment.SIZE * scene.zoom)
        matrix[:, 2] += (1 - scene.zoom) * size / 2
        self._matrix = matrix
        self.eyes = self.place(eyes)

    def place(self, points: Array) -> Array:
        """Into camera space, [N, 3]."""
        return raster.rotate(points, self.turn, self._shift)

    def screen(self, attributes: Array) -> Array:
        """Pixels at twice the resolution, and nearness: [V, 3]."""
        pixels: Array = raster.project(attributes, self.distance, 2 * self._matrix)
        return pixels


def _onto_template(marks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """:func:`elasticface.data.images.alignment.similarity` of one face, without what numpy takes for five points."""
    points, template = ([complex(x, y) for x, y in five.tolist()] for five in (marks, alignment.TEMPLATE))
    middle, target = sum(points) / 5, sum(template) / 5
    centred = [point - middle for point in points]
    turn = sum(c.conjugate() * (t - target) for c, t in zip(centred, template, strict=True))
    a = turn / sum(abs(c) ** 2 for c in centred)
    b = target - a * middle
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Turn about y, then x, then z; radians. float32 [3, 3]."""
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(angle), math.sin(angle)) for angle in (yaw, pitch, roll))
    return np.array(
        [
            [cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy],
            [sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy],
            [-cp * sy, sp, cp * cy],
        ],
        np.float32,
    )


def _attributes(places: Array, normals: Array, openness: Array | float, cover: Array | float) -> Array:
    """The attributes of vertices, [V, ATTRIBUTES], with what is not given at 0."""
    result: Array = shading.attributes_of(places, normals)
    result[:, shading.OPENNESS] = openness
    result[:, shading.COVER] = cover
    return result


def _head_attributes(places: Array, cover: Array) -> Array:
    head = asset.load()
    result = _attributes(places, shape.normals(places, _triangles_of(asset.SKIN)), _openness(), cover)
    for axis in range(2):  # numpy is slow with rows of two
        result[:, shading.TEXTURE + axis] = head.uv[:, axis]
    return result


@cache
def _openness() -> Array:
    """Of the head's vertices, [V]: half hidden ones get less than half of the light from around."""
    return np.asarray(asset.load().occlusion ** 0.9, np.float32)


def _mesh_attributes(places: Array, mesh: wear.Mesh) -> Array:
    return _attributes(places, shape.normals(places, mesh.triangles), 0.85, mesh.shade)


def _sheet_attributes(layers: list[Array], sheets: hair.Sheets) -> list[Array]:
    """Of each layer. The layers run nearly side by side, so the middle one's directions serve for all."""
    rows, columns = sheets.alpha.shape
    middle = layers[len(layers) // 2]
    result = _attributes(middle, shape.normals(middle, hair.sheet_triangles()), 1, sheets.alpha.ravel())
    result[:, shading.TEXTURE] = _across(rows, columns)
    result[:, shading.TEXTURE + 1] = sheets.along.ravel()
    tangents = result[:, shading.TANGENT : shading.TANGENT + 3]
    np.subtract(middle[columns:], middle[:-columns], out=tangents[:-columns])
    tangents[-columns:] = tangents[-2 * columns : -columns]
    others = [result.copy() for _ in layers[1:]]
    for attributes, places in zip([result, *others], layers, strict=True):
        attributes[:, shading.POSITION : shading.POSITION + 3] = places
    return [result, *others]


@cache
def _across(rows: int, columns: int) -> Array:
    """Around the head, 0..1, at each node of a sheet."""
    return np.tile(np.linspace(0, 1, columns, dtype=np.float32), rows)


def _light(scene: Scene, casting: list[tuple[Array, Triangles, int]]) -> Light:
    lamp = scene.lamp
    cos = math.cos(lamp.elevation)
    # Turned by azimuth and elevation, the camera's own axes are those of the lamp.
    x, y, z = math.sin(lamp.azimuth) * cos, math.sin(lamp.elevation), math.cos(lamp.azimuth) * cos
    right = (math.cos(lamp.azimuth), 0.0, -math.sin(lamp.azimuth))
    up = (-y * math.sin(lamp.azimuth), cos, -y * math.cos(lamp.azimuth))
    frame = np.array([right, up, (x, y, z)], np.float32)
    return Light(
        right=shading.vector(frame[0]),
        up=shading.vector(frame[1]),
        direction=shading.vector(frame[2]),
        colour=shading.vector(1.1 * lamp.strength * lamp.colour),
        ambient=shading.vector(lamp.ambient),
        gradient=tuple(map(shading.vector, lamp.gradient)),
        shadow=raster.cast_shadows(casting, frame, _REACH),
        reach=_REACH,
    )


def _materials(sitter: Sitter, scene: Scene, view: _View) -> Materials:
    look, person = scene.look, sitter.person
    skin = texture.paint(sitter.skin, person, look.paint)
    glasses = look.glasses
    clear = np.zeros(4)
    gaze = view.turn @ rotation(scene.gaze[0], scene.gaze[1], 0)
    return Materials(
        skin=skin.surface,
        relief=skin.relief,
        hair=look.paint.hair_colour.astype(np.float32),
        gloss=look.hair.gloss,
        curls=look.hair.curls,
        strands=_strands(),
        lumps=_lumps(),
        eyes=view.eyes,
        gaze=np.ascontiguousarray(gaze.T, np.float32),
        iris=person.iris.astype(np.float32),
        pupil=person.pupil,
        sclera=person.sclera,
        rim=(np.zeros(3) if glasses is None else glasses.colour).astype(np.float32),
        lens=(clear if glasses is None else np.array([0.015, 0.015, 0.018, glasses.dark])).astype(np.float32),
        fabric=_fabric(look),
        cloth=look.cloth.astype(np.float32),
        neckline=float((asset.TOP - look.neckline) / (asset.TOP - asset.BOTTOM)),
    )


def _fabric(look: Look) -> Array:
    """The albedo [3] of mask and hat: who wears both wears them in one colour."""
    hat = np.zeros(3) if look.hat is None else look.hat.colour
    return (hat if look.mask is None else look.mask).astype(np.float32)


@cache
def _eyeballs() -> NDArray[np.int64]:
    """The vertices of the left and the right eye, [2, n]."""
    head = asset.load()
    return np.stack([head.left_eye, head.right_eye])


@cache
def _marks() -> NDArray[np.int64]:
    """The vertices of nose and mouth that alignment goes by."""
    head = asset.load()
    return np.array([head.nose_tip, head.right_mouth, head.left_mouth])


@cache
def _triangles_of(*parts: int) -> Triangles:
    """The head's triangles that are one of these parts."""
    head = asset.load()
    return np.ascontiguousarray(head.triangles[np.isin(head.parts, parts)])


@cache
def _solid_parts() -> NDArray[np.uint8]:
    """What the triangles of ``_triangles_of(*_SOLID)`` are made of."""
    parts = asset.load().parts
    return parts[np.isin(parts, _SOLID)]


@cache
def _outer_triangles() -> Triangles:
    """The skin's triangles without the mouth's cavity."""
    skin = _triangles_of(asset.SKIN)
    return skin[(asset.load().inside_mouth[skin] < 0.5).any(1)]


def _dense_triangles(sheets: hair.Sheets) -> Triangles:
    """The triangles of a sheet that are dense enough to cast a shadow."""
    dense = sheets.alpha > 0.6
    a, b, c, d = dense[:-1, :-1], dense[1:, :-1], dense[1:, 1:], dense[:-1, 1:]  # as in surface.grid_triangles
    return hair.sheet_triangles().compress(np.concatenate([(a & b & c).ravel(), (a & c & d).ravel()]), axis=0)


@cache
def _strands() -> Array:
    """Noise along hairs, [256, 512], 0..1 around 0.5; rows run along the hair."""
    return surface.smooth_noise("strands of hair", 256, 512, along=14, across=0.9)


@cache
def _lumps() -> Array:
    """Noise of curls, [256, 256], 0..1 around 0.5."""
    return surface.smooth_noise("curls", 256, 256, along=1.6, across=1.6)
