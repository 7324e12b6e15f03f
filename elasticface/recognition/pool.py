"""The comparisons of several benchmarks taken together, and their error rates in each bootstrap resample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.metrics.checks import most_within
from elasticface.metrics.resampling import CannotDraw, Counts
from elasticface.recognition.comparisons import Compared, all_weights, weights_at

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """The comparisons of several benchmarks as one set. Their people are taken for different ones."""

    parts: tuple[Compared, ...]

    @property
    def units(self) -> int:
        """How many there are to resample."""
        return sum(part.units for part in self.parts)

    @property
    def kind(self) -> str:
        """What these are: "people" if every part resamples people, else the kind of the first part that does not."""
        return next((part.kind for part in self.parts if part.kind != "people"), "people")

    @property
    def impostor_count(self) -> int:
        """How many impostor comparisons there are."""
        return sum(part.impostor_count for part in self.parts)

    @property
    def genuine_count(self) -> int:
        """How many genuine comparisons there are."""
        return sum(len(part.genuine) for part in self.parts)

    def kept_for(self, fmr: float) -> bool:
        """Whether enough impostor comparisons were kept to find the threshold for a false match rate."""
        room = most_within(np.asarray([fmr]), self.impostor_count)[0]
        return all(part.all_kept or len(part.impostors) > room for part in self.parts)

    def of_parts(self, counts: Counts) -> list[tuple[Compared, Counts]]:
        """Each part and how often its units are in each resample; ``counts`` [R, units]."""
        edges = np.cumsum([part.units for part in self.parts])[:-1]
        return list(zip(self.parts, np.split(counts, edges, axis=1), strict=True))

    def match_rates(self, thresholds: Sequence[float], counts: Counts) -> Floats:
        """The false match rate at each threshold in each resample, [R, T].

        Raises:
            CannotDraw: a resample has no impostor comparison.
        """
        parts = self.of_parts(counts)
        found = [weights_at(part.impostors, part.impostor_units, thresholds, own) for part, own in parts]
        return _shares(sum(found), sum(part.impostor_weights(own) for part, own in parts))

    def acceptances(self, thresholds: Sequence[float], counts: Counts) -> Floats:
        """The share of genuine comparisons accepted at each threshold in each resample, [R, T].

        Raises:
            CannotDraw: a resample has no genuine comparison.
        """
        parts = self.of_parts(counts)
        found = [weights_at(part.genuine, part.genuine_units, thresholds, own) for part, own in parts]
        return _shares(sum(found), sum(all_weights(part.genuine_units, own) for part, own in parts))


def _shares(found: Any, totals: Any) -> Floats:
    if not totals.all():
        raise CannotDraw("too few people: a resample has no comparison of one kind")
    return np.asarray(found / totals[:, None])
