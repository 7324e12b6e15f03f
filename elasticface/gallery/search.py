"""Who in a collection is this, or nobody we know: candidates by SQL, and a decision with its error rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, Context
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.gallery.collection import UNIT, Aggregation, Collection, if_there, read
from elasticface.gallery.database import Connections
from elasticface.metrics import binomial_interval
from elasticface.model.calibration import Calibration, OperatingPoint, gallery_fmr
from elasticface.recognition.verification import ChosenFace, Threshold, cosine, share

if TYPE_CHECKING:
    from psycopg import Cursor, sql

USUAL_FPIR = 0.01
"""How many of the searches for strangers may name somebody, unless the operator says otherwise."""

EXACT_UP_TO = 100_000
"""Vectors that are all compared even where there is an index: 0.06 s of a core for 256 numbers (benches/gallery.py)."""

CANDIDATES = 1000
"""Vectors that the index gives for a search, and `hnsw.ef_search`: the more, the higher the recall, and the slower.

As many as pgvector allows: they hold each of 200 people among a million random embeddings of 256 numbers, in a fifth of
the time of the exact search (benches/gallery.py).
"""


@dataclass(frozen=True)
class Recall:
    """What an approximate search is worth, measured on the collection itself (:mod:`.index`)."""

    found: int  # searches whose first was that of the exact search, of
    searches: int
    vectors: int  # that were in the collection then
    measured: datetime

    @property
    def rate(self) -> float:
        """Recall@1."""
        return self.found / self.searches

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return binomial_interval(self.found, self.searches)

    def as_json(self) -> dict[str, Any]:
        """As the command line writes it."""
        return {
            "rate": self.rate,
            "interval": list(self.interval),
            "searches": self.searches,
            "vectors": self.vectors,
            "measured": self.measured.isoformat(),
        }

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"recall {self.rate:.3f} (95 % interval {low:.3f} to {high:.3f}) measured with {self.searches:,} of its "
            f"own {self.vectors:,} vectors on {self.measured:%Y-%m-%d}"
        )


@dataclass(frozen=True)
class Candidate:
    """A person of the collection.

    Attributes:
        person: the name.
        similarity: cosine of the most similar face, or of the mean of all, -1 to 1.
        photo: the name of the most similar photo.
        id: the person's number, which the audit log has.
        face: the number of the most similar face.
        false_positive_rate: at most so many of the searches for a stranger reach this similarity with somebody; None
            where that is not calibrated.
    """

    person: str
    similarity: float
    photo: str
    id: int
    face: int
    false_positive_rate: float | None = None


@dataclass(frozen=True)
class Found:
    """The most similar people of one search.

    Attributes:
        candidates: most similar first.
        people: how many there are in the collection.
        comparisons: vectors that the face is compared with: faces, or one a person by mean.
        recall: of an approximate search; None where the search was exact.
    """

    candidates: list[Candidate]
    people: int
    comparisons: int
    recall: Recall | None


@dataclass(frozen=True, eq=False)
class Answer:
    """A face searched in a collection.

    Attributes:
        found: the most similar people.
        aggregation: what a person's similarity is.
        fpir: how many of the searches for strangers may name somebody, as the operator has said.
        threshold: what is decided by; its ``reason`` says why there is no decision.
        face: that was searched for; None of an embedding.
    """

    found: Found
    aggregation: Aggregation
    fpir: float
    threshold: Threshold
    face: ChosenFace | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no decision; None where there is one."""
        return self.threshold.reason

    @property
    def person(self) -> str | None:
        """The person; None for unknown, and where there is no decision."""
        best = self.found.candidates[0] if self.found.candidates else None
        return best.person if best is not None and self.threshold.same(best.similarity) else None

    @property
    def unknown(self) -> bool | None:
        """Whether it is nobody of the collection; None where there is no decision."""
        return None if self.reason is not None else self.person is None

    @property
    def false_positive_rate(self) -> float | None:
        """How often a stranger is named by this decision: FPIR."""
        point = self.threshold.point
        return None if point is None else gallery_fmr(point.fmr, self.found.comparisons)

    @property
    def false_positive_interval(self) -> tuple[float, float] | None:
        """Of that rate, from the 95 % interval of the false match rate."""
        if (point := self.threshold.point) is None:
            return None
        low, high = point.fmr_interval
        return gallery_fmr(low, self.found.comparisons), gallery_fmr(high, self.found.comparisons)

    @property
    def lowest_fpir(self) -> float | None:
        """As :func:`lowest_fpir`; None where the model is not calibrated for this use."""
        calibration = self.threshold.calibration
        return None if calibration is None else lowest_fpir(calibration, self.found.comparisons)

    def lines(self) -> list[str]:
        """For the terminal: the answer, how often it is wrong, how it was found, and the most similar people."""
        found, point = self.found, self.threshold.point
        rate, interval = self.false_positive_rate, self.false_positive_interval
        gallery = (
            f"{found.people:,} people ({found.comparisons:,} {'faces' if self.aggregation == 'best' else 'means'})"
        )
        if point is None or rate is None or interval is None:
            lines = [f"no decision: {self.reason}"]
        else:
            where = "at or above" if self.person else "nobody is at or above"
            lines = [
                f"{printable(self.person or 'unknown')}: {where} the threshold of {point.threshold:.4f}",
                f"a stranger is taken for one of these {gallery} in {share(rate, interval)} of the searches",
            ]
        how = "exact" if found.recall is None else f"approximate, {found.recall}"
        of = "the most similar face" if self.aggregation == "best" else "the mean of all faces"
        lines.append(f"search: {how}; a person's similarity is that of {of}")
        for number, one in enumerate(found.candidates, start=1):
            told = f"{number}. {printable(one.person)}  similarity {one.similarity:.4f}  {printable(one.photo)}"
            if one.false_positive_rate is not None:
                told += f"  reached in at most {100 * one.false_positive_rate:.2g} % of the searches for a stranger"
            lines.append(told)
        return lines

    def as_json(self) -> dict[str, Any]:
        """As `elasticface gallery search --json` writes it."""
        recall = self.found.recall
        return {
            "person": self.person,
            "unknown": self.unknown,
            "fpir": self.fpir,
            "lowest_fpir": self.lowest_fpir,
            **self.threshold.as_json(),
            "false_positive_rate": self.false_positive_rate,
            "false_positive_interval": self.false_positive_interval,
            "people": self.found.people,
            "comparisons": self.found.comparisons,
            "aggregation": self.aggregation,
            "search": "exact" if recall is None else "approximate",
            "recall": recall and recall.as_json(),
            "candidates": [vars(candidate) for candidate in self.found.candidates],
            "reason": self.reason,
            "face": self.face and self.face.as_json(),
        }


def search(
    database: Connections, which: str | Collection, embeddings: NDArray[Any], most: int = 5, *, exact: bool = False
) -> list[Found]:
    """The most similar people of each embedding.

    Args:
        database: where.
        which: collection.
        embeddings: float [Q, D], of length 1.
        most: people of each search, ≥ 1.
        exact: compare with every vector, however many there are.

    Raises:
        InputError: no such collection; embeddings of another length or size; ``most`` below 1.
    """
    if most < 1:
        raise InputError(f"most must be at least 1, not {most}")
    with database.transaction() as cursor:
        collection = read(cursor, database, which)
        if np.ndim(embeddings) != 2 or np.shape(embeddings)[1] != collection.dimensions:
            raise InputError(f"embeddings must be [Q, {collection.dimensions}], not {list(np.shape(embeddings))}")
        lengths = np.linalg.norm(np.asarray(embeddings, np.float64), axis=1)
        if wrong := [float(length) for length in lengths if not abs(length - 1) <= UNIT]:
            raise InputError(f"embeddings must be of length 1, not {wrong[0]:.4g}")
        most = min(most, max(collection.people, 1))
        recall = None if exact or is_small(collection) else read_recall(cursor, collection)
        with if_there(collection):
            return [
                _found(cursor, collection, embedding, most, recall) for embedding in np.asarray(embeddings, np.float32)
            ]


def _found(
    cursor: "Cursor[Any]", collection: Collection, embedding: NDArray[Any], most: int, recall: Recall | None
) -> Found:
    """By the index where it has a recall; exactly where its candidates are too few people: one may have them all."""
    candidates = nearest(cursor, collection, embedding, most, approximate=recall is not None)
    if recall is not None and len(candidates) < most:
        candidates, recall = nearest(cursor, collection, embedding, most, approximate=False), None
    return Found(candidates, collection.people, collection.searched, recall)


def is_small(collection: Collection) -> bool:
    """Whether all vectors are compared, be there an index or not."""
    return collection.searched <= EXACT_UP_TO


def nearest(
    cursor: "Cursor[Any]",
    collection: Collection,
    embedding: NDArray[Any],
    most: int,
    *,
    approximate: bool,
    without: int | None = None,
) -> list[Candidate]:
    """The most similar people.

    Args:
        cursor: of a transaction.
        collection: where.
        embedding: [D], of length 1.
        most: people, ≥ 1.
        approximate: let the HNSW index name the candidates; their similarities are exact all the same, for each is
            compared anew with all faces of the person.
        without: the id of a person who is passed over.
    """
    from pgvector import HalfVector
    from psycopg import sql

    if approximate:
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(CANDIDATES)])
        people = sql.SQL(
            "SELECT DISTINCT person FROM (SELECT person FROM {searched} ORDER BY {indexed} <#> "
            "%(probe)b::halfvec({length}) LIMIT %(candidates)s) AS candidate WHERE {others}"
        )
    else:
        people = sql.SQL(
            "SELECT person FROM {searched} WHERE {others} GROUP BY person "
            "ORDER BY min(embedding <#> %(probe)b), person LIMIT %(most)s"
        )
    statement = sql.SQL(
        "SELECT name, -best.distance, closest.source, person.id, closest.id FROM {names} AS person "
        "JOIN ({people}) AS near ON person.id = near.person "
        "CROSS JOIN LATERAL (SELECT min(embedding <#> %(probe)b) AS distance FROM {searched} "
        "WHERE person = near.person) AS best "
        "CROSS JOIN LATERAL (SELECT id, source FROM {faces} WHERE person = near.person "
        "ORDER BY embedding <#> %(probe)b, id LIMIT 1) AS closest "
        "ORDER BY best.distance, near.person LIMIT %(most)s"
    )
    searched = collection.searched_table
    people_query = people.format(
        searched=searched,
        indexed=indexed(collection),
        length=sql.Literal(collection.dimensions),
        others=sql.SQL("true") if without is None else sql.SQL("person <> {}").format(sql.Literal(without)),
    )
    probe = HalfVector(np.asarray(embedding, np.float16))
    cursor.execute(
        statement.format(
            names=collection.person_table, people=people_query, searched=searched, faces=collection.face_table
        ),
        {"probe": probe, "most": most, "candidates": CANDIDATES},
    )
    return [Candidate(person, cosine(similarity), *others) for person, similarity, *others in cursor.fetchall()]


def read_recall(cursor: "Cursor[Any]", collection: Collection) -> Recall | None:
    """What the index of a collection is worth; None where there is no index."""
    cursor.execute(
        "SELECT found, searches, vectors, measured FROM measured_index WHERE collection = %s", [collection.id]
    )
    row = cursor.fetchone()
    return None if row is None else Recall(*row)


def indexed(collection: Collection) -> "sql.Composed":
    """The expression that the HNSW index of a collection is on: a halfvec of one length."""
    from psycopg import sql

    return sql.SQL("(embedding::halfvec({}))").format(sql.Literal(collection.dimensions))


def decide(
    collection: Collection, found: Found, validity: Threshold, fpir: float, face: ChosenFace | None = None
) -> Answer:
    """What to answer by the calibration that the model carries.

    The threshold is that of the highest calibrated false match rate with which no more than ``fpir`` of the searches
    for strangers name somebody, 1 − (1 − FMR)^N. None is made up between two that are calibrated.

    Args:
        collection: that was searched.
        found: what was found.
        validity: of :func:`elasticface.recognition.verification.threshold_of`: the calibration, or why there is none.
        fpir: how many of the searches for strangers may name somebody, in (0, 1).
        face: that was searched for.

    Raises:
        InputError: ``fpir`` out of its range.
    """
    check_fpir(fpir)
    calibration = validity.calibration
    if calibration is None:
        return Answer(found, collection.aggregation, fpir, Threshold(None, reason=validity.reason), face)
    if collection.aggregation == "mean" and collection.faces > collection.people:
        reason = "the calibration is of single faces, and people here are means of several; see docs/gallery.md"
        return Answer(found, collection.aggregation, fpir, Threshold(None, reason=reason), face)
    candidates = [
        replace(one, false_positive_rate=rate_at(calibration.points, one.similarity, found.comparisons))
        for one in found.candidates
    ]
    found = replace(found, candidates=candidates)
    allowed = [point for point in calibration.points if gallery_fmr(point.fmr, found.comparisons) <= fpir]
    if not allowed:
        lowest = min(point.fmr for point in calibration.points)
        possible = lowest_fpir(calibration, found.comparisons)
        reason = (
            f"the lowest false match rate that the model is calibrated for, {lowest}, names somebody in "
            f"{100 * possible:.3g} % of the searches for strangers among {found.comparisons:,}, more than an fpir of "
            f"{fpir} allows; {f'give {possible} or more, or ' if possible < 1 else ''}calibrate with more people"
        )
        return Answer(found, collection.aggregation, fpir, Threshold(None, calibration, reason), face)
    point = max(allowed, key=lambda point: point.fmr)
    return Answer(found, collection.aggregation, fpir, Threshold(point, calibration), face)


def lowest_fpir(calibration: Calibration, comparisons: int) -> float:
    """The lowest ``fpir`` with a decision, rounded up to three digits: it is accepted; 1: none has a decision."""
    rate = gallery_fmr(min(point.fmr for point in calibration.points), comparisons)
    return float(Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(rate))


def check_fpir(fpir: float) -> None:
    """Refuse a false positive identification rate that is none.

    Raises:
        InputError: it is not in (0, 1).
    """
    if not 0 < fpir < 1:
        raise InputError(f"fpir must lie between 0 and 1, and not be {fpir}; give one such as 0.01")


def rate_at(points: Sequence[OperatingPoint], similarity: float, comparisons: int) -> float | None:
    """How many of the searches for strangers reach a similarity, at most: by the calibrated threshold below it.

    None where it lies below all of them: then that was not measured.
    """
    reached = [point.fmr for point in points if similarity >= point.threshold]
    return gallery_fmr(min(reached), comparisons) if reached else None
