"""What a model's similarities mean: thresholds with their false match rates, and a likelihood ratio.

Both hold under the conditions that they were measured in. The model's card keeps all three;
:mod:`elasticface.recognition` makes and uses them.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from elasticface.base.errors import InputError

LONGEST_TEXT = 500
"""Characters of a text in a calibration, at most."""

MOST_POINTS = 64
"""Rates that a calibration has a threshold for, at most."""

_Share = Annotated[float, Meta(ge=0, le=1)]
_Rate = Annotated[float, Meta(gt=0, lt=1)]
_Similarity = Annotated[float, Meta(ge=-2, le=2)]
_Count = Annotated[int, Meta(ge=0, le=1 << 62)]
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
_Number = Annotated[float, Meta(ge=-1e6, le=1e6)]

UNKNOWN_DETECTOR = "unknown"
"""What ``Conditions.detector`` says of faces that came aligned, and of which nobody said who found them."""

_PRINT_TOLERANCE = 0.01  # of numbers of size 1: float32 anywhere is within 1e-3, bfloat16 and int8 are not


@dataclass(frozen=True)
class Conditions:
    """What a similarity depends on beside the two photos."""

    detector: _Text  #: the name of what found the faces and their points
    alignment: _Text  #: template and size of the aligned face
    flip: bool  #: whether the embedding of the mirror image was added
    precision: _Text  #: what the network computed in
    fingerprint: Annotated[tuple[_Number, ...], Meta(max_length=256)]
    """What the network makes of fixed images: another network, preprocessing or precision gives other numbers."""

    def difference(self, other: "Conditions") -> str | None:
        """The first thing in which ``other`` is not as this, in words; None where nothing differs."""
        for name, words in (("detector", "detector"), ("alignment", "alignment"), ("precision", "precision")):
            before, now = getattr(self, name), getattr(other, name)
            if before != now:
                return f"the {words} was {before!r} and is {now!r}"
        if self.flip != other.flip:
            return f"the mirror image was {'added' if self.flip else 'not added'} and is{'' if other.flip else ' not'}"
        prints = self.fingerprint, other.fingerprint
        if len(prints[0]) != len(prints[1]) or not all(
            abs(a - b) <= _PRINT_TOLERANCE for a, b in zip(*prints, strict=True)
        ):
            return "the model is another one: fixed images have other embeddings"
        return None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it lets through. Rates are fractions in 0..1; intervals are 95 %, over people."""

    fmr: _Rate  #: the false match rate that was asked for
    threshold: _Similarity  #: a similarity of this or more is a match
    observed_fmr: _Share  #: ≤ fmr: of the comparisons that were measured
    fmr_interval: tuple[_Share, _Share]
    acceptance: _Share  #: share of genuine comparisons at or above the threshold, 1 − FNMR
    acceptance_interval: tuple[_Share, _Share]
    independent: _Count  #: independent impostor comparisons that the measured ones are worth at this threshold


@dataclass(frozen=True)
class LikelihoodRatio:
    """ln(P(similarity | same person) / P(similarity | different people)) = slope · similarity + offset."""

    slope: _Number
    offset: _Number
    cllr: Annotated[float, Meta(ge=0, le=1e6)]  #: bits, on units that it was not fitted on; 1 says nothing
    fitted_on: _Count  #: units, as in Calibration.units
    held_out: _Count  #: units that ``cllr`` is of


@dataclass(frozen=True)
class Calibration:
    """What the similarities of one model mean, under the conditions of the measurement alone."""

    conditions: Conditions
    points: Annotated[tuple[OperatingPoint, ...], Meta(min_length=1, max_length=MOST_POINTS)]  #: by falling fmr
    likelihood: LikelihoodRatio | None  #: None where there were too few people to fit and to judge it
    benchmarks: Annotated[tuple[_Text, ...], Meta(max_length=1000)]
    """What was measured on, by name; "lfw (10 of 15 photos)" where not all photos were compared."""
    units: _Text  #: what was resampled for the intervals, a key of benchmarks.units.UNITS
    unit_count: _Count
    genuine: _Count  #: comparisons
    impostors: _Count

    def threshold(self, fmr: float) -> OperatingPoint:
        """The operating point that was calibrated for a false match rate; none is made up between two.

        Raises:
            InputError: none was calibrated for ``fmr``; the message names those that were.
        """
        for point in self.points:
            if math.isclose(point.fmr, fmr, rel_tol=1e-9):
                return point
        there = ", ".join(str(point.fmr) for point in self.points)  # in full, to be given again
        raise InputError(
            f"no threshold for a false match rate of {fmr}, but for {there}; give one of these, or calibrate for it "
            "(elasticface calibrate --fmr)"
        )

    def llr(self, similarity: float) -> float | None:
        """The natural logarithm of the likelihood ratio of "same person" to "different people"; None: not calibrated.

        It is no probability: that needs to know beforehand how likely the two are one person.
        """
        if self.likelihood is None:
            return None
        return self.likelihood.slope * similarity + self.likelihood.offset

    def difference(self, now: Conditions) -> str | None:
        """The first thing that is not as it was measured with, in words; None where the calibration is valid."""
        return self.conditions.difference(now)


def gallery_fmr(fmr: float, comparisons: int) -> float:
    """How often a stranger matches someone in a gallery, by one search: 1 − (1 − fmr)^comparisons.

    Comparisons are taken for independent, as in ISO/IEC 19795-1 and Grother and Phillips, "Models of large population
    recognition performance" (2004). Those with several photos of one person are not, so it is at most this, but only
    for a stranger whose own false match rate is ``fmr``: one who looks like many people matches more often.

    Args:
        fmr: of one comparison, in [0, 1].
        comparisons: impostor comparisons of one search, ≥ 0: one a person, or one a photo.

    Raises:
        ValueError: a number out of its range.
    """
    if not 0 <= fmr <= 1 or comparisons < 0:
        raise ValueError(f"fmr must lie in [0, 1] and comparisons must be at least 0, got {fmr} and {comparisons}")
    if fmr == 1:
        return float(comparisons > 0)
    return -math.expm1(comparisons * math.log1p(-fmr))
