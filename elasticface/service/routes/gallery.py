"""What the routes of galleries share: the database, names that a client sends, and the end of a removal."""

import asyncio
import re
import unicodedata
from typing import Annotated

from fastapi import Path, Request

from elasticface.base.errors import InputError
from elasticface.gallery.collection import checked_name
from elasticface.service.answers import Removed
from elasticface.service.forms import Form
from elasticface.service.galleries import Galleries, PendingRemoval
from elasticface.service.problems import Problem

CollectionName = Annotated[str, Path(description="of the collection")]

# What is not seen: Default_Ignorable_Code_Point of Unicode 16, marks of direction (UAX 9) among it; Python has no table
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # its combining class


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
        Problem: 422, it is missing, none, or has characters that are not seen, by which it looks like another one: such
            that end a line or control a terminal, that turn the direction of text around them, or that have no width.
            The joiners are taken where scripts need them, much as RFC 5892 (A.1, A.2) has it: after a virama, and the
            non-joiner between Arabic letters. Letters of two scripts that look alike are not told apart.
    """
    try:
        name = checked_name(sent.text(field), what)
    except InputError as error:
        raise Problem(422, "wrong-value", f"{field}: {error}") from error
    if any(unicodedata.category(one) in ("Cc", "Zl", "Zp") for one in name) or any(
        not _joins(name, found.start()) for found in _UNSEEN.finditer(name)
    ):
        raise Problem(422, "wrong-value", f"{field}: the name of a {what} must have no control or invisible characters")
    return name


def _joins(name: str, at: int) -> bool:
    """Whether the invisible character there is a joiner that changes how the letters around it are written."""
    before, one, after = name[at - 1 : at], name[at], name[at + 1 : at + 2]
    if one not in (_NON_JOINER, _JOINER) or not before or not after:
        return False
    arabic = unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
    return unicodedata.combining(before) == _VIRAMA or (one == _NON_JOINER and arabic)


async def erased(removed: PendingRemoval) -> Removed:
    """What became of a removal, once it is erased."""
    told = {"people": removed.people, "faces": removed.faces}
    try:
        end = await asyncio.shield(asyncio.wrap_future(removed.erasing))
    except Problem as problem:
        reason = (
            f"they are found no more, and not erased yet: {problem.detail}; elasticface gallery remove without names "
            "erases them, and so does the next removal from the collection"
        )
        return Removed(**told, erased=False, reason=reason)
    return Removed(**told, erased=end.erased, reason=end.remains or None)
