"""Synthetic faces as a source: rendered when they are first read, and kept on the disk from then on."""

import functools
import hashlib
import json
import operator
import reprlib
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.synthetic.cache import open_cache
from elasticface.data.synthetic.look import APPEARANCES, Appearance
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.studio import RENDERER_VERSION, Studio

MOST_PEOPLE, MOST_PHOTOS = 1_000_000, 10_000
"""What names of six and four digits tell apart, so that the order of names is that of numbers."""

_MOST_IMAGES = 10**8  # of a set: weeks of rendering, and 800 MB of labels
_MOST_SEED = 2**63 - 1
_MOST_HETEROGENEITY = 2.0  # there, the median identity varies a seventh as much as the mean one

_KINDS: dict[str, type] = {
    "identities": int,
    "images": int,
    "seed": int,
    "heterogeneity": float,
    "first": int,
    "appearance": str,
}
_USAGE = (
    "synthetic:identities=N,images=K and, where wanted, seed=N, heterogeneity=S, first=N, "
    f"appearance={'|'.join(APPEARANCES)}"
)


class SyntheticFaces:
    """Images ``0..images-1`` of the people ``first..first+identities-1``, one person after the other.

    An image is a function of (seed, variation, person's number, image's number) and of nothing else: not of how many
    there are, in which order they are read or by which process. So sets of one seed whose numbers don't overlap are
    different people, and an image that was rendered once is there for every set that has it
    (:mod:`elasticface.data.synthetic.cache`).

    Args:
        identities: C, 1..1,000,000.
        images: an identity, 1..10,000.
        seed: of everything, ≥ 0.
        heterogeneity: σ of how unequally much identities vary, 0..2.
        appearance: "varying", "frozen" or "redrawn"; see :class:`elasticface.data.synthetic.scene.Variation`.
        first: the number of the identity with label 0.
        cache: keep images in the user's cache folder; False renders them each time; or the folder to keep them in.

    Attributes:
        images: of each identity, as given.
        first: as given.
        num_classes: C.
        labels: int64 [C · images], ascending.
        population: whose names these are: people of other seeds have the same ones (:mod:`elasticface.data.joined`).
        missing: identities that were not kept yet when the set was opened: reading the first of their images renders
            all of them.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        *,
        identities: int,
        images: int,
        seed: int = 0,
        heterogeneity: float = 0.5,
        appearance: Appearance = "varying",
        first: int = 0,
        cache: bool | str | Path = True,
    ) -> None:
        variation = Variation(float(heterogeneity), appearance)
        check_set(identities, images, seed, variation, first)
        self.num_classes, self.images, self.first = identities, images, first
        self.labels: NDArray[np.int64] = np.repeat(np.arange(identities, dtype=np.int64), images)
        self.population = f"synthetic, seed {seed}"
        self._seed, self._variation = seed, variation
        folder = Path(cache) if isinstance(cache, str | Path) else None
        numbers = range(first, first + identities)
        self._cache = None if cache is False else open_cache(folder, _key(seed, variation), numbers, images)
        self.missing = 0 if self._cache is None else self._cache.missing

    @classmethod
    def parse(cls, spec: str, **options: Any) -> "SyntheticFaces":
        """The source that ``synthetic:identities=500,images=16`` describes; further keys are the class's own keywords.

        Args:
            spec: the description.
            options: ``cache``.

        Raises:
            InputError: a key that is unknown, missing or there twice, a value that is no number or out of its range.
        """
        try:
            return cls(**_settings(spec.partition(":")[2]), **options)
        except InputError as error:
            raise InputError(f"{printable(spec)}: {error}; synthetic faces are {_USAGE}") from error

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """One image, uint8 RGB [112, 112, 3], and its label.

        Raises:
            IndexError: ``index`` beyond the set.
        """
        label, photo = divmod(range(len(self))[index], self.images)
        identity = self.first + label

        def render(number: int) -> NDArray[np.uint8]:
            return studio(self._seed, self._variation).image(identity, number)

        return render(photo) if self._cache is None else self._cache.image(identity, photo, render), label

    @cached_property
    def class_names(self) -> list[str]:
        """The identities' names [C], in the order of their labels: "person-000012" is number 12 of its seed."""
        return [person_name(identity) for identity in range(self.first, self.first + self.num_classes)]


def person_name(identity: int) -> str:
    """An identity's name, "person-000012"."""
    return f"person-{identity:06}"


@functools.lru_cache(maxsize=2)
def studio(seed: int, variation: Variation) -> Studio:
    """This process's studio. Not a part of the source, so that a source stays small for the processes it is sent to."""
    return Studio(seed, variation)


def check_set(identities: int, images: int, seed: int, variation: Variation, first: int = 0) -> None:
    """See that there can be such a set of faces.

    Raises:
        InputError: a number out of its range, or more identities or images than a set may have.
    """
    for name, value, least, most in (
        ("identities", identities, 1, MOST_PEOPLE),
        ("images of each identity", images, 1, MOST_PHOTOS),
        ("seed", seed, 0, _MOST_SEED),
        ("first", first, 0, MOST_PEOPLE - 1),
    ):
        if not least <= operator.index(value) <= most:
            raise InputError(f"{name} must be {least:,} to {most:,}, got {reprlib.repr(value)}")
    if first + identities > MOST_PEOPLE:
        raise InputError(
            f"first and identities together must be at most {MOST_PEOPLE:,}, got {first:,} + {identities:,}"
        )
    if identities * images > _MOST_IMAGES:
        raise InputError(f"a set has at most {_MOST_IMAGES:,} images, not {identities:,} times {images:,}")
    if not 0 <= variation.heterogeneity <= _MOST_HETEROGENEITY:
        raise InputError(f"heterogeneity must be 0 to {_MOST_HETEROGENEITY:g}, got {variation.heterogeneity}")
    if variation.appearance not in APPEARANCES:
        raise InputError(
            f"appearance must be one of {', '.join(APPEARANCES)}, got {reprlib.repr(variation.appearance)}"
        )


def _settings(text: str) -> dict[str, Any]:
    """``"identities=500,images=16"`` -> keywords of :class:`SyntheticFaces`."""
    found: dict[str, Any] = {}
    for part in text.split(",") if text else []:
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in _KINDS:
            raise InputError(f"no setting {reprlib.repr(name)}")
        if name in found:
            raise InputError(f"{name} is given twice")
        try:
            found[name] = _KINDS[name](value)
        except ValueError as error:
            kind = "a whole number" if _KINDS[name] is int else "a number"
            raise InputError(f"{name} must be {kind}, got {reprlib.repr(value)}") from error
    for name in ("identities", "images"):
        if name not in found:
            raise InputError(f"{name} is missing")
    return found


def _key(seed: int, variation: Variation) -> str:
    """The cache's name for what images depend on beside their identity's number and their own."""
    text = json.dumps([RENDERER_VERSION, seed, asdict(variation)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
