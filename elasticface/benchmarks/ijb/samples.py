"""The bootstrap over people for IJB: the subject of each template, and the figures of 1:1 and 1:N in each resample."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.benchmarks.ijb.files import IjbFiles, Templates
from elasticface.benchmarks.results import RULES
from elasticface.benchmarks.samples import Drawn, Floats, bootstrap, digest_of, numbered, other_sides
from elasticface.benchmarks.units import joined
from elasticface.metrics.resampled_roc import tars_at_fars, with_one_more
from elasticface.metrics.resampling import Counts, unit_shares

Rows = NDArray[np.int32]
Scores = NDArray[np.float32]
Bools = NDArray[np.bool_]


def of_pairs(
    files: IjbFiles,
    first: Rows,
    second: Rows,
    same: Bools,
    scores: Scores,
    fars: Sequence[float],
    enrolled: Bools | None = None,
) -> tuple[Drawn, int, str]:
    """TAR at each FAR by each of RULES in each sample, rule after rule; units with a genuine pair; the draws' digest.

    Templates are of one unit by a genuine pair, and by the lists of 1:N, each joined with the first of its subject.

    Args:
        files: the benchmark.
        first: [P] rows of ``files.template_ids``.
        second: [P].
        same: [P].
        scores: [P].
        fars: targets.
        enrolled: [P], False for pairs that no threshold accepts; None: there are none.
    """
    lists = [*files.galleries, *([files.probes] if files.probes else [])]
    listed = np.concatenate([first[:0], *(one.templates for one in lists)])
    subjects = np.concatenate([first[:0], *(one.subjects for one in lists)])
    _, place, subject = np.unique(subjects, return_index=True, return_inverse=True)
    edges = np.append(first[same], listed), np.append(second[same], listed[place][subject])
    paired = np.zeros(len(files.template_ids), np.bool_)
    paired[first] = paired[second] = True
    unit = np.zeros(len(paired), np.int32)
    unit[paired] = numbered(joined(len(paired), *edges)[paired])
    number = 1 + int(unit.max())
    a, b = unit[first], other_sides(unit[first], unit[second], same, number)

    def figures(counts: Counts) -> Floats:
        tars = tars_at_fars(scores, a, b, fars, with_one_more(counts), enrolled=enrolled)
        return np.concatenate([tars[rule] for rule in RULES], axis=1)

    kind = "subjects" if np.isin(np.flatnonzero(paired), listed).all() else "templates"
    return bootstrap(figures, number, kind), len(np.unique(a[same])), _digest(files, first, second, same, unit)


def of_searches(
    files: IjbFiles,
    lists: Sequence[Templates],
    found: Sequence[metrics.Searches],
    ranks: Sequence[int],
    fpirs: Sequence[float],
) -> tuple[Drawn, list[Drawn], str]:
    """Rates at each rank, then TPIR at each FPIR, in each resample, and the digest of what was resampled.

    A sample is of people: their searches in both galleries come together, with a mate in the one and without in the
    other.

    Args:
        files: the benchmark.
        lists: what could be used of the galleries, then of the probes.
        found: what came of the probes' searches, a gallery.
        ranks: wanted.
        fpirs: targets.

    Returns:
        The means over the galleries, each gallery by itself, and the digest.
    """
    subjects = numbered(lists[-1].subjects)
    number = 1 + int(subjects.max())

    def figures(counts: Counts) -> Floats:
        made = []
        for of_gallery in found:
            mated = of_gallery.mated
            hits = np.stack([of_gallery.rank[mated] <= rank for rank in ranks])
            scores = np.where(mated, of_gallery.mate, of_gallery.other)
            others = np.where(mated, subjects, number)
            more, enrolled = with_one_more(counts), scores > -np.inf
            tpirs = tars_at_fars(scores, subjects, others, fpirs, more, enrolled=enrolled)["at-most"]
            made.append(np.concatenate([unit_shares(hits, subjects[mated], counts), tpirs], axis=1))
        return np.concatenate([np.mean(made, axis=0), *made], axis=1)

    drawn = bootstrap(figures, number, "subjects")
    parts = [None] * (1 + len(found)) if drawn.rates is None else np.split(drawn.rates, 1 + len(found), axis=1)
    means, *galleries = [dataclasses.replace(drawn, rates=rates) for rates in parts]
    flat = [ids for one in lists for ids in (one.templates, one.subjects)]
    return means, galleries, _digest(files, *flat)


def _digest(files: IjbFiles, *of: NDArray[Any]) -> str:
    """That of the images of each template, and of what else makes the trials what they are."""
    return digest_of(files.names, files.templates, files.media, *of)
