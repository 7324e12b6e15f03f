"""The model that comes with the package: trained on rendered faces alone (docs/default-model.md)."""

from pathlib import Path

NAME = "default"
"""What it is called wherever a model is asked for. A folder of that name is ``./default``."""

FOLDER = Path(__file__).with_name(NAME)


def is_shipped(path: str | Path) -> bool:
    """Whether ``path`` is the name of that model. A ``Path`` never is: it names a place."""
    return path == NAME


def located(path: str | Path) -> Path:
    """Where the model ``path`` lies."""
    return FOLDER if is_shipped(path) else Path(path)
