"""What every answer that is a problem has in common."""

import re
from typing import Any


def problem(answer: Any, status: int, kind: str) -> str:
    """The detail of an answer that must be a problem of this kind: one line, without a traceback, with the id."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["type"] == f"urn:elasticface:problem:{kind}"
    assert body["status"] == status
    assert re.fullmatch("[0-9a-f]{16}", body["request_id"])
    assert body["request_id"] == answer.headers["x-request-id"]
    assert len(body["detail"].splitlines()) == 1
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    return str(body["detail"])
