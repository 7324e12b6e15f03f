"""What came of each trial of a large benchmark, figure by figure: what a comparison of two models resamples.

Trials are what a figure is a share of: genuine pairs of templates (IJB 1:1), searches of mated probes (IJB 1:N),
ordered pairs of probe and mate (MegaFace). All figures of a result are of the same trials. Thresholds are those that
the figure was read at, set by all impostors.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_FIGURES = 32
"""Figures of one result: a bit each where they are stored."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The n trials of a result with F figures, those of ``result.groups()`` in their order.

    A gallery's figure is its share of successes, and the result's is the mean over the galleries.
    """

    hits: NDArray[np.bool_]  # [F, n], whether the trial succeeded
    units: NDArray[np.int32]  # [n], whose it is: numbers from 0, all of them below n
    groups: NDArray[np.uint8]  # [n], the number of the gallery; 0 where there are none
    kind: str  # of the units, one of benchmarks.units.OF_TRIALS
    digest: str  # SHA-256 of the protocol's lists, hexadecimal: the same for the same trials alone

    def shares(self) -> NDArray[np.float64]:
        """Each figure of each group, [G, F]; NaN for a group without trials."""
        trials = np.bincount(self.groups)
        sums = np.array([np.bincount(self.groups[row], minlength=len(trials)) for row in self.hits])
        with np.errstate(invalid="ignore"):
            return np.asarray((sums / trials).T)

    def bits(self) -> NDArray[np.uint32]:
        """The hits as they are stored, [n]: bit f says whether the trial succeeded in figure f."""
        if len(self.hits) > MOST_FIGURES:
            raise ValueError(f"{len(self.hits)} figures, more than the {MOST_FIGURES} that there are bits for")
        places = np.arange(len(self.hits), dtype=np.uint32)[:, None]
        return np.asarray((self.hits.astype(np.uint32) << places).sum(axis=0, dtype=np.uint32))


def hits_of(bits: NDArray[np.uint32], figures: int) -> NDArray[np.bool_]:
    """:meth:`Outcomes.bits` again as hits, [figures, n]."""
    return np.stack([(bits >> np.uint32(place)) & 1 != 0 for place in range(figures)])


def accepted(scores: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Which trials [n] are accepted where a counted ``share`` of them is: those that score highest.

    A threshold accepts all that tie with it, so whichever rule has chosen it, the share alone tells who they are.

    Raises:
        ValueError: no threshold accepts such a share.
    """
    count = round(float(share) * len(scores))
    if not count:
        return np.zeros(len(scores), np.bool_)
    found = np.asarray(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])
    if np.count_nonzero(found) != count:
        raise ValueError(f"no threshold accepts {count} of {len(scores)} trials")
    return found


def numbered(ids: NDArray[Any]) -> NDArray[np.int32]:
    """Ids [n] of units as numbers from 0."""
    return np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int32)


def digest_of(*lists: Sequence[str] | NDArray[Any]) -> str:
    """SHA-256 of lists of names, flags and numbers below 2^31, of any lengths: the same for the same lists alone."""
    sha = hashlib.sha256()
    for one in lists:
        if isinstance(one, np.ndarray):
            flat = np.ascontiguousarray(one, "?" if one.dtype == np.bool_ else "<i4")
            sha.update(f"{flat.dtype.str} {len(flat)}\n".encode())
            sha.update(flat.view(np.uint8).data)
        else:
            told = json.dumps(list(one)).encode()
            sha.update(f"names {len(told)}\n".encode())
            sha.update(told)
    return sha.hexdigest()
