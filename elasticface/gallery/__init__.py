"""People enrolled in a PostgreSQL database, and searched: who is this, or nobody we know."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports

if TYPE_CHECKING:
    from elasticface.gallery.gallery import Gallery
    from elasticface.gallery.search import Answer, Candidate
    from elasticface.gallery.storing import NewFace

__all__ = ["Answer", "Candidate", "Gallery", "NewFace"]

__getattr__ = exports(__name__, {"Answer": "search", "Candidate": "search", "Gallery": "gallery", "NewFace": "storing"})
