"""Functions of the user's own that an option names as ``package.module:function``.

Naming one runs its module. So only what the user gives is ever looked up: an option, an argument, the settings of
a run. What a model folder says of itself is not.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable

_NAME = r"[^\W\d]\w*"
_LONGEST = 200  # characters; names go into messages
_REFERENCE = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}")

WANTED = "a function of your own, package.module:function"


def is_reference(name: str) -> bool:
    """Whether ``name`` has the form ``package.module:function``; nothing is looked up."""
    return len(name) <= _LONGEST and _REFERENCE.fullmatch(name) is not None


def find(reference: str, option: str) -> Callable[..., Any]:
    """The function that ``reference`` names; its module is imported, from what is installed or from this folder.

    Args:
        reference: ``package.module:function``.
        option: what named it, for messages.

    Raises:
        InputError: no such module, one that cannot be imported, or no such function in it.
    """
    told = f"{option} {printable(reference, 120)}"
    if not is_reference(reference):
        raise InputError(f"{told}: must be {WANTED}")
    module_name, _, name = reference.partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # at the end: nothing in this folder takes the place of what is installed
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a module of the user's raises while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"{told}: no module {error.name}, neither installed nor in {printable(here)}") from error
        raise InputError(
            f"{told}: {module_name} cannot be imported: {type(error).__name__}: {first_line(error)}"
        ) from error
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None or not callable(function):
        where = getattr(module, "__file__", None) or module_name
        raise InputError(f"{told}: no function {name} in {printable(where)}")
    return function
