"""A scene becomes light: the sitter's head is posed, dressed and lit, and what reaches the camera is drawn.

Alignment is exact: the five landmarks are known in 3-D, and the similarity onto the ArcFace template is applied to the
projected vertices before anything is drawn, so no picture is ever resampled.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from elasticface.data.images import alignment
from elasticface.data.synthetic import asset, camera, hair, raster, shading, shape, surface, texture, wear
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.raster import Array, Triangles
from elasticface.data.synthetic.scene import Look, Scene
from elasticface.data.synthetic.shading import ATTRIBUTES, FABRIC, HAIR, LASHES, LENS, RIM, Light, Materials

_SOLID = (asset.SKIN, asset.EYE, asset.TEETH, asset.TONGUE)
_REACH = 1.6  # decimetres around the face that cast and catch shadows
# Detectors, and so the template, mark the middle of the nose's tip: it lies higher than the foremost vertex.
_NOSE = np.array([0, 0.045, 0], np.float32)
_SPREAD = float(np.std(alignment.TEMPLATE, axis=0).max())  # of the landmarks from top to bottom, pixels


@dataclass(frozen=True)
class Sitter:
    """A person with the head and skin that are the same on all photos."""

    person: Person
    vertices: Array  # [V, 3] at rest
    skin: texture.Skin


def expose(sitter: Sitter, scene: Scene, size: int) -> Array:
    """The light that reaches the camera, linear RGB [size, size, 3]."""
    head, look, person = asset.load(), scene.look, sitter.person
    vertices = shape.express(sitter.vertices, scene.units)
    eyes = np.stack([vertices[head.left_eye].mean(0), vertices[head.right_eye].mean(0)])
    centre = np.array([0, eyes[:, 1].mean() - 0.1, eyes[:, 2].mean() - 0.75], np.float32)
    turn = rotation(scene.yaw, scene.pitch, scene.roll)
    view = _View(centre, turn, scene, eyes, vertices, size)

    attributes = [_head_attributes(view, vertices, hair.scalp_cover(look.hair, person))]
    style = look.hair if look.hat is None else hair.under_hat(look.hair)
    triangles, parts = [_triangles_of(*_SOLID)], [head.parts[head.parts != asset.LASHES]]
    lenses, worn = None, []
    if look.glasses is not None:
        frame, lenses = wear.glasses_on(look.glasses, vertices)
        worn.append((frame, RIM))
    if look.mask is not None:
        worn.append((wear.mask_on(vertices, scene.background), FABRIC))
    if look.hat is not None:
        worn.append((wear.hat_on(look.hat, vertices), FABRIC))
    for mesh, part in worn:
        triangles.append(mesh.triangles + np.int32(sum(map(len, attributes))))
        parts.append(np.full(len(mesh.triangles), part, np.uint8))
        attributes.append(_mesh_attributes(view, mesh))
    solid = np.concatenate(attributes)
    solid_triangles, solid_parts = np.concatenate(triangles), np.concatenate(parts)
    sheets = hair.grow(style, person, vertices)
    strands = [] if sheets is None else _sheet_attributes(view, sheets)

    # What is worn on the face is too thin for the shadow map.
    casting = [(np.ascontiguousarray(attributes[0][:, :3]), triangles[0], 1)]
    if look.hat is not None:
        casting.append((np.ascontiguousarray(attributes[-1][:, :3]), mesh.triangles, 0))
    if strands:
        casting.append((np.ascontiguousarray(strands[-1][:, :3]), _dense_triangles(sheets), 0))
    light = _light(scene, casting)
    materials = _materials(sitter, scene, view)

    image = camera.background(scene.background, size)
    seen = raster.buffers(size)
    pixels = view.screen(solid)
    raster.rasterise(pixels, solid_triangles, *seen, 1)
    shading.draw_surfaces(image, seen, solid, solid_triangles, solid_parts, materials, light, scene.distance)

    def draw(sheet: Array, pixels: Array, of: Triangles, kind: int, layer: float, facing: int = 0) -> None:
        seen.triangle.fill(-1)
        raster.rasterise(pixels, of, *seen, facing)
        shading.draw_sheet(image, seen, sheet, of, kind, layer, materials, light, scene.distance)

    draw(solid, pixels, _triangles_of(asset.LASHES), LASHES, 0.0)
    for sheet, layer in zip(strands, hair.LAYERS, strict=False):
        # Hair that falls shows its inside behind the neck; other hair has none to show.
        draw(sheet, view.screen(sheet), hair.sheet_triangles(), HAIR, layer, facing=int(look.hair.length is None))
    if lenses is not None:
        glass = _mesh_attributes(view, lenses)
        draw(glass, view.screen(glass), lenses.triangles, LENS, 0.0)
    if scene.occluder is not None:
        camera.hold_before(image, scene.occluder, scene.lamp.ambient + 0.5 * scene.lamp.strength * scene.lamp.colour)
    return image


class _View:
    """From the head's space to the camera's, and on to the pixels of the aligned picture."""

    def __init__(self, centre: Array, turn: Array, scene: Scene, eyes: Array, vertices: Array, size: int) -> None:
        self.centre, self.turn, self.distance = centre, turn, scene.distance
        head = asset.load()
        ahead = np.array([0, 0, 0.13], np.float32)  # to the front of the eyeball
        mouth = vertices[[head.right_mouth, head.left_mouth]]
        marks = [eyes[1] + ahead, eyes[0] + ahead, vertices[head.nose_tip] + _NOSE, *mouth]
        flat = raster.project(self.place(np.stack(marks).astype(np.float32)), self.distance, np.eye(2, 3))[:, :2]
        # The jitter stands for a detector's errors: what it would have found is sent to the template.
        scale = _SPREAD / float(np.std(flat, axis=0).max())
        matrix = alignment.similarity(flat + scene.jitter / scale) * (size / alignment.SIZE * scene.zoom)
        matrix[:, 2] += (1 - scene.zoom) * size / 2
        self._matrix = matrix
        self.eyes = self.place(eyes.astype(np.float32))

    def place(self, points: Array) -> Array:
        """Into camera space, [N, 3]."""
        return raster.rotate(points - self.centre, self.turn)

    def screen(self, attributes: Array) -> Array:
        """Pixels at twice the resolution, and nearness: [V, 3]."""
        pixels: Array = raster.project(attributes, self.distance, 2 * self._matrix)
        return pixels


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
    result = np.zeros((len(places), ATTRIBUTES), np.float32)
    result[:, shading.POSITION : shading.POSITION + 3] = places
    result[:, shading.NORMAL : shading.NORMAL + 3] = normals
    result[:, shading.OPENNESS] = openness
    result[:, shading.COVER] = cover
    return result


def _head_attributes(view: _View, vertices: Array, cover: Array) -> Array:
    head = asset.load()
    normals = shape.normals(vertices, _triangles_of(asset.SKIN))
    result = _attributes(view.place(vertices), raster.rotate(normals, view.turn), _openness(), cover)
    result[:, shading.TEXTURE : shading.TEXTURE + 2] = head.uv
    return result


@cache
def _openness() -> Array:
    """Of the head's vertices, [V]: half hidden ones get less than half of the light from around."""
    return np.asarray(asset.load().occlusion ** 1.3, np.float32)


def _mesh_attributes(view: _View, mesh: wear.Mesh) -> Array:
    places = view.place(mesh.points)
    return _attributes(places, shape.normals(places, mesh.triangles), 0.85, mesh.shade)


def _sheet_attributes(view: _View, sheets: hair.Sheets) -> list[Array]:
    """Of each layer. The layers run nearly side by side, so the middle one's directions serve for all."""
    rows, columns = sheets.alpha.shape
    places = [view.place(layer.reshape(-1, 3)) for layer in sheets.points]
    middle = places[len(places) // 2]
    result = _attributes(middle, shape.normals(middle, hair.sheet_triangles()), 1, sheets.alpha.ravel())
    result[:, shading.TEXTURE] = np.tile(np.linspace(0, 1, columns, dtype=np.float32), rows)
    result[:, shading.TEXTURE + 1] = sheets.along.ravel()
    grid = middle.reshape(rows, columns, 3)
    tangent = np.diff(grid, axis=0, append=2 * grid[-1:] - grid[-2:-1])
    result[:, shading.TANGENT : shading.TANGENT + 3] = tangent.reshape(-1, 3)
    layers = [result.copy() for _ in places]
    for layer, place in zip(layers, places, strict=True):
        layer[:, shading.POSITION : shading.POSITION + 3] = place
    return layers


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
def _triangles_of(*parts: int) -> Triangles:
    """The head's triangles that are one of these parts."""
    head = asset.load()
    return np.ascontiguousarray(head.triangles[np.isin(head.parts, parts)])


def _dense_triangles(sheets: hair.Sheets | None) -> Triangles:
    """The triangles of a sheet that are dense enough to cast a shadow."""
    assert sheets is not None
    triangles = hair.sheet_triangles()
    return triangles[(sheets.alpha.ravel()[triangles] > 0.6).all(1)]


@cache
def _strands() -> Array:
    """Noise along hairs, [256, 512], 0..1 around 0.5; rows run along the hair."""
    return surface.smooth_noise("strands of hair", 256, 512, along=14, across=0.9)


@cache
def _lumps() -> Array:
    """Noise of curls, [256, 256], 0..1 around 0.5."""
    return surface.smooth_noise("curls", 256, 256, along=1.6, across=1.6)
