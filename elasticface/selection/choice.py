"""Accuracies of candidates on benchmarks, over seeds -> the one that is chosen, and how much of it may be chance.

Source: Boutros et al., "ElasticFace" (arXiv 2109.09416), section 4.1: the candidate with the highest sum of Borda
counts over the benchmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from elasticface.metrics import borda_count

Parameter = Literal["margin", "std"]
Rule = Literal["Borda count", "mean accuracy", "smaller value"]

_DECIMALS = 12  # means that differ by less are the same numbers, summed up in another order


@dataclass(frozen=True)
class Candidate:
    """A value of the parameter, and what its runs reached. Accuracies are fractions in 0..1."""

    value: float
    accuracy: dict[str, float]  # benchmark -> mean over the seeds
    mean: float  # of these
    spread: float | None  # standard deviation over the seeds of a run's mean over the benchmarks; None: one seed
    points: dict[str, float]  # benchmark -> Borda count; none for the reference
    borda: float | None  # their sum


@dataclass(frozen=True)
class Stage:
    """The choice of one parameter."""

    parameter: Parameter
    candidates: list[Candidate]  # in the order given
    reference: Candidate | None  # the fixed margin, σ = 0: it is compared, and no candidate
    chosen: float
    tied: list[float]  # the other candidates with as high a Borda count
    decided_by: Rule
    seeds: int
    difference: float  # of mean accuracy, between the best and the worst candidate
    chance: float | None  # how probable so large a difference is between equal candidates; None: one seed or candidate
    gain: float | None  # of the chosen over the reference, in mean accuracy
    gain_chance: float | None  # likewise, of any two of candidates and reference

    @property
    def winner(self) -> Candidate:
        """The candidate that is chosen."""
        return next(one for one in self.candidates if one.value == self.chosen)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, of one candidate on average; None: one seed."""
        spreads = [one.spread for one in self.candidates if one.spread is not None]
        return float(np.sqrt(np.mean(np.square(spreads)))) if spreads else None


def choose(
    parameter: Parameter,
    values: Sequence[float],
    accuracies: npt.ArrayLike,
    benchmarks: Sequence[str],
    reference: npt.ArrayLike | None = None,
) -> Stage:
    """The candidate with the highest sum of Borda counts over the benchmarks.

    On a benchmark the best of n candidates has n − 1 points and the last none, by accuracies averaged over the seeds;
    candidates that tie share the mean of their places. Candidates of one sum are told apart by the higher mean
    accuracy, and then by the smaller value.

    Args:
        parameter: what the values are of.
        values: of the n candidates, all different.
        accuracies: [n, S, B], of S seeds on B benchmarks, in 0..1.
        benchmarks: [B], their names.
        reference: [S, B], accuracies of the fixed margin, which is compared and cannot be chosen.

    Raises:
        ValueError: arrays of other shapes, or no candidate, seed or benchmark.
    """
    runs = np.asarray(accuracies, np.float64)
    if runs.ndim != 3 or 0 in runs.shape or runs.shape[::2] != (len(values), len(benchmarks)):
        raise ValueError(f"accuracies must be [{len(values)}, S, {len(benchmarks)}], got shape {runs.shape}")
    means = runs.mean(axis=1).round(_DECIMALS)  # [n, B]
    points = np.stack([borda_count(column[:, None]) for column in means.T], axis=1)  # [n, B]
    sums, overall = points.sum(axis=1), means.mean(axis=1).round(_DECIMALS)

    first, *others = sorted(range(len(values)), key=lambda i: (-sums[i], -overall[i], values[i]))
    tied = [i for i in others if sums[i] == sums[first]]
    rule: Rule = "Borda count"
    if tied:
        rule = "smaller value" if any(overall[i] == overall[first] for i in tied) else "mean accuracy"

    candidates = [
        _candidate(value, runs[i], benchmarks, dict(zip(benchmarks, points[i].tolist(), strict=True)))
        for i, value in enumerate(values)
    ]
    of_reference, gain, gain_chance = None, None, None
    if reference is not None:
        fixed = np.asarray(reference, np.float64)
        of_reference = _candidate(0.0, fixed, benchmarks, {})
        gain = candidates[first].mean - of_reference.mean
        gain_chance = probability_by_chance(np.stack([*runs.mean(axis=2), fixed.mean(axis=1)]), abs(gain))
    difference = float(np.ptp(overall))
    return Stage(
        parameter=parameter,
        candidates=candidates,
        reference=of_reference,
        chosen=values[first],
        tied=[values[i] for i in tied],
        decided_by=rule,
        seeds=runs.shape[1],
        difference=difference,
        chance=probability_by_chance(runs.mean(axis=2), difference),
        gain=gain,
        gain_chance=gain_chance,
    )


def probability_by_chance(runs: npt.NDArray[np.float64], difference: float) -> float | None:
    """How probable it is that of n candidates which are equal two have means that lie so far apart.

    Args:
        runs: [n, S], a figure of each candidate for each seed: their spread over the seeds is the measure.
        difference: of two means over the seeds, ≥ 0.

    Returns:
        A probability; None with one candidate or one seed, whose spread is unknown.

    Source: Tukey, "The Problem of Multiple Comparisons" (1953): the studentised range.
    """
    candidates, seeds = runs.shape
    if candidates < 2 or seeds < 2:
        return None
    spread = float(np.sqrt(runs.var(axis=1, ddof=1).mean()).round(_DECIMALS))
    if spread == 0:
        return 1.0 if difference < 10**-_DECIMALS else 0.0
    from scipy.stats import studentized_range  # it takes a second to import

    return float(studentized_range.sf(difference * seeds**0.5 / spread, candidates, candidates * (seeds - 1)))


def _candidate(
    value: float, runs: npt.NDArray[np.float64], benchmarks: Sequence[str], points: dict[str, float]
) -> Candidate:
    """``runs``: [S, B]."""
    means = runs.mean(axis=0).round(_DECIMALS)
    return Candidate(
        value=value,
        accuracy=dict(zip(benchmarks, means.tolist(), strict=True)),
        mean=float(means.mean().round(_DECIMALS)),
        spread=float(runs.mean(axis=1).std(ddof=1)) if len(runs) > 1 else None,
        points=points,
        borda=sum(points.values()) if points else None,
    )
