"""A person's skin as a texture, and what is painted on it for a photo: brows, beard, make-up.

The texture is a cylinder around the head: columns are angles, rows heights. Its coordinates are places on the average
head in decimetres, so that a mole stays where it is whatever the face's shape.

Skin colour follows two pigments by Beer and Lambert: albedo = base · exp(-melanin · m - haemoglobin · h), with the
channels' absorptions m and h.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic import asset
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.surface import smooth_field, smooth_step

Map = NDArray[np.float32]  # [H, W]
Region = tuple[slice, slice]  # rows and columns of the texture

HEIGHT, WIDTH = 240, 288
"""Texels: 1.4 mm each, where a pixel of an aligned picture is 1.8 mm of a face."""

BASE = np.array([0.70, 0.57, 0.49], np.float32)  # linear RGB albedo of skin without pigment
MELANIN = np.array([0.80, 1.05, 1.40], np.float32)
HAEMOGLOBIN = np.array([0.10, 0.52, 0.46], np.float32)
LASH_COLOUR = np.array([0.05, 0.03, 0.025], np.float32)

BEARDS = ("full", "moustache and chin", "moustache", "goatee")
LIPSTICKS = np.array([[0.42, 0.06, 0.08], [0.33, 0.05, 0.10], [0.48, 0.17, 0.16], [0.25, 0.04, 0.06]], np.float32)
EYE_SHADOWS = np.array([[0.10, 0.06, 0.05], [0.06, 0.06, 0.08], [0.12, 0.05, 0.06]], np.float32)


@dataclass(frozen=True)
class Skin:
    """What the renderer needs of a skin, in the texture's coordinates."""

    surface: NDArray[np.float32]  # [H, W, 4]: linear RGB albedo, and strength of the gloss
    relief: Map  # height of pores and folds, in the renderer's units


@dataclass(frozen=True)
class Paint:
    """What is on the skin of one photo."""

    brow_thickness: float  # times the person's own
    brow_density: float  # likewise
    hair_colour: NDArray[np.float64]  # [3] linear RGB albedo, of brows and beard
    beard: float  # 0 shaven .. 1
    beard_form: int  # index of BEARDS
    lipstick: float  # 0..1
    lipstick_colour: int  # row of LIPSTICKS
    eye_shadow: float  # 0..1
    eye_shadow_colour: int  # row of EYE_SHADOWS


def draw_skin(person: Person, seed: int) -> Skin:
    """The bare skin of a person."""
    place = _places()
    r = keyed.generator(seed, "synthetic skin", person.number)
    melanin, haemoglobin = _melanin(person, r), _haemoglobin(person, r)
    _add_marks(person, r, melanin, haemoglobin)
    of_lips = person.lips.tolist()
    melanin += place.lips * of_lips[0]
    haemoglobin += place.lips * of_lips[1]
    relief = _relief(person, r)
    np.clip(melanin, 0.02, 3, out=melanin)
    np.clip(haemoglobin, 0, 2.5, out=haemoglobin)
    surface = np.empty((*melanin.shape, 4), np.float32)
    shade = 1 + 0.13 * np.clip(relief, -3, 1)
    for channel in range(3):
        absorbed = melanin * MELANIN[channel] + haemoglobin * HAEMOGLOBIN[channel]
        surface[..., channel] = BASE[channel] * np.exp(-absorbed) * shade
    surface[..., 3] = np.clip(_gloss() * (1 + 0.15 * _noise(r, 1)) * person.oiliness, 0.03, 2)
    eyes = _region(7.1, 7.6, 0.9)
    _cover(surface[eyes], (0.45 + 0.3 * (person.sex < 0.5)) * place.lid_edges[eyes], LASH_COLOUR)
    surface.reshape(-1, 4)[_uncovered()] = cv2.mean(surface, place.covered.view(np.uint8))
    return Skin(surface, (0.06 * relief).astype(np.float32))


def _melanin(person: Person, r: np.random.Generator) -> Map:
    """Without marks and lips: uneven, more in the nostrils and under the eyes, more or less in their sockets."""
    # People's numbers as Python's, here and below: numpy's own would make float64 of all the maps.
    place, eye_circles = _places(), person.eye_circles.tolist()
    melanin: Map = (
        person.melanin
        + (1 + 0.5 * person.melanin) * 0.05 * _noise(r, 4)
        + 0.035 * person.blotches * _noise(r, 3)
        + 0.025 * person.blotches * _noise(r, 2)
        + place.front
        * (
            _spot(0.29, 7.12, 0.14, 0.07) * eye_circles[0]
            + (_spot(0.29, 7.365, 0.23, 0.07) + 0.7 * _spot(0.44, 7.29, 0.09, 0.06)) * eye_circles[1]
            + 0.9 * _spot(0.085, 6.855, 0.06, 0.022)
        )
    )
    return melanin


def _haemoglobin(person: Person, r: np.random.Generator) -> Map:
    """Without marks and lips: uneven, more on cheeks, nose and chin and around the eyes."""
    place, eye_circles, ruddiness = _places(), person.eye_circles.tolist(), person.ruddiness.tolist()
    haemoglobin: Map = (
        person.haemoglobin
        + 0.07 * _noise(r, 4)
        + 0.06 * person.blotches * _noise(r, 3)
        + 0.05 * person.blotches * _noise(r, 1)
        + place.front
        * (
            _spot(0.45, 6.85, 0.20, 0.16) * ruddiness[0]
            + _spot(0.00, 6.90, 0.12, 0.12) * ruddiness[1]
            + _spot(0.00, 6.30, 0.20, 0.10) * ruddiness[2]
            + _spot(0.29, 7.30, 0.20, 0.10) * eye_circles[2]
        )
    )
    return haemoglobin


def _add_marks(person: Person, r: np.random.Generator, melanin: Map, haemoglobin: Map) -> None:
    """Freckles, moles and a scar, in place."""
    place = _places()
    if person.freckles:
        grains = _smooth(1.3, 2.2, _noise(r, 0) + 0.3 * _noise(r, 1))
        melanin += person.freckles * grains * place.front * _spot(0.3, 6.95, 0.45, 0.3)
    for x, y, radius, darkness in person.moles.tolist():
        near = _region(y - 4 * radius, y + 4 * radius, 1)
        away = (place.x[near] - x) ** 2 + (place.y[near] - y) ** 2
        melanin[near] += darkness * np.exp(away / -(radius**2)) * place.front[near]
    if person.scar is not None:
        x, y, angle, length, width, redness = person.scar.tolist()
        near = _region(y - 3 * length, y + 3 * length, 1)
        cos, sin, dx, dy = math.cos(angle), math.sin(angle), place.x[near] - x, place.y[near] - y
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        haemoglobin[near] += redness * np.exp(-((along / length) ** 2) - (across / width) ** 2) * place.front[near]


@cache
def _uncovered() -> NDArray[np.int64]:
    """The texels without skin."""
    return np.flatnonzero(~_places().covered)


@cache
def _gloss() -> Map:
    """Of an oily skin: the ridge of the nose, the forehead and the lips shine."""
    place = _places()
    gloss = (0.55 + 0.45 * _spot(0, 7, 0.14, 0.5) + 0.2 * (place.y > 7.6)) * place.front + 0.3 + 0.9 * place.lips
    return gloss.astype(np.float32)


def paint(skin: Skin, person: Person, look: Paint) -> Skin:
    """The skin with brows, beard and make-up on it; a new surface over the same relief."""
    place = _places()
    surface = skin.surface.copy()
    colour = look.hair_colour.astype(np.float32)
    if look.lipstick:
        mouth = _region(6.4, 6.9, 0.6)
        _cover(surface[mouth], place.lips[mouth] * look.lipstick, LIPSTICKS[look.lipstick_colour])
    if look.eye_shadow:
        eyes = _region(7.15, 7.6, 0.8)
        shadow = _spot(0.30, 7.36, 0.17, 0.06)[eyes] * place.front[eyes]
        _cover(surface[eyes], look.eye_shadow * shadow, EYE_SHADOWS[look.eye_shadow_colour])
    brows = _region(7.25, 7.75, 0.8)
    _draw_brows(
        surface[brows],
        place.across[brows],
        place.y[brows],
        place.front[brows],
        hairs()[brows],
        tuple(vars(person.brows).values()),
        look.brow_thickness,
        look.brow_density,
        np.float32(0.6) * colour + np.float32(0.004),
    )
    if look.beard:
        _cover(surface[_jaw()], _beard(look), np.float32(0.7) * colour + np.float32(0.004))
    return Skin(surface, skin.relief)


@dataclass(frozen=True)
class _Places:
    """Maps over the texture."""

    x: Map
    across: Map  # |x|
    y: Map
    z: Map
    front: Map  # 1 on the front of the face, 0 at its sides and inside
    covered: NDArray[np.bool_]  # where there is skin at all
    lips: Map
    lid_edges: Map


@cache
def _places() -> _Places:
    head = asset.load()
    positions, covered = asset.position_map(head, HEIGHT, WIDTH)
    lips, eyelids = (
        cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for mask in (head.lips, head.eyelids)
    )
    x, y, z = (np.ascontiguousarray(positions[..., axis]) for axis in range(3))
    return _Places(
        x, np.abs(x), y, z, _smooth(0.6, 1.0, z), covered, np.asarray(lips), _smooth(0.45, 0.9, np.asarray(eyelids))
    )


@cache
def _noises() -> NDArray[np.float32]:
    """Smooth noise, periodic, of unit variance: [level, copy, H, W], levels from pores to half a cheek."""
    r = keyed.generator(0, "synthetic noise")
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    result = np.empty((5, 3, HEIGHT, WIDTH), np.float32)
    for level, radius in enumerate((0.5, 1.1, 2.7, 7.2, 18.0)):  # texels
        blur = np.exp(-2 * (np.pi * radius) ** 2 * (fx**2 + fy**2))
        for copy in range(3):
            field = np.fft.irfft2(np.fft.rfft2(r.standard_normal((HEIGHT, WIDTH))) * blur, s=(HEIGHT, WIDTH))
            result[level, copy] = field / field.std()
    return result


@cache
def hairs() -> Map:
    """Noise drawn out up and down, of unit variance: the hairs of brows and beards."""
    field = smooth_field("synthetic strands", HEIGHT, WIDTH, along=1.3, across=0.5)
    noise: Map = (field / field.std()).astype(np.float32)
    return noise


def _noise(r: np.random.Generator, level: int) -> Map:
    field: Map = _noises()[level, r.integers(3)]
    field = np.roll(field, int(r.integers(len(field))), axis=0)
    return field[:, ::-1] if r.random() < 0.5 else field


def _relief(person: Person, r: np.random.Generator) -> Map:
    """Pores everywhere; folds over and under the eyes and beside the mouth, and, with age, across the forehead."""
    place = _places()
    aged = float(_smooth(0.25, 0.9, person.age))
    pores = 0.14 * _noise(r, 0) + 0.14 * _noise(r, 1) + 0.12 * aged * _noise(r, 2)
    relief: Map = pores.astype(np.float32) * np.float32(person.roughness * (0.5 + 0.7 * person.age))
    depths = person.wrinkles.tolist()
    forehead = _region(7.55, 8.05, 1)
    x, y = place.x[forehead], place.y[forehead]
    middle = aged * 2 * _smooth(0.5, 0.3, place.across[forehead]) * place.front[forehead]
    for fold in range(4):
        line = 7.62 + 0.1 * fold + 0.03 * np.cos(x * 5 + 6.28 * depths[fold])
        relief[forehead] -= depths[fold] * _band(y - line, 0.014) * middle
    cheeks = _region(6.5, 7.3, 1.2)
    across, y, front = place.across[cheeks], place.y[cheeks], place.front[cheeks]
    line = 0.17 + (6.93 - y) * 0.42
    ends = _smooth(6.5, 6.65, y) * _smooth(6.99, 6.88, y)
    relief[cheeks] -= (0.3 + 1.2 * aged) * 1.8 * depths[4] * _band(across - line, 0.024) * ends * front
    line = 7.12 + 0.96 * (across - 0.3) ** 2
    bags = _band(y - line, 0.016) + 0.7 * _band(y - (line - 0.05), 0.012)
    under_eyes = _spot(0.3, 7.12, 0.16, 0.1)[cheeks] * front
    relief[cheeks] -= (0.9 + 1.4 * aged) * depths[5] * bags * under_eyes
    corners = _region(7.0, 7.6, 1.2)
    across, y, front = place.across[corners], place.y[corners], place.front[corners]
    turn = np.arctan2(y - 7.27, across - 0.44)  # crow's feet are rays from the eyes' corners
    out = np.hypot(y - 7.27, across - 0.44)
    rays = np.maximum(0, np.cos(turn * 9 + 6.28 * depths[6])) ** 3 * _smooth(1.0, 0.7, np.abs(turn))
    relief[corners] -= aged * 2 * depths[6] * rays * _smooth(0.03, 0.07, out) * _smooth(0.2, 0.1, out)
    between = _band(across - 0.045 - 0.02 * depths[7], 0.012) * _smooth(7.36, 7.42, y) * _smooth(7.6, 7.5, y)
    relief[corners] -= aged * 1.6 * depths[7] * between * front
    lids = _region(7.2, 7.7, 0.9)
    across, y, front = place.across[lids], place.y[lids], place.front[lids]
    height, depth, rise = person.lids.tolist()
    line = 7.345 + height - 2.2 * (across - 0.31) ** 2 + rise * (across - 0.31)
    ends = _smooth(0.12, 0.2, across) * _smooth(0.58, 0.47, across)
    relief[lids] -= 2.2 * depth * _band(y - line, 0.02) * ends * front
    return relief


@numba.njit(cache=True, error_model="numpy")
def _draw_brows(
    surface: Any,
    across: Any,
    y: Any,
    front: Any,
    hairs: Any,
    brows: Any,  # the fields of a person's
    thickness: float,
    density: float,
    colour: Any,
) -> None:  # pragma: no cover - compiled
    """Cover a part of the surface [H, W, 4] with brows, in place; ``across`` to ``hairs`` are maps of that part."""
    inner, outer, height, arch, apex, tilt, drop, half, dense, joined = brows
    for row in range(across.shape[0]):
        for column in range(across.shape[1]):
            x, up = across[row, column], y[row, column] - height
            t = (x - inner) / (outer - inner)
            middle = arch * (1 - ((t - apex) / apex) ** 2) + tilt * (t - 0.5) - drop * max(t - apex, 0.0) ** 2
            width = half * thickness * (1.1 - 0.55 * min(max(t, 0.0), 1.0)) * (1 + 0.12 * hairs[row, column])
            off = (up - middle) / max(width, 1e-3)
            cover = 0.0
            if abs(off) < 3 and -0.12 < t < 1.08:
                cover = math.exp(-off * off) * _step(-0.12, 0.2, t) * _step(1.08, 0.8, t)
            between = (up + 0.02) / half
            if joined > 0 and abs(between) < 3 and x < inner + 0.08:
                share = joined * density * _step(inner + 0.08, inner, x)
                cover = max(cover, share * math.exp(-between * between))
            cover *= min(max(dense * density + 0.12 * hairs[row, column], 0.0), 1.0) * front[row, column]
            for c in range(3):
                surface[row, column, c] += cover * (colour[c] - surface[row, column, c])


@numba.njit(cache=True, error_model="numpy", inline="always")
def _step(start: float, end: float, x: float) -> float:  # pragma: no cover - compiled
    """:func:`elasticface.data.synthetic.surface.smooth_step` of one number, again in each file: see `shading`."""
    t = min(max((x - start) / (end - start), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _jaw() -> Region:
    """Where beards may grow."""
    return _region(5.9, 7.3, 1.6)


def _beard(look: Paint) -> Map:
    """How much of the jaw's skin the beard covers."""
    cover = _beard_forms()[look.beard_form] * np.float32(look.beard)
    cover *= 1 + np.float32(0.12 + 0.15 * look.beard) * hairs()[_jaw()]
    return np.clip(cover, 0, 0.95, out=cover)


@cache
def _beard_forms() -> tuple[Map, ...]:
    """Where on the jaw each of ``BEARDS`` grows, 0..1."""
    place, region = _places(), _jaw()
    across, y, z = place.across[region], place.y[region], place.z[region]
    moustache = _band(y - 6.745 + 0.25 * across**2, 0.05) * _smooth(0.4, 0.24, across) * place.front[region]
    cheeks = (
        _smooth(0.25, 0.5, across + (6.7 - y) * 0.9)
        * _smooth(7.2, 6.72, y + 0.1 * across)
        * _smooth(0.5, 0.75, across + 0.15)
    )
    chin = np.exp(-((across / 0.22) ** 2)) * _smooth(6.52, 6.36, y)
    under = _smooth(6.45, 6.3, y) * _smooth(6.0, 6.25, y) * _smooth(0.5, 0.8, z)
    full = np.maximum.reduce([cheeks, chin, under])
    grows = (1 - place.lips[region]) * _smooth(0.2, 0.5, z) * _smooth(6.0, 6.2, y)
    forms = np.maximum(moustache, full), np.maximum(moustache, chin), moustache, chin
    return tuple((form * grows).astype(np.float32) for form in forms)


@numba.njit(cache=True, error_model="numpy")
def _cover(surface: Any, share: Any, colour: Any) -> None:  # pragma: no cover - compiled
    """Mix a colour [3] into the albedo of ``surface`` [H, W, 4] by ``share`` [H, W], in place."""
    for row in range(len(share)):
        for column in range(share.shape[1]):
            for c in range(3):
                surface[row, column, c] += share[row, column] * (colour[c] - surface[row, column, c])


def _region(low: float, high: float, around: float) -> Region:
    """The part of the texture between two heights, up to an angle to either side of the front."""
    first, last = (round((asset.TOP - y) / (asset.TOP - asset.BOTTOM) * HEIGHT) for y in (high, low))
    half = round(around / (2 * asset.HALF_ANGLE) * WIDTH)
    return slice(first, last), slice(WIDTH // 2 - half, WIDTH // 2 + half)


@cache
def _spot(x: float, y: float, width: float, height: float) -> Map:
    """A soft spot on both sides of the face, 1 in its middle."""
    place = _places()
    return np.exp(-(((place.across - x) / width) ** 2) - ((place.y - y) / height) ** 2).astype(np.float32)


def _band(distance: Map, width: Map | float) -> Map:
    return np.asarray(np.exp(-((distance / width) ** 2)), np.float32)


def _smooth(start: float, end: float, x: NDArray[np.float32] | float) -> Map:
    return np.asarray(smooth_step(start, end, np.asarray(x, np.float32)), np.float32)
