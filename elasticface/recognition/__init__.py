"""From a photo to an answer: calibrated thresholds, verification, search."""

from elasticface.model.calibration import (
    Calibration,
    Conditions,
    LikelihoodRatio,
    OperatingPoint,
    gallery_fmr,
)
from elasticface.recognition.conditions import conditions_of
from elasticface.recognition.storing import load_calibration, store_calibration

__all__ = [
    "Calibration",
    "Conditions",
    "LikelihoodRatio",
    "OperatingPoint",
    "conditions_of",
    "gallery_fmr",
    "load_calibration",
    "store_calibration",
]
