"""Searches: the exact one is a matrix product; an approximate one says so; decisions know their error rate."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from calibrated import calibrated, calibration
from unit_vectors import made_up, unit

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.gallery import index, search
from elasticface.gallery.collection import Aggregation, Collection
from elasticface.gallery.database import Database
from elasticface.gallery.gallery import Gallery
from elasticface.gallery.storing import NewFace
from elasticface.model.calibration import gallery_fmr
from elasticface.model.encoder import FaceEncoder

HALF = 1e-3  # of an inner product: what rounding both vectors to halves costs, at most


def filled(database: Database, encoder: FaceEncoder, aggregation: Aggregation = "best", people: int = 60) -> Gallery:
    gallery = Gallery.create("friends", encoder, database=database, aggregation=aggregation)
    gallery.enrol_embeddings(made_up(people, 3))
    return gallery


@pytest.mark.parametrize("aggregation", ["best", "mean"])
def test_the_exact_search_is_longhand(
    database: Database, encoder: FaceEncoder, aggregation: Literal["best", "mean"]
) -> None:
    gallery, faces = filled(database, encoder, aggregation), made_up(60, 3)
    probes = unit(np.random.default_rng(7).normal(size=(20, 16)))
    for probe, found in zip(probes, gallery.search_embeddings(probes, most=60), strict=True):
        expected: dict[str, float] = {}
        for name in {face.person for face in faces}:
            own = np.array([face.embedding for face in faces if face.person == name], np.float64)
            expected[name] = float((own @ probe).max() if aggregation == "best" else unit(own.mean(0)) @ probe)
        assert {one.person: one.similarity for one in found.candidates} == pytest.approx(expected, abs=HALF)
        similarities = [one.similarity for one in found.candidates]
        assert similarities == sorted(similarities, reverse=True)
        assert found.recall is None
        assert found.comparisons == (180 if aggregation == "best" else 60)
        closest = max(
            (face for face in faces if face.person == found.candidates[0].person), key=lambda f: f.embedding @ probe
        )
        assert found.candidates[0].photo == closest.source


def test_who_is_searched_with_an_enrolled_face_has_a_similarity_of_at_most_1(
    database: Database, encoder: FaceEncoder
) -> None:
    gallery, faces = filled(database, encoder, people=5), made_up(5, 3)
    own = np.array([face.embedding for face in faces])
    assert (np.square(own.astype(np.float16), dtype=np.float64).sum(1) > 1).any()  # halves, as the database has them
    for face, found in zip(faces, gallery.search_embeddings(own), strict=True):
        assert found.candidates[0].person == face.person
        assert 1 - HALF < found.candidates[0].similarity <= 1


@pytest.mark.parametrize("aggregation", ["best", "mean"])
def test_an_approximate_search_says_so_with_its_recall(
    database: Database, encoder: FaceEncoder, aggregation: Aggregation, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(database, encoder, aggregation, people=150)
    recall = gallery.reindex(probes=50)
    assert recall is not None
    assert recall.searches == 50
    assert recall.found >= 45
    probes = unit(np.random.default_rng(7).normal(size=(5, 16)))
    assert gallery.search_embeddings(probes)[0].recall is None  # few enough for an exact search
    exact = gallery.search_embeddings(probes)
    monkeypatch.setattr(search, "EXACT_UP_TO", 100)
    near = gallery.search_embeddings(probes)
    assert near[0].recall == recall
    assert (
        "approximate, recall"
        in search.decide(gallery.collection, near[0], search.Threshold(None, reason="none"), 0.01).lines()[1]
    )
    everybody = gallery.search_embeddings(probes, 150, exact=True)
    for one, other, all_of_them in zip(near, exact, everybody, strict=True):
        assert one.candidates[0] == other.candidates[0]
        assert set(one.candidates) <= set(all_of_them.candidates)  # whoever is found has the exact similarity
    assert gallery.search_embeddings(probes, exact=True)[0].recall is None
    gallery.enrol_embeddings(made_up(160, 3)[-3:])  # the index is kept up to date
    (found,) = gallery.search_embeddings(made_up(160, 3)[-1].embedding[None], most=1)
    assert found.candidates[0].person == "person 159"
    assert gallery.stats().advice is None
    gallery.drop_index()
    assert gallery.search_embeddings(probes)[0].recall is None
    assert "an index: elasticface gallery reindex" in str(gallery.stats().advice)


def test_somebody_of_more_faces_than_the_index_gives_hides_nobody(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CANDIDATES", 20)
    monkeypatch.setattr(search, "EXACT_UP_TO", 10)
    gallery = Gallery.create("friends", encoder, database=database)
    (film,) = made_up(1, 1)
    frames = unit(film.embedding + 0.01 * np.random.default_rng(1).normal(size=(100, 16)))
    gallery.enrol_embeddings([NewFace("film", frame, str(n)) for n, frame in enumerate(frames)])
    gallery.enrol_embeddings(made_up(20, 1, seed=5))
    recall = gallery.reindex(probes=120)
    assert recall is not None
    assert recall.found == recall.searches == 120
    (found,) = gallery.search_embeddings(film.embedding[None])
    assert (len(found.candidates), found.recall) == (5, None)  # as all of the index's candidates are of one person
    (found,) = gallery.search_embeddings(film.embedding[None], most=1)
    assert (found.candidates[0].person, found.recall) == ("film", recall)


@pytest.mark.parametrize("enough", [True, False])
def test_an_index_has_the_memory_that_it_takes_or_it_is_said(
    database: Database, encoder: FaceEncoder, monkeypatch: pytest.MonkeyPatch, enough: bool
) -> None:
    gallery = filled(database, encoder, people=1000)
    monkeypatch.setattr(index, "_LEAST_MEMORY", 1 << 20)  # of which 3,000 vectors take more
    if not enough:
        monkeypatch.setattr(index, "_BYTES", 600)
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    gallery.reindex(probes=1)
    if enough:
        assert said == []
    else:
        (line,) = said
        assert re.fullmatch(r"warning: hnsw graph no longer fits into .* after [\d,]+ tuples; the rest takes .*", line)


def test_the_index_is_what_answers(database: Database, encoder: FaceEncoder) -> None:
    """The planner may use the index: its expression is the query's."""
    gallery = filled(database, encoder)
    gallery.reindex(probes=1)
    with database.transaction() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT person FROM elasticface.face_1 ORDER BY (embedding::halfvec(16)) <#> "
            "%s::halfvec(16) LIMIT 5",
            [str(made_up(1, 1)[0].embedding.tolist())],
        )
        assert "hnsw_1" in str(cursor.fetchall())


def test_a_decision_is_by_the_highest_calibrated_rate_that_the_gallery_allows(
    database: Database, encoder: FaceEncoder
) -> None:
    gallery = filled(database, encoder)
    made = calibration(encoder, (1e-2, 0.3), (1e-4, 0.5), (1e-6, 0.7))
    points, validity = made.points, search.Threshold(None, made)
    (found,) = gallery.search_embeddings(made_up(1, 1)[0].embedding[None], most=60)
    assert found.comparisons == 180
    answer = search.decide(gallery.collection, found, validity, 0.05)
    assert answer.threshold.point == points[1]  # 1 − (1 − 1e-4)^180 = 1.8 %, and with 1e-2 it is 84 %
    assert answer.false_positive_rate == pytest.approx(1 - (1 - 1e-4) ** 180)
    assert answer.person == "person 0"
    assert answer.unknown is False
    for one in answer.found.candidates:
        reached = [p.fmr for p in points if one.similarity >= p.threshold]
        assert one.false_positive_rate == (gallery_fmr(min(reached), 180) if reached else None)
    strict = search.decide(gallery.collection, found, validity, 1e-5)
    assert strict.unknown is None
    assert strict.person is None
    assert "1e-06, names somebody in 0.018 % of the searches for strangers among 180" in str(strict.reason)
    stranger = replace(found, candidates=[replace(found.candidates[0], similarity=0.49)])
    unknown = search.decide(gallery.collection, stranger, validity, 0.05)
    assert (unknown.person, unknown.unknown) == (None, True)
    assert unknown.lines()[0] == "unknown: nobody is at or above the threshold of 0.5000"
    assert unknown.as_json()["unknown"] is True
    for fpir in (0, 1, -1, float("nan")):
        with pytest.raises(InputError, match="fpir must lie between 0 and 1"):
            search.decide(gallery.collection, found, validity, fpir)


@pytest.mark.parametrize(
    ("lowest", "comparisons"), [(1e-6, 1234), (1 / 300, 7), (1e-4, 100_000), (1e-6, 1), (0.1, 1000)]
)
def test_without_a_decision_the_fpir_that_gives_one_is_named(
    encoder: FaceEncoder, lowest: float, comparisons: int
) -> None:
    kept = (1, "friends", "small", b"", 16, {}, "yunet", "best", False, 2, comparisons, datetime.now(UTC))
    validity = search.Threshold(None, calibration(encoder, (lowest, 0.5)))
    found = search.Found([], comparisons, comparisons, None)
    for asked in (lowest / 2, gallery_fmr(lowest, comparisons) * 0.999):
        reason = str(search.decide(Collection(*kept), found, validity, asked).reason)
        if (named := re.search(r"; give (\S+) or more, or calibrate", reason)) is None:
            assert gallery_fmr(lowest, comparisons) > 0.999
            continue
        answer = search.decide(Collection(*kept), found, validity, float(named[1]))
        assert answer.reason is None
        assert answer.false_positive_rate == pytest.approx(float(named[1]), rel=0.01)


def test_means_of_several_faces_are_not_decided_by_a_calibration_of_single_ones(
    database: Database, encoder: FaceEncoder
) -> None:
    gallery = filled(database, encoder, "mean")
    validity = search.Threshold(None, calibration(encoder, (1e-6, 0.5)))
    (found,) = gallery.search_embeddings(made_up(1, 1)[0].embedding[None])
    answer = search.decide(gallery.collection, found, validity, 0.05)
    assert answer.unknown is None
    assert "people here are means of several" in str(answer.reason)


def test_a_photo_is_searched_and_without_a_calibration_nothing_is_decided(
    database: Database, encoder: FaceEncoder, album: Path
) -> None:
    gallery = Gallery.create("friends", calibrated(encoder, (1e-4, 0.9)), database=database)
    nobody = gallery.search(album / "people/person 0/0.png")
    assert (nobody.unknown, nobody.found.candidates) == (True, [])  # nobody is enrolled
    gallery.enrol_folder(album / "people", workers=1)
    assert gallery.search(album / "people/person 0/0.png").person == "person 0"
    without = Gallery("friends", encoder, database=database).search(album / "people/person 0/0.png")
    assert (without.person, without.unknown) == (None, None)
    assert without.lines()[0] == "no decision: the model is not calibrated: see `elasticface calibrate`"
    assert without.found.candidates[0].person == "person 0"
    assert without.as_json()["candidates"][0]["similarity"] == pytest.approx(1, abs=HALF)
    with pytest.raises(InputError, match="most must be at least 1"):
        gallery.search(album / "people/person 0/0.png", most=0)


def test_numbers_out_of_range_are_bounded_or_refused(database: Database, encoder: FaceEncoder) -> None:
    gallery = Gallery.create("friends", encoder, database=database)
    gallery.enrol_embeddings(made_up(3, 2))
    (found,) = gallery.search_embeddings(np.eye(1, 16), 1 << 70)
    assert len(found.candidates) == 3
    recall = gallery.reindex(1 << 70)
    assert recall is not None
    assert recall.searches == 6
    with pytest.raises(InputError, match="workers must be at most 1,024, not 1025"):
        gallery.reindex(workers=1025)
    for number in (np.nan, np.inf, 1e9, 1.0, 0.0):
        with pytest.raises(InputError, match="embeddings must be of length 1, not "):
            gallery.search_embeddings(np.full((1, 16), number))
