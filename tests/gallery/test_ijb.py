"""IJB's 1:N protocol through the gallery's search gives the protocol's own figures, at the precision of halves."""

from pathlib import Path

import numpy as np
import pytest
from large import patch_encoder, write_ijb

from elasticface import metrics
from elasticface.benchmarks.ijb.protocol import FPIRS, RANKS, TemplateOptions, open_ijb, pool
from elasticface.faces.finder import FaceFinder
from elasticface.gallery import collection as collections
from elasticface.gallery.database import Database
from elasticface.gallery.search import search
from elasticface.gallery.storing import NewFace, store

TOLERANCE = 1e-3
"""Of a similarity: two vectors of length 1, each number rounded to 11 bits, differ by at most 2 · 2^-11 · |a| |b|."""


def test_searches_through_the_gallery_are_those_of_the_protocol(database: Database, tmp_path: Path) -> None:
    write_ijb(tmp_path / "ijb", subjects=16)
    benchmark, encoder = open_ijb(tmp_path / "ijb"), patch_encoder()
    files = benchmark.files
    assert files.probes is not None
    templates, usable = pool(benchmark._embed(encoder, tmp_path / "features"), files, TemplateOptions())
    assert usable.all()
    probes = templates[files.probes.templates]
    for gallery in files.galleries:
        enrolled = collections.create(database, gallery.name, encoder, FaceFinder())
        faces = [
            NewFace(str(subject), templates[template], f"template {template}")
            for template, subject in zip(gallery.templates, gallery.subjects, strict=True)
        ]
        assert store(database, enrolled, faces) == [None] * len(faces)
        expected = metrics.search_templates(
            probes, templates[gallery.templates], files.probes.subjects, gallery.subjects
        )
        scores = np.full((len(probes), len(gallery.subjects)), np.nan)
        column = {str(subject): place for place, subject in enumerate(gallery.subjects)}
        for row, found in enumerate(search(database, gallery.name, probes, most=len(faces))):
            for one in found.candidates:
                scores[row, column[one.person]] = one.similarity
        assert scores == pytest.approx(probes @ templates[gallery.templates].T, abs=TOLERANCE)
        by_gallery = metrics.searches(scores, files.probes.subjects, gallery.subjects)
        assert by_gallery.mate[by_gallery.mated] == pytest.approx(expected.mate[expected.mated], abs=TOLERANCE)
        assert by_gallery.other == pytest.approx(expected.other, abs=TOLERANCE)
        assert np.array_equal(by_gallery.rank, expected.rank)
        assert np.array_equal(metrics.open_set_rates(by_gallery, FPIRS), metrics.open_set_rates(expected, FPIRS))
        mated = [
            metrics.Searches(one.mate[one.mated], one.other[one.mated], one.rank[one.mated])
            for one in (by_gallery, expected)
        ]
        assert np.array_equal(*[metrics.rank_rates(one, RANKS) for one in mated])
