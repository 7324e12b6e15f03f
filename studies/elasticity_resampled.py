"""The stored runs of `elasticity.py`, and what chance makes of them: seeds resampled, and people, alike for all losses.

The bootstrap is crossed: a resample draws seeds and people independently of each other, the same for both losses of a
contrast and for all of its sets. It errs towards wide intervals (Owen, "The pigeonhole bootstrap", 2007), for it counts
what is neither a seed's nor a person's, which run judges which pair right, several times. Beside it stands the t
interval over seeds alone, which takes the people as given.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from common import DRAWS, Bootstrap
from elasticity import LFW, SEED
from numpy.typing import NDArray
from scipy import special

from elasticface.base import keyed

Values = NDArray[np.float64]


class Resampled:
    """Figures of the stored runs, and their accuracies in bootstrap resamples.

    Args:
        results: what `elasticity.py` has stored.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        # The rendered people are the same ones in every set, LFW's are others.
        self.people = {name: Bootstrap(of_set, seed=int(name == LFW)) for name, of_set in results["sets"].items()}
        self.sets = list(self.people)
        self.runs: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        for entry in results["runs"]:
            self.runs.setdefault((entry["set"], entry["loss"]), {})[entry["seed"]] = entry
        self._accuracies: dict[tuple[str, str, int], Values] = {}

    def seeds(self, names: Sequence[str], *losses: str) -> list[int]:
        """Seeds that all of these losses have on all of these sets."""
        return sorted(set.intersection(*(set(self.runs.get((name, loss), {})) for name in names for loss in losses)))

    def figure(self, names: Sequence[str], loss: str, seeds: Sequence[int], what: str = "accuracy") -> Values:
        """[S] means over sets of a figure of each seed's run."""
        return np.array([np.mean([self.runs[name, loss][seed][what] for name in names]) for seed in seeds])

    def accuracy(self, names: Sequence[str], loss: str, seeds: Sequence[int]) -> Values:
        """[S, R] means over sets of the accuracy of each seed's run in resamples of people."""
        return np.array([np.mean([self._accuracy(name, loss, seed) for name in names], 0) for seed in seeds])

    def difference(self, names: Sequence[str], one: str, other: str) -> tuple[Values, Values]:
        """([S] of each seed, [R] means in resamples) of the accuracy of ``one`` less that of ``other``, over sets."""
        seeds = self.seeds(names, one, other)
        of_seeds = self.figure(names, one, seeds) - self.figure(names, other, seeds)
        return of_seeds, over_seeds(self.accuracy(names, one, seeds) - self.accuracy(names, other, seeds))

    def correct(self, name: str, loss: str, seed: int) -> NDArray[np.bool_]:
        """[P], which pairs of a set a run judged right."""
        return self.people[name].correct([self.runs[name, loss][seed]]) > 0

    def right(self, name: str, one: str, other: str, kind: NDArray[np.bool_]) -> tuple[float, Values]:
        """How many more of some pairs [P] ``one`` judges right than ``other``: the mean, and [R] in resamples."""
        seeds = self.seeds([name], one, other)
        more = [self.correct(name, one, s).astype(int) - self.correct(name, other, s) for s in seeds]
        of_kind = np.array(more)[:, kind]
        weights = self.people[name].weights[:, kind].astype(np.float64)
        return float(of_kind.mean()), over_seeds(of_kind @ weights.T / weights.sum(1))

    def _accuracy(self, name: str, loss: str, seed: int) -> Values:
        """[R], by people."""
        key = (name, loss, seed)
        if key not in self._accuracies:
            self._accuracies[key] = self.people[name].accuracies([self.runs[name, loss][seed]])
        return self._accuracies[key]


def over_seeds(of_seeds: Values) -> Values:
    """[S, R] -> [R] means over seeds drawn with replacement: the same ones in every set and loss."""
    count = len(of_seeds)
    drawn = keyed.generator(SEED, "seeds of resamples", count).integers(0, count, (count, DRAWS))
    means: Values = np.take_along_axis(of_seeds, drawn, 0).mean(0)
    return means


def interval(resampled: Values, chance: float = 0.05) -> tuple[float, float]:
    """Percentiles of a bootstrap."""
    low, high = np.percentile(resampled, [50 * chance, 100 - 50 * chance])
    return float(low), float(high)


def t_interval(of_seeds: Values, chance: float = 0.05) -> tuple[float, float]:
    """Student's, of a mean over seeds; the people are taken as given."""
    count = len(of_seeds)
    around = float(special.stdtrit(count - 1, 1 - chance / 2) * of_seeds.std(ddof=1) / count**0.5)
    return float(of_seeds.mean()) - around, float(of_seeds.mean()) + around
