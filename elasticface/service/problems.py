"""Errors as RFC 9457 has them: `application/problem+json`, with the id under which the log has the request."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

MOST_DETAIL = 500
"""Characters of a problem's detail: what a client has sent may be part of it."""


class Problem(Exception):
    """What is wrong with a request, for its client.

    Args:
        status: of the answer.
        kind: what kind of problem it is, a short name that stays the same.
        detail: one sentence: what is wrong and what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(kind)
        self.status, self.kind, self.detail, self.headers = status, kind, detail[:MOST_DETAIL], headers

    def as_json(self) -> dict[str, Any]:
        """The members of RFC 9457."""
        return {
            "type": f"urn:elasticface:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    def answer(self, request_id: str) -> JSONResponse:
        """It as an answer."""
        content = self.as_json() | {"request_id": request_id}
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


async def answer_problem(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that raised a :class:`Problem`, or what the framework raises in place of one."""
    if isinstance(error, HTTPException):
        kinds = {404: ("no-such-page", "there is nothing at this path; see /docs")}
        kinds[405] = ("method-not-allowed", "this path is not for this method; see /docs")
        kind, detail = kinds.get(error.status_code, ("refused", HTTPStatus(error.status_code).phrase))
        error = Problem(error.status_code, kind, detail, dict(error.headers or {}))
    elif isinstance(error, RequestValidationError):
        where = ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors()}))
        error = Problem(422, "wrong-value", f"a missing or a wrong value: {where}; see /docs")
    if not isinstance(error, Problem):  # it is registered for these three
        raise error
    return error.answer(request.state.request_id)
