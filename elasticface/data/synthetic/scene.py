"""What varies between the photos of a person: one documented field a factor, all drawn from (seed, identity, photo).

A person's heterogeneity k multiplies the variation: of pose, expression, light, styling, occlusion and image quality.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic.expression import draw_expression, resting
from elasticface.data.synthetic.look import MASK_COLOURS, Appearance, Look, draw_look
from elasticface.data.synthetic.person import Person, normal, within

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variation:
    """How much a population's photos vary."""

    heterogeneity: float = field(
        default=0.5, metadata={"help": "σ of the log-normal multiplier of a person's own variation; 0: all vary alike"}
    )
    appearance: Appearance = field(
        default="varying",
        metadata={
            "help": "hair, glasses, brows, beard and make-up: varying around a person's habits, frozen, or redrawn "
            "for every photo"
        },
    )


@dataclass(frozen=True)
class Lamp:
    """The light of one photo."""

    azimuth: float  # of the lamp, radians; 0 from the front, positive from the picture's right
    elevation: float  # radians
    strength: float  # of the lamp over the ambient light's
    colour: Floats  # [3] of the lamp, about 1
    ambient: Floats  # [3]
    gradient: Floats  # [3, 3], a row a colour: its change with the normal; see shading.Light


@dataclass(frozen=True)
class Occluder:
    """Something between camera and face: a hand, a telephone, a shoulder. In shares of the picture's side."""

    centre: Floats  # [2]
    size: Floats  # [2] half width and height
    angle: float  # radians
    roundness: float  # 0 a rectangle .. 1 an ellipse
    colour: Floats  # [3]


@dataclass(frozen=True)
class Quality:
    """What camera and file format do to the picture."""

    exposure: float  # logarithm of the gain over the exposure meter's
    metering: float  # how far the exposure follows the face's brightness, 0..1
    white_balance: Floats  # [3] gains
    contrast: float  # about 1
    saturation: float  # about 1; 0 is a grey picture
    blur: float  # standard deviation in pixels, 0 none
    resolution: int  # pixels a side that an aligned picture was reduced to before, 112 for none
    noise: float  # standard deviation in grey levels
    jpeg: int  # quality 30..95, 100 for none
    sharpness: float = 0.0  # share of the contrast within 4 pixels that the camera adds, 0..0.7


@dataclass(frozen=True)
class Scene:
    """One photo of a person, before it is taken. Angles in radians unless named otherwise."""

    yaw: float  # of the head; positive turns to the picture's right
    pitch: float  # positive looks down
    roll: float
    gaze: Floats  # [2] yaw and pitch of the eyes in the head
    expression: str  # key of expression.EXPRESSIONS
    strength: float  # of the expression, 0..1
    units: Mapping[str, float]  # action units
    distance: float  # of the camera in decimetres, 6..60: near ones distort
    jitter: Floats  # [5, 2] errors of the landmarks, pixels of the aligned picture
    lamp: Lamp
    look: Look
    occluder: Occluder | None
    background: int  # key of what is behind
    quality: Quality
    zoom: float = 1.0  # under 1 shows more than the aligned picture; for looking at heads

    @property
    def occlusion(self) -> str:
        """What hides part of the face: none, mask, sunglasses or object."""
        if self.look.mask is not None:
            return "mask"
        if self.occluder is not None:
            return "object"
        return "sunglasses" if self.look.glasses is not None and self.look.glasses.dark > 0.5 else "none"


def draw_scene(person: Person, seed: int, photo: int, appearance: Appearance) -> Scene:
    """What a photo of the person shows: a pure function of the arguments."""
    r = keyed.generator(seed, "synthetic photo", person.number, photo)
    k = person.heterogeneity
    expression, strength, units = draw_expression(r, person)
    look = draw_look(person, keyed.generator(seed, "synthetic look", person.number, photo), appearance)
    # Most look about towards the camera, a sixth anywhere; with the eyes, half of the turned look into it.
    yaw = normal(r, (22 * k + 8) if r.random() < 0.17 else (9 * k + 4), 70)
    to_camera = float(r.uniform(0.5, 1)) if r.random() < 0.5 else 0.0
    return Scene(
        yaw=math.radians(yaw),
        pitch=math.radians(normal(r, 6 * k + 3, 30)),
        roll=math.radians(normal(r, 6, 20)),
        gaze=np.array([within(r.normal(0, 0.1) - to_camera * math.radians(yaw), -0.5, 0.5), normal(r, 0.08, 0.25)]),
        expression=expression,
        strength=strength,
        units=units,
        distance=math.exp(r.uniform(*np.log([6, 12] if r.random() < 0.12 else [12, 60]))),
        jitter=r.normal(0, 0.9, (5, 2)),
        lamp=_draw_lamp(r, k),
        look=replace(look, mask=MASK_COLOURS[r.integers(len(MASK_COLOURS))] * r.uniform(0.8, 1.1))
        if r.random() < 0.04 * min(k, 2)
        else look,
        occluder=draw_occluder(r, person) if r.random() < 0.08 * min(k, 2) else None,
        background=int(r.integers(2**31)),
        quality=draw_quality(r, k),
    )


def plain_scene(person: Person) -> Scene:
    """A portrait without variation: from the front, at rest, evenly lit; what sweeps start from."""
    usual = draw_look(person, keyed.generator(0, "synthetic look", person.number, 0), "frozen")
    return Scene(
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        gaze=np.zeros(2),
        expression="neutral",
        strength=0.0,
        units=resting(person),
        distance=25.0,
        jitter=np.zeros((5, 2)),
        lamp=Lamp(
            azimuth=0.5,
            elevation=0.6,
            strength=0.9,
            colour=np.ones(3),
            ambient=np.full(3, 0.5),
            gradient=np.outer(np.full(3, 0.2), [0.0, 1, 0]),  # a little more from above
        ),
        look=replace(usual, mask=None, glasses=None),
        occluder=None,
        background=0,
        quality=Quality(
            exposure=0.0,
            metering=0.45,
            white_balance=np.ones(3),
            contrast=1.0,
            saturation=1.0,
            blur=0.0,
            resolution=112,
            noise=0.0,
            jpeg=100,
        ),
    )


def _draw_lamp(r: np.random.Generator, k: float) -> Lamp:
    warmth, tint = r.normal(0, 0.10 * min(1, k + 0.2)), r.normal(0, 0.04)
    around = r.normal(0, 1, 3)
    around[1] = abs(around[1]) * 0.8 + 0.3
    ambient = np.clip(1 - 0.6 * warmth * np.array([1, 0, -1]) + r.normal(0, 0.05, 3), 0.4, 1.6) * r.uniform(0.2, 0.65)
    # A flash beside the camera, lamps at a ceiling, or anything: a window, the sun, a stage. Each is drawn, one chosen.
    azimuth, elevation, strength = (
        (r.normal(0, 0.2), r.uniform(0, 0.5), r.uniform(0.8, 1.8)),
        (r.uniform(-1, 1), r.uniform(0.2, 0.95), r.uniform(0.5, 1.1)),
        (r.uniform(-1.6, 1.6), r.uniform(-0.25, 1.0), r.choice([0.25, 0.8, 1.2, 1.7])),
    )[int(np.searchsorted([0.35, 0.65], r.random()))]
    return Lamp(
        azimuth=within(azimuth * min(1, 0.35 + 0.65 * k), -1.6, 1.6),
        elevation=float(elevation),
        strength=float(np.exp(r.normal(0, 0.25)) * strength),
        colour=np.clip([1 + warmth, 1 + tint, 1 - warmth], 0.5, 1.6),
        ambient=ambient,
        gradient=np.outer(ambient * r.uniform(0.3, 0.95), around / np.linalg.norm(around)) + r.normal(0, 0.03, (3, 3)),
    )


def draw_occluder(r: np.random.Generator, person: Person) -> Occluder:
    """An object that reaches in from a border; a hand now and then, in the colour of the person's skin."""
    angle = r.uniform(0, 2 * np.pi)
    out = np.array([math.cos(angle), math.sin(angle)]) * r.uniform(0.36, 0.56)
    skin = np.array([0.45, 0.27, 0.18]) * math.exp(-0.8 * person.melanin)
    return Occluder(
        centre=0.5 + out,
        size=r.uniform(0.08, 0.26, 2),
        angle=float(r.uniform(0, np.pi)),
        roundness=float(r.uniform(0.2, 1)),
        colour=skin if r.random() < 0.4 else r.uniform(0.02, 0.6, 3),
    )


def draw_quality(r: np.random.Generator, k: float) -> Quality:
    """What camera and file format do to a photo; of a person with multiplier ``k`` it is bad more or less often."""
    worse = r.random()  # a photo is blurred or of low resolution, never both
    return Quality(
        exposure=float(r.normal(-0.2, 0.18)),
        metering=float(r.uniform(0.4, 0.75)),
        white_balance=np.exp(r.normal(0, 0.05, 3) + r.normal(0.03, 0.08) * np.array([1, 0, -1])),
        contrast=float(r.uniform(1.0, 1.35)),
        saturation=0.0 if r.random() < 0.03 else float(r.uniform(0.7, 1.4)),
        blur=float(r.uniform(0.8, 1.5) if worse < 0.25 * min(k, 2) else r.uniform(0.35, 0.8)),
        resolution=int(r.integers(28, 80)) if 0.25 * min(k, 2) <= worse < 0.40 * min(k, 2) else 112,
        noise=float(r.uniform(0.5, 3)) if r.random() < 0.4 else 0.0,
        jpeg=int(r.integers(30, 96)) if r.random() < 0.6 else 100,
        sharpness=float(r.uniform(0, 0.7)),
    )
