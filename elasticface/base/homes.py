"""Where a user's own files are, by the XDG base directory specification."""

import os
from pathlib import Path

from elasticface.base.errors import InputError


def named(variable: str) -> Path | None:
    """The folder that an XDG variable names; a relative one is ignored, as the specification has it."""
    value = os.environ.get(variable, "")
    return Path(value) if os.path.isabs(value) else None


def cache_folder() -> Path:
    """``ELASTICFACE_CACHE``; without it ``elasticface`` in ``XDG_CACHE_HOME``, or else in ``~/.cache``.

    Raises:
        RuntimeError: none of them is set, and the user has no home.
    """
    if own := os.environ.get("ELASTICFACE_CACHE"):
        return Path(own)
    return (named("XDG_CACHE_HOME") or Path.home() / ".cache") / "elasticface"


def data_folder(name: str, what: str, option: str) -> Path:
    """``elasticface/NAME`` in ``XDG_DATA_HOME``, or else in ``~/.local/share``.

    Args:
        name: of the folder.
        what: what is kept there, for the message.
        option: the option that names another folder, for the message.

    Raises:
        InputError: this user has no home.
    """
    try:
        return (named("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "elasticface" / name
    except RuntimeError as error:
        raise InputError(f"there is no home folder for {what}; set HOME, or give {option}") from error
