"""JSON that the product wrote, read back into the dataclass that it was written from.

msgspec checks every field against its annotation: `Annotated[int, msgspec.Meta(ge=1)]` bounds a number, `Literal` lists
choices. It takes no bool for a number, no float for an int, and no NaN where a bound is given; a `ValueError` of
`__post_init__` is an error of that field. What is checked here in addition: size, nesting and unknown fields.
"""

import contextlib
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from elasticface.base import files
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable

MOST = 1 << 20
"""Bytes of a record, unless the reader says otherwise; as Python objects it takes up to thirty times as much."""

T = TypeVar("T")

_PLACE = re.compile(r"(?P<what>.*?)( - at (?P<key>`key` in )?`\$\.?(?P<at>.*)`)?", re.DOTALL)


def read(path: Path, kind: type[T], advice: str = "", most: int = MOST) -> T:
    """The record in a JSON file.

    Args:
        path: the file.
        kind: the dataclass, or any other type that msgspec knows.
        advice: what to do where it is damaged, for the message.
        most: bytes that are read.

    Raises:
        InputError: the file cannot be read, is larger, is no JSON, or a field is missing, unknown or wrong: one line
            that names the file, the field and its value.
    """
    return convert(_decoded(path, advice, most), kind, printable(path), advice)


def read_object(path: Path, advice: str = "", most: int = MOST) -> dict[str, Any]:
    """The JSON object in a file, unchecked: for a reader that must see its version first, and then calls
    :func:`convert`.

    Raises:
        InputError: the file cannot be read, is larger, or is not JSON with an object.
    """
    return convert(_decoded(path, advice, most), dict[str, Any], printable(path), advice)


def parse_object(text: str, where: str, most: int = MOST) -> dict[str, Any]:
    """As :func:`read_object`, from text that lies in a file of another kind.

    Raises:
        InputError: it has more than ``most`` characters, or is not JSON with an object.
    """
    if len(text) > most:
        raise InputError(f"{where}: more than {most:,} characters")
    return convert(_parsed(text, where, ""), dict[str, Any], where)


def read_lines(path: Path, most: int | None = None) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file that has one a line; what else a kill or a power cut made of lines is left out.

    Raises:
        InputError: the file cannot be read, is larger than ``most`` bytes, or is no text.
    """
    for line in files.read_text(path, most=most).splitlines():
        with contextlib.suppress(InputError):
            yield parse_object(line, printable(path))


def convert(value: Any, kind: type[T], where: str, advice: str = "") -> T:
    """``value``, of plain types as JSON and YAML give them, as a ``kind``.

    Args:
        value: what was read.
        kind: the dataclass, or any other type that msgspec knows.
        where: what ``value`` is, for the message: the file, or the file and the part of it.
        advice: what to do, for the message.

    Raises:
        InputError: a field is missing, unknown or wrong.
    """
    try:
        found = msgspec.convert(value, kind)
        # msgspec passes over fields that a dataclass does not have.
        unknown = _unknown(value, msgspec.to_builtins(found, str_keys=True))
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(_advised(_line(value, where, first_line(error)), advice)) from error
    if unknown is not None:
        raise InputError(_advised(f"{where}: {printable(unknown.lstrip('.'), 60)}: no such field", advice))
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two objects of plain values, each as "name old -> new", for messages."""
    names = {**now, **before}
    return [f"{name} {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


def _decoded(path: Path, advice: str, most: int) -> Any:
    return _parsed(files.read_bytes(path, advice, most), printable(path), advice)


def _parsed(data: bytes | str, where: str, advice: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise InputError(_advised(f"{where}: not valid JSON: {first_line(error)}", advice)) from error


def _line(value: Any, where: str, told: str) -> str:
    """What msgspec says of ``value``, with the field in front and what stands there."""
    match = _PLACE.fullmatch(told)
    assert match is not None
    what, at = match["what"].replace("`", ""), match["at"] or ""
    subject = f"{where}: {printable(at, 120)}" if at else where
    if match["key"]:
        subject += ": a key"
    elif "..." not in at:  # msgspec does not tell which key of a dict
        for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", at):
            value = value[int(index)] if index else value[name]
        if not isinstance(value, dict | list | tuple | None):
            subject += f" is {printable(reprlib.repr(value))}"
    return f"{subject}: {printable(what[:1].lower() + what[1:], 200)}"


def _unknown(value: Any, known: Any, at: str = "") -> str | None:
    """The first field in ``value`` that is not in ``known``."""
    if isinstance(value, dict):
        for name, part in value.items():
            if str(name) not in known:
                return f"{at}.{name}"
            if (found := _unknown(part, known[str(name)], f"{at}.{name}")) is not None:
                return found
    elif isinstance(value, list):
        for index, (part, other) in enumerate(zip(value, known, strict=True)):
            if (found := _unknown(part, other, f"{at}[{index}]")) is not None:
                return found
    return None


def _advised(line: str, advice: str) -> str:
    return f"{line}; {advice}" if advice else line
