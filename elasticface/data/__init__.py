"""From files to (uint8 RGB image, identity). Importing this brings neither torch nor OpenCV."""

from elasticface.data.sources import Source, open_dataset, require_identities

__all__ = ["Source", "open_dataset", "require_identities"]
