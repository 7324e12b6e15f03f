"""Hair as soft sheets that follow the skull: from the crown to the hairline, and from there down if it is long.

A style says how thick the hair lies and where it ends; a sheet is a grid of points, rows along the strands and columns
around the head. Two sheets over each other, thinning outwards, give hair its depth.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface import keyed
from elasticface.data.synthetic import asset
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.surface import Patch, attach, grid_triangles, smooth_step

Points = NDArray[np.float32]  # [..., 3]
Floats = NDArray[np.floating[Any]]

KINDS = ("bald", "buzz", "short", "side", "fringe", "bob", "long", "tied", "curly")
_OF_MEN = (0.08, 0.15, 0.31, 0.20, 0.08, 0.02, 0.05, 0.02, 0.09)
_OF_WOMEN = (0.0, 0.01, 0.06, 0.10, 0.10, 0.23, 0.30, 0.12, 0.08)

CENTRE = np.array([0.0, 7.5, 0.4], np.float32)  # of the skull
_ROWS, _COLUMNS = 36, 48  # of the scalp that sheets are cut from
_POLAR = np.linspace(0.10, 2.45, _ROWS)  # angle from straight up
_AZIMUTH = (np.arange(_COLUMNS) + 0.5) / _COLUMNS * 2 * np.pi - np.pi  # 0 is the front, positive the subject's left
SHEET_ROWS = 18
LAYERS = (0.4, 1.0)  # how far out each sheet lies

# The hairline's height at distances around the head from the front, on the average head.
_AROUND = (0, 0.45, 0.75, 1.0, 1.25, 1.42, 1.62, 1.8, 2.1, 3.15)
_LINE = (0.0, -0.02, -0.05, -0.20, -0.50, -0.78, -0.52, -0.85, -1.25, -1.4)
_FOREHEAD = 7.95  # the hairline's height at the front


@dataclass(frozen=True)
class HairStyle:
    """One way to wear one's hair. Lengths in decimetres on the average head."""

    kind: str  # one of KINDS
    cover: float  # of the scalp's skin by the roots, 0..1
    top: float  # how far the hair stands out over the crown
    side: float  # likewise beside it
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
    r = keyed.generator(key, "synthetic hair")
    kind = str(r.choice(KINDS, p=_OF_MEN if person.sex > 0.5 else _OF_WOMEN))
    top, side = {
        "bald": (0.0, 0.0),
        "buzz": (0.02, 0.015),
        "short": (r.uniform(0.08, 0.22), r.uniform(0.03, 0.08)),
        "side": (r.uniform(0.15, 0.32), r.uniform(0.05, 0.14)),
        "fringe": (r.uniform(0.12, 0.24), r.uniform(0.07, 0.15)),
        "bob": (r.uniform(0.10, 0.22), r.uniform(0.08, 0.16)),
        "long": (r.uniform(0.08, 0.22), r.uniform(0.07, 0.15)),
        "tied": (r.uniform(0.04, 0.10), r.uniform(0.03, 0.06)),
        "curly": (r.uniform(0.2, 0.55), r.uniform(0.12, 0.4)),
    }[kind]
    with_fringe = kind == "fringe" or (kind in ("bob", "long") and r.random() < 0.3)
    return HairStyle(
        kind=kind,
        cover={"bald": float(r.choice([0, 0.25])), "buzz": float(r.uniform(0.5, 0.85))}.get(kind, 0.95),
        top=float(top),
        side=float(side),
        fringe=float(r.uniform(7.58, 7.85)) if with_fringe else None,
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
    if style.cover == 0:
        return np.zeros(len(asset.load().vertices), np.float32)
    height, free, recess, front = _vertex_hairlines()
    line = free + person.hairline * front + person.receding * recess
    soft = 0.05 + 0.10 * (style.kind in ("bald", "buzz"))
    return np.asarray(style.cover * smooth_step(-soft, 0.09, height - line), np.float32)


def grow(style: HairStyle, person: Person, vertices: Points) -> Sheets | None:
    """The hair on a head with these vertices; None where it is too short to stand out."""
    if style.top < 0.03:
        return None
    r = keyed.generator(style.key, "synthetic strands of hair")
    phase = r.uniform(0, 2 * np.pi, 6)
    scalp = _scalp().on(vertices)  # [ROWS, COLUMNS, 3]
    shift = (scalp - _average_scalp()).mean((0, 1))  # heads differ in height
    scalp = np.concatenate([scalp, scalp[:, :1]], axis=1)
    azimuth = np.append(_AZIMUTH, _AZIMUTH[0] + 2 * np.pi)
    around = np.abs(np.arctan2(np.sin(azimuth), np.cos(azimuth)))
    t = np.linspace(0, 1, SHEET_ROWS)[:, None]  # root of the sheet at the crown .. its end

    line = _hairline(person, azimuth)
    line = line + 0.025 * np.sin(9 * azimuth + phase[0]) + 0.02 * np.sin(21 * azimuth + phase[1])
    hangs = np.zeros_like(azimuth)
    if style.fringe is not None:
        slant = 0.12 * style.parting * np.sin(azimuth) + 0.02 * np.sin(14 * azimuth + phase[2])
        hangs = smooth_step(1.15, 0.85, around)
        line = line + (np.minimum(line, style.fringe + slant) - line) * hangs
    falls = np.zeros_like(azimuth)
    if style.length is not None:
        falls = smooth_step(style.opening - 0.2, style.opening + 0.15, around)
        line = np.minimum(line, 7.35) * falls + line * (1 - falls)
    end = _rows_at_height(line)  # [A], fractional rows of the scalp

    rows = t * end
    skull = _between_rows(scalp, rows)
    out = skull - (CENTRE + shift)
    out /= np.linalg.norm(out, axis=-1, keepdims=True)

    height = smooth_step(0.9, 0.1, rows / (_ROWS - 1) * 2)
    thickness = style.side + (style.top - style.side) * height
    bumps = 0.2 * np.sin(5 * azimuth + phase[3] + style.parting) + 0.15 * np.sin(11 * azimuth + 6 * t + phase[4])
    thickness = thickness * (1 + bumps) * (1 + 0.35 * style.parting * np.sin(azimuth) * height)
    if style.curls > 0.5:
        lumps = np.sin(17 * azimuth + 9 * t + phase[5]) * np.sin(31 * t - 7 * azimuth + phase[2])
        thickness = thickness * (1 + 0.22 * style.curls * lumps)
    stays = np.maximum(hangs, falls)  # where the end stands off the skin
    thickness = thickness * (stays + (1 - stays) * (0.03 + 0.97 * smooth_step(1.0, 0.72, t)))
    layers = [skull + out * (0.008 + fraction * thickness)[..., None] for fraction in LAYERS]
    points = np.stack(layers).astype(np.float32)

    along = (t * end / _ROWS * 2.2).astype(np.float32)
    if style.length is not None:
        points, along = _let_fall(points, along, falls, style, style.length + float(shift[1]), azimuth, phase)
    wisps = 1 - smooth_step(0.82, 1.0, t) * 0.9
    edge = 1 - smooth_step(0.86, 1.0, t)
    alpha = edge + (wisps - edge) * stays
    return Sheets(points, alpha.astype(np.float32), along)


def sheet_triangles() -> NDArray[np.int32]:
    """The triangles of one sheet."""
    return grid_triangles(SHEET_ROWS, _COLUMNS + 1)


def _let_fall(
    points: Points,
    along: NDArray[np.float32],
    falls: Floats,
    style: HairStyle,
    lowest: float,
    azimuth: Floats,
    phase: Floats,
) -> tuple[Points, NDArray[np.float32]]:
    """Squeeze each strand that falls onto the upper rows, and let the rest hang down from its widest point."""
    share = 0.5  # of the rows, for the part on the skull
    t = np.linspace(0, 1, SHEET_ROWS)
    upper = np.interp(np.minimum(t / share, 1), t, np.arange(SHEET_ROWS))
    low = np.minimum(upper.astype(int), SHEET_ROWS - 2)
    weight = (upper - low)[:, None, None]
    squeezed = points[:, low] * (1 - weight) + points[:, low + 1] * weight  # [layers, R, A, 3]
    down = np.clip((t - share) / (1 - share), 0, 1)[:, None]  # [R, 1]
    corner = points[:, -1:]  # where it leaves the skull
    drop = np.maximum(corner[..., 1] - lowest, 0.05)  # [layers, 1, A]
    swing = style.waves * np.sin(9 * down * drop + 3 * azimuth + phase[5]) * down
    swell = 1 + 0.10 * smooth_step(0, 0.6, down) + 0.04 * np.sin(7 * azimuth + phase[4])
    hanging = squeezed.copy()
    below = down[:, 0] > 0
    hanging[..., 0] = np.where(below[:, None], corner[..., 0] * swell + swing * np.sin(azimuth), squeezed[..., 0])
    hanging[..., 2] = np.where(
        below[:, None], (corner[..., 2] - 0.3) * swell + 0.3 + swing * np.cos(azimuth), squeezed[..., 2]
    )
    hanging[..., 1] = np.where(below[:, None], corner[..., 1] - drop * down, squeezed[..., 1])
    mixed = points + falls[:, None] * (hanging - points)
    longer = along * np.minimum(t / share, 1)[:, None] + down * drop[-1]
    return mixed.astype(np.float32), (along + falls * (longer - along)).astype(np.float32)


def _hairline(person: Person, azimuth: Floats) -> Floats:
    """The height [A] where hair begins to grow, on the average head."""
    free, recess, front = _hairline_parts(azimuth)
    return np.asarray(free + person.hairline * front + person.receding * recess)


def _hairline_parts(azimuth: Floats) -> tuple[Floats, Floats, Floats]:
    """At some azimuths: the average hairline, how much of a receding one's way it goes, and whether it is the front."""
    around = np.abs(np.arctan2(np.sin(azimuth), np.cos(azimuth)))
    recess = np.interp(around, (0, 0.3, 0.7, 1.0, 1.2), (0.6, 0.8, 1.3, 0.6, 0))
    return _FOREHEAD + np.interp(around, _AROUND, _LINE), recess, np.asarray(around < 1.2)


def _rows_at_height(heights: Floats) -> Floats:
    """For each column, the fractional row of the scalp where the average head has this height."""
    scalp = _average_scalp()[..., 1]  # [ROWS, COLUMNS], falling with the rows
    scalp = np.minimum.accumulate(np.concatenate([scalp, scalp[:, :1]], axis=1), axis=0)
    above = (scalp > heights).sum(0).clip(1, _ROWS - 1)
    column = np.arange(scalp.shape[1])
    upper, lower = scalp[above - 1, column], scalp[above, column]
    return np.asarray(above - 1 + np.clip((upper - heights) / np.maximum(upper - lower, 1e-6), 0, 1))


def _between_rows(points: Points, rows: Floats) -> Floats:
    """Points at fractional rows: [ROWS, A, 3] and [R, A] -> [R, A, 3]."""
    low = np.clip(rows.astype(int), 0, len(points) - 2)
    weight = (rows - low)[..., None]
    column = np.arange(points.shape[1])
    return np.asarray(points[low, column] * (1 - weight) + points[low + 1, column] * weight)


@cache
def _scalp() -> Patch:
    """Where on the skin the nodes of the scalp's grid are; ears are left out, since hair lies under them."""
    polar, azimuth = np.meshgrid(_POLAR, _AZIMUTH, indexing="ij")
    directions = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], axis=-1)
    shoulders = asset.load().vertices[:, 1] < 6.2
    return attach(np.broadcast_to(CENTRE, directions.shape), directions, exclude=ears() | shoulders)


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
