"""Values of options and settings, read by type hint and refused without a Python type in the message.

`--epochs 26` is text, in a YAML `epochs: 26` is a number, and `precision: 32` a number that stands for a name; in
Python milestones may be a tuple. One reader takes all of them, for every command and setting.
"""

import contextlib
import math
import numbers
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from elasticface.base.errors import InputError

_MOST_SHOWN = 200  # characters of a wrong value
_SWITCH = {"true": True, "yes": True, "false": False, "no": False}


def read(value: Any, hint: Any, name: str) -> Any:
    """``value`` as the type that ``hint`` is.

    Args:
        value: text of the command line, or what a YAML file or a caller in Python gives. A list may be a tuple, or
            text: words separated by commas.
        hint: str, int, float, bool, a Literal of names, a list of one of them, or one of them or None ("null").
        name: of the option or the setting, for the message.

    Raises:
        InputError: it is none, as in "--epochs must be a whole number, got 'many'".
    """
    try:
        return _read(value, hint)
    except (ValueError, OverflowError):
        on_command_line = name.startswith("--")  # where one leaves an option out, and a file says null
        needed = wanted(_inner(hint) if on_command_line and _is_optional(hint) else hint)
        raise InputError(f"{name} must be {needed}, got {_shown(value)}") from None


def wanted(hint: Any) -> str:
    """What a value of type ``hint`` is called: "a whole number", "one of paper, release"."""
    parts = get_args(hint)
    if _is_optional(hint):
        return f"{wanted(_inner(hint))} or null"
    if get_origin(hint) is list:
        return f"{ {str: 'words', int: 'whole numbers', float: 'numbers'}[parts[0]] } separated by commas"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(parts)}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[hint]


def placeholder(hint: Any) -> str | None:
    """What stands for a value of type ``hint`` in a command's help; None leaves it to the option's name."""
    if _is_optional(hint):
        return placeholder(_inner(hint))
    if get_origin(hint) is list:
        return f"{placeholder(get_args(hint)[0]) or 'WORD'},…"
    if get_origin(hint) is Literal:
        return f"{{{','.join(get_args(hint))}}}"
    return {int: "N", float: "X"}.get(hint)


def _read(value: Any, hint: Any) -> Any:
    """As :func:`read`, but what cannot be read is a ValueError or an OverflowError."""
    if _is_optional(hint):
        return None if value is None or value == "null" else _read(value, _inner(hint))
    if get_origin(hint) is list:
        if isinstance(value, str):
            words = value.removeprefix("[").removesuffix("]")
            value = words.split(",") if words else []
        return [_read(word, get_args(hint)[0]) for word in (value if isinstance(value, list | tuple) else [value])]
    if get_origin(hint) is Literal:
        name = _read(value, str)
        if name not in get_args(hint):
            raise ValueError
        return name
    if hint is bool:
        if (word := str(value).lower()) not in _SWITCH:
            raise ValueError
        return _SWITCH[word]
    number = numbers.Real if hint is float else numbers.Integral  # NumPy's, too
    if isinstance(value, bool) or not isinstance(value, str | number):
        raise ValueError
    found = hint(value)
    # Empty text is a shell's variable that is not set, and no path or name: it must not pass for "not given".
    if (hint is float and not math.isfinite(found)) or (hint is str and (not found or "\0" in found)):
        raise ValueError
    return found


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)


def _inner(hint: Any) -> Any:
    (inner,) = (part for part in get_args(hint) if part is not NoneType)
    return inner


def _shown(value: Any) -> str:
    """``value`` as one writes it: in quotes if it is text, else as YAML does."""
    import yaml

    told = repr(value)
    if not isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):  # an object that YAML does not know
            told = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    told = told.splitlines()[0]
    return told if len(told) <= _MOST_SHOWN else f"{told[:_MOST_SHOWN]}…"
