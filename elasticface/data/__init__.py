"""Photos and faces on a disk, or rendered -> (uint8 RGB image, identity) -> batches. Imports torch and OpenCV late."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports
from elasticface.data.opening import open_dataset
from elasticface.data.sources import EncodedSource, Source, require_identities

if TYPE_CHECKING:
    from elasticface.data.formats.packs import read_pack, write_pack

__all__ = ["EncodedSource", "Source", "open_dataset", "read_pack", "require_identities", "write_pack"]

__getattr__ = exports(__name__, {"read_pack": "formats.packs", "write_pack": "formats.packs"})
