"""Faces in, a model out: the loop, its settings and its run folder."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports
from elasticface.training.config import TrainConfig

if TYPE_CHECKING:
    from elasticface.training.loop import train

__all__ = ["TrainConfig", "train"]

__getattr__ = exports(__name__, {"train": "loop"})
