"""The bodies of answers, as `/docs` shows them and every answer is checked by."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels, upright photo")]
Points = Annotated[
    list[Annotated[list[float], Field(min_length=2, max_length=2)]],
    Field(min_length=5, max_length=5, description="x, y of left eye, right eye, nose, left and right mouth corner"),
]
Score = Annotated[float, Field(ge=0, le=1, description="the detector's")]
Interval = Annotated[list[float], Field(min_length=2, max_length=2, description="95 %, over people")]


class Problem(BaseModel):
    """RFC 9457: what is wrong with a request."""

    type: Annotated[str, Field(description="urn:elasticface:problem:… : the kind of problem, which stays the same")]
    title: str
    status: int
    detail: Annotated[str, Field(description="what is wrong, and what to do")]
    request_id: Annotated[str | None, Field(description="under which the log has the request")] = None


class Limits(BaseModel):
    """What a request may have, at most."""

    photos: int
    photo_bytes: int
    request_bytes: int
    pixels: Annotated[int, Field(description="of a photo")]


class Service(BaseModel):
    """What this service is."""

    version: Annotated[str, Field(description="of elasticface")]
    model: Annotated[str, Field(description="its name")]
    calibrated: Annotated[bool, Field(description="whether there are decisions, or similarities alone")]
    fmrs: Annotated[list[float], Field(description="false match rates that can be asked for, ascending")]
    gallery: Annotated[bool, Field(description="whether there are collections")]
    limits: Limits


class Face(BaseModel):
    """A face that was found."""

    box: Box
    score: Score
    points: Points


class Detected(BaseModel):
    """The faces of a photo."""

    width: Annotated[int, Field(description="of the photo in pixels, upright")]
    height: int
    faces: Annotated[list[Face], Field(description="largest first")]


class ChosenFace(BaseModel):
    """Which face of a photo was taken."""

    box: Box
    score: Score
    found: Annotated[int, Field(description="faces in the photo")]
    crop: Annotated[str | None, Field(description="the aligned face: a PNG in base64, where crops=yes")] = None


class ComparedFace(ChosenFace):
    """Which face of a photo was compared."""

    file: Annotated[str, Field(description="first or second; of a search photo")]


class Verified(BaseModel):
    """Two faces compared, as `elasticface verify --json` has it."""

    similarity: Annotated[float, Field(description="cosine, -1 to 1")]
    same: Annotated[bool | None, Field(description="null: the model is not calibrated")]
    threshold: float | None
    fmr: Annotated[float | None, Field(description="false match rate that the threshold was calibrated for")]
    fmr_interval: Interval | None
    acceptance: Annotated[float | None, Field(description="share of one person's pairs at or above the threshold")]
    acceptance_interval: Interval | None
    llr: Annotated[float | None, Field(description="natural logarithm of the likelihood ratio")]
    reason: Annotated[str | None, Field(description="why there is no decision")]
    faces: list[ComparedFace]


class EmbeddedFace(Face):
    """A face and its embedding."""

    embedding: Annotated[list[float], Field(description="of unit length")]


class EmbeddedPhoto(BaseModel):
    """What became of one photo: its chosen faces, or what is wrong with it."""

    faces: Annotated[list[EmbeddedFace], Field(description="none where no face was found")]
    problem: Problem | None = None


class Embedded(BaseModel):
    """What became of each photo, in the order that they came in."""

    model: Annotated[str, Field(description="embeddings of different models say nothing of each other")]
    embedding_size: int
    photos: list[EmbeddedPhoto]


class Alive(BaseModel):
    """The service answers."""

    status: str


Name = Annotated[str, Field(description="1 to 255 bytes, without control characters")]
Number = Annotated[int, Field(description="which the audit log has, and which nobody else will have")]
FaceNumber = Annotated[int, Field(description="which no other face will have")]


class Collection(BaseModel):
    """People who were enrolled with one model."""

    name: Name
    model: Annotated[str, Field(description="its name")]
    aggregation: Annotated[str, Field(description="best: of the most similar face; mean: of the mean of all")]
    keeps_faces: Annotated[bool, Field(description="the aligned faces of enrolled photos are kept, as pictures")]
    people: int
    faces: int
    search: Annotated[str, Field(description="exact, or approximate with the recall that was measured")]
    usable: Annotated[bool, Field(description="it was made with the model and the detector of this service")]
    reason: Annotated[str | None, Field(description="why it is not usable")]


class Collections(BaseModel):
    """All collections, by name."""

    collections: list[Collection]


class Person(BaseModel):
    """Somebody who is enrolled."""

    id: Number
    name: Name
    faces: int
    enrolled: Annotated[datetime, Field(description="RFC 3339")]


class People(BaseModel):
    """Some of the people of a collection, in the order in which they were enrolled."""

    people: list[Person]
    next: Annotated[int | None, Field(description="what to give as after for the next ones; null: there are none")]


class EnrolledFace(BaseModel):
    """A face that somebody was enrolled with."""

    id: FaceNumber
    photo: Annotated[str, Field(description="its name, or the start of its SHA-256")]
    box: Annotated[
        list[int], Field(max_length=4, description="x1, y1, x2, y2 in pixels, upright photo; empty: there was no photo")
    ]
    score: Annotated[Score | None, Field(description="null: there was no photo")]
    enrolled: Annotated[datetime, Field(description="RFC 3339")]
    crop: Annotated[str | None, Field(description="the aligned face, where it is kept: a PNG in base64")]


class Faces(BaseModel):
    """Some of the faces of a person, by number."""

    faces: list[EnrolledFace]
    next: Annotated[int | None, Field(description="what to give as after for the next ones; null: there are none")]


class EnrolledPhoto(BaseModel):
    """What became of a photo."""

    outcome: Literal["enrolled", "already", "refused"]
    reason: Annotated[str | None, Field(description="why it was refused")]
    face: Annotated[ChosenFace | None, Field(description="that was chosen, refused or not; null: none was found")]


class Enrolled(BaseModel):
    """What became of each photo, in the order that they came in."""

    person: Annotated[Person | None, Field(description="null: nobody of that name is enrolled")]
    photos: list[EnrolledPhoto]


class Candidate(BaseModel):
    """A person of the collection, and how similar."""

    id: Number
    person: Name
    similarity: Annotated[float, Field(description="cosine, -1 to 1")]
    photo: Annotated[str, Field(description="the most similar photo: its name, or the start of its SHA-256")]
    face: Annotated[FaceNumber, Field(description="the most similar face")]
    false_positive_rate: Annotated[
        float | None, Field(description="at most so many searches for strangers reach this similarity with somebody")
    ]
    crop: Annotated[
        str | None,
        Field(description="the most similar face, where crops=yes and the collection keeps it: a PNG in base64"),
    ] = None


class Recall(BaseModel):
    """What an approximate search is worth, measured on the collection itself."""

    rate: Annotated[float, Field(description="recall@1")]
    interval: Interval
    searches: int
    vectors: int
    measured: datetime


class Searched(BaseModel):
    """Who it is, or nobody of the collection, as `elasticface gallery search --json` has it."""

    person: Annotated[str | None, Field(description="null: unknown, or no decision")]
    unknown: Annotated[bool | None, Field(description="null: no decision; see reason")]
    fpir: Annotated[float, Field(description="share of the searches for strangers that may name somebody")]
    lowest_fpir: Annotated[
        float | None, Field(description="the lowest fpir with a decision here; 1: none has one; null: not calibrated")
    ]
    threshold: float | None
    fmr: Annotated[float | None, Field(description="false match rate that the threshold was calibrated for")]
    fmr_interval: Interval | None
    acceptance: Annotated[float | None, Field(description="share of one person's pairs at or above the threshold")]
    false_positive_rate: Annotated[float | None, Field(description="how often this decision names a stranger")]
    false_positive_interval: Interval | None
    people: int
    comparisons: Annotated[int, Field(description="faces, or means of people, that it was compared with")]
    aggregation: Annotated[str, Field(description="best or mean")]
    search: Annotated[str, Field(description="exact or approximate")]
    recall: Annotated[Recall | None, Field(description="of an approximate search")]
    candidates: Annotated[list[Candidate], Field(description="most similar first")]
    reason: Annotated[str | None, Field(description="why there is no decision")]
    face: ComparedFace


class Removed(BaseModel):
    """What was removed. No search finds it any more, whether it is erased yet or not."""

    people: int
    faces: int
    erased: Annotated[
        bool, Field(description="the bytes of their embeddings and kept faces are gone from the database's files")
    ]
    reason: Annotated[str | None, Field(description="why they are not erased yet, or what no removal reaches")]
