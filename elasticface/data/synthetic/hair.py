"""Hair as soft sheets that follow the skull: from the crown to the hairline, and from there down if it is long.

A style says how thick the hair lies and where it ends; a sheet is a grid of points, rows along the strands and columns
around the head. Two sheets over each other, thinning outwards, give hair its depth.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic import asset
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.surface import Patch, attach, grid_triangles, smooth_step

Points = NDArray[np.float32]  # [..., 3]
Floats = NDArray[np.floating[Any]]

KINDS = ("bald", "buzz", "short", "side", "fringe", "bob", "long", "tied", "curly")
_OF_MEN = (0.08, 0.13, 0.34, 0.25, 0.04, 0.02, 0.04, 0.02, 0.08)
_OF_WOMEN = (0.0, 0.01, 0.06, 0.12, 0.06, 0.23, 0.33, 0.11, 0.08)

CENTRE = np.array([0.0, 7.5, 0.4], np.float32)  # of the skull
_ROWS, _COLUMNS = 36, 48  # of the scalp that sheets are cut from
_POLAR = np.linspace(0.10, 2.45, _ROWS)  # angle from straight up
_AZIMUTH = (np.arange(_COLUMNS) + 0.5) / _COLUMNS * 2 * np.pi - np.pi  # 0 is the front, positive the subject's left
DIRECTIONS = np.append(_AZIMUTH, _AZIMUTH[0] + 2 * np.pi)
"""Of a sheet's A columns, radians from the front; the first comes again as the last."""
_FROM_FRONT = np.abs(np.arctan2(np.sin(DIRECTIONS), np.cos(DIRECTIONS)))
_SCALP_LENGTH = 2.2  # of the scalp's rows together, from the crown to the neck, decimetres
SHEET_ROWS = 18
LAYERS = (0.4, 1.0)  # how far out each sheet lies

# The hairline's height at distances around the head from the front, on the average head.
_AROUND = (0, 0.3, 0.5, 0.7, 0.9, 1.1, 1.25, 1.42, 1.62, 1.8, 2.1, 3.15)
_LINE = (0.0, -0.01, -0.05, -0.13, -0.26, -0.42, -0.62, -0.86, -0.55, -0.85, -1.25, -1.4)
_FOREHEAD = 7.95  # the hairline's height at the front


@dataclass(frozen=True)
class HairStyle:
    """One way to wear one's hair. Lengths in decimetres on the average head."""

    kind: str  # one of KINDS
    cover: float  # of the scalp's skin by the roots, 0..1
    top: float  # how far the hair stands out over the crown
    side: float  # likewise beside it
    sweep: float  # how far it falls over one side of the forehead; negative on the subject's right
    fringe: float | None  # height of its end on the forehead, None where the forehead is free
    length: float | None  # height where hair that falls ends, None where none falls
    opening: float  # angle from the front where falling hair begins, radians
    parting: float  # place of the parting, -1 the subject's right .. 1 left
    waves: float  # sideways swing of the falling hair
    curls: float  # 0 straight .. 1 tight
    gloss: float  # 0 dull .. 1 shining
    key: int  # of its random details


@dataclass(frozen=True)
class Sheets:
    """The sheets of hair over one head, R rows and A columns each; the first column is repeated as the last."""

    points: Points  # [layers, R, A, 3]
    alpha: NDArray[np.float32]  # [R, A], 0 where there is none .. 1
    along: NDArray[np.float32]  # [R, A], distance from the root


def draw_style(key: int, person: Person) -> HairStyle:
    """A style that suits the person."""
    return _draw_style(key, person.sex > 0.5)


@lru_cache(maxsize=64)  # of people who mostly wear their hair as usual
def _draw_style(key: int, as_men: bool) -> HairStyle:
    r = keyed.generator(key, "synthetic hair")
    kind = str(r.choice(KINDS, p=_OF_MEN if as_men else _OF_WOMEN))
    top, side = {
        "bald": (0.0, 0.0),
        "buzz": (0.02, 0.015),
        "short": (r.uniform(0.06, 0.28), r.uniform(0.03, 0.13)),
        "side": (r.uniform(0.12, 0.36), r.uniform(0.06, 0.2)),
        "fringe": (r.uniform(0.12, 0.24), r.uniform(0.07, 0.15)),
        "bob": (r.uniform(0.10, 0.3), r.uniform(0.1, 0.24)),
        "long": (r.uniform(0.08, 0.28), r.uniform(0.08, 0.22)),
        "tied": (r.uniform(0.04, 0.10), r.uniform(0.03, 0.06)),
        "curly": (r.uniform(0.2, 0.55), r.uniform(0.12, 0.4)),
    }[kind]
    with_fringe = kind == "fringe" or (kind in ("bob", "long", "curly") and r.random() < 0.35)
    return HairStyle(
        kind=kind,
        cover={"bald": float(r.choice([0, 0.25])), "buzz": float(r.uniform(0.5, 0.85))}.get(kind, 0.95),
        top=float(top),
        side=float(side),
        sweep=float(r.uniform(0.05, 0.42) * r.choice([-1, 1])) if top > 0.1 and r.random() < 0.4 else 0.0,
        fringe=float(r.uniform(7.55, 7.88)) if with_fringe else None,
        length={"long": float(r.uniform(5.2, 6.2)), "bob": float(r.uniform(6.2, 6.8))}.get(kind),
        opening=float(r.uniform(0.95, 1.5)),
        parting=float(r.uniform(-0.8, 0.8)),
        waves=float(r.uniform(0, 0.07)),
        curls=float(r.uniform(0.6, 1) if kind == "curly" else r.uniform(0, 0.5) ** 2),
        gloss=float(r.uniform(0.2, 1)),
        key=key,
    )


def scalp_cover(style: HairStyle, person: Person) -> NDArray[np.float32]:
    """How much of the skin the roots of the hair hide, per vertex of the head, float32 [V], 0..1."""
    return _scalp_cover(style.cover, style.kind in ("bald", "buzz"), person.hairline, person.receding)


@lru_cache(maxsize=16)  # of people who mostly wear their hair as usual
def _scalp_cover(cover: float, sheared: bool, hairline: float, receding: float) -> NDArray[np.float32]:
    height, *parts = _vertex_hairlines()
    soft = 0.11 + 0.06 * sheared
    result = np.asarray(cover * smooth_step(-soft, 0.1, height - _hairline(hairline, receding, *parts)), np.float32)
    result.flags.writeable = False
    return result


def grow(style: HairStyle, person: Person, vertices: Points) -> Sheets | None:
    """The hair on a head with these vertices; None where it is too short to stand out."""
    if style.top < 0.03:
        return None
    r = keyed.generator(style.key, "synthetic strands of hair")
    # Of waves around the head: two along the hairline, of fringe and curls, two of bumps, of curls and falling hair.
    phase = r.uniform(0, 2 * np.pi, 6)
    scalp, shift = _scalp_on(vertices)
    azimuth, around = DIRECTIONS, _FROM_FRONT
    line = _hairline(person.hairline, person.receding, *_column_hairlines())
    line = line + 0.03 * np.sin(9 * azimuth + phase[0]) + 0.025 * np.sin(21 * azimuth + phase[1])
    hangs = np.zeros_like(azimuth)
    locks = r.normal(0, 1, _COLUMNS)  # each ends where it likes
    locks = (locks + np.roll(locks, 1))[np.r_[:_COLUMNS, 0]] / 1.4
    if style.sweep:
        side = 0.5 + 0.5 * np.sin(1.6 * azimuth * np.sign(style.sweep) - 0.2)
        lower = abs(style.sweep) * side * smooth_step(1.3, 0.6, around)
        line = line - lower * (1 + 0.2 * locks)
        hangs = smooth_step(0.02, 0.15, lower) * 0.7
    if style.fringe is not None:
        slant = 0.25 * style.parting * np.sin(azimuth) + 0.03 * np.sin(14 * azimuth + phase[2]) + 0.04 * locks
        fringe = smooth_step(1.15, 0.85, around)
        line = line + (np.minimum(line, style.fringe + slant) - line) * fringe
        hangs = np.maximum(hangs, fringe)
    falls = np.zeros_like(azimuth)
    if style.length is not None:
        falls = smooth_step(style.opening - 0.2, style.opening + 0.15, around)
        line = np.minimum(line, 7.35) * falls + line * (1 - falls)
    off_skin = np.maximum(hangs, falls)  # where the end stands off it
    # Elsewhere hair is combed away from the face: where it begins the roots show alone, without ends.
    end = _rows_at_height(_falling_heights(), line + 0.08 * (1 - off_skin))  # [A], fractional rows of the scalp

    points = np.empty((len(LAYERS), SHEET_ROWS, len(azimuth), 3), np.float32)
    alpha, along = np.empty((2, *points.shape[1:3]), np.float32)
    centre = CENTRE + shift
    _lay(scalp, centre, end, off_skin, azimuth, phase, style.top, style.side, style.parting, style.curls, points)
    _thin_out(end, hangs, off_skin, alpha, along)
    if style.length is not None:
        _let_fall(falls, azimuth, phase, style.length + float(shift[1]), style.waves, points, along)
    return Sheets(points, alpha, along)


def sheet_triangles() -> NDArray[np.int32]:
    """The triangles of one sheet."""
    return grid_triangles(SHEET_ROWS, _COLUMNS + 1)


def under_hat(style: HairStyle) -> HairStyle:
    """The style with a hat on it: flat, and off the forehead."""
    return replace(style, top=min(style.top, 0.035), side=min(style.side, 0.05), fringe=None, sweep=0.0)


def shell(vertices: Points, heights: Floats, thickness: float) -> Points:
    """A sheet around the head from the crown to some heights, as hats and scarves are.

    Args:
        vertices: of the head.
        heights: where it ends on the average head in each of ``DIRECTIONS``, [A].
        thickness: how far it stands off the skin, decimetres.

    Returns:
        float32 [SHEET_ROWS, A, 3]; its triangles are :func:`sheet_triangles`.
    """
    scalp, shift = _scalp_on(vertices)
    points = np.empty((len(LAYERS), SHEET_ROWS, len(heights), 3), np.float32)
    end, even = _rows_at_height(_falling_heights(), heights), np.ones(len(heights))
    _lay(scalp, CENTRE + shift, end, even, DIRECTIONS, np.zeros(6), thickness, thickness, 0.0, 0.0, points)
    return np.asarray(points[-1], np.float32)


def _scalp_on(vertices: Points) -> tuple[Points, Points]:
    """The scalp on a head [ROWS, A, 3], and how far it lies from the average one: heads differ in height."""
    scalp = _closed_scalp().on(vertices)
    # OpenCV's mean takes an eighth of numpy's time over so few columns.
    return scalp, np.array(cv2.mean(scalp[:, :-1] - _average_scalp())[:3], np.float32)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _step(start: float, end: float, x: float) -> float:  # pragma: no cover - compiled
    """:func:`elasticface.data.synthetic.surface.smooth_step` of one number, again in each file: see `shading`."""
    t = min(max((x - start) / (end - start), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, error_model="numpy")
def _lay(
    scalp: Any,
    centre: Any,
    end: Any,
    off_skin: Any,
    azimuth: Any,
    phase: Any,
    top: float,
    side: float,
    parting: float,
    curls: float,
    points: Any,
) -> None:  # pragma: no cover - compiled
    """Lay the columns of the sheets [layers, R, A, 3] on the scalp [ROWS, A, 3], from the crown to row ``end`` [A]."""
    layers, rows, columns, _ = points.shape
    out = np.empty(3)
    for column in range(columns):
        around, stays = azimuth[column], off_skin[column]
        for row in range(rows):
            t = row / (rows - 1)
            at = t * end[column]
            low = min(int(at), len(scalp) - 2)
            share, length = at - low, 0.0
            for axis in range(3):
                skull = scalp[low, column, axis] * (1 - share) + scalp[low + 1, column, axis] * share
                points[:, row, column, axis] = skull
                out[axis] = skull - centre[axis]
                length += out[axis] ** 2
            height = _step(0.9, 0.1, at / (len(scalp) - 1) * 2)
            thickness = side + (top - side) * height
            bumps = 0.2 * math.sin(5 * around + phase[3] + parting) + 0.15 * math.sin(11 * around + 6 * t + phase[4])
            thickness *= (1 + bumps) * (1 + 0.35 * parting * math.sin(around) * height)
            if curls > 0.5:
                lumps = math.sin(17 * around + 9 * t + phase[5]) * math.sin(31 * t - 7 * around + phase[2])
                thickness *= 1 + 0.22 * curls * lumps
            thickness *= stays + (1 - stays) * (0.03 + 0.97 * _step(1.0, 0.72, t))
            for layer in range(layers):
                off = (0.008 + LAYERS[layer] * thickness) / math.sqrt(length)
                for axis in range(3):
                    points[layer, row, column, axis] += off * out[axis]


@numba.njit(cache=True, error_model="numpy")
def _thin_out(end: Any, hangs: Any, off_skin: Any, alpha: Any, along: Any) -> None:  # pragma: no cover - compiled
    """How dense the hair is [R, A], and how far from its root."""
    rows, columns = alpha.shape
    for row in range(rows):
        t = row / (rows - 1)
        edge = 1 - _step(0.72, 1.0, t)
        for column in range(columns):
            wisps = 1 - 0.9 * _step(0.82 - 0.22 * hangs[column], 1.0, t)
            alpha[row, column] = edge + (wisps - edge) * off_skin[column]
            along[row, column] = t * end[column] / _ROWS * _SCALP_LENGTH


@numba.njit(cache=True, error_model="numpy")
def _let_fall(
    falls: Any, azimuth: Any, phase: Any, lowest: float, waves: float, points: Any, along: Any
) -> None:  # pragma: no cover - compiled
    """Squeeze each strand that falls onto the upper rows, and let the rest hang down from its widest point."""
    share = 0.5  # of the rows, for the part on the skull
    layers, rows, columns, _ = points.shape
    strand, hanging = np.empty((rows, 3)), np.empty(3)
    for column in range(columns):
        if falls[column] == 0:
            continue
        around = azimuth[column]
        swing, bulge = phase[5] + 3 * around, 0.04 * math.sin(7 * around + phase[4])
        for layer in range(layers):
            for row in range(rows):  # one assignment would compile for seconds, for the message of its error
                for axis in range(3):
                    strand[row, axis] = points[layer, row, column, axis]
            leaves = strand[rows - 1]
            drop = max(leaves[1] - lowest, 0.05)
            for row in range(rows):
                t = row / (rows - 1)
                down = max(0.0, (t - share) / (1 - share))
                if down == 0:
                    upper = t / share * (rows - 1)
                    low = min(int(upper), rows - 2)
                    for axis in range(3):
                        hanging[axis] = strand[low, axis] + (upper - low) * (strand[low + 1, axis] - strand[low, axis])
                else:
                    swell = 1 + 0.10 * _step(0.0, 0.6, down) + bulge
                    off = waves * math.sin(9 * down * drop + swing) * down
                    hanging[0] = leaves[0] * swell + off * math.sin(around)
                    hanging[1] = leaves[1] - drop * down
                    hanging[2] = (leaves[2] - 0.3) * swell + 0.3 + off * math.cos(around)
                for axis in range(3):
                    points[layer, row, column, axis] += falls[column] * (hanging[axis] - strand[row, axis])
                if layer == layers - 1:
                    longer = along[row, column] * min(t / share, 1.0) + down * drop
                    along[row, column] += falls[column] * (longer - along[row, column])


def _hairline(hairline: float, receding: float, free: Floats, recess: Floats, front: Floats) -> Floats:
    """The height where a person's hair begins to grow, on the average head, from :func:`_hairline_parts`."""
    return np.asarray(free + hairline * front + receding * recess)


def _hairline_parts(azimuth: Floats) -> tuple[Floats, Floats, Floats]:
    """At some azimuths: the average hairline, how much of a receding one's way it goes, and whether it is the front."""
    around = np.abs(np.arctan2(np.sin(azimuth), np.cos(azimuth)))
    recess = np.interp(around, (0, 0.3, 0.7, 1.0, 1.2), (0.6, 0.8, 1.3, 0.6, 0))
    return _FOREHEAD + np.interp(around, _AROUND, _LINE), recess, np.asarray(around < 1.2)


@numba.njit(cache=True, error_model="numpy")
def _rows_at_height(scalp: Any, heights: Any) -> Any:  # pragma: no cover - compiled
    """For each column of ``scalp`` [ROWS, A] the fractional row that has this height [A]."""
    result = np.empty(len(heights))
    for column in range(len(heights)):
        row = 1
        while row < len(scalp) - 1 and scalp[row, column] > heights[column]:
            row += 1
        upper, lower = scalp[row - 1, column], scalp[row, column]
        result[column] = row - 1 + min(max((upper - heights[column]) / max(upper - lower, 1e-6), 0.0), 1.0)
    return result


@cache
def _falling_heights() -> NDArray[np.float32]:
    """Of the average scalp's nodes in the columns of sheets, [ROWS, A]; they never rise with the rows."""
    scalp = _average_scalp()[..., 1]
    return np.minimum.accumulate(np.concatenate([scalp, scalp[:, :1]], axis=1), axis=0)


@cache
def _column_hairlines() -> tuple[Floats, Floats, Floats]:
    """:func:`_hairline_parts` of the columns of sheets."""
    return _hairline_parts(DIRECTIONS)


@cache
def _scalp() -> Patch:
    """Where on the skin the nodes of the scalp's grid are; ears are left out, since hair lies under them."""
    polar, azimuth = np.meshgrid(_POLAR, _AZIMUTH, indexing="ij")
    directions = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], axis=-1)
    shoulders = asset.load().vertices[:, 1] < 6.2
    return attach(np.broadcast_to(CENTRE, directions.shape), directions, exclude=ears() | shoulders)


@cache
def _closed_scalp() -> Patch:
    """The same with the first column repeated as the last, as sheets have it."""
    corners, weights = _scalp().corners, _scalp().weights
    return Patch(np.concatenate([corners, corners[:, :1]], 1), np.concatenate([weights, weights[:, :1]], 1))


@cache
def _average_scalp() -> Points:
    """The nodes on the average head, [ROWS, COLUMNS, 3]."""
    return _scalp().on(asset.load().vertices)


@cache
def ears() -> NDArray[np.bool_]:
    """Which vertices belong to the ears."""
    head = asset.load()
    moved = np.zeros(len(head.vertices), bool)
    for side in "lr":
        target = head.target(f"ears/{side}-ear-wing-incr")
        moved[head.target_vertices[head.target_starts[target] : head.target_starts[target + 1]]] = True
    return moved


@cache
def _vertex_hairlines() -> tuple[Floats, Floats, Floats, Floats]:
    """For every vertex of the average head its height and :func:`_hairline_parts`; ears lie below any hairline."""
    head = asset.load()
    relative = head.vertices - CENTRE
    height = head.vertices[:, 1].copy()
    height[ears()] = 0
    return height, *_hairline_parts(np.arctan2(relative[:, 0], relative[:, 2]))
