"""How a person looks on the day of a photo: hair, beard, make-up, glasses, hat and clothes, drawn around habits."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic import hair
from elasticface.data.synthetic.hair import HairStyle
from elasticface.data.synthetic.person import HAIR_COLOURS, Person, normal, within
from elasticface.data.synthetic.texture import BEARDS, EYE_SHADOWS, LIPSTICKS, Paint

Floats = NDArray[np.float64]

Appearance = Literal["varying", "frozen", "redrawn"]
APPEARANCES: tuple[str, ...] = get_args(Appearance)

FRAME_COLOURS = np.array(
    [[0.01, 0.01, 0.01], [0.05, 0.02, 0.01], [0.25, 0.2, 0.1], [0.3, 0.3, 0.3], [0.02, 0.03, 0.08], [0.2, 0.03, 0.03]]
)
HATS = ("cap", "knitted", "scarf")
MASK_COLOURS = np.array([[0.36, 0.50, 0.60], [0.55, 0.55, 0.55], [0.02, 0.02, 0.02], [0.25, 0.07, 0.07]])


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


def draw_look(person: Person, r: np.random.Generator, appearance: Appearance) -> Look:
    """How the person looks on the day of one photo, without a mask: that hides the face, see :mod:`scene`."""
    habits = person.habits
    if appearance == "frozen":  # every draw from the person's own key: the same on all photos
        r = keyed.generator(habits.hair, "synthetic usual look")
    redrawn = appearance == "redrawn"
    style = _draw_hair(r, person, appearance)
    colour = _draw_hair_colour(r, person, redrawn)
    with_glasses = r.random() < (float(r.choice([0, 0.5, 0.9])) if redrawn else habits.glasses)
    if appearance == "frozen":
        with_glasses = habits.glasses > 0.3
    frame = int(r.integers(2**31)) if redrawn or r.random() < 0.3 else habits.glasses_frame
    paint = _draw_paint(r, person, colour, appearance)
    dark = bool(with_glasses and appearance != "frozen" and r.random() < 0.08)
    return Look(
        hair=style,
        paint=paint,
        glasses=draw_glasses(frame, dark) if with_glasses else None,
        mask=None,
        hat=_draw_hat(r, person) if appearance != "frozen" and r.random() < 0.05 else None,
        cloth=_cloth_colour(r),
        neckline=float(r.uniform(5.5, 6.0)),
    )


def _draw_hair(r: np.random.Generator, person: Person, appearance: Appearance) -> HairStyle:
    anew = appearance == "redrawn" or (appearance == "varying" and r.random() < min(0.6, 0.35 * person.heterogeneity))
    style = hair.draw_style(int(r.integers(2**31)) if anew else person.habits.hair, person)
    if anew or appearance == "frozen":
        return style
    return replace(  # the same style never lies the same way twice
        style,
        top=style.top * math.exp(r.normal(0, 0.15)),
        sweep=style.sweep * math.exp(r.normal(0, 0.25)),
        parting=within(style.parting + r.normal(0, 0.15), -1, 1),
        key=int(r.integers(2**31)),
    )


def _draw_hair_colour(r: np.random.Generator, person: Person, redrawn: bool) -> Floats:
    dyed = r.random() < (0.5 if redrawn else 0.06)
    colour = HAIR_COLOURS[r.integers(len(HAIR_COLOURS))] * r.uniform(0.8, 1.3) if dyed else person.hair_colour
    return np.asarray(colour * math.exp(r.normal(0, 0.1)))


def _draw_paint(r: np.random.Generator, person: Person, hair_colour: Floats, appearance: Appearance) -> Paint:
    habits = person.habits
    made_up = habits.make_up if r.random() < habits.make_up else 0.0
    beard = habits.beard
    if beard and appearance != "frozen":  # trimmed a little, or after any time
        beard = within(beard * math.exp(r.normal(0, 0.3)), 0, 1) if r.random() < 0.8 else r.uniform(0, 1)
    another_form = appearance == "redrawn"
    return Paint(
        brow_thickness=math.exp(normal(r, 0.15, 0.3)),
        brow_density=math.exp(normal(r, 0.15, 0.3)),
        hair_colour=hair_colour,
        beard=beard,
        beard_form=int(r.integers(len(BEARDS))) if another_form or r.random() < 0.15 else habits.beard_form,
        lipstick=made_up * r.uniform(0.2, 0.8) * (r.random() < 0.7),
        lipstick_colour=int(r.integers(len(LIPSTICKS))),
        eye_shadow=made_up * r.uniform(0.1, 0.6),
        eye_shadow_colour=int(r.integers(len(EYE_SHADOWS))),
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


def _draw_hat(r: np.random.Generator, person: Person) -> Hat:
    kind = HATS[r.choice(len(HATS), p=(0.75, 0.25, 0) if person.sex > 0.5 else (0.35, 0.25, 0.4))]
    return Hat(kind, float(r.uniform(7.68, 7.9)), float(r.uniform(0.06, 0.14)), _cloth_colour(r))


def _cloth_colour(r: np.random.Generator) -> Floats:
    """Most cloth is muted."""
    grey = r.uniform(0.01, 0.6)
    return np.clip(grey * (1 + r.normal(0, 0.4, 3)), 0.005, 0.8)
