"""How a route says in the OpenAPI description which form it takes."""

from typing import Any

from elasticface.service.problems import MEDIA_TYPE

FACES = {"type": "string", "enum": ["largest", "central"], "default": "largest", "description": "which face of a photo"}

_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}  # which an answer brings in
_KINDS = {
    400: "not a form",
    401: "no API key, or a wrong one",
    408: "the request came too slowly",
    413: "more bytes than are taken",
    415: "not multipart/form-data",
    422: "something is wrong with a photo or a field",
    503: "the queue is full; Retry-After says when to try again",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text} | _PROBLEM for status, text in _KINDS.items()
}


def upload(description: str) -> dict[str, Any]:
    """A photo."""
    return {"type": "string", "contentMediaType": "application/octet-stream", "description": description}


def form(required: tuple[str, ...], **fields: dict[str, Any]) -> dict[str, Any]:
    """The body of a route's requests."""
    schema = {"type": "object", "required": list(required), "properties": fields, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
