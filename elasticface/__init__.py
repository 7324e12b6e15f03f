"""elasticface: train face recognition with elastic margins, measure it the way the field measures it, ship the model.

Names are imported where they are first used, so that ``import elasticface`` costs next to nothing.
"""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports
from elasticface.base.version import __version__

if TYPE_CHECKING:
    from elasticface import backbones, benchmarks, data, faces, heads, metrics, model
    from elasticface.base.errors import InputError
    from elasticface.faces import align_faces, detect
    from elasticface.gallery import Gallery
    from elasticface.heads import (
        AdaFace,
        ArcFace,
        CosFace,
        CurricularFace,
        ElasticArcFace,
        ElasticCosFace,
        MagFace,
        NormFace,
        SubCenterArcFace,
    )
    from elasticface.model import FaceEncoder, load

__all__ = [
    "AdaFace",
    "ArcFace",
    "CosFace",
    "CurricularFace",
    "ElasticArcFace",
    "ElasticCosFace",
    "FaceEncoder",
    "Gallery",
    "InputError",
    "MagFace",
    "NormFace",
    "SubCenterArcFace",
    "__version__",
    "align_faces",
    "backbones",
    "benchmarks",
    "data",
    "detect",
    "faces",
    "heads",
    "load",
    "metrics",
    "model",
]

_HEADS = (
    "AdaFace",
    "ArcFace",
    "CosFace",
    "CurricularFace",
    "ElasticArcFace",
    "ElasticCosFace",
    "MagFace",
    "NormFace",
    "SubCenterArcFace",
)
_MODULES = ("backbones", "benchmarks", "data", "faces", "heads", "metrics", "model")

__getattr__ = exports(
    __name__,
    dict.fromkeys(_HEADS, "heads")
    | {"align_faces": "faces", "detect": "faces"}
    | {"FaceEncoder": "model", "load": "model", "Gallery": "gallery", "InputError": "base.errors"}
    | dict.fromkeys(_MODULES, ""),
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
