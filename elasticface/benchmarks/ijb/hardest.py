"""What IJB got wrong: the hardest pairs of templates, and searches for a template. The surest face stands for each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.benchmarks.hardest import Floats, Hardest, HardTrial, Rows, lowest
from elasticface.benchmarks.ijb.files import IjbFiles, Templates

Bools = NDArray[np.bool_]


def pairs_of_templates(
    files: IjbFiles,
    usable: Bools,
    first: Rows,
    second: Rows,
    same: Bools,
    scores: Floats,
    threshold: float,
    far: str,
    enrolled: Bools | None = None,
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
        enrolled: [P], False for pairs with a template without images, which no threshold accepts; None: all have some.
    """
    there = np.ones(len(same), np.bool_) if enrolled is None else enrolled
    made = []
    for kind, genuine, error in (("Genuine", True, "rejected"), ("Impostor", False, "accepted")):
        of_kind = same if genuine else ~same
        accepted = (scores >= threshold) & there
        wrong = (accepted != genuine) & of_kind
        shown = of_kind & there
        hardest = lowest(np.where(shown, scores if genuine else -scores, np.inf))
        trials = []
        for pair in hardest[shown[hardest]].tolist():
            images = tuple(_surest_face(files, usable, side[pair]) for side in (first, second))
            trials.append(HardTrial((float(scores[pair]),), images, bool(wrong[pair])))
        count = f"{int(wrong.sum()):,} of {int(of_kind.sum()):,} pairs of templates {error} at FAR {far}"
        if failed := int((wrong & ~there).sum()):
            count += f", {failed:,} of them without a face to compare, which are not shown"
        made.append(Hardest(f"{kind}: {count}", error, ("", ""), tuple(trials)))
    return made[0], made[1]


def searches_of_templates(
    files: IjbFiles,
    usable: Bools,
    vectors: NDArray[np.float32],
    probes: Templates,
    galleries: Sequence[Templates],
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
    rank, mate_scores, others = (
        np.concatenate(of) for of in zip(*((f.rank, f.mate, f.other) for f in found), strict=True)
    )
    searched = int(np.count_nonzero(rank))
    mated = np.flatnonzero((rank > 0) & (rank < metrics.NEVER))
    leads = mate_scores[mated] - others[mated]
    enrolled = np.isin(files.template_ids, files.templates[usable])
    trials = []
    for place in lowest(leads).tolist():
        which, probe = divmod(int(mated[place]), len(probes.subjects))
        gallery = galleries[which]
        scores = vectors[gallery.templates] @ vectors[probes.templates[probe]]
        own = gallery.subjects == probes.subjects[probe]
        mate = np.flatnonzero(own)[0]
        other = np.argmax(np.where(own | ~enrolled[gallery.templates], -np.inf, scores))
        shown = probes.templates[probe], gallery.templates[mate], gallery.templates[other]
        images = tuple(_surest_face(files, usable, template) for template in shown)
        trials.append(HardTrial((float(scores[mate]), float(scores[other])), images, bool(leads[place] <= 0)))
    missed = int(np.count_nonzero(leads <= 0))
    title = f"{missed:,} of {searched:,} searches with a mate find somebody else first"
    if searched > len(mated):
        title += f", and {searched - len(mated):,} find nobody, without a face to compare"
    return (Hardest(title, "not first", ("probe", "mate", "best of the others"), tuple(trials)),)


def _surest_face(files: IjbFiles, usable: Bools, template: int) -> str:
    """The image of a template whose detector score is the highest."""
    rows = np.flatnonzero((files.templates == files.template_ids[template]) & usable)
    return files.names[int(rows[np.argmax(files.detector_scores[rows])])]
