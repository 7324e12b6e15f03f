"""A person's head as vertices: the average head plus a weighted sum of its targets.

A target is a displacement of the vertices ("nose wider"). Targets that undo each other form one *gene* with a value
of either sign, and a gene of eyes, ears or cheeks has one target a side.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from elasticface.data.synthetic import asset
from elasticface.data.synthetic.person import Person

Vertices = NDArray[np.float32]  # [V, 3], decimetres

_OPPOSITES = {
    "incr": "decr",
    "up": "down",
    "in": "out",
    "forward": "backward",
    "concave": "convex",
    "uncompress": "compress",
}
# One standard deviation of a gene, in the targets' own unit, where 1 is the most that its sculptor meant.
_SPREAD = 0.5
_FARTHEST = 2.15  # standard deviations: beyond, heads fold into themselves
# Where the full spread makes caricatures: the share of it that faces keep. The first pattern that matches counts.
_DAMPING = (
    (r"^eyes/.*(corner|height|eyefold|bag)", 0.5),
    (r"mouth-angles|mouth-trans|nose-base|nostrils-angle|nose-trans", 0.8),
    (r"^eyes/eye-(push|trans|epicanthus)", 0.6),
    (r"lip-ext|lip-middle|nubian|head-back|prognathism", 0.55),
    (r"chin-height|jaw-drop|volume|head-scale|forehead-scale|head-fat", 0.65),
    (r"pointed|ear-shape|triang|diamond", 0.3),
    (r"^head/head-(?!age|fat|angle)", 0.45),
    (r"nose-(scale-(depth|vert)|point-up|hump|greek|curve|septum|compression)", 0.7),
)
# What the asset's head lacks to be the average face of press photos: lower brows over deeper eyes, fuller
# cheeks, a shorter nose and a longer upper lip.
_PROPORTIONS = {
    "eyebrows/eyebrows-trans-down": 0.3,
    "eyebrows/eyebrows-trans-forward": 0.25,
    "eyes/l-eye-push1-in": 0.2,
    "eyes/r-eye-push1-in": 0.2,
    "eyes/l-eye-push2-in": 0.2,
    "eyes/r-eye-push2-in": 0.2,
    "head/head-scale-horiz-incr": 0.12,
    "head/head-fat-incr": 0.12,
    "nose/nose-scale-vert-decr": 0.25,
    "nose/nose-base-up": 0.15,
    "mouth/mouth-trans-down": 0.25,
}
# The macro targets of weight shape the body; on the face it shows by this gene, in standard deviations a unit.
_FAT, _PLUMPNESS = "head/head-fat-incr", 1.8
_LEFT_OUT = re.compile(r"^(expr|macro|asym|neck)/|head-trans|ear-flap|(nose|mouth)-trans-(in|out)|head-age")


@dataclass(frozen=True)
class Gene:
    """Targets that go together: `positive[side]` for a value above 0, `negative[side]` below; one entry if unsided."""

    name: str
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    spread: float


@cache
def genes() -> tuple[Gene, ...]:
    """The shape genes of the head, in the order of their names."""
    found: dict[str, dict[int, list[int]]] = {}
    for index, name in enumerate(asset.load().target_names):
        if _LEFT_OUT.search(name):
            continue
        stem, sign = _stem(re.sub(r"/[lr]-", "/", name))
        found.setdefault(stem, {1: [], -1: []})[sign].append(index)
    return tuple(Gene(name, tuple(both[1]), tuple(both[-1]), _spread(name)) for name, both in sorted(found.items()))


@cache
def asymmetries() -> tuple[int, ...]:
    """The targets that pull one side of the face alone."""
    return tuple(i for i, name in enumerate(asset.load().target_names) if name.startswith("asym/"))


def neutral(person: Person) -> Vertices:
    """The person's head at rest, float32 [V, 3]."""
    weights: dict[int, float] = {}
    for gene, value, sides in zip(genes(), person.genes.tolist(), person.sides.tolist(), strict=True):
        for side in range(len(gene.positive)):
            deviation = sides[side] if len(gene.positive) == 2 else 0.0
            plump = _PLUMPNESS * person.weight if gene.name == _FAT else 0.0
            weight = min(max(value + deviation + plump, -_FARTHEST), _FARTHEST) * gene.spread
            targets = gene.positive if weight > 0 else gene.negative
            if targets:
                weights[targets[side]] = abs(weight)
    weights |= {
        target: float(value) for target, value in zip(asymmetries(), person.asymmetry, strict=True) if value > 0
    }
    weights |= _macro_weights(person)
    return blend(_average(), weights)


@cache
def _average() -> Vertices:
    """The asset's head with :data:`_PROPORTIONS`."""
    head = asset.load()
    return blend(head.vertices, {head.target(name): weight for name, weight in _PROPORTIONS.items()})


def express(vertices: Vertices, units: Mapping[str, float]) -> Vertices:
    """A head with facial action units (ARKit's names, as `jawOpen`) at strengths 0..1; float32 [V, 3]."""
    head = asset.load()
    return blend(vertices, {head.target(f"expr/{unit}"): strength for unit, strength in units.items()})


def blend(vertices: Vertices, weights: Mapping[int, float]) -> Vertices:
    """``vertices`` plus the weighted targets; a new array."""
    head = asset.load()
    which = np.array(sorted(weights), dtype=np.int64)
    strengths = np.array([weights[i] for i in which], dtype=np.float32) * np.float32(1 / asset.TARGET_STEPS)
    result = vertices.copy()
    _add_targets(result, head.target_starts, head.target_vertices, head.target_deltas, strengths, which)
    return result


@numba.njit(cache=True, error_model="numpy")
def _add_targets(
    vertices: Any, starts: Any, moved: Any, deltas: Any, strengths: Any, which: Any
) -> None:  # pragma: no cover - compiled
    for n in range(len(which)):
        strength = strengths[n]
        for at in range(starts[which[n]], starts[which[n] + 1]):
            v = moved[at]
            for axis in range(3):
                vertices[v, axis] += strength * deltas[at, axis]


@numba.njit(cache=True, error_model="numpy")
def normals(vertices: Any, triangles: Any) -> Any:  # pragma: no cover - compiled
    """Unit normals [V, 3] of the vertices: the mean of their triangles' normals, larger triangles counting more."""
    result = np.zeros_like(vertices)
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax = vertices[j, 0] - vertices[i, 0]
        ay = vertices[j, 1] - vertices[i, 1]
        az = vertices[j, 2] - vertices[i, 2]
        bx = vertices[k, 0] - vertices[i, 0]
        by = vertices[k, 1] - vertices[i, 1]
        bz = vertices[k, 2] - vertices[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            result[v, 0] += nx
            result[v, 1] += ny
            result[v, 2] += nz
    for v in range(len(result)):
        x, y, z = result[v, 0], result[v, 1], result[v, 2]
        share = np.float32(1) / (math.sqrt(x * x + y * y + z * z) + np.float32(1e-12))
        result[v, 0], result[v, 1], result[v, 2] = x * share, y * share, z * share
    return result


def _macro_weights(person: Person) -> dict[int, float]:
    """Ancestry, sex, age and weight mix the macro targets; each kind's shares add up to 1."""
    head = asset.load()
    sexes = {"female": 1 - person.sex, "male": person.sex}
    ages = {"young": 1 - person.age, "old": person.age}
    ancestries = dict(zip(("african", "asian", "caucasian"), person.ancestry, strict=True))
    builds = {"minweight": max(-person.weight, 0.0), "maxweight": max(person.weight, 0.0)}
    weights = {}
    for sex, of_sex in sexes.items():
        for age, of_age in ages.items():
            for ancestry, share in ancestries.items():
                weights[head.target(f"macro/{ancestry}-{sex}-{age}")] = float(share * of_sex * of_age)
            for build, share in builds.items():
                weights[head.target(f"macro/universal-{sex}-{age}-averagemuscle-{build}")] = share * of_sex * of_age
    return weights


def _stem(name: str) -> tuple[str, int]:
    """A target's gene and its sign there."""
    for plus, minus in _OPPOSITES.items():
        for word, sign in ((plus, 1), (minus, -1)):
            if name.endswith(f"-{word}"):
                return f"{name.removesuffix(f'-{word}')}-{plus}", sign
    return name, 1


def _spread(name: str) -> float:
    return _SPREAD * next((share for pattern, share in _DAMPING if re.search(pattern, name)), 1.0)
