"""The bodies of answers, as `/docs` shows them and every answer is checked by."""

from typing import Annotated

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


class ComparedFace(BaseModel):
    """Which face of a photo was compared."""

    file: Annotated[str, Field(description="first or second")]
    box: Box
    score: Score
    found: Annotated[int, Field(description="faces in the photo")]


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
