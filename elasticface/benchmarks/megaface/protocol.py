"""MegaFace and MegaFace (R): faces of 80 people found, and told apart, among a million distractors.

Protocol (Kemelmacher-Shlizerman et al., "The MegaFace Benchmark", 2016; as the paper runs it): embedding and that of
the mirror image added, L2-normalised; cosine similarity. Rank 1: for each ordered pair of photos of one person, probe
and mate, a hit if the mate scores at least as high as the probe's best distractor. Verification: TAR at FAR 1e-6 over
all mate pairs and all pairs of probe and distractor. (R) is the same after the published noise has been removed
(Deng et al., "ArcFace", 2019).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.enrolment import Enrolment, Undetected
from elasticface.benchmarks.megaface.files import (
    SETS,
    ArrayRows,
    MegaFaceFiles,
    Rows,
    open_feature_folder,
    read_megaface,
)
from elasticface.benchmarks.megaface.hardest import searches_among_distractors
from elasticface.benchmarks.reading.features import FeatureFiles, embed_to
from elasticface.benchmarks.results import DistractorSearch, LargeResult, RocPoints
from elasticface.benchmarks.samples import Drawn, bootstrap, digest_of, numbered
from elasticface.data.images import decoding
from elasticface.data.images.listed import ListedPhotos
from elasticface.data.images.photos import Photos
from elasticface.metrics.resampled_roc import tars_at_fars, with_one_more
from elasticface.metrics.resampling import Counts, unit_shares
from elasticface.model.encoder import FaceEncoder

_REJECTED = "are misses at rank 1 and non-matches, and no damaged distractor is found"
FAR = 1e-6
PUBLISHED = {"probes": 3_530, "people": 80, "distractors": 1_000_000, "mate_pairs": 153_634}
PROTOCOL = (
    "{images}, L2-normalised; cosine similarity; rank 1 for each ordered pair of probe and mate against all "
    "distractors; TAR at most the FAR over mate pairs and pairs of probe and distractor{refined}"
)

_ROC_POINTS = 300
HIGHEST = 1 << 16  # impostors' scores kept: FAR lets in 3,530; samples that lack who has the highest reach further
_SCORES = 1 << 24  # of probes and distractors, at a time: 64 MiB

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MegaFaceBenchmark:
    """A MegaFace folder; with the lists of noise in it, MegaFace (R) too."""

    name: str
    files: MegaFaceFiles
    add_mirror_image: bool = True
    undetected: Undetected = "reject"  # what becomes of missing and damaged images; the others are faces

    @property
    def result_names(self) -> tuple[str, ...]:
        """The benchmark's name in each of its results."""
        return (self.name, *([] if self.files.noisy_probes is None else [f"{self.name} (R)"]))

    def measure(self, model: FaceEncoder | FeatureFiles, folder: Path) -> list[LargeResult]:
        """MegaFace, and MegaFace (R) where the folder has the lists of noise; the distractors are read once.

        Args:
            model: an encoder; or features in a folder, see
                :func:`elasticface.benchmarks.megaface.files.open_feature_folder`.
            folder: where embeddings are kept, so that a stopped evaluation can be resumed.

        Raises:
            InputError: images or features that cannot be used, or too few to judge anything.
        """
        if isinstance(model, FeatureFiles):
            probes, distractors = open_feature_folder(model.path, self.files, model.suffix)
            there = [np.ones(len(rows), np.bool_) for rows in (probes, distractors)]
            return figures(self, model.name, probes, distractors, *there, given=True)
        listed = (self.files.probes, self.files.distractors)
        found = [self._embed(model, which, names, folder) for which, names in zip(SETS, listed, strict=True)]
        (probes, first), (distractors, second) = found
        return figures(self, model.card.name, probes, distractors, first, second, given=False)

    def try_on(self, model: FaceEncoder | FeatureFiles) -> None:
        """Look for what :meth:`measure` needs.

        Raises:
            InputError: there are no images, or the features are none of this benchmark.
        """
        if isinstance(model, FeatureFiles):
            open_feature_folder(model.path, self.files, model.suffix)
        else:
            for which in SETS:
                self.files.images(which)

    @cached_property
    def _photos(self) -> dict[str, ListedPhotos]:
        """Both sets, so that one which is not there is said before the other is embedded."""
        listed = (self.files.probes, self.files.distractors)
        places = [self.files.images(which) for which in SETS]
        return {
            which: ListedPhotos(Photos(place), names) for which, place, names in zip(SETS, places, listed, strict=True)
        }

    def face(self, name: str, size: int = 112) -> NDArray[np.uint8]:
        """One aligned face, uint8 [size, size, 3] RGB, by the name of its set and its own: `megaface/<path>`.

        Raises:
            InputError: there are no images, or this one is damaged or not of that size.
        """
        which, _, path = name.partition("/")

        def if_not(why: str) -> str:
            return f"{self.files.images(which) / path}: {why}; run `elasticface align` first"

        return decoding.decode_aligned(self._photos[which].read(path), path, size, if_not)

    def _embed(self, encoder: FaceEncoder, which: str, names: list[str], folder: Path) -> tuple[Rows, Bools]:
        place, size = self.files.images(which), encoder.card.preprocessing.size

        def face(row: int) -> NDArray[np.uint8]:
            return self.face(f"{which}/{names[row]}", size)

        what = [str(place.resolve()).encode(errors="surrogateescape")]
        title = f"{self.name}: embedding {which}"
        flip = self.add_mirror_image
        made = embed_to(folder, encoder, names, face, what, flip=flip, title=title, before=lambda: self._photos)
        return ArrayRows(made.rows, made.source), made.usable


def open_megaface(
    path: str | Path, add_mirror_image: bool = True, undetected: Undetected = "reject"
) -> MegaFaceBenchmark:
    """The benchmark in the folder ``path``; see :mod:`elasticface.benchmarks.megaface.files` for what belongs in it.

    Args:
        path: the folder.
        add_mirror_image: add the embedding of the mirror image.
        undetected: what becomes of images that are missing, as are those in which no face was found to be aligned, or
            damaged. They are never found ("reject"), or are left out ("skip"); they have no centre ("centre": as
            "reject").

    Raises:
        InputError: a list that is missing or wrong.
    """
    return MegaFaceBenchmark("MegaFace", read_megaface(path), add_mirror_image, undetected)


def figures(
    benchmark: MegaFaceBenchmark,
    model: str,
    probes: Rows,
    distractors: Rows,
    usable_probes: Bools,
    usable_distractors: Bools,
    *,
    given: bool,
) -> list[LargeResult]:
    """The protocol's figures from features.

    Args:
        benchmark: what they are of.
        model: its name.
        probes: features of the P probes, of any length.
        distractors: features of the M distractors.
        usable_probes: [P], False for one without a feature: it counts and is never found, or is left out where
            ``benchmark.undetected`` is "skip".
        usable_distractors: [M], likewise.
        given: the features came ready-made, for the record.

    Raises:
        InputError: features of different lengths or that are no numbers, or no mates or distractors left.
    """
    files = benchmark.files
    usable = usable_probes, usable_distractors
    everything = usable if benchmark.undetected == "skip" else tuple(np.ones_like(of) for of in usable)
    kept = [(everything[0], everything[1])]
    if files.noisy_probes is not None and files.noisy_distractors is not None:
        kept.append((everything[0] & ~files.noisy_probes, everything[1] & ~files.noisy_distractors))
    features = _unit(probes, np.arange(len(probes)), files.probes)
    people = np.unique(np.array(files.people), return_inverse=True)[1]
    tallies = []
    for rows, columns in kept:
        try:
            tally = metrics.DistractorTally(
                features[rows],
                people[rows],
                int(columns.sum()),
                fars=[FAR],
                keep=HIGHEST,
                enrolled=usable_probes[rows],
                missing=int((columns & ~usable_distractors).sum()),
            )
        except ValueError as error:
            raise InputError(f"{benchmark.name}: no mates, or no distractors, are left to judge ({error})") from error
        tallies.append((tally, rows, columns))
    for numbers, block in _blocks(distractors, files.distractors, usable_distractors, *features.shape):
        for tally, _, columns in tallies:
            tally.see(block[columns[numbers]])
    lists = digest_of(files.probes, files.people, files.distractors)
    results: list[LargeResult] = []
    for tally, rows, columns in tallies:
        found, refined = tally.figures(), bool(results)
        drawn = _draw(found, people[rows])
        made = _result(
            benchmark, model, found, people[rows], drawn, refined, ~usable_probes, ~usable_distractors, given
        )
        told = None if given else _enrolment(benchmark, people, usable, refined)
        said = told.sentence(_REJECTED, "probes and distractors", "ordered mate pairs") if told else ""
        absent = files.noise_notes if files.noisy_probes is None else ()  # why there is no (R)
        made = dataclasses.replace(made, enrolment=told, notes=(*absent, *([said] if said else [])))
        named = [
            [f"{which}/{names[row]}" for row in np.flatnonzero(shown)]
            for which, names, shown in zip(
                SETS, (files.probes, files.distractors), (rows, columns & usable_distractors), strict=True
            )
        ]
        samples, hardest = drawn.samples(digest_of([lists], rows, columns)), searches_among_distractors(found, *named)
        results.append(dataclasses.replace(made, samples=samples, hardest=hardest))
    return results


def _enrolment(
    benchmark: MegaFaceBenchmark, people: NDArray[np.intp], usable: tuple[Bools, Bools], refined: bool
) -> Enrolment:
    """What became of the images, of (R) of those that are no noise."""
    files = benchmark.files
    noise = files.noisy_probes, files.noisy_distractors
    listed = [
        ~of if refined and of is not None else np.ones_like(there) for of, there in zip(noise, usable, strict=True)
    ]
    damaged = [of & ~there for of, there in zip(listed, usable, strict=True)]
    pairs = [_mate_pairs(people[of]) for of in (listed[0], listed[0] & usable[0])]
    return Enrolment.counted(
        benchmark.undetected,
        images=sum(int(of.sum()) for of in listed),
        without_face=0,
        damaged=sum(int(of.sum()) for of in damaged),
        trials=pairs[0] - pairs[1],
    )


def _mate_pairs(people: NDArray[np.intp]) -> int:
    """How many ordered pairs of two photos of a person there are."""
    photos = np.bincount(people)
    return int((photos * (photos - 1)).sum())


def _draw(found: metrics.DistractorSearch, people: NDArray[np.intp]) -> Drawn:
    """Rank 1 and TAR in each bootstrap resample of the people on the probes [P]; the distractors stay the same."""
    of_probe = numbered(people)
    number = 1 + int(of_probe.max())
    mates = of_probe[found.pairs[:, 0]]
    impostors = of_probe[found.highest_of]
    first, second = np.append(mates, impostors), np.append(mates, np.full_like(impostors, number))
    scores = np.append(found.mate_scores, found.highest)
    enrolled = scores > -np.inf

    def figures(counts: Counts) -> NDArray[np.float64]:
        more = with_one_more(counts)
        totals = found.distractors * counts.astype(np.int64) @ np.bincount(of_probe)
        ranks = unit_shares([found.hits == 1], mates, counts)
        tars = tars_at_fars(scores, first, second, [FAR], more, impostors=totals, enrolled=enrolled)
        return np.concatenate([ranks, tars["at-most"]], axis=1)

    return bootstrap(figures, number, "subjects")


def _roc(found: metrics.DistractorSearch, probes: int) -> RocPoints:
    """As far as the impostors' scores were kept."""
    kept, impostors = len(found.highest), probes * found.distractors
    last = kept - (kept < found.compared)  # so many may be accepted that the next score is known, or all of them
    room = np.append(0, np.unique(np.geomspace(1, last, _ROC_POINTS).round().astype(np.int64)))
    mates = np.sort(found.mate_scores)
    rejected = np.where(room < found.compared, found.highest[np.minimum(room, kept - 1)], -np.inf)
    tars = 1 - np.searchsorted(mates, rejected, side="right") / len(mates)
    return RocPoints(tuple((room / impostors).tolist()), tuple(tars.tolist()))


def _blocks(
    distractors: Rows, names: Sequence[str], usable: Bools, probes: int, dimensions: int
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """The distractors that have a feature: which, and their unit features; as many at a time as memory allows."""
    rows = np.flatnonzero(usable)
    step = max(1, _SCORES // probes)
    starts = range(0, len(rows), step)
    for start in progress.track(starts, "searching distractors", len(starts)):
        chosen = rows[start : start + step]
        block = _unit(distractors, chosen, names)
        if block.shape[1] != dimensions:
            raise InputError(f"features of {block.shape[1]} numbers in megaface, of {dimensions} in facescrub")
        yield chosen, block


def _unit(features: Rows, chosen: NDArray[np.intp], names: Sequence[str]) -> Floats:
    """The ``chosen`` features at unit length; ``names`` are those of all images."""
    rows = features.read(chosen)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        name = printable(names[chosen[np.argmin(finite)]], 200)
        raise InputError(f"{features.source}: the feature of {name} holds NaN or infinity; compute it again")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: Floats = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit


def _result(
    benchmark: MegaFaceBenchmark,
    model: str,
    found: metrics.DistractorSearch,
    people: NDArray[np.intp],
    drawn: Drawn,
    refined: bool,
    damaged_probes: Bools,
    damaged_distractors: Bools,
    given: bool,
) -> DistractorSearch:
    files = benchmark.files
    pairs = len(found.pairs)
    mated = len(np.unique(people[found.pairs[:, 0]]))
    rank, tar = {"1": int((found.hits == 1).sum()) / pairs}, {f"{FAR:g}": float(found.tars[0])}
    counts = {
        "probes": len(people),
        "people": len(np.unique(people)),
        "distractors": found.distractors,
        "mate_pairs": pairs,
        "damaged_images": int(damaged_probes.sum() + damaged_distractors.sum()),
    }
    if refined:
        assert files.noisy_probes is not None
        assert files.noisy_distractors is not None
        counts["noisy_probes"] = int(files.noisy_probes.sum())
        counts["noisy_distractors"] = int(files.noisy_distractors.sum())
    made = "image and mirror image added" if benchmark.add_mirror_image else "image alone"
    return DistractorSearch(
        model=model,
        benchmark=benchmark.result_names[refined],
        protocol=PROTOCOL.format(
            images="features as given" if given else made, refined="; the published noise removed" if refined else ""
        ),
        rank=rank,
        tar_at_far={"at-most": tar},
        intervals={"rank": drawn.intervals(rank, mated), "at-most": drawn.intervals(tar, mated, 1)},
        counts=counts,
        options={} if given else {"add_mirror_image": benchmark.add_mirror_image},
        roc=_roc(found, len(people)),
        departures=_departures(files, counts, refined),
        intervals_by=f"{drawn.said}; the distractors stay the same" if drawn.rates is not None else drawn.said,
    )


def _departures(files: MegaFaceFiles, counts: dict[str, int], refined: bool) -> tuple[str, ...]:
    """What is not as published: of (R) the lists of noise, of MegaFace its counts."""
    if refined:
        return files.noise_notes
    return tuple(
        f"{counts[what]:,} {what.replace('_', ' ')} where MegaFace has {number:,}"
        for what, number in PUBLISHED.items()
        if counts[what] != number
    )
