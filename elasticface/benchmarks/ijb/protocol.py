"""IJB-B and IJB-C: templates verified in pairs (1:1) and searched in galleries (1:N).

Protocol (the paper, section 4.2, as the field's scripts run it): every image aligned by its five points; its embedding
and that of its mirror image added, the norm kept, times the detector's score; mean over each (template, medium), sum
over the media, L2-normalised; dot product.
"""

from collections.abc import Sequence
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
from elasticface.benchmarks.ijb import hardest, samples
from elasticface.benchmarks.ijb.files import KINDS, IjbFiles, Templates, read_ijb
from elasticface.benchmarks.reading.features import FeatureFiles, Features, embed_to, open_features
from elasticface.benchmarks.results import (
    RULES,
    LargeResult,
    RocPoints,
    Search,
    TemplateIdentification,
    TemplateVerification,
)
from elasticface.benchmarks.samples import Drawn, Intervals, Rates
from elasticface.data.images import decoding
from elasticface.data.images.alignment import align, central_square, in_one_place
from elasticface.data.images.listed import ListedPhotos
from elasticface.data.images.photos import Photos
from elasticface.model.encoder import FaceEncoder

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
RANKS = (1, 5, 10)
FPIRS = (0.01, 0.1)

PUBLISHED = {
    "ijbb": {"images": 227_630, "templates": 12_115, "genuine": 10_270, "impostor": 8_000_000},
    "ijbc": {
        "images": 469_375,
        "templates": 23_124,
        "genuine": 19_557,
        "impostor": 15_638_932,
        "G1": 1_772,
        "G2": 1_759,
        "probes": 19_593,
    },
}
"""The counts of the released protocols; a result that was counted on others says so."""

_POOLED = "{images}, norm {norm}, {score}; mean over each template and medium, sum over the media, L2-normalised; "
PROTOCOL_1_1 = _POOLED + (
    "dot product over the listed pairs; TAR at the nearest observed FAR, as the field reads it, and at most the FAR"
)
PROTOCOL_1_N = _POOLED + (
    "dot product; each gallery searched with all probes: closed set, the rank of the mate; open set, TPIR with the "
    "threshold on the largest score of each probe without a mate; means over the galleries"
)

_ROC_POINTS = 500
_CMC_RANKS = 20
_SHOWN_FAR = 1e-4  # whose threshold the pairs to look at are judged by: the one that papers print

Pooled = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Templates [T, D], and which of them have an image [T]."""


@dataclass(frozen=True)
class TemplateOptions:
    """How images become templates. The defaults are the protocol ("N1D1F1" where N says that the norm counts)."""

    keep_norm: bool = True  # False: each image counts alike, its embedding L2-normalised first
    weigh_by_detector_score: bool = True
    add_mirror_image: bool = True


@dataclass(frozen=True, eq=False)
class IjbBenchmark:
    """A folder of IJB-B or IJB-C."""

    name: str
    files: IjbFiles
    options: TemplateOptions = TemplateOptions()
    undetected: Undetected = "reject"  # what becomes of images without a face, and of damaged ones

    @property
    def result_names(self) -> tuple[str, ...]:
        """The benchmark's name in each of its results."""
        return (f"{self.name} 1:1", *([] if self.files.probes is None else [f"{self.name} 1:N"]))

    def measure(self, model: FaceEncoder | FeatureFiles, folder: Path) -> list[LargeResult]:
        """1:1, and 1:N where the folder has galleries.

        Args:
            model: an encoder; or features, a `.npy` float32 [N, D] with a row for each row of the file of images.
            folder: where embeddings are kept, so that a stopped evaluation can be resumed.

        Raises:
            InputError: images or features that cannot be used, or too few images to judge anything.
        """
        if isinstance(model, FeatureFiles):
            rows, source = self._given(model), printable(model.path)
            features = Features(rows, np.ones(len(rows), np.bool_), {}, given=True, source=source)
            return figures(self, model.name, features)
        return figures(self, model.card.name, self._embed(model, folder))

    def try_on(self, model: FaceEncoder | FeatureFiles) -> None:
        """Look for what :meth:`measure` needs.

        Raises:
            InputError: there are no images, or the features are none of this benchmark.
        """
        if isinstance(model, FeatureFiles):
            self._given(model)
        else:
            _ = self.files.images

    def _given(self, model: FeatureFiles) -> NDArray[np.float32]:
        return open_features(model.path, len(self.files.names), self.name)

    @cached_property
    def _photos(self) -> ListedPhotos:
        return ListedPhotos(Photos(self.files.images), self.files.names)

    @cached_property
    def without_face(self) -> NDArray[np.bool_]:
        """[N], the images whose five points lie in one place: no detector found a face there."""
        return in_one_place(self.files.landmarks)

    def face(self, name: str, size: int = 112) -> NDArray[np.uint8]:
        """The aligned face of one image, uint8 [size, size, 3] RGB.

        Raises:
            InputError: there are no images, or this one is damaged.
        """
        return self._face(self.files.names.index(name), size)

    def _face(self, row: int, size: int) -> NDArray[np.uint8]:
        name = self.files.names[row]
        photo = decoding.decode(self._photos.read(name), name)
        if self.without_face[row]:
            if self.undetected == "centre":
                return central_square(photo, size)
            raise decoding.NoFace(f"{name}: the five landmarks lie in one place: no face was found")
        return align(photo, self.files.landmarks[row], size)

    def _embed(self, encoder: FaceEncoder, folder: Path) -> Features:
        files, size = self.files, encoder.card.preprocessing.size

        def face(row: int) -> NDArray[np.uint8]:
            return self._face(row, size)

        flip, title = self.options.add_mirror_image, f"{self.name}: embedding"
        what = [str(files.images.resolve()).encode(errors="surrogateescape"), files.landmarks.tobytes()]
        if self.undetected == "centre" and self.without_face.any():
            what.append(b"centre")
        return embed_to(folder, encoder, files.names, face, what, flip=flip, title=title, before=lambda: self._photos)


def open_ijb(
    path: str | Path, options: TemplateOptions | None = None, undetected: Undetected = "reject"
) -> IjbBenchmark:
    """The benchmark in the folder ``path``; see :mod:`elasticface.benchmarks.ijb.files` for what belongs in it.

    Args:
        path: the folder.
        options: how images become templates.
        undetected: what becomes of images without a face, and of damaged ones. They have no part in their template; a
            template without any other image is a failure to enrol, and its pairs are non-matches and its searches find
            nobody ("reject"), or they are left out ("skip"); or the central square of an image is its face ("centre").

    Raises:
        InputError: a piece that is missing or wrong.
    """
    files = read_ijb(path)
    return IjbBenchmark(KINDS[files.kind], files, options or TemplateOptions(), undetected)


def figures(benchmark: IjbBenchmark, model: str, features: Features) -> list[LargeResult]:
    """The protocol's figures from the embeddings of all images, not normalised.

    An image without an embedding is left out of its medium's mean. With a template without any image no pair matches at
    any threshold, and no search finds it; with ``benchmark.undetected == "skip"`` they are left out. Either is counted,
    as long as some of each kind remain.

    Raises:
        InputError: embeddings that are no numbers, or nothing left to judge.
    """
    files = benchmark.files
    with progress.status(f"{benchmark.name}: pooling {len(files.names):,} embeddings"):
        pooled = pool(features, files, benchmark.options)
    results: list[LargeResult] = [_verify(benchmark, model, features, pooled)]
    if files.probes is not None:
        results.append(_identify(benchmark, model, features, pooled, files.probes))
    return results


def pool(features: Features, files: IjbFiles, options: TemplateOptions) -> Pooled:
    """Templates [T, D] of unit length, and which of them have an image [T]; the others are zero.

    Raises:
        InputError: no embeddings, or some that hold NaN or infinity.
    """
    if not features.usable.any():
        raise InputError(f"{files.root}: none of its {len(files.names)} images could be read; is it the right folder?")
    rows = slice(None) if features.usable.all() else np.flatnonzero(features.usable)
    try:
        ids, vectors = metrics.pool_templates(
            features.rows[rows],
            files.templates[rows],
            files.media[rows],
            detector_scores=files.detector_scores[rows] if options.weigh_by_detector_score else None,
            keep_norms=options.keep_norm,
        )
    except ValueError as error:
        mend = "compute them again" if features.given else "remove them, and the images are embedded again"
        raise InputError(f"{features.source}: {error}; {mend}") from error
    pooled = np.zeros((len(files.template_ids), features.rows.shape[1]), np.float32)
    pooled[np.searchsorted(files.template_ids, ids)] = vectors
    return pooled, np.isin(files.template_ids, ids)


def _verify(benchmark: IjbBenchmark, model: str, features: Features, pooled: Pooled) -> TemplateVerification:
    files, (templates, usable) = benchmark.files, pooled
    first, second, same = files.first, files.second, files.same
    enrolled = None if usable.all() else usable[first] & usable[second]
    if enrolled is not None:
        left = same[enrolled]
        if not len(left) or left.all() or not left.any():
            raise InputError(f"{benchmark.name}: {len(left)} of {len(same)} pairs have images; too few to judge")
        if benchmark.undetected == "skip":
            first, second, same, enrolled = first[enrolled], second[enrolled], left, None
    failed = 0 if enrolled is None else int((~enrolled).sum())
    scores = metrics.pair_scores(templates, first, second)
    genuine, impostors = int(same.sum()), int((~same).sum())
    fars = metrics.spread_fars(impostors, _ROC_POINTS, None if enrolled is None else int((~same & enrolled).sum()))
    # At once: each time the scores are sorted.
    at_most = metrics.operating_points(scores, same, np.append(FARS, fars), enrolled)
    tars = {
        "nearest": _rates(FARS, metrics.tar_at_far(scores, same, FARS, "nearest", enrolled)),
        "at-most": _rates(FARS, at_most.tar[: len(FARS)]),
    }
    drawn, counted, digest = samples.of_pairs(files, first, second, same, scores, FARS, enrolled)
    counts = {
        "images": len(files.names),
        "damaged_images": int((~features.usable).sum()),
        "templates": len(files.template_ids),
        "pairs": len(same),
        "genuine": genuine,
        "impostor": impostors,
        "skipped_pairs": len(files.same) - len(same),
    }
    told = _enrolment(benchmark, features, failed + counts["skipped_pairs"])
    said = _sentence(told, int((~usable).sum()), "pairs", "count as non-matches at every threshold")
    return TemplateVerification(
        model=model,
        benchmark=benchmark.result_names[0],
        protocol=_in_words(PROTOCOL_1_1, benchmark.options, features.given),
        tar_at_far=tars,
        intervals={rule: drawn.intervals(tars[rule], counted, i * len(FARS)) for i, rule in enumerate(RULES)},
        counts=counts,
        options=_options(benchmark.options, features.given),
        roc=RocPoints(tuple(fars.tolist()), tuple(at_most.tar[len(FARS) :].tolist())),
        departures=_departures(files.kind, counts, ("images", "templates", "genuine", "impostor")),
        notes=tuple(said),
        enrolment=told,
        intervals_by=drawn.said,
        samples=drawn.samples(digest),
        hardest=hardest.pairs_of_templates(
            files,
            features.usable,
            first,
            second,
            same,
            scores,
            at_most.thresholds[FARS.index(_SHOWN_FAR)],
            "1e-4",
            enrolled,
        ),
    )


def _identify(
    benchmark: IjbBenchmark, model: str, features: Features, pooled: Pooled, listed_probes: Templates
) -> TemplateIdentification:
    files, (templates, usable) = benchmark.files, pooled
    probes, galleries = listed_probes, [*files.galleries]
    if benchmark.undetected == "skip":
        probes, *galleries = [_usable(listed, usable) for listed in (probes, *galleries)]
    found = [_search(benchmark, templates, usable, probes, gallery) for gallery in galleries]
    drawn, of_galleries, digest = samples.of_searches(files, [*galleries, probes], found, RANKS, FPIRS)
    searches: list[Search] = []
    closed = [_mated(search) for search in found]
    for gallery, search, with_mate, of_gallery in zip(galleries, found, closed, of_galleries, strict=True):
        mated = search.mated
        rank = _rates(RANKS, metrics.rank_rates(with_mate, RANKS))
        tpir = _rates(FPIRS, metrics.open_set_rates(search, FPIRS))
        searches.append(
            Search(
                name=gallery.name,
                rank=rank,
                tpir_at_fpir=tpir,
                intervals=_of_search(of_gallery, rank, tpir, _subjects(probes, mated)),
                counts={
                    "subjects": len(gallery.subjects),
                    "mated": int(mated.sum()),
                    "non_mated": int((~mated).sum()),
                },
            )
        )
    rank = _means([search.rank for search in searches])
    tpir = _means([search.tpir_at_fpir for search in searches])
    ranks = range(1, _CMC_RANKS + 1)
    alarms = min(int(np.count_nonzero(one.other[~one.mated] > -np.inf)) for one in found)
    fpirs = metrics.spread_fars(min(search.counts["non_mated"] for search in searches), _ROC_POINTS, max(alarms, 1))
    listed_counts = {gallery.name: len(gallery.subjects) for gallery in files.galleries}
    listed_counts["probes"] = len(listed_probes.subjects)
    lost = sum(int((~usable[listed.templates]).sum()) for listed in (*files.galleries, listed_probes))
    if benchmark.undetected == "skip":
        skipped, trials = lost, (len(listed_probes.subjects) - len(probes.subjects)) * len(galleries)
    else:
        nobody = [~usable[probes.templates] | (one.rank == metrics.NEVER) for one in found]
        skipped, trials = 0, int(np.sum(nobody))
    told = _enrolment(benchmark, features, trials)
    said = _sentence(told, lost, "searches", "find nobody")
    return TemplateIdentification(
        model=model,
        benchmark=benchmark.result_names[1],
        protocol=_in_words(PROTOCOL_1_N, benchmark.options, features.given),
        rank=rank,
        tpir_at_fpir=tpir,
        intervals=_of_search(drawn, rank, tpir, _subjects(probes, np.any([one.mated for one in found], axis=0))),
        galleries=tuple(searches),
        counts={
            "images": len(files.names),
            "damaged_images": int((~features.usable).sum()),
            **listed_counts,
            "skipped_templates": skipped,
        },
        options=_options(benchmark.options, features.given),
        cmc=tuple(np.mean([metrics.rank_rates(one, ranks) for one in closed], axis=0).tolist()),
        open_set=RocPoints(tuple(fpirs.tolist()), tuple(metrics.mean_over_galleries(found, fpirs).tolist())),
        departures=_departures(files.kind, {"images": len(files.names), **listed_counts}, ("images", *listed_counts)),
        notes=tuple(said),
        enrolment=told,
        intervals_by=drawn.said,
        samples=drawn.samples(digest),
        hardest=hardest.searches_of_templates(files, features.usable, templates, probes, galleries, found),
    )


def _enrolment(benchmark: IjbBenchmark, features: Features, trials: int) -> Enrolment | None:
    """What became of the images; None where their features came ready-made."""
    if features.given:
        return None
    faceless, centre = benchmark.without_face, benchmark.undetected == "centre"
    without_face = faceless & (features.usable if centre else ~features.usable)
    return Enrolment.counted(
        benchmark.undetected,
        images=len(faceless),
        without_face=int(without_face.sum()),
        damaged=int((~features.usable & (~faceless | centre)).sum()),
        trials=trials,
    )


def _sentence(told: Enrolment | None, templates: int, trials: str, what: str) -> list[str]:
    """The note on images that could not be enrolled, and on templates without any other; none where all could."""
    if told is None or not told.failures:
        return []
    without = f"{templates:,} template{'s have' if templates != 1 else ' has'} no image left"
    return [told.sentence(what, "images", trials, without if templates else "every template has another image")]


def _search(
    benchmark: IjbBenchmark,
    templates: NDArray[np.float32],
    usable: NDArray[np.bool_],
    probes: Templates,
    gallery: Templates,
) -> metrics.Searches:
    """What came of all probes in one gallery."""
    asked, there = usable[probes.templates], usable[gallery.templates]
    scores = templates[probes.templates] @ templates[gallery.templates].T
    found = metrics.searches(scores, probes.subjects, gallery.subjects, asked, there)
    mated = found.mated
    if mated.all() or not mated.any():
        which = "without" if mated.all() else "with"
        raise InputError(f"{benchmark.name}: no probe {which} a mate in the gallery {gallery.name}; both are needed")
    return found


def _subjects(probes: Templates, which: NDArray[np.bool_]) -> int:
    """How many people some of the probes are of."""
    return len(np.unique(probes.subjects[which]))


def _mated(search: metrics.Searches) -> metrics.Searches:
    mated = search.mated
    return metrics.Searches(search.mate[mated], search.other[mated], search.rank[mated])


def _of_search(drawn: Drawn, rank: Rates, tpir: Rates, mated: int) -> dict[str, Intervals]:
    """The intervals of what so many subjects with a mate give."""
    return {"rank": drawn.intervals(rank, mated), "tpir_at_fpir": drawn.intervals(tpir, mated, len(rank))}


def _usable(listed: Templates, usable: NDArray[np.bool_]) -> Templates:
    kept = usable[listed.templates]
    return Templates(listed.name, listed.templates[kept], listed.subjects[kept])


def _options(options: TemplateOptions, given: bool) -> dict[str, bool]:
    return {name: value for name, value in vars(options).items() if not (given and name == "add_mirror_image")}


def _in_words(protocol: str, options: TemplateOptions, given: bool) -> str:
    added = "image and mirror image added" if options.add_mirror_image else "image alone"
    return protocol.format(
        images="features as given" if given else f"images aligned by five points, {added}",
        norm="kept" if options.keep_norm else "removed",
        score="times the detector's score" if options.weigh_by_detector_score else "not weighted by detector score",
    )


def _departures(kind: str, counts: dict[str, int], which: Sequence[str]) -> tuple[str, ...]:
    published = PUBLISHED[kind]
    return tuple(
        f"{counts[what]:,} {what} where {KINDS[kind]} has {published[what]:,}"
        for what in which
        if what in published and counts[what] != published[what]
    )


def _rates(targets: Sequence[float], values: NDArray[np.float64]) -> Rates:
    return {f"{target:g}": float(value) for target, value in zip(targets, values, strict=True)}


def _means(rates: Sequence[Rates]) -> Rates:
    return {key: float(np.mean([one[key] for one in rates])) for key in rates[0]}
