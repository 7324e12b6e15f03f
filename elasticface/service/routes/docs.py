"""`/openapi.json`: the OpenAPI description of the API; `/docs`: the same on a page.

Swagger UI is not used: from other hosts it may not come, in the package it would be 1.5 MB of JavaScript that wants
inline styles, and a page that can send requests would have to be given the key. The page here is HTML alone.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, StrictUndefined

from elasticface.service.gate import CONTENT_POLICY

router = APIRouter(include_in_schema=False)

_TEMPLATES = Path(__file__).parent.parent / "templates"


@router.get("/openapi.json")
async def description(request: Request) -> JSONResponse:
    """The description."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page."""
    style = (_TEMPLATES / "docs.css").read_text("utf-8")
    page = _template().render(api=request.app.openapi(), style=style, resolved=_resolved)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"{CONTENT_POLICY}; style-src 'sha256-{digest}'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


@cache
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((_TEMPLATES / "docs.html").read_text("utf-8"))


def _resolved(schema: dict[str, Any], api: dict[str, Any]) -> dict[str, Any]:
    """What a reference in the description stands for."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = api["components"]["schemas"][name] if name else schema
    return found
