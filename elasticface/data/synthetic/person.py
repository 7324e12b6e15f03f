"""What varies between people: one documented field a factor, all drawn from (seed, identity)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed

Floats = NDArray[np.float64]

# People fall into so many families of lookalikes, so that impostors can be hard.
FAMILIES = 40

# Eye colours as linear RGB albedo, dark brown to blue-grey.
IRISES = np.array(
    [
        [0.030, 0.014, 0.007],
        [0.075, 0.038, 0.016],
        [0.14, 0.085, 0.030],
        [0.10, 0.11, 0.045],
        [0.09, 0.14, 0.17],
        [0.15, 0.18, 0.19],
    ]
)
# Natural hair colours as linear RGB albedo: black, dark brown, brown, light brown, blond, red.
HAIR_COLOURS = np.array(
    [
        [0.010, 0.008, 0.007],
        [0.025, 0.015, 0.010],
        [0.060, 0.034, 0.019],
        [0.125, 0.075, 0.040],
        [0.30, 0.20, 0.105],
        [0.16, 0.055, 0.022],
    ]
)
GREY_HAIR = np.array([0.41, 0.395, 0.375])


@dataclass(frozen=True)
class Brows:
    """The eyebrows' place and form, in decimetres on the average head; x is the distance from the face's middle."""

    inner: float  # x of the inner end, 0.09..0.155
    outer: float  # x of the outer end, 0.47..0.61
    height: float  # y, about 7.43, where the ridge over the eyes is; lower in men
    arch: float  # rise of the apex over the ends, 0..0.085
    apex: float  # where the apex is, 0 inner end .. 1 outer end
    tilt: float  # rise of the outer end over the inner one
    drop: float  # fall of the tail behind the apex, 0.1..0.5
    thickness: float  # half the height of the hairs' band, 0.022..0.1
    density: float  # share of the skin covered, 0.3..1
    joined: float  # density of hairs between the brows, mostly 0


@dataclass(frozen=True)
class Habits:
    """How a person likes to look; what a photo shows is drawn around it."""

    hair: int  # key of the usual hair style
    glasses: float  # how often glasses are worn, 0..1
    glasses_frame: int  # key of the usual frame
    make_up: float  # how often and how strongly, 0..1
    beard: float  # how full the beard usually is, 0 shaven .. 1
    beard_form: int  # index of texture.BEARDS
    smile: float  # added to the strength of every smile; negative for the stern
    mood: float  # which of the expressions is the usual one, as a share of all photos


@dataclass(frozen=True)
class Person:
    """Someone who never lived. Everything a photo needs to know about who is in it."""

    number: int
    heterogeneity: float  # multiplies what varies between this person's photos; mean 1, log-normal
    ancestry: Floats  # [3] shares of the mesh's three macro targets, which say nothing of real populations
    sex: float  # 0 the mesh's female target .. 1 its male one
    age: float  # 0 young adult .. 1 old
    weight: float  # -1 thin .. 1 heavy
    genes: Floats  # [G] shape genes in standard deviations, see shape.GENES
    sides: Floats  # [G, 2] what the left and the right side add to them, in standard deviations
    asymmetry: Floats  # [A] weights of the one-sided targets, 0..1
    melanin: float  # 0.05 pale .. 2.2 very dark
    haemoglobin: float  # redness of the skin, 0.15..0.6
    ruddiness: Floats  # [3] added redness of cheeks, nose, chin
    eye_circles: Floats  # [3] darkness under the eyes, in the sockets over them (below 0: light); redness around
    lids: Floats  # [3] fold of the upper lids: height over their edge in decimetres, depth, rise towards the outside
    freckles: float  # 0 none .. 0.6
    moles: Floats  # [N, 4] x, y, radius (decimetres), darkness
    scar: Floats | None  # x, y, angle, length, width, redness
    lips: Floats  # [2] melanin and haemoglobin over the skin's
    roughness: float  # of the skin's relief, 0.3..1
    wrinkles: Floats  # [8] depths of the folds: four across the forehead, beside the mouth, under the eyes, beside the
    # eyes (crow's feet), between the brows
    blotches: float  # unevenness of the skin's colour, 0.5 even .. 2; more with age
    oiliness: float  # strength of the skin's gloss, 0.3..1.4
    iris: Floats  # [3] linear RGB albedo
    pupil: float  # angle of the pupil's edge from the gaze, radians
    sclera: float  # brightness of the white of the eye, 0.85..1
    hair_colour: Floats  # [3] linear RGB albedo
    receding: float  # how far the hairline has gone back, 0..0.56 decimetres
    hairline: float  # height of the hairline over the average, decimetres
    brows: Brows
    habits: Habits


def draw_person(seed: int, number: int, genes: int, asymmetries: int, heterogeneity: float) -> Person:
    """The person with this number: a pure function of the arguments.

    Args:
        seed: of the population.
        number: of the person, >= 0.
        genes: G, how many shape genes there are.
        asymmetries: A, how many one-sided targets there are.
        heterogeneity: σ of the logarithm of :attr:`Person.heterogeneity`; 0 lets everyone vary alike.
    """
    r = keyed.generator(seed, "synthetic person", number)
    family = keyed.generator(seed, "synthetic family", int(r.integers(FAMILIES)))
    ancestry = r.dirichlet([0.45] * 3)
    sex = float(r.beta(0.35, 0.35))
    age = float(r.beta(1.3, 1.7))
    usual = ancestry @ [r.uniform(0.9, 1.9), r.uniform(0.25, 0.75), r.uniform(0.08, 0.6)]
    melanin = within(float(usual) + r.normal(0, 0.06), 0.05, 2.2)
    fair = melanin < 0.5 and ancestry[2] > 0.4
    return Person(
        number=number,
        heterogeneity=float(np.exp(r.normal(0, heterogeneity) - heterogeneity**2 / 2)),
        ancestry=ancestry,
        sex=sex,
        age=age,
        weight=normal(r, 0.4, 1),
        genes=0.87 * r.standard_normal(genes) + 0.49 * family.standard_normal(genes),  # 0.87² + 0.49² = 1
        sides=0.13 * r.standard_normal((genes, 2)),
        asymmetry=np.abs(r.normal(0, 0.22, asymmetries)) * (r.random(asymmetries) < 0.25),
        melanin=melanin,
        haemoglobin=float(r.uniform(0.15, 0.6)),
        ruddiness=r.uniform(0, [0.45, 0.3, 0.2]),
        eye_circles=r.uniform([0, -0.15, 0.05], [0.35, 0.2, 0.3]) * [1 + 0.5 * age, 1, 1],
        lids=np.array([r.uniform(0.03, 0.10), max(0.0, r.normal(1.3, 0.8)), r.normal(0, 0.12)]),
        freckles=float(r.uniform(0.15, 0.6) if r.random() < (0.35 if fair else 0.08) else 0),
        moles=_moles(r),
        scar=r.uniform([-0.6, 6.4, 0, 0.05, 0.012, -0.35], [0.6, 7.9, 3.14, 0.16, 0.04, 0.6])
        if r.random() < 0.1
        else None,
        lips=np.array([r.uniform(0.0, 0.6) + 0.15 * melanin, r.uniform(0.15, 1.2)]),
        roughness=float(r.uniform(0.3, 1)),
        wrinkles=r.uniform(0.1, 1, 8),
        blotches=float(r.uniform(0.5, 1.2) + 0.8 * age * r.uniform(0, 1)),
        oiliness=float(r.uniform(0.3, 1.4)),
        iris=IRISES[r.integers(len(IRISES)) if fair else r.integers(2)] * r.uniform(0.8, 1.25),
        pupil=float(r.uniform(0.18, 0.27)),
        sclera=float(r.uniform(0.85, 1)),
        hair_colour=_hair_colour(r, fair, age),
        receding=float(r.beta(1, 2) * 0.5 * age * (sex > 0.5) + r.beta(1, 4) * 0.06),
        hairline=float(r.normal(0, 0.1)),
        brows=_brows(r, sex),
        habits=_habits(r, sex),
    )


def _moles(r: np.random.Generator) -> Floats:
    count = r.poisson(1.6)
    ranges = ((-0.65, 0.65), (6.25, 7.9), (0.012, 0.026), (0.4, 1.3))  # as in Person.moles
    return np.stack([r.uniform(low, high, count) for low, high in ranges], axis=1)


def _hair_colour(r: np.random.Generator, fair: bool, age: float) -> Floats:
    shares = [0.12, 0.28, 0.28, 0.16, 0.1, 0.06] if fair else [0.66, 0.27, 0.07, 0, 0, 0]
    natural = HAIR_COLOURS[r.choice(len(HAIR_COLOURS), p=shares)] * r.uniform(0.8, 1.4)
    onset, grey = age + r.normal(0, 0.15), r.uniform(0.4, 1)
    grey *= float(np.clip((onset - 0.52) / 0.5, 0, 1))
    return np.asarray(natural * (1 - grey) + GREY_HAIR * grey)


def _brows(r: np.random.Generator, sex: float) -> Brows:
    return Brows(
        inner=float(r.uniform(0.09, 0.155)),
        outer=float(r.uniform(0.47, 0.61)),
        height=float(r.normal(7.432 - 0.014 * sex, 0.022)),
        arch=float(r.uniform(0, 0.085)),
        apex=float(r.uniform(0.55, 0.75)),
        tilt=float(r.normal(-0.012, 0.022)),
        drop=float(r.uniform(0.1, 0.5)),
        thickness=float(r.uniform(0.028, 0.085) * (0.8 + 0.35 * sex)),
        density=float(r.uniform(0.3, 1)),
        joined=float(r.uniform(0.1, 0.45) if r.random() < 0.1 else 0),
    )


def _habits(r: np.random.Generator, sex: float) -> Habits:
    return Habits(
        hair=int(r.integers(2**31)),
        glasses=float(r.choice([0, 0, 0, 0.1, 0.5, 0.9])),
        glasses_frame=int(r.integers(2**31)),
        make_up=float(r.uniform(0.2, 1) if sex < 0.5 and r.random() < 0.65 else 0),
        beard=float(r.choice([0, r.uniform(0.1, 0.35), r.uniform(0.5, 1)], p=[0.4, 0.35, 0.25]) if sex > 0.5 else 0),
        beard_form=int(r.integers(4)),  # of texture.BEARDS
        smile=float(r.normal(0, 0.2)),
        mood=float(r.random()),
    )


def normal(r: np.random.Generator, spread: float, most: float) -> float:
    """A normal deviate, within ``most`` of 0."""
    return within(r.normal(0, spread), -most, most)


def within(value: float, least: float, most: float) -> float:
    """``numpy.clip`` of one number, which takes numpy ten times as long."""
    return float(min(max(value, least), most))
