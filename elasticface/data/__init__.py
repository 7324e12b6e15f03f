"""From files to (uint8 RGB image, identity). Importing this brings neither torch nor OpenCV."""

import importlib
from typing import TYPE_CHECKING, Any

from elasticface.data.sources import EncodedSource, Source, open_dataset, require_identities

if TYPE_CHECKING:
    from elasticface.data.packs import read_pack, write_pack

__all__ = ["EncodedSource", "Source", "open_dataset", "read_pack", "require_identities", "write_pack"]


def __getattr__(name: str) -> Any:
    if name in ("read_pack", "write_pack"):  # they need numpy, which --help does not
        return getattr(importlib.import_module("elasticface.data.packs"), name)
    raise AttributeError(f"module 'elasticface.data' has no attribute {name!r}")
