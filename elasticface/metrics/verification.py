"""The k-fold accuracy of LFW and its kin, in one pass over the pairs instead of one per threshold."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from elasticface.metrics.checks import checked_trials, unit_rows

# LFW protocol: squared L2 distance of unit vectors lies in [0, 4].
_DISTANCE_THRESHOLDS = np.arange(0, 4, 0.01)


@dataclass(frozen=True)
class Verification:
    """K-fold verification accuracy. Accuracies are fractions in [0, 1], thresholds squared L2 distances in [0, 4)."""

    accuracy: float  #: mean over the folds
    std: float  #: population standard deviation over the folds
    threshold: float  #: mean of the folds' thresholds
    per_fold: tuple[float, ...]
    per_fold_thresholds: tuple[float, ...]
    accepted: npt.NDArray[np.bool_] = field(
        compare=False, repr=False
    )  # [P], which pairs their fold's threshold calls the same person


def verification_accuracy(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    same: npt.ArrayLike,
    folds: int = 10,
    enrolled: npt.ArrayLike | None = None,
) -> Verification:
    """Accuracy of telling same from different by distance, cross-validated over folds: the LFW protocol.

    Embeddings are L2-normalised in float64 (an all-zero one stays zero) and compared by squared L2 distance; the rest
    is ``accuracy_from_distances``.

    Args:
        a: first embeddings of the pairs, [P, D]; for a figure like the papers', image and mirror image already added.
        b: second embeddings, [P, D].
        same: [P] bool or 0/1, whether the two are the same person.
        folds: number of contiguous folds, 2..P.
        enrolled: [P] bool, as in ``accuracy_from_distances``.

    Raises:
        ValueError: shapes that disagree, embeddings with NaN or inf, or folds outside 2..P.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"a and b must both be [P, D], got shapes {first.shape} and {second.shape}")
    broken = int(np.count_nonzero(~(np.isfinite(first) & np.isfinite(second)).all(axis=1)))
    if broken:
        raise ValueError(f"{broken} of {len(first)} pairs have an embedding with NaN or inf")
    distances = np.sum(np.square(unit_rows(first) - unit_rows(second)), axis=1)
    return accuracy_from_distances(distances, same, folds, enrolled)


def accuracy_from_distances(
    distances: npt.ArrayLike, same: npt.ArrayLike, folds: int = 10, enrolled: npt.ArrayLike | None = None
) -> Verification:
    """The LFW protocol on distances that are already there.

    A pair is called the same if its distance is < threshold; thresholds are 0, 0.01, … 3.99. Folds are contiguous, the
    first P mod ``folds`` of them one pair larger. Each fold is judged at the first threshold that is most accurate on
    the other folds together.

    Args:
        distances: [P] squared L2 distances of unit embeddings; they should lie in [0, 4] for the thresholds to fit.
        same: [P] bool or 0/1, whether the two are the same person.
        folds: number of contiguous folds, 2..P.
        enrolled: [P] bool, False for a pair of which a photo gave no embedding: no threshold accepts it, whatever its
            distance. None: all pairs are.

    Raises:
        ValueError: shapes that disagree, NaN or inf distances, or folds outside 2..P.

    Source: Huang et al., "Labeled Faces in the Wild" (2007), View 2, with the thresholds and the tie rule of the
    verification scripts of FaceNet and ArcFace.
    """
    values, genuine, there = checked_trials(distances, same, enrolled, "distances")
    if there is not None:
        values = np.where(there, values, np.inf)
    pairs, levels = len(values), len(_DISTANCE_THRESHOLDS)
    if not 2 <= folds <= pairs:
        raise ValueError(f"folds must lie in 2..{pairs}, the number of pairs; got {folds}")
    sizes = np.full(folds, pairs // folds)
    sizes[: pairs % folds] += 1
    fold = np.repeat(np.arange(folds), sizes)
    # A pair is accepted from the first threshold above its distance on, so a running sum over a histogram of those
    # thresholds counts what each one accepts. The extra last bin holds the pairs that none accepts.
    first_accepting = np.searchsorted(_DISTANCE_THRESHOLDS, values, side="right")
    cells = (fold * 2 + genuine) * (levels + 1) + first_accepting
    histogram = np.bincount(cells, minlength=folds * 2 * (levels + 1)).reshape(folds, 2, levels + 1)
    accepted = histogram.cumsum(axis=2)[:, :, :levels]  # [folds, impostor / genuine, thresholds]
    impostors = histogram[:, 0].sum(axis=1, keepdims=True)
    correct = accepted[:, 1] + impostors - accepted[:, 0]  # [folds, thresholds]

    # Counts instead of shares: the pairs outside a fold are equally many at each threshold, and ties stay exact.
    chosen = np.argmax(correct.sum(axis=0) - correct, axis=1)  # [folds]; argmax takes the first of equals
    per_fold = correct[np.arange(folds), chosen] / sizes
    thresholds = _DISTANCE_THRESHOLDS[chosen]
    return Verification(
        accuracy=float(np.mean(per_fold)),
        std=float(np.std(per_fold)),
        threshold=float(np.mean(thresholds)),
        per_fold=tuple(per_fold.tolist()),
        per_fold_thresholds=tuple(thresholds.tolist()),
        accepted=values < thresholds[fold],
    )
