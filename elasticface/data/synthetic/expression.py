"""Facial expressions: what a photo shows of the face's muscles, as action units."""

import numpy as np

from elasticface.data.synthetic.person import Person, within

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
"""How often photos show each, and its action units at strength 1: one number, or (least, most) to draw from."""

_SHARES = np.cumsum([share for share, _ in EXPRESSIONS.values()])[:-1]  # what is left is the last one's
_MOST_RAISED = 1.2  # of an action unit, as in the widest smile
# Action units with a target a side.
_SIDED = frozenset(
    "browDown browOuterUp cheekSquint eyeBlink eyeSquint eyeWide mouthDimple mouthFrown mouthLowerDown mouthPress "
    "mouthSmile mouthStretch mouthUpperUp noseSneer".split()
)


def units_of(
    expression: str, strength: float, person: Person, r: np.random.Generator | None = None
) -> dict[str, float]:
    """The action units of an expression of some strength 0..1; without a generator, symmetrical and the middle ones."""
    units = resting(person)
    for unit, amount in EXPRESSIONS[expression][1].items():
        low, high = amount if isinstance(amount, tuple) else (amount, amount)
        most, tilt = ((low + high) / 2, 0.0) if r is None else (r.uniform(low, high), r.normal(0, 0.06))
        _raise(units, unit, strength * most, tilt)
    return units


def draw_expression(r: np.random.Generator, person: Person) -> tuple[str, float, dict[str, float]]:
    """A photo's expression: its key, its strength 0..1, and the action units, with what moves beside it."""
    k = min(person.heterogeneity, 1.6)
    share = person.habits.mood if r.random() < 0.3 else r.random()
    name = list(EXPRESSIONS)[int(np.searchsorted(_SHARES, share, side="right"))]
    strength = within(abs(r.normal(0.25, 0.55 * k)), 0, 1)
    if "mouthSmile" in EXPRESSIONS[name][1]:
        strength = within(strength + 0.3 + person.habits.smile, 0, 1)
    units = units_of(name, strength, person, r)
    closed = r.random() < 0.02
    _raise(units, "eyeBlink", 1.0 if closed else max(0.0, r.normal(0.03, 0.1)), tilt=0)
    for unit in ("browInnerUp", "mouthLeft", "mouthRight", "jawLeft", "jawRight"):
        _raise(units, unit, max(0.0, r.normal(0, 0.1 * k)), tilt=0)
    return name, strength, {unit: min(amount, _MOST_RAISED) for unit, amount in units.items() if amount > 1e-3}


def resting(person: Person) -> dict[str, float]:
    """A face at rest: the average head's mouth looks stern, a trace of a smile makes it neutral."""
    units: dict[str, float] = {}
    _raise(units, "mouthSmile", 0.14 + 0.3 * max(-0.3, person.habits.smile), tilt=0)
    _raise(units, "browInnerUp", 0.06, tilt=0)
    return units


def _raise(units: dict[str, float], unit: str, amount: float, tilt: float) -> None:
    """Add to an action unit; one with two sides gets both, a little more on one of them."""
    sides = {f"{unit}Left": 1 + tilt, f"{unit}Right": 1 - tilt} if unit in _SIDED else {unit: 1.0}
    for name, share in sides.items():
        units[name] = units.get(name, 0.0) + amount * share
