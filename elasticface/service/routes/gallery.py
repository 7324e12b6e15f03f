"""What the routes of galleries share: the database, names that a client sends, and the end of a removal."""

import asyncio
import unicodedata
from concurrent.futures import Future
from typing import Annotated

from fastapi import Path, Request

from elasticface.base.errors import InputError
from elasticface.gallery.collection import checked_name
from elasticface.gallery.removal import Removal
from elasticface.service.answers import Removed
from elasticface.service.forms import Form
from elasticface.service.galleries import Galleries
from elasticface.service.problems import Problem

CollectionName = Annotated[str, Path(description="of the collection")]

_DIRECTIONS = frozenset("LRE RLE LRO RLO PDF LRI RLI FSI PDI".split())  # of Unicode's bidirectional algorithm (UAX 9)


def galleries_of(request: Request) -> Galleries:
    """The galleries of the service.

    Raises:
        Problem: 404, it was started without.
    """
    galleries: Galleries | None = request.app.state.galleries
    if galleries is None:
        raise Problem(404, "no-gallery", "this service was started without a gallery (--no-gallery)")
    return galleries


def in_path(name: str) -> str:
    """The name of a collection as it is kept.

    Raises:
        Problem: 404, none can have it.
    """
    try:
        return checked_name(name, "collection")
    except InputError as error:
        raise Problem(404, "no-collection", "there is no such collection; /v1/collections lists them") from error


def in_form(sent: Form, field: str, what: str) -> str:
    """The name of a person or a collection as it is kept.

    Raises:
        Problem: 422, it is missing, none, or has characters by which it looks like another one: such that end a line or
            control a terminal, and such that turn the direction of what is around them.
    """
    try:
        name = checked_name(sent.text(field), what)
    except InputError as error:
        raise Problem(422, "wrong-value", f"{field}: {error}") from error
    for one in name:
        if unicodedata.category(one) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(one) in _DIRECTIONS:
            raise Problem(422, "wrong-value", f"{field}: the name of a {what} must have no control characters")
    return name


async def erased(removed: Removal, erasing: Future[Removal]) -> Removed:
    """What became of a removal, once it is erased; see :meth:`.Galleries.remove`."""
    told = {"people": removed.people, "faces": removed.faces}
    try:
        end = await asyncio.shield(asyncio.wrap_future(erasing))
    except Problem as problem:
        reason = f"they are found no more, and not erased yet: {problem.detail}; the next removal erases them too"
        return Removed(**told, erased=False, reason=reason)
    return Removed(**told, erased=end.erased, reason=end.remains or None)
