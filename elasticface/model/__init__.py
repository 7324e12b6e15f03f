"""A network together with all that is needed to use it: saved, loaded, called."""

from elasticface.model.encoder import Card, FaceEncoder, Preprocessing, load

__all__ = ["Card", "FaceEncoder", "Preprocessing", "load"]
