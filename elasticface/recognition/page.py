"""A page that shows two faces as the model saw them, and what it made of them."""

from pathlib import Path

import numpy as np

from elasticface.benchmarks.units import NOUNS
from elasticface.data.images.decoding import cv2
from elasticface.model.calibration import Calibration
from elasticface.recognition.verification import ChosenFace, Verification, share
from elasticface.report.page_templates import templates_of, write_page
from elasticface.report.pictures import jpeg

_WIDTH = 420  # of a photo on the page, pixels
_SCALE = (-0.2, 1.0)  # the similarities that the page shows: different people seldom have a lower one


def write_verification(path: Path, found: Verification, model: str) -> None:
    """Write one self-contained HTML page, whole or not at all.

    Args:
        path: the file.
        found: what it shows.
        model: the name of the model.
    """
    templates = templates_of("elasticface.recognition")
    page = templates.get_template("verify.html").render(
        found=found,
        point=found.threshold.point,
        calibration=found.threshold.calibration,
        model=model,
        faces=[{"face": face, "photo": jpeg(_small(face)), "aligned": jpeg(face.aligned)} for face in found.faces],
        places=_places(found),
        ends=[(f"{similarity:g}", _place(similarity)) for similarity in _SCALE],
        share=share,
        units=NOUNS[found.threshold.calibration.units] if found.threshold.calibration else None,
    )
    write_page(path, page)


def _small(face: ChosenFace) -> np.ndarray:
    """The photo at the page's width, with the face's box and points drawn in."""
    height, width = face.photo.shape[:2]
    scale = min(_WIDTH / width, 1.5 * _WIDTH / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    picture = cv2.resize(face.photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x1, y1, x2, y2 = (int(value) for value in (face.face.box * scale).round())
    cv2.rectangle(picture, (x1, y1), (x2, y2), (255, 255, 255), 2)
    for x, y in (face.face.points * scale).round().astype(int).tolist():
        cv2.circle(picture, (x, y), 3, (80, 220, 120), -1)
    return np.asarray(picture)


def _places(found: Verification) -> dict[str, float]:
    """Where similarity and thresholds lie on the scale."""
    calibration: Calibration | None = found.threshold.calibration
    points = {} if calibration is None else {f"{p.fmr:g}": _place(p.threshold) for p in calibration.points}
    return {"similarity": _place(found.similarity)} | points


def _place(similarity: float) -> float:
    """In percent of the scale's length."""
    low, high = _SCALE
    return round(100 * float(np.clip((similarity - low) / (high - low), 0, 1)), 2)
