"""A network together with all that is needed to use it: saved, loaded, called."""

from elasticface.model.encoder import Card, FaceEncoder, Preprocessing
from elasticface.model.exporting import Exported, export
from elasticface.model.loading import load

__all__ = ["Card", "Exported", "FaceEncoder", "Preprocessing", "export", "load"]
