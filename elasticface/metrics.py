"""Scores in, figures out: how a verifier is measured.

The k-fold accuracy of LFW and its kin, the ROC and what is read off it (TAR at a FAR, equal error rate), the pooling of
images into IJB templates, and the interval around a counted share. Each figure is what the field's evaluation scripts
compute, number for number, in one pass over the pairs instead of one per threshold.
"""

import itertools
import math
import operator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

# LFW protocol: squared L2 distance of unit vectors lies in [0, 4].
_DISTANCE_THRESHOLDS = np.arange(0, 4, 0.01)

# Rows of features widened to float64 at a time: 16 MiB of them at 512 dimensions.
_POOLING_ROWS = 4096


@dataclass(frozen=True)
class Verification:
    """K-fold verification accuracy. Accuracies are fractions in [0, 1], thresholds squared L2 distances in [0, 4)."""

    accuracy: float  # mean over the folds
    std: float  # population standard deviation over the folds
    threshold: float  # mean of the folds' thresholds
    per_fold: tuple[float, ...]
    per_fold_thresholds: tuple[float, ...]
    accepted: _Bools = field(compare=False, repr=False)  # [P], which pairs their fold's threshold calls the same person


@dataclass(frozen=True, eq=False)
class Roc:
    """An ROC curve, [K] each: the first point is (0, 0) at threshold +inf, then one per distinct score, descending."""

    far: _Floats  # share of impostors accepted
    tar: _Floats  # share of genuine pairs accepted
    thresholds: _Floats  # a pair is accepted if its score is >= the threshold


@dataclass(frozen=True)
class Eer:
    """Equal error rate, a fraction in [0, 1], and the score at which it is met."""

    rate: float
    threshold: float


def verification_accuracy(a: npt.ArrayLike, b: npt.ArrayLike, same: npt.ArrayLike, folds: int = 10) -> Verification:
    """Accuracy of telling same from different by distance, cross-validated over folds: the LFW protocol.

    Embeddings are L2-normalised in float64 (an all-zero one stays zero) and compared by squared L2 distance; the rest
    is ``accuracy_from_distances``.

    Args:
        a: first embeddings of the pairs, [P, D]; for a figure like the papers', image and mirror image already added.
        b: second embeddings, [P, D].
        same: [P] bool or 0/1, whether the two are the same person.
        folds: number of contiguous folds, 2..P.

    Raises:
        ValueError: shapes that disagree, embeddings with NaN or inf, or folds outside 2..P.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"a and b must both be [P, D], got shapes {first.shape} and {second.shape}")
    broken = int(np.count_nonzero(~(np.isfinite(first) & np.isfinite(second)).all(axis=1)))
    if broken:
        raise ValueError(f"{broken} of {len(first)} pairs have an embedding with NaN or inf")
    distances = np.sum(np.square(_unit_rows(first) - _unit_rows(second)), axis=1)
    return accuracy_from_distances(distances, same, folds)


def accuracy_from_distances(distances: npt.ArrayLike, same: npt.ArrayLike, folds: int = 10) -> Verification:
    """The LFW protocol on distances that are already there.

    A pair is called the same if its distance is < threshold; thresholds are 0, 0.01, … 3.99. Folds are contiguous, the
    first P mod ``folds`` of them one pair larger. Each fold is judged at the first threshold that is most accurate on
    the other folds together.

    Args:
        distances: [P] squared L2 distances of unit embeddings; they should lie in [0, 4] for the thresholds to fit.
        same: [P] bool or 0/1, whether the two are the same person.
        folds: number of contiguous folds, 2..P.

    Raises:
        ValueError: shapes that disagree, NaN or inf distances, or folds outside 2..P.

    Source: Huang et al., "Labeled Faces in the Wild" (2007), View 2, with the thresholds and the tie rule of the
    verification scripts of FaceNet and ArcFace.
    """
    values, genuine = _checked_pairs(distances, same, "distances")
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


def roc(scores: npt.ArrayLike, same: npt.ArrayLike) -> Roc:
    """The whole ROC curve: what share of impostors and of genuine pairs each threshold accepts.

    A threshold t accepts every score >= t: pairs that tie are accepted together.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, or no impostor pair.
    """
    false_accepts, true_accepts, thresholds = _accept_counts(*_checked_pairs(scores, same, "scores"))
    return Roc(false_accepts / false_accepts[-1], true_accepts / true_accepts[-1], thresholds)


def tar_at_far(
    scores: npt.ArrayLike,
    same: npt.ArrayLike,
    fars: npt.ArrayLike,
    rule: Literal["at-most", "nearest"] = "at-most",
) -> _Floats:
    """True accept rate at given false accept rates.

    Two readings are in use, and at few impostors they differ:

    - ``"at-most"``: the largest TAR of any threshold whose FAR is <= the target. A threshold above all scores is one of
      them, so the answer is 0 where even the best impostor beats every genuine pair.
    - ``"nearest"``: the TAR at the ROC point whose FAR is nearest the target, be it above or below, as the IJB scripts
      of the field read it; of equally near points the one with the highest FAR, and of those the highest TAR. The
      points are those that the scripts get from ``sklearn.metrics.roc_curve`` by default, which leaves out each
      point that lies exactly halfway between its neighbours. In a long run of impostors without a genuine pair only the
      ends are left, so the nearest point may be farther off than the nearest threshold.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.
        fars: target rates in [0, 1], any shape.
        rule: which reading.

    Returns:
        float64 of the shape of ``fars``, fractions in [0, 1].

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, no impostor pair, a target outside [0, 1],
            or another rule.

    Source: Maze et al., "IARPA Janus Benchmark - C" (2018); "nearest" as in the IJB evaluation of InsightFace.
    """
    targets = np.asarray(fars, dtype=np.float64)
    if not np.all((targets >= 0) & (targets <= 1)):
        raise ValueError(f"fars must lie in [0, 1], got {targets.tolist()}")
    if rule not in ("at-most", "nearest"):
        raise ValueError(f'rule must be "at-most" or "nearest", got {rule!r}')
    false_accepts, true_accepts, _ = _accept_counts(*_checked_pairs(scores, same, "scores"))
    if rule == "nearest":
        kept = _without_halfway_points(false_accepts, true_accepts)
        false_accepts, true_accepts = false_accepts[kept], true_accepts[kept]
    far = false_accepts / false_accepts[-1]
    if rule == "at-most":
        # TAR grows along the curve, so the last point within the target has the largest.
        points = np.searchsorted(far, targets, side="right") - 1
    else:
        backwards = far[::-1]  # argmin takes the first of equals, which so is the point farthest along the curve
        nearest = [np.argmin(np.abs(backwards - target)) for target in targets.ravel()]
        points = len(far) - 1 - np.array(nearest, dtype=np.int64).reshape(targets.shape)
    return np.asarray(true_accepts[points] / true_accepts[-1])


def equal_error_rate(scores: npt.ArrayLike, same: npt.ArrayLike) -> Eer:
    """Where FAR and FRR (1 − TAR) are equal.

    Rate and threshold are interpolated linearly between the last ROC point with FAR < FRR and the next one. If the
    former is (0, 0), whose threshold is infinite, the threshold is that of the latter.

    Args:
        scores: [P] similarities, higher is more alike.
        same: [P] bool or 0/1, whether the pair is genuine.

    Raises:
        ValueError: shapes that disagree, NaN or inf scores, no genuine pair, or no impostor pair.
    """
    false_accepts, true_accepts, thresholds = _accept_counts(*_checked_pairs(scores, same, "scores"))
    far = false_accepts / false_accepts[-1]
    frr = (true_accepts[-1] - true_accepts) / true_accepts[-1]
    gap = far - frr  # grows from -1 to 1: each point accepts somebody new
    after = int(np.searchsorted(gap, 0.0, side="left"))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])  # of the way from before to after, in (0, 1]
    rate = (1 - share) * far[before] + share * far[after]
    threshold = thresholds[after] if before == 0 else (1 - share) * thresholds[before] + share * thresholds[after]
    return Eer(rate=float(rate), threshold=float(threshold))


def pool_templates(
    features: npt.ArrayLike, templates: npt.ArrayLike, media: npt.ArrayLike
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.floating[Any]]]:
    """One unit vector per IJB template: mean over each (template, medium), sum over the media, L2-normalised.

    So a video counts as much as a still, however many frames it has. Features are taken as they come: to weight images
    by norm or detector score, scale the features beforehand. A template whose features cancel to zero stays zero.

    Sums are float64, over blocks of whole templates: beside input and result it holds under 100 MB at 512 dimensions,
    or what the largest template needs.

    Args:
        features: [N, D], N >= 1.
        templates: [N] ints, the template of each row.
        media: [N] ints, the medium (still or video) of each row; the same medium in two templates is pooled in each.

    Returns:
        The distinct template ids in ascending order, [T], and their vectors, [T, D]: float32 for float32 features, else
        float64.

    Raises:
        ValueError: shapes that disagree, no rows, ids that are not ints, or features with NaN or inf.

    Source: Whitelam et al., "IARPA Janus Benchmark-B Face Dataset" (2017), as in the IJB evaluation of InsightFace.
    """
    rows, template_ids, media_ids = np.asarray(features), np.asarray(templates), np.asarray(media)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"features must be [N, D] with N >= 1, got shape {rows.shape}")
    for name, ids in (("templates", template_ids), ("media", media_ids)):
        if ids.shape != rows.shape[:1]:
            raise ValueError(f"{name} must hold one id per row of features, [{len(rows)}], got shape {ids.shape}")
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"{name} must be ints, got {ids.dtype}")

    order = np.lexsort((media_ids, template_ids))
    template_ids, media_ids = template_ids[order], media_ids[order]
    template_begins = np.append(True, template_ids[1:] != template_ids[:-1])
    medium_begins = template_begins | np.append(True, media_ids[1:] != media_ids[:-1])
    starts = np.flatnonzero(template_begins)  # [T]
    bounds = np.append(starts, len(rows))  # template t is rows bounds[t]:bounds[t + 1] of the order

    pooled = np.empty((len(starts), rows.shape[1]), np.float32 if rows.dtype == np.float32 else np.float64)
    broken, first = 0, 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _POOLING_ROWS, side="right")) - 1)
        span = slice(bounds[first], bounds[last])
        block = rows[order[span]].astype(np.float64)
        broken += int(np.count_nonzero(~np.isfinite(block).all(axis=1)))
        if not broken:
            media_starts = np.flatnonzero(medium_begins[span])
            images = np.diff(media_starts, append=len(block))
            means = np.add.reduceat(block, media_starts, axis=0) / images[:, None]  # [media, D]
            sums = np.add.reduceat(means, np.flatnonzero(template_begins[span][media_starts]), axis=0)
            pooled[first:last] = _unit_rows(sums)
        first = last
    if broken:
        raise ValueError(f"{broken} of {len(rows)} rows of features hold NaN or inf")
    return template_ids[starts], pooled


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) confidence interval of a counted share, such as a TAR or an accuracy.

    The lower end is the p with P(X >= successes) = (1 − level)/2, the upper end the p with P(X <= successes) the same,
    for X ~ Binomial(trials, p); 0 and 1 where there is no such p. Good to 1e-10. It presumes independent trials, which
    pairs that share people are not: then it is too narrow.

    Args:
        successes: 0..trials.
        trials: >= 1.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper end, fractions in [0, 1].

    Raises:
        ValueError: an argument outside its range.
        TypeError: a count that is not an int.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits" (1934).
    """
    successes, trials = operator.index(successes), operator.index(trials)
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"need trials >= 1 and successes in 0..trials, got {successes} of {trials}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    tail = (1 - level) / 2
    failures = trials - successes
    # P(X >= k) = I_p(k, n − k + 1); the upper end is the lower end of the failures, seen from 1.
    lower = _beta_quantile(tail, successes, failures + 1) if successes else 0.0
    upper = 1 - _beta_quantile(tail, failures, successes + 1) if failures else 1.0
    return lower, upper


def _checked_pairs(values: npt.ArrayLike, same: npt.ArrayLike, name: str) -> tuple[npt.NDArray[Any], _Bools]:
    """Values as a finite float array [P], and ``same`` as bool [P]."""
    numbers, labels = np.asarray(values), np.asarray(same)
    if numbers.ndim != 1 or numbers.shape != labels.shape:
        raise ValueError(f"{name} and same must both be [P], got shapes {numbers.shape} and {labels.shape}")
    if not np.issubdtype(numbers.dtype, np.floating):
        numbers = numbers.astype(np.float64)
    broken = len(numbers) - int(np.count_nonzero(np.isfinite(numbers)))
    if broken:
        raise ValueError(f"{broken} of {len(numbers)} {name} are NaN or inf")
    genuine = labels.astype(np.bool_)
    if labels.dtype != np.bool_ and np.any(labels != genuine):
        raise ValueError("same must hold bools, or 0 and 1 alone")
    return numbers, genuine


def _accept_counts(scores: npt.NDArray[Any], genuine: _Bools) -> tuple[_Counts, _Counts, _Floats]:
    """Impostors and genuine pairs with score >= threshold, at +inf and at each distinct score, descending. [K] each."""
    pairs, mates = len(genuine), int(np.count_nonzero(genuine))
    if not mates:
        raise ValueError(f"no genuine pair among {pairs}: TAR is undefined")
    if mates == pairs:
        raise ValueError(f"no impostor pair among {pairs}: FAR is undefined")
    ascending = np.sort(scores)  # values, not an argsort with labels: half the time and memory
    first_of_ties = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
    distinct = ascending[first_of_ties]
    mates_at = np.bincount(np.searchsorted(distinct, scores[genuine]), minlength=len(distinct))
    true_accepts = np.cumsum(np.append(0, mates_at[::-1]))
    false_accepts = pairs - np.append(pairs, first_of_ties[::-1]) - true_accepts
    return false_accepts, true_accepts, np.append(np.inf, distinct[::-1].astype(np.float64))


def _without_halfway_points(false_accepts: _Counts, true_accepts: _Counts) -> _Bools:
    """Which ROC points ``sklearn.metrics.roc_curve`` keeps by default (``drop_intermediate``), as bool [K].

    It drops the points whose second differences are both 0, and adds (0, 0) only afterwards: so the first point after
    (0, 0) always stays.
    """
    kept = np.ones(len(false_accepts), dtype=np.bool_)
    kept[2:-1] = (np.diff(false_accepts[1:], 2) != 0) | (np.diff(true_accepts[1:], 2) != 0)
    return kept


def _unit_rows(rows: _Floats) -> _Floats:
    """Rows scaled to length 1; a zero row stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return rows / np.where(lengths > 0, lengths, 1.0)[:, None]


def _beta_quantile(share: float, a: float, b: float) -> float:
    """The p in [0, 1] with I_p(a, b) = share, by bisection down to neighbouring floats."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _incomplete_beta(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return middle


def _incomplete_beta(p: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_p(a, b), 0 < p < 1, by its continued fraction (DLMF 8.17.22)."""
    if p > (a + 1) / (a + b + 2):  # beyond, the fraction converges slowly; its mirror image does not
        return 1 - _incomplete_beta_fraction(1 - p, p, b, a)
    return _incomplete_beta_fraction(p, 1 - p, a, b)


def _incomplete_beta_fraction(p: float, q: float, a: float, b: float) -> float:
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(p) + b * math.log(q)
    # Lentz's method: numerators and denominators as running ratios, so nothing overflows.
    c, d = 1.0, 1.0 / (1.0 - (a + b) * p / (a + 1))
    value = d
    for step in itertools.count(1):  # O(√(a + b)) steps at most
        even = step * (b - step) * p / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * p / ((a + 2 * step) * (a + 2 * step + 1))
        d = 1 / (1 + even * d)
        c = 1 + even / c
        value *= c * d
        d = 1 / (1 + odd * d)
        c = 1 + odd / c
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(log_front) * value / a
