"""What varies between the photos of a person: one documented field a factor, all drawn from (seed, identity, photo).

A person's heterogeneity k multiplies the variation: of pose, expression, light, styling, occlusion and image quality.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic import hair
from elasticface.data.synthetic.hair import HairStyle
from elasticface.data.synthetic.person import HAIR_COLOURS, Person
from elasticface.data.synthetic.texture import EYE_SHADOWS, LIPSTICKS, Paint

Floats = NDArray[np.float64]

Appearance = Literal["varying", "frozen", "redrawn"]
APPEARANCES: tuple[str, ...] = get_args(Appearance)

FRAME_COLOURS = np.array(
    [[0.01, 0.01, 0.01], [0.05, 0.02, 0.01], [0.25, 0.2, 0.1], [0.3, 0.3, 0.3], [0.02, 0.03, 0.08], [0.2, 0.03, 0.03]]
)
HATS = ("cap", "knitted", "scarf")
MASK_COLOURS = np.array([[0.36, 0.50, 0.60], [0.55, 0.55, 0.55], [0.02, 0.02, 0.02], [0.25, 0.07, 0.07]])

# How often a photo shows what, and the action units it takes at strength 1; a pair is (least, most), drawn.
EXPRESSIONS: dict[str, tuple[float, dict[str, float | tuple[float, float]]]] = {
    "neutral": (0.08, {}),
    "serious": (0.11, {"browDown": (0, 0.5), "mouthPress": (0, 0.5), "mouthRollUpper": (0, 0.4)}),
    "smile": (  # with closed lips
        0.14,
        {"mouthSmile": (0.6, 1.1), "mouthStretch": (0, 0.5), "cheekSquint": 0.4, "eyeSquint": (0, 0.4)},
    ),
    "toothy smile": (
        0.25,
        {
            "mouthSmile": (0.7, 1.2),
            "mouthUpperUp": (0.6, 1.2),
            "mouthLowerDown": (0.4, 1.1),
            "mouthStretch": (0.2, 0.9),
            "jawOpen": (0, 0.15),
            "cheekSquint": (0.3, 0.7),
            "eyeSquint": (0, 0.5),
        },
    ),
    "laugh": (
        0.09,
        {
            "mouthSmile": (0.7, 1.2),
            "mouthUpperUp": (0.7, 1.2),
            "mouthLowerDown": (0.3, 1),
            "mouthStretch": (0.2, 0.8),
            "jawOpen": (0.1, 0.35),
            "cheekSquint": 0.7,
            "eyeSquint": (0.2, 0.7),
        },
    ),
    "talk": (  # an open vowel
        0.13,
        {"jawOpen": (0.05, 0.4), "mouthUpperUp": (0.1, 0.8), "mouthLowerDown": (0, 1), "mouthStretch": (0, 0.6)},
    ),
    "speak": (  # between the teeth, or with the lips forward
        0.08,
        {"jawOpen": (0, 0.12), "mouthUpperUp": (0.1, 0.8), "mouthLowerDown": (0.3, 1), "mouthFunnel": (0, 0.7)},
    ),
    "surprise": (0.03, {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.6, "jawOpen": (0, 0.4)}),
    "sad": (0.02, {"browInnerUp": 0.7, "mouthFrown": 0.6, "mouthShrugLower": 0.4}),
    "anger": (0.03, {"browDown": 0.8, "noseSneer": (0, 0.5), "mouthPress": 0.6, "eyeSquint": 0.4}),
    "pucker": (0.01, {"mouthPucker": 0.8}),
    "squint": (0.03, {"eyeSquint": 0.9, "cheekSquint": 0.4, "browDown": (0, 0.5)}),
}
_EXPRESSION_SHARES = np.cumsum([share for share, _ in EXPRESSIONS.values()])[:-1]  # what is left is the last one's
_SIDED = frozenset(
    "browDown browOuterUp cheekSquint eyeBlink eyeSquint eyeWide mouthDimple mouthFrown mouthLowerDown mouthPress "
    "mouthSmile mouthStretch mouthUpperUp noseSneer".split()
)


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
class Glasses:
    """Spectacles. Lengths in decimetres."""

    width: float  # half a lens' width
    height: float  # half its height
    squareness: float  # exponent of the super-ellipse: 2 round .. 6 square
    thickness: float  # radius of the frame
    colour: Floats  # [3] linear RGB albedo
    dark: float  # opacity of the lenses: 0.05 clear .. 0.93 sunglasses


@dataclass(frozen=True)
class Hat:
    """Something on the head. Lengths in decimetres on the average head."""

    kind: str  # one of HATS
    height: float  # where it ends on the forehead
    thickness: float  # how far it stands off the head
    colour: Floats  # [3] linear RGB albedo


@dataclass(frozen=True)
class Look:
    """What a person wears on head and face in one photo."""

    hair: HairStyle
    paint: Paint  # brows, beard, make-up
    glasses: Glasses | None
    mask: Floats | None  # [3] albedo of a mask over mouth and nose
    hat: Hat | None
    cloth: Floats  # [3] albedo of the clothes
    neckline: float  # height where they begin, decimetres


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
    expression: str  # key of EXPRESSIONS
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
    expression, strength, units = _draw_expression(r, person)
    look = draw_look(person, keyed.generator(seed, "synthetic look", person.number, photo), appearance)
    # Most look about towards the camera, a sixth anywhere; with the eyes, half of the turned look into it.
    yaw = _normal(r, (22 * k + 8) if r.random() < 0.17 else (9 * k + 4), 70)
    to_camera = float(r.uniform(0.5, 1)) if r.random() < 0.5 else 0.0
    return Scene(
        yaw=math.radians(yaw),
        pitch=math.radians(_normal(r, 6 * k + 3, 30)),
        roll=math.radians(_normal(r, 6, 20)),
        gaze=np.array([_within(r.normal(0, 0.1) - to_camera * math.radians(yaw), -0.5, 0.5), _normal(r, 0.08, 0.25)]),
        expression=expression,
        strength=strength,
        units=units,
        distance=math.exp(r.uniform(*np.log([6, 12] if r.random() < 0.12 else [12, 60]))),
        jitter=r.normal(0, 0.9, (5, 2)),
        lamp=_draw_lamp(r, k),
        look=replace(look, mask=MASK_COLOURS[r.integers(4)] * r.uniform(0.8, 1.1))
        if r.random() < 0.04 * min(k, 2)
        else look,
        occluder=_draw_occluder(r, person) if r.random() < 0.08 * min(k, 2) else None,
        background=int(r.integers(2**31)),
        quality=_draw_quality(r, k),
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
        units=_resting(person),
        distance=25.0,
        jitter=np.zeros((5, 2)),
        lamp=Lamp(0.5, 0.6, 0.9, np.ones(3), np.full(3, 0.5), np.outer(np.full(3, 0.2), [0.0, 1, 0])),
        look=replace(usual, mask=None, glasses=None),
        occluder=None,
        background=0,
        quality=Quality(0.0, 0.45, np.ones(3), 1.0, 1.0, 0.0, 112, 0.0, 100),
    )


def draw_look(person: Person, r: np.random.Generator, appearance: Appearance) -> Look:
    """How the person looks on the day of one photo, without a mask: that is no question of looks, see draw_scene."""
    habits, k = person.habits, person.heterogeneity
    if appearance == "frozen":  # every draw from the person's own key: the same on all photos
        r = keyed.generator(habits.hair, "synthetic usual look")
    redrawn = appearance == "redrawn"
    anew = redrawn or (appearance == "varying" and r.random() < min(0.6, 0.35 * k))
    style = hair.draw_style(int(r.integers(2**31)) if anew else habits.hair, person)
    if not anew and appearance == "varying":  # the same style never lies the same way twice
        style = replace(
            style,
            top=style.top * math.exp(r.normal(0, 0.15)),
            sweep=style.sweep * math.exp(r.normal(0, 0.25)),
            parting=_within(style.parting + r.normal(0, 0.15), -1, 1),
            key=int(r.integers(2**31)),
        )
    dyed = r.random() < (0.5 if redrawn else 0.06)
    colour = HAIR_COLOURS[r.integers(6)] * r.uniform(0.8, 1.3) if dyed else person.hair_colour
    colour = colour * math.exp(r.normal(0, 0.1))
    glasses_now = r.random() < (float(r.choice([0, 0.5, 0.9])) if redrawn else habits.glasses)
    if appearance == "frozen":
        glasses_now = habits.glasses > 0.3
    frame = int(r.integers(2**31)) if redrawn or r.random() < 0.3 else habits.glasses_frame
    made_up = habits.make_up if r.random() < habits.make_up else 0.0
    beard = habits.beard
    if beard and appearance != "frozen":
        beard = _within(beard * math.exp(r.normal(0, 0.3)), 0, 1) if r.random() < 0.8 else r.uniform(0, 1)
    return Look(
        hair=style,
        paint=Paint(
            brow_thickness=math.exp(_normal(r, 0.15, 0.3)),
            brow_density=math.exp(_normal(r, 0.15, 0.3)),
            hair_colour=colour,
            beard=beard,
            beard_form=int(r.integers(4)) if redrawn or r.random() < 0.15 else habits.beard_form,
            lipstick=made_up * r.uniform(0.2, 0.8) * (r.random() < 0.7),
            lipstick_colour=int(r.integers(len(LIPSTICKS))),
            eye_shadow=made_up * r.uniform(0.1, 0.6),
            eye_shadow_colour=int(r.integers(len(EYE_SHADOWS))),
        ),
        glasses=draw_glasses(frame, dark=appearance != "frozen" and bool(r.random() < 0.08)) if glasses_now else None,
        mask=None,
        hat=_draw_hat(r, person) if appearance != "frozen" and r.random() < 0.05 else None,
        cloth=_cloth_colour(r),
        neckline=float(r.uniform(5.5, 6.0)),
    )


@lru_cache(maxsize=64)  # of people who mostly wear their usual ones
def draw_glasses(key: int, dark: bool) -> Glasses:
    """The frame with this key."""
    r = keyed.generator(key, "synthetic glasses")
    return Glasses(
        width=float(r.uniform(0.19, 0.245)),
        height=float(r.uniform(0.12, 0.19)),
        squareness=float(r.uniform(2, 5)),
        thickness=float(r.uniform(0.008, 0.022)),
        colour=FRAME_COLOURS[r.integers(len(FRAME_COLOURS))],
        dark=0.93 if dark else 0.05,
    )


def units_of(
    expression: str, strength: float, person: Person, r: np.random.Generator | None = None
) -> dict[str, float]:
    """The action units of an expression; without a generator, symmetric and at the middle of what is drawn."""
    units = _resting(person)
    for unit, amount in EXPRESSIONS[expression][1].items():
        low, high = amount if isinstance(amount, tuple) else (amount, amount)
        most, tilt = ((low + high) / 2, 0.0) if r is None else (r.uniform(low, high), r.normal(0, 0.06))
        _raise(units, unit, strength * most, tilt)
    return units


def _draw_expression(r: np.random.Generator, person: Person) -> tuple[str, float, dict[str, float]]:
    k = min(person.heterogeneity, 1.6)
    share = person.habits.mood if r.random() < 0.3 else r.random()
    name = list(EXPRESSIONS)[int(np.searchsorted(_EXPRESSION_SHARES, share, side="right"))]
    strength = _within(abs(r.normal(0.25, 0.55 * k)), 0, 1)
    if "mouthSmile" in EXPRESSIONS[name][1]:
        strength = _within(strength + 0.3 + person.habits.smile, 0, 1)
    units = units_of(name, strength, person, r)
    closed = r.random() < 0.02
    _raise(units, "eyeBlink", 1.0 if closed else max(0.0, r.normal(0.03, 0.1)), tilt=0)
    for unit in ("browInnerUp", "mouthLeft", "mouthRight", "jawLeft", "jawRight"):
        _raise(units, unit, max(0.0, r.normal(0, 0.1 * k)), tilt=0)
    return name, strength, {unit: min(amount, 1.2) for unit, amount in units.items() if amount > 1e-3}


def _resting(person: Person) -> dict[str, float]:
    """A face at rest: the average head's mouth looks stern, a trace of a smile makes it neutral."""
    units: dict[str, float] = {}
    _raise(units, "mouthSmile", 0.14 + 0.3 * max(-0.3, person.habits.smile), tilt=0)
    _raise(units, "browInnerUp", 0.06, tilt=0)
    return units


def _raise(units: dict[str, float], unit: str, amount: float, tilt: float) -> None:
    """Add to an action unit; one with two sides gets both, a little more on one of them."""
    for name, share in ((f"{unit}Left", 1 + tilt), (f"{unit}Right", 1 - tilt)) if unit in _SIDED else ((unit, 1.0),):
        units[name] = units.get(name, 0.0) + amount * share


def _draw_lamp(r: np.random.Generator, k: float) -> Lamp:
    warmth, tint = r.normal(0, 0.10 * min(1, k + 0.2)), r.normal(0, 0.04)
    around = r.normal(0, 1, 3)
    around[1] = abs(around[1]) * 0.8 + 0.3
    ambient = np.clip(1 - 0.6 * warmth * np.array([1, 0, -1]) + r.normal(0, 0.05, 3), 0.4, 1.6) * r.uniform(0.2, 0.65)
    # A flash beside the camera, lamps at a ceiling, or anything: a window, the sun, a stage.
    azimuth, elevation, strength = (
        (r.normal(0, 0.2), r.uniform(0, 0.5), r.uniform(0.8, 1.8)),
        (r.uniform(-1, 1), r.uniform(0.2, 0.95), r.uniform(0.5, 1.1)),
        (r.uniform(-1.6, 1.6), r.uniform(-0.25, 1.0), r.choice([0.25, 0.8, 1.2, 1.7])),
    )[int(np.searchsorted([0.35, 0.65], r.random()))]
    return Lamp(
        azimuth=_within(azimuth * min(1, 0.35 + 0.65 * k), -1.6, 1.6),
        elevation=float(elevation),
        strength=float(np.exp(r.normal(0, 0.25)) * strength),
        colour=np.clip([1 + warmth, 1 + tint, 1 - warmth], 0.5, 1.6),
        ambient=ambient,
        gradient=np.outer(ambient * r.uniform(0.3, 0.95), around / np.linalg.norm(around)) + r.normal(0, 0.03, (3, 3)),
    )


def _draw_occluder(r: np.random.Generator, person: Person) -> Occluder:
    """From a border inwards; a hand now and then, in the colour of a skin."""
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


def _draw_quality(r: np.random.Generator, k: float) -> Quality:
    worse = r.random()
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


def _draw_hat(r: np.random.Generator, person: Person) -> Hat:
    kind = HATS[r.choice(3, p=(0.75, 0.25, 0) if person.sex > 0.5 else (0.35, 0.25, 0.4))]
    return Hat(kind, float(r.uniform(7.68, 7.9)), float(r.uniform(0.06, 0.14)), _cloth_colour(r))


def _cloth_colour(r: np.random.Generator) -> Floats:
    grey = r.uniform(0.01, 0.6)
    return np.clip(grey * (1 + r.normal(0, 0.4, 3)), 0.005, 0.8)


def _normal(r: np.random.Generator, spread: float, most: float) -> float:
    return _within(r.normal(0, spread), -most, most)


def _within(value: float, least: float, most: float) -> float:
    """``numpy.clip`` of one number, which takes numpy ten times as long."""
    return float(min(max(value, least), most))
