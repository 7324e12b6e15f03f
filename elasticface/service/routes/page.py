"""`/`: the page, for people. It lies in the package, is the same for everyone, and holds nothing without the key."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent.parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_HEADERS = {
    # Its own files and the service alone; what it shows are photos that were chosen (blob:) and aligned faces (data:).
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


@router.get("/")
async def page() -> Response:
    """The page."""
    return _answer("index.html")


@router.get("/page/{name}")
async def part(name: str) -> Response:
    """A script, the style or the icon of the page."""
    if name not in _files():
        raise HTTPException(404)
    return _answer(name)


def _answer(name: str) -> Response:
    return Response(_files()[name], media_type=_TYPES[Path(name).suffix], headers=_HEADERS)


@cache
def _files() -> dict[str, bytes]:
    """All of them by name: no path is made of what a client sends."""
    return {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
