"""A request's form, read as it comes: file uploads and short fields, refused at the first byte that is too much.

Uploads stay in memory: a temporary file would need protecting and deleting.
"""

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from elasticface.base.files import printable
from elasticface.service.limits import FIELD_BYTES, Limits
from elasticface.service.problems import Problem

_DIGITS = 18  # of a number that is read
SHOWN = 60
"""Characters of a name that the client has made up."""


@dataclass
class Form:
    """What a request holds: the uploads of each name, in order, and the fields."""

    photos: dict[str, list[bytes]] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    def number(self, name: str) -> float | None:
        """A field as a number; None where it is not there.

        Raises:
            Problem: 422, it is none.
        """
        if name not in self.fields:
            return None
        try:
            number = float(self.fields[name])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise Problem(422, "wrong-value", f"{name}: must be a number, such as 1e-3")
        return number

    def whole(self, name: str, least: int, most: int, otherwise: int) -> int:
        """A field as a whole number in some bounds; ``otherwise`` where it is not there.

        Raises:
            Problem: 422, it is none.
        """
        text = self.fields.get(name, str(otherwise))
        if not (text.isascii() and text.isdigit() and least <= int(text[:_DIGITS]) <= most and len(text) < _DIGITS):
            raise Problem(422, "wrong-value", f"{name}: must be a whole number, {least} to {most}")
        return int(text)

    def text(self, name: str) -> str:
        """A field that must be there.

        Raises:
            Problem: 422, it is not.
        """
        if name not in self.fields:
            raise Problem(422, "no-field", f"{name}: missing")
        return self.fields[name]

    def word(self, name: str, words: Sequence[str]) -> str:
        """A field that is one of some words; the first one where it is not there.

        Raises:
            Problem: 422, it is none of them.
        """
        word = self.fields.get(name, words[0])
        if word not in words:
            raise Problem(422, "wrong-value", f"{name}: must be one of {', '.join(words)}")
        return word

    def agrees(self, name: str) -> bool:
        """Whether a field is yes; it is no where it is not there.

        Raises:
            Problem: 422, it is neither.
        """
        return self.word(name, ("no", "yes")) == "yes"


async def read_form(request: Request, limits: Limits, photos: Mapping[str, int], fields: Collection[str] = ()) -> Form:
    """The form of a request, as `multipart/form-data` (RFC 7578).

    Args:
        request: its body is read here, and by nothing else.
        limits: of bytes and of time.
        photos: name of an upload -> how many there may be; there is at least one of each.
        fields: names of the fields that there may be, one of each.

    Raises:
        Problem: 400, 408, 413, 415 or 422.
        ClientDisconnect: the client has gone.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "encoded-body", "a body with a Content-Encoding is not taken; send it as it is")
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        with_photos = ", with the photos as file uploads" if photos else ""
        raise Problem(415, "no-form", f"send a form, Content-Type multipart/form-data{with_photos}")
    if not options.get(b"boundary"):
        raise Problem(400, "broken-form", "the Content-Type has no boundary")
    parts = _Parts(limits, photos, fields)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks)
        async with asyncio.timeout(limits.upload_seconds):
            received = 0
            async for chunk in request.stream():
                received += len(chunk)
                if received > limits.request_bytes:
                    raise too_large(limits)
                parser.write(chunk)
    except FormParserError as error:
        raise Problem(400, "broken-form", "the form is no multipart/form-data as RFC 7578 has it") from error
    except TimeoutError as error:
        late = f"the request did not come whole within {limits.upload_seconds:g} seconds"
        raise Problem(408, "slow-upload", late, {"Connection": "close"}) from error
    if not parts.whole:
        raise Problem(400, "broken-form", "the form ends before its last boundary")
    form = Form({name: parts.photos.get(name, []) for name in photos}, parts.fields)
    for name, uploads in form.photos.items():
        if not uploads:
            raise Problem(422, "no-photo", f"{name}: missing; send it as a file upload")
    return form


def too_large(limits: Limits) -> Problem:
    """A request has too many bytes."""
    return Problem(413, "request-too-large", f"the request has more than {limits.request_bytes:,} bytes; send less")


def repeated(name: str) -> Problem:
    """A field is given more than once."""
    return Problem(422, "repeated-field", f"{name}: given more than once")


class _Parts:
    """What the parser reports, gathered."""

    def __init__(self, limits: Limits, photos: Mapping[str, int], fields: Collection[str]) -> None:
        self._limits, self._most, self._known = limits, photos, fields
        self.photos: dict[str, list[bytes]] = {}
        self.fields: dict[str, str] = {}
        self.whole = False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._content, self._is_photo = "", bytearray(), False
        self.callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._add,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition, self._content = b"", bytearray()

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _open(self) -> None:
        """A part's headers are there: is it one that may come?"""
        kind, options = parse_options_header(self._disposition.decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise Problem(400, "broken-form", "a part of the form has no Content-Disposition: form-data with a name")
        self._name = name = options[b"name"].decode("utf-8", "replace")
        self._is_photo = name in self._most
        if self._is_photo:
            if b"filename" not in options:
                raise Problem(422, "no-upload", f"{name}: must be a file upload; paths and addresses are not taken")
            if len(self.photos.setdefault(name, [])) == self._most[name]:
                raise Problem(422, "too-many-photos", f"{name}: more than {self._most[name]}; send fewer at a time")
        elif name not in self._known:
            known = ", ".join([*self._most, *self._known])
            raise Problem(422, "unknown-field", f"{printable(name, SHOWN)}: no such field; there are {known}")
        elif name in self.fields:
            raise repeated(name)
        elif b"filename" in options:
            raise Problem(422, "wrong-value", f"{name}: a file where a short text is wanted")

    def _add(self, data: bytes, start: int, end: int) -> None:
        most = self._limits.photo_bytes if self._is_photo else FIELD_BYTES
        if len(self._content) + end - start > most:
            if self._is_photo:
                raise Problem(413, "photo-too-large", f"{self._name}: more than {most:,} bytes; shrink the photo")
            raise Problem(422, "wrong-value", f"{self._name}: more than {most:,} bytes")
        self._content += memoryview(data)[start:end]

    def _close(self) -> None:
        if self._is_photo:
            self.photos[self._name].append(bytes(self._content))
        else:
            try:
                self.fields[self._name] = self._content.decode()
            except UnicodeDecodeError as error:
                raise Problem(422, "wrong-value", f"{self._name}: must be text in UTF-8") from error
        self._content = bytearray()

    def _end(self) -> None:
        self.whole = True
