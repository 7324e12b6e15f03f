"""Class centres and a margin -> loss: ArcFace, CosFace, NormFace, and the elastic heads of the paper."""

from elasticface.heads.head import (
    LOSSES,
    ArcFace,
    CosFace,
    ElasticArcFace,
    ElasticCosFace,
    MarginHead,
    NormFace,
    create,
)

__all__ = ["LOSSES", "ArcFace", "CosFace", "ElasticArcFace", "ElasticCosFace", "MarginHead", "NormFace", "create"]
