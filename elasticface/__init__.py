"""elasticface: train face recognition with elastic margins, measure it the way the field measures it, ship the model.

Names are imported where they are first used, so that ``import elasticface`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "ArcFace": "heads",
    "CosFace": "heads",
    "ElasticArcFace": "heads",
    "ElasticCosFace": "heads",
    "NormFace": "heads",
    "FaceEncoder": "model",
    "InputError": "errors",
    "load": "model",
}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from elasticface.errors import InputError as InputError
    from elasticface.heads import ArcFace as ArcFace
    from elasticface.heads import CosFace as CosFace
    from elasticface.heads import ElasticArcFace as ElasticArcFace
    from elasticface.heads import ElasticCosFace as ElasticCosFace
    from elasticface.heads import NormFace as NormFace
    from elasticface.model import FaceEncoder as FaceEncoder
    from elasticface.model import load as load


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"elasticface.{_HOME[name]}"), name)
    elif name in {"align", "backbones", "benchmarks", "data", "heads", "margins", "metrics", "model"}:
        value = importlib.import_module(f"elasticface.{name}")
    else:
        raise AttributeError(f"module 'elasticface' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
