"""A photo -> aligned faces: the detector, five landmarks a face, and the folder of what they are aligned to."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports

if TYPE_CHECKING:
    from elasticface.faces.choice import Choice, choose
    from elasticface.faces.detector import Detections, Detector, Face
    from elasticface.faces.finder import FaceFinder
    from elasticface.faces.photo import align_faces, detect

__all__ = ["Choice", "Detections", "Detector", "Face", "FaceFinder", "align_faces", "choose", "detect"]

__getattr__ = exports(
    __name__,
    dict.fromkeys(("Detections", "Detector", "Face"), "detector")
    | dict.fromkeys(("Choice", "choose"), "choice")
    | {"FaceFinder": "finder"}
    | dict.fromkeys(("align_faces", "detect"), "photo"),
)
