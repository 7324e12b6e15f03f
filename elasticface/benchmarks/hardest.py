"""What a large benchmark got wrong, to look at: trials by how wrong they went, and the images that they are about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics

if TYPE_CHECKING:  # which needs cv2 and numba: the command line imports this module, and must start fast
    from elasticface.benchmarks.ijb_files import IjbFiles, Templates

SHOWN = 12
"""Trials of each kind."""

Rows = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class HardTrial:
    """One pair or search."""

    scores: tuple[float, ...]  # of the pair; of a search that of the mate, and the highest of anybody else
    images: tuple[str, ...]  # names, as the benchmark's face() takes them
    wrong: bool


@dataclass(frozen=True)
class Hardest:
    """Trials of one kind, the hardest first."""

    title: str  # what went wrong, and how often
    error: str  # a word for one that is wrong
    roles: tuple[str, ...]  # what each of the images is
    trials: tuple[HardTrial, ...]


def pairs_of_templates(
    files: "IjbFiles",
    usable: Bools,
    first: Rows,
    second: Rows,
    same: Bools,
    scores: Floats,
    threshold: float,
    far: str,
) -> tuple[Hardest, Hardest]:
    """Genuine pairs of the lowest scores, and impostor pairs of the highest; a template shows its surest face.

    Args:
        files: the benchmark.
        usable: [N] images that have an embedding.
        first: [P] rows of ``files.template_ids``.
        second: [P].
        same: [P].
        scores: [P].
        threshold: a pair is accepted if its score is >= this.
        far: what the threshold is for, in words.
    """
    made = []
    for kind, genuine, error in (("Genuine", True, "rejected"), ("Impostor", False, "accepted")):
        of_kind = same if genuine else ~same
        wrong = (scores < threshold if genuine else scores >= threshold) & of_kind
        hardest = _first(np.where(of_kind, scores if genuine else -scores, np.inf))
        trials = []
        for pair in hardest[of_kind[hardest]].tolist():
            images = tuple(_surest_face(files, usable, side[pair]) for side in (first, second))
            trials.append(HardTrial((float(scores[pair]),), images, bool(wrong[pair])))
        count = f"{int(wrong.sum()):,} of {int(of_kind.sum()):,} pairs of templates {error} at FAR {far}"
        made.append(Hardest(f"{kind}: {count}", error, ("", ""), tuple(trials)))
    return made[0], made[1]


def searches_of_templates(
    files: "IjbFiles",
    usable: Bools,
    vectors: NDArray[np.float32],
    probes: "Templates",
    galleries: Sequence["Templates"],
    found: Sequence[metrics.Searches],
) -> tuple[Hardest]:
    """Searches in which somebody else is furthest before the mate, or closest to it, over all galleries.

    Args:
        files: the benchmark.
        usable: [N] images that have an embedding.
        vectors: [T, D] templates.
        probes: who is searched for.
        galleries: where.
        found: what came of it.
    """
    mated = np.flatnonzero(np.concatenate([one.mated for one in found]))
    leads = np.concatenate([one.mate for one in found])[mated] - np.concatenate([one.other for one in found])[mated]
    trials = []
    for place in _first(leads).tolist():
        which, probe = divmod(int(mated[place]), len(probes.subjects))
        gallery = galleries[which]
        scores = vectors[gallery.templates] @ vectors[probes.templates[probe]]
        own = gallery.subjects == probes.subjects[probe]
        mate, other = np.flatnonzero(own)[0], np.argmax(np.where(own, -np.inf, scores))
        shown = probes.templates[probe], gallery.templates[mate], gallery.templates[other]
        images = tuple(_surest_face(files, usable, template) for template in shown)
        trials.append(HardTrial((float(scores[mate]), float(scores[other])), images, bool(leads[place] <= 0)))
    missed = int(np.count_nonzero(leads <= 0))
    title = f"{missed:,} of {len(mated):,} searches with a mate find somebody else first"
    return (Hardest(title, "not first", ("probe", "mate", "best of the others"), tuple(trials)),)


def searches_among_distractors(
    found: metrics.DistractorSearch, probes: Sequence[str], distractors: Sequence[str]
) -> tuple[Hardest]:
    """Probes with the mate that a distractor is furthest before, or closest to: each probe once.

    Args:
        found: the search.
        probes: [P] names of the images, as its rows.
        distractors: [M], in their order.
    """
    probe, mate = found.pairs.T
    leads = found.mate_scores - found.best_distractor[probe]
    worst = np.lexsort((leads, probe))
    worst = worst[np.append(True, probe[worst][1:] != probe[worst][:-1])]  # of each probe the first
    trials = []
    for pair in worst[_first(leads[worst])].tolist():
        other = distractors[found.best_at[probe[pair]]]
        scores = float(found.mate_scores[pair]), float(found.best_distractor[probe[pair]])
        trials.append(HardTrial(scores, (probes[probe[pair]], probes[mate[pair]], other), bool(leads[pair] < 0)))
    title = (
        f"{int(np.count_nonzero(leads < 0)):,} of {len(leads):,} pairs of probe and mate have a distractor before it"
    )
    return (Hardest(title, "not first", ("probe", "mate", "best distractor"), tuple(trials)),)


def _first(values: Floats) -> Rows:
    """Where the lowest of ``values`` are, ascending: SHOWN of them, or all that there are."""
    shown = min(len(values), SHOWN)
    if not shown:
        return np.empty(0, np.intp)
    some = np.argpartition(values, shown - 1)[:shown]
    return some[np.lexsort((some, values[some]))]


def _surest_face(files: "IjbFiles", usable: Bools, template: int) -> str:
    """The image of a template whose detector score is the highest."""
    rows = np.flatnonzero((files.templates == files.template_ids[template]) & usable)
    return files.names[int(rows[np.argmax(files.detector_scores[rows])])]
