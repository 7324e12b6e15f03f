"""The OpenAPI description: what FastAPI makes of the routes, and what holds for all of them beside."""

from typing import Any

from elasticface.service.gate import OPEN
from elasticface.service.routes.form import problems

_SCHEME = {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "printed by the first start"}

_PROBLEMS = problems(
    {
        400: "not HTTP, or headers that are too long",
        401: "no API key, or a wrong one",
        413: "more bytes than are taken",
        500: "the service failed; its log has more under the request's id",
        503: "the service is stopped",
    }
)
"""Of every route, unless it says more itself; 401 of those that need the key."""

_HEADERS = {
    "X-Request-Id": "under which the log has the request",
    "Retry-After": "seconds after which the client may try again",
    "WWW-Authenticate": "which key is asked for",
}
_SOME_HAVE = {"503": "Retry-After", "401": "WWW-Authenticate"}


def completed(api: dict[str, Any]) -> dict[str, Any]:
    """The description with the API key, and the answers and headers that the gate gives.

    Args:
        api: FastAPI's; it is changed.
    """
    api["components"]["securitySchemes"] = {"key": _SCHEME}
    api["components"]["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    api["security"] = [{"key": []}]
    for path, methods in api["paths"].items():
        for route in methods.values():
            if path in OPEN:
                route["security"] = []
            for status, answer in _PROBLEMS.items():
                if status != 401 or path not in OPEN:
                    route["responses"].setdefault(str(status), answer)
            route["responses"] = {
                status: {**answer, "headers": _headers("X-Request-Id", _SOME_HAVE.get(status))}
                for status, answer in sorted(route["responses"].items())
            }
    return api


def _headers(*names: str | None) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names if name is not None}
