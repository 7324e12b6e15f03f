"""A folder that work fills over time: who writes there, and with which settings it was begun."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.locks import locked

SETTINGS = "settings.json"
"""What the content of the folder depends on; it is written before anything else, and stays."""


@contextlib.contextmanager
def begun(folder: Path, settings: Mapping[str, Any], resume: bool, what_else: str) -> Iterator[None]:
    """Hold ``folder`` while the body fills it. If the body leaves nothing there, the settings go too.

    Args:
        folder: it is made if it is not there.
        settings: what the content depends on, of plain values.
        resume: the folder may hold what was made with the same settings.
        what_else: what to say of a folder that holds something where it may not, and what to do.

    Raises:
        InputError: the folder holds something and ``resume`` is not given, or what was made with other settings, or by
            someone else; another process holds it.
    """
    with locked(folder):
        if files.holds_something(folder) and not resume:
            raise InputError(f"{printable(folder)}: {what_else}")
        _keep_or_compare(folder, json.loads(json.dumps(settings)))
        try:
            yield
        finally:
            if not any(name != SETTINGS for name in _content(folder)):
                (folder / SETTINGS).unlink(missing_ok=True)


def _keep_or_compare(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / SETTINGS
    if not files.holds_something(folder):
        files.write_json(path, settings)
        return
    if not path.exists():
        raise InputError(f"{printable(folder)}: holds something else; give a new folder")
    before = records.read_object(path, "give a new folder")
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        raise InputError(
            f"{printable(folder)}: was begun with other settings: {', '.join(changed)} (see {SETTINGS} there); resume "
            "with those, or give another name"
        )


def _content(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != files.LOCK and not files.is_temporary(path.name)]
