"""Pictures of what the studio takes: a contact sheet, and sweeps that turn one factor at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.data.synthetic import expression, hair, look
from elasticface.data.synthetic.person import Person
from elasticface.data.synthetic.scene import Occluder, Scene, Variation, plain_scene
from elasticface.data.synthetic.studio import SIZE, Studio

Picture = NDArray[np.uint8]  # [H, W, 3] RGB

_PEOPLE, _PHOTOS = 10, 12
_STEPS = 9  # of a sweep
_GAP = 2  # pixels between photos
_LABELS = 120  # pixels for the names of the factors
_PAPER, _INK = 255, 60


def write_preview(path: Path, seed: int = 0, variation: Variation | None = None, first: int = 0) -> list[Path]:
    """Draw a contact sheet, rows people and columns photos, and beside it `<name>-sweeps.png`, a row a factor.

    Args:
        path: of the sheet, a .png or .jpg.
        seed: of the population.
        variation: of the photos.
        first: number of the first person shown.

    Returns:
        What was written.
    """
    studio = Studio(seed, variation)
    pictures = {
        path: contact_sheet(studio, range(first, first + _PEOPLE), _PHOTOS),
        path.with_name(f"{path.stem}-sweeps{path.suffix}"): sweeps(studio, first),
    }
    for where, picture in pictures.items():
        files.write_bytes(where, cv2.imencode(where.suffix, picture[..., ::-1])[1].tobytes())
    return list(pictures)


def contact_sheet(studio: Studio, people: Sequence[int], photos: int) -> Picture:
    """A row for each of the people, uint8 RGB."""
    return _rows([[studio.image(identity, photo) for photo in range(photos)] for identity in people])


def sweeps(studio: Studio, first: int) -> Picture:
    """One person a row, and one factor that goes from its least to its most; uint8 RGB with the factors' names."""
    rows, names = [], []
    for number, (name, shots) in enumerate(_sweeps(studio, first).items()):
        rows.append([studio.take(studio.seat(person), shot, number) for person, shot in shots])
        names.append(name)
    picture = _rows(rows)
    margin = np.full((len(picture), _LABELS, 3), _PAPER, np.uint8)
    for row, name in enumerate(names):
        y = row * (SIZE + _GAP) + SIZE // 2 + 4
        cv2.putText(margin, name, (6, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (_INK,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([margin, picture], axis=1)


def _sweeps(studio: Studio, first: int) -> dict[str, list[tuple[Person, Scene]]]:
    """Who and what is on each photo of each row."""
    people = [studio.person(first + n) for n in range(24)]
    share = np.linspace(0, 1, _STEPS)

    def portraits(number: int, factor: str, values: Iterable[object], **others: object) -> list[tuple[Person, Scene]]:
        """Plain portraits of one of the people that differ in one factor of their scene, such as ``look.hair``."""
        plain = replace(plain_scene(people[number]), **others)  # type: ignore[arg-type]
        return [(people[number], _changed(plain, factor, value)) for value in values]

    def people_like(number: int, factor: str, values: Iterable[object]) -> list[tuple[Person, Scene]]:
        """Plain portraits of people who differ from one in one factor."""
        changed = [_changed(people[number], factor, value) for value in values]
        return [(person, plain_scene(person)) for person in changed]

    def lit(number: int, factor: str, values: Iterable[object]) -> list[tuple[Person, Scene]]:
        lamp = replace(plain_scene(people[number]).lamp, strength=1.4, ambient=np.full(3, 0.25))
        return portraits(number, factor, values, lamp=lamp)

    man = next(n for n, person in enumerate(people) if person.sex > 0.7)
    woman = next(n for n, person in enumerate(people) if person.sex < 0.3)
    styles = [
        next(style for key in range(999) if (style := hair.draw_style(key, people[sitter])).kind == kind)
        for kind, sitter in zip(hair.KINDS, (man, man, man, woman, woman, woman, woman, woman, man), strict=True)
    ]
    frames = [look.draw_glasses(key, dark=key % 4 == 3) for key in range(_STEPS)]
    masks = [look.MASK_COLOURS[n % len(look.MASK_COLOURS)] for n in range(_STEPS)]
    hats = [
        look.Hat(kind, 7.9 - 0.1 * n, 0.1, np.array(colour))
        for kind in look.HATS
        for n, colour in enumerate(((0.02, 0.03, 0.1), (0.3, 0.05, 0.05), (0.5, 0.5, 0.5)))
    ]
    objects = [
        Occluder(np.array([0.1 + 0.8 * s, 0.9]), np.array([0.2, 0.14]), 3 * s, s, np.array([0.3, 0.2, 0.15]))
        for s in share
    ]
    expressions = [expression.units_of(name, 1.0, people[3]) for name in expression.EXPRESSIONS]
    turned = 0.35
    return {
        "yaw": portraits(0, "yaw", np.radians(140 * share - 70)),
        "pitch": portraits(1, "pitch", np.radians(60 * share - 30)),
        "camera distance": portraits(2, "distance", 6 * 10**share),
        "expression": portraits(3, "units", expressions),
        "light azimuth": lit(4, "lamp.azimuth", 3.2 * share - 1.6),
        "light elevation": lit(5, "lamp.elevation", 1.5 * share - 0.25),
        "hair": portraits(woman, "look.hair", styles, yaw=turned),
        "glasses": portraits(6, "look.glasses", frames, yaw=turned),
        "mask": [
            (person, replace(shot, yaw=float(yaw)))
            for (person, shot), yaw in zip(portraits(7, "look.mask", masks), 2 * share - 1, strict=True)
        ],
        "hat": portraits(9, "look.hat", hats, yaw=turned),
        "object": portraits(8, "occluder", objects),
        "beard": portraits(man, "look.paint.beard", share, yaw=turned),
        "age": people_like(9, "age", share),
        "sex": people_like(10, "sex", share),
        "weight": people_like(11, "weight", 2 * share - 1),
        "melanin": people_like(12, "melanin", 0.05 * 44**share),
        "blur": portraits(13, "quality.blur", 1.4 * share),
        "resolution": portraits(14, "quality.resolution", [round(28 * 4**s) for s in share]),
        "jpeg quality": portraits(15, "quality.jpeg", [round(30 + 65 * s) for s in share]),
    }


def _changed(of: Any, field: str, value: object) -> Any:
    """A dataclass with one value changed: of a field, or by a path such as ``look.hair`` of a part's field."""
    name, _, rest = field.partition(".")
    return replace(of, **{name: _changed(getattr(of, name), rest, value) if rest else value})


def _rows(photos: list[list[Picture]]) -> Picture:
    """Photos in rows with gaps between them."""
    rows, columns = len(photos), max(map(len, photos))
    step = SIZE + _GAP
    picture = np.full((rows * step - _GAP, columns * step - _GAP, 3), _PAPER, np.uint8)
    for row, line in enumerate(photos):
        for column, photo in enumerate(line):
            picture[row * step : row * step + SIZE, column * step : column * step + SIZE] = photo
    return picture
