"""How a route says in the OpenAPI description which form it takes."""

from typing import Any, cast

from elasticface.faces.choice import Choice
from elasticface.service.forms import Form
from elasticface.service.problems import MEDIA_TYPE


def upload(description: str) -> dict[str, Any]:
    """A photo."""
    return {"type": "string", "contentMediaType": "application/octet-stream", "description": description}


PHOTOS = {"type": "array", "items": upload("JPEG, PNG, WebP or HEIC"), "description": "photos, each a part of its own"}
FACES = {"type": "string", "enum": ["largest", "central"], "default": "largest", "description": "which face of a photo"}
CROPS = {"type": "string", "enum": ["no", "yes"], "default": "no", "description": "send the aligned faces back"}

_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}  # which an answer brings in


def problems(kinds: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Answers that are problems, by status: what each says."""
    return {status: {"description": text} | _PROBLEM for status, text in kinds.items()}


PROBLEMS = problems(
    {
        400: "not a form",
        408: "the request came too slowly",
        413: "more bytes than are taken",
        415: "not multipart/form-data",
        422: "something is wrong with a photo or a field",
        503: "the queue is full; Retry-After says when to try again",
    }
)
GALLERY_PROBLEMS = PROBLEMS | problems(
    {
        404: "no such collection or person; or the service has no gallery",
        409: "there is one already; or it was made with another model or detector",
        503: "the queue is full, or the database does not answer; Retry-After says when to try again",
    }
)
ASKED_PROBLEMS: dict[int | str, dict[str, Any]] = {status: GALLERY_PROBLEMS[status] for status in (404, 422, 503)}
"""Of those that take no form."""


def choice_of(sent: Form, offered: dict[str, Any] = FACES) -> Choice:
    """Which faces of a photo are meant.

    Raises:
        Problem: 422, none of those offered.
    """
    return cast("Choice", sent.word("faces", offered["enum"]))


def form(required: tuple[str, ...], **fields: dict[str, Any]) -> dict[str, Any]:
    """The body of a route's requests."""
    schema = {"type": "object", "required": list(required), "properties": fields, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
