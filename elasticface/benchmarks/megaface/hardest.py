"""What MegaFace got wrong: searches in which a distractor comes before the mate."""

from collections.abc import Sequence

import numpy as np

from elasticface import metrics
from elasticface.benchmarks.hardest import Hardest, HardTrial, lowest


def searches_among_distractors(
    found: metrics.DistractorSearch, probes: Sequence[str], distractors: Sequence[str]
) -> tuple[Hardest]:
    """Probes with the mate that a distractor is furthest before, or closest to: each probe once.

    Args:
        found: the search.
        probes: [P] names of the images, as its rows.
        distractors: [M] of those that were searched, in their order.
    """
    compared = found.mate_scores > -np.inf
    mate_scores, (probe, mate) = found.mate_scores[compared], found.pairs[compared].T
    leads = mate_scores - found.best_distractor[probe]
    worst = np.lexsort((leads, probe))
    worst = worst[np.append(True, probe[worst][1:] != probe[worst][:-1])]  # of each probe the first
    trials = []
    for pair in worst[lowest(leads[worst])].tolist():
        other = distractors[found.best_at[probe[pair]]]
        scores = float(mate_scores[pair]), float(found.best_distractor[probe[pair]])
        trials.append(HardTrial(scores, (probes[probe[pair]], probes[mate[pair]], other), bool(leads[pair] < 0)))
    missed, failed = int(np.count_nonzero(leads < 0)), int(np.count_nonzero(~compared))
    title = f"{missed:,} of {len(compared):,} pairs of probe and mate have a distractor before it"
    if failed:
        title += f", and {failed:,} have no face to compare"
    return (Hardest(title, "not first", ("probe", "mate", "best distractor"), tuple(trials)),)
