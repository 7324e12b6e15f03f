"""From a photo to an answer: calibrated thresholds, verification, search."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports
from elasticface.model.calibration import Calibration, Conditions, LikelihoodRatio, OperatingPoint, gallery_fmr

if TYPE_CHECKING:
    from elasticface.recognition.calibration import calibrate, measure
    from elasticface.recognition.comparable import open_comparable
    from elasticface.recognition.conditions import conditions_of
    from elasticface.recognition.storing import load_calibration, store_calibration
    from elasticface.recognition.verification import verify

__all__ = [
    "Calibration",
    "Conditions",
    "LikelihoodRatio",
    "OperatingPoint",
    "calibrate",
    "conditions_of",
    "gallery_fmr",
    "load_calibration",
    "measure",
    "open_comparable",
    "store_calibration",
    "verify",
]

__getattr__ = exports(
    __name__,
    dict.fromkeys(("calibrate", "measure"), "calibration")
    | {"open_comparable": "comparable", "conditions_of": "conditions", "verify": "verification"}
    | dict.fromkeys(("load_calibration", "store_calibration"), "storing"),
)
