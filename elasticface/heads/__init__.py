"""Class centres and a margin -> loss: the elastic heads of the paper, those they are compared with, and one's own."""

from elasticface.heads.head import (
    LOSSES,
    AdaFace,
    ArcFace,
    CosFace,
    CurricularFace,
    ElasticArcFace,
    ElasticCosFace,
    MagFace,
    NormFace,
    SubCenterArcFace,
    create,
)
from elasticface.heads.margin_head import MarginHead

__all__ = [
    "LOSSES",
    "AdaFace",
    "ArcFace",
    "CosFace",
    "CurricularFace",
    "ElasticArcFace",
    "ElasticCosFace",
    "MagFace",
    "MarginHead",
    "NormFace",
    "SubCenterArcFace",
    "create",
]
