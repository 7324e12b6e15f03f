"""Verification on a list of pairs: LFW and its kin.

Protocol (the paper, section 4.2, as the field runs it): embed the image and its mirror image, add the two,
L2-normalise; squared L2 distance; thresholds 0, .01, … 3.99; ten contiguous folds, each judged by the first threshold
that is best on the other nine; mean ± standard deviation over the folds. No PCA.
"""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import progress
from elasticface.base.ahead import map_ahead
from elasticface.base.errors import InputError
from elasticface.benchmarks import samples
from elasticface.benchmarks.enrolment import Enrolment
from elasticface.benchmarks.pairwise import slices
from elasticface.benchmarks.pairwise.lists import BenchmarkPhotos, PairBenchmark, Pairs
from elasticface.benchmarks.pairwise.slices import Slice
from elasticface.benchmarks.samples import ACCURACY, EER
from elasticface.benchmarks.units import Units, units_of
from elasticface.data.images import decoding
from elasticface.model.encoder import FaceEncoder

FARS = (1e-3, 1e-2, 1e-1)
PROTOCOL = (
    "{images}, L2-normalised; squared L2 distance, thresholds 0, .01, … 3.99; "
    "{folds} contiguous folds, each judged by the best threshold of the others; mean ± standard deviation"
)


@dataclass(frozen=True)
class PairResult:
    """The figures of one model on one benchmark. Rates are fractions in 0..1."""

    model: str
    benchmark: str
    protocol: str
    accuracy: float
    accuracy_std: float
    threshold: float  # on the squared L2 distance, mean over folds
    per_fold: tuple[float, ...]
    tar_at_far: dict[str, dict[str, float]]  # rule ("at-most", "nearest") -> FAR -> TAR
    eer: float
    counts: dict[str, int]
    scores: NDArray[np.float32]  # [P] cosine similarity; -inf of a pair that was not enrolled
    same: NDArray[np.bool_]  # [P]
    first: tuple[str, ...]  # [P] image names
    second: tuple[str, ...]  # [P]
    intervals: dict[
        str, tuple[float, float]
    ]  # 95 %: "accuracy", "eer", "tar@0.001" at most, "nearest@0.001"; empty without a bootstrap
    accepted: NDArray[np.bool_]  # [P] called the same person, by the threshold of the pair's fold
    slices: tuple[Slice, ...] = ()  # by what is in the photos, where metadata.csv says it
    units: Units | None = None  # what a comparison with another model resamples
    intervals_by: str = ""  # how the intervals were found, in words
    notes: tuple[str, ...] = ()
    enrolment: Enrolment | None = None  # photos without a face, and damaged ones; None: it is not known

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        """[P], False for a pair with a photo that could not be enrolled: it is accepted at no threshold."""
        return self.scores > -np.inf


def evaluate_pairs(
    encoder: FaceEncoder, benchmark: PairBenchmark, flip: bool = True, intervals: bool = True
) -> PairResult:
    """All figures of one model on one benchmark; every photo is embedded once.

    A pair with a photo in which no face was found, or with a damaged one, is a non-match at every threshold; with
    ``benchmark.undetected == "skip"`` it is left out. Either is counted, as long as some of both kinds remain.

    Args:
        encoder: the model.
        benchmark: photos and pairs.
        flip: add the embedding of the mirror image.
        intervals: add the 95 % intervals of the bootstrap over people; it takes about a second.

    Raises:
        InputError: photos that are not aligned, no pair left to judge, or a model whose embeddings are no numbers.
    """
    pairs = benchmark.pairs
    listed = sorted({*pairs.first, *pairs.second})
    embeddings, enrolled, enrolment = embed_enrolled(encoder, benchmark, listed, flip)
    position = {name: row for row, name in enumerate(enrolled)}
    usable = np.array([a in position and b in position for a, b in zip(pairs.first, pairs.second, strict=True)])
    same = pairs.same[usable]
    if len(same) < pairs.folds or same.all() or not same.any():
        raise InputError(f"{benchmark.name}: too few pairs left to judge: {len(same)} of {len(usable)}")
    enrolment = replace(enrolment, trials=len(usable) - len(same))
    if benchmark.undetected == "skip" and not usable.all():
        first, second = (tuple(np.array(side, dtype=object)[usable]) for side in (pairs.first, pairs.second))
        pairs, usable = Pairs(first, second, same, pairs.folds), usable[usable]
    nothing = len(embeddings)  # the row of photos that could not be enrolled
    if not usable.all():
        embeddings = np.pad(embeddings, ((0, 1), (0, 0)))
    a, b = (embeddings[[position.get(name, nothing) for name in side]] for side in (pairs.first, pairs.second))
    return figures(encoder.card.name, benchmark, a, b, pairs, flip, intervals, usable, enrolment)


def try_pairs(encoder: FaceEncoder, benchmark: PairBenchmark, photos: int = 4) -> None:
    """Embed a few of the photos: what is wrong with all of them is known before long work that ends with them.

    Raises:
        InputError: photos that are not aligned, or that cannot be read.
    """
    names = (*benchmark.pairs.first[:photos], *benchmark.pairs.second[:photos])
    for name in names:
        with contextlib.suppress(decoding.DamagedImage):  # as in the evaluation, which leaves these out
            encoder.embed([benchmark.face(name, encoder.card.preprocessing.size)])


def figures(
    model: str,
    benchmark: PairBenchmark,
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    pairs: Pairs,
    flip: bool = True,
    intervals: bool = True,
    usable: NDArray[np.bool_] | None = None,
    enrolment: Enrolment | None = None,
) -> PairResult:
    """The protocol's figures from embeddings.

    Args:
        model: its name.
        benchmark: what the pairs are of.
        a: embeddings of the pairs' first photos, [P, D].
        b: of their second ones, [P, D].
        pairs: P of the benchmark's, in its order; the others are counted as skipped.
        flip: whether the mirror image was added, for the record.
        intervals: whether intervals are wanted.
        usable: [P], False for a pair of which an embedding is missing: whatever stands in its place, no threshold
            accepts it. None: all are there.
        enrolment: how many photos those are, for the record.
    """
    first, second, same, folds = pairs.first, pairs.second, pairs.same, pairs.folds
    verification = metrics.verification_accuracy(a, b, same, folds, usable)
    scores = _cosines(a, b)
    tars = {
        rule: dict(
            zip(map("{:g}".format, FARS), metrics.tar_at_far(scores, same, FARS, rule, usable).tolist(), strict=True)
        )
        for rule in ("at-most", "nearest")
    }
    eer = metrics.equal_error_rate(scores, same, usable).rate
    if usable is not None:
        scores[~usable] = -np.inf
    genuine = int(same.sum())
    units = units_of(first, second, same, folds, benchmark.content)
    at_most = {f"tar@{far}": tar for far, tar in tars["at-most"].items()}
    nearest = {f"nearest@{far}": tar for far, tar in tars["nearest"].items()}
    rates = {ACCURACY: verification.accuracy, **at_most, EER: eer, **nearest}
    found, by = _intervals(rates, scores, same, verification.accepted, units) if intervals else ({}, "")
    said = enrolment.sentence("count as non-matches at every threshold") if enrolment else ""
    return PairResult(
        model=model,
        benchmark=benchmark.name,
        protocol=PROTOCOL.format(images="image and mirror image added" if flip else "image alone", folds=folds),
        accuracy=verification.accuracy,
        accuracy_std=verification.std,
        threshold=verification.threshold,
        per_fold=verification.per_fold,
        tar_at_far=tars,
        eer=eer,
        counts={
            "pairs": len(same),
            "genuine": genuine,
            "impostor": len(same) - genuine,
            "images": len({*first, *second}),
            "skipped_pairs": len(benchmark.pairs.same) - len(same),
        },
        scores=scores,
        same=same,
        first=first,
        second=second,
        intervals=found,
        accepted=verification.accepted,
        slices=slices.slices(
            first, second, same, verification.accepted, benchmark.metadata or {}, units if intervals else None
        ),
        units=units,
        intervals_by=by,
        notes=(*benchmark.notes, *([said] if said else [])),
        enrolment=enrolment,
    )


def _intervals(
    rates: dict[str, float],
    scores: NDArray[np.float32],
    same: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    units: Units,
) -> tuple[dict[str, tuple[float, float]], str]:
    """The intervals of the figures that ``samples.of_pairs`` gives, and how they were found, in words."""
    number = units.number
    drawn = samples.bootstrap(
        lambda counts: samples.of_pairs(scores, same, accepted, units, FARS, counts), number, units.kind
    )
    mated = len(np.unique(units.first[same]))
    found, by = drawn.intervals(rates, mated), drawn.said
    if ACCURACY in found:
        found |= drawn.intervals({ACCURACY: rates[ACCURACY]}, number)
    if units.kind == "pairs":  # independent ones: what the accuracy counts is binomial
        found[ACCURACY] = metrics.binomial_interval(round(rates[ACCURACY] * number), number)
        by = f"exact binomial over {number:,} pairs for the accuracy; for the others {by}"
    return found, by


def embed_enrolled(
    encoder: FaceEncoder, benchmark: BenchmarkPhotos, names: Collection[str], flip: bool
) -> tuple[NDArray[np.float32], list[str], Enrolment]:
    """Embed the named photos, as far as they can be enrolled.

    Args:
        encoder: the model.
        benchmark: what the photos are of.
        names: all photos that the benchmark lists, each once.
        flip: add the embedding of the mirror image.

    Returns:
        Embeddings [N, D] of those that can be enrolled; their names [N], in the order given; and how many of all
        cannot, with 0 trials, since these are the caller's to count.

    Raises:
        InputError: photos that are not aligned, or a model whose embeddings are no numbers.
    """
    lost = "skipped" if benchmark.undetected == "skip" else "not enrolled"
    without_face = benchmark.without_face if benchmark.undetected != "centre" else frozenset()
    looked_at = [name for name in names if name not in without_face]
    enrolled: list[str] = []
    damaged: set[str] = set()

    def read(name: str) -> NDArray[np.uint8]:
        return benchmark.face(name, encoder.card.preprocessing.size)

    def faces() -> Iterator[NDArray[np.uint8]]:
        found = zip(looked_at, map_ahead(read, looked_at, caught=decoding.DamagedImage), strict=True)
        for name, face in progress.track(found, f"{benchmark.name}: embedding", len(looked_at)):
            if isinstance(face, decoding.DamagedImage):
                progress.say(f"{lost}: {face}")
                damaged.add(name)
                continue
            enrolled.append(name)
            yield face

    embeddings = encoder.embed(faces(), flip)
    enrolment = Enrolment.counted(
        benchmark.undetected,
        images=len(names),
        without_face=len(benchmark.without_face - damaged),
        damaged=len(damaged),
        trials=0,
    )
    return embeddings, enrolled, enrolment


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """[P] cosine similarity, 0 with a zero embedding; computed in float64 as the distances are."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines: NDArray[np.float64] = np.einsum("pd,pd->p", x, y) / np.where(lengths > 0, lengths, 1)
    return cosines.astype(np.float32)
