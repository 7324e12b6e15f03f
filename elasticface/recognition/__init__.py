"""From a photo to an answer: calibrated thresholds, verification, search; a model adapted to photos."""

from typing import TYPE_CHECKING

from elasticface.base.lazy import exports
from elasticface.model.calibration import Calibration, Conditions, LikelihoodRatio, OperatingPoint, gallery_fmr
from elasticface.model.storing import store_calibration

if TYPE_CHECKING:
    from elasticface.recognition.adapting import adapt_to_photos
    from elasticface.recognition.calibration import calibrate, measure
    from elasticface.recognition.comparable import open_comparable
    from elasticface.recognition.conditions import conditions_of
    from elasticface.recognition.search import find
    from elasticface.recognition.verification import verify

__all__ = [
    "Calibration",
    "Conditions",
    "LikelihoodRatio",
    "OperatingPoint",
    "adapt_to_photos",
    "calibrate",
    "conditions_of",
    "find",
    "gallery_fmr",
    "measure",
    "open_comparable",
    "store_calibration",
    "verify",
]

__getattr__ = exports(
    __name__,
    dict.fromkeys(("calibrate", "measure"), "calibration")
    | {
        "adapt_to_photos": "adapting",
        "open_comparable": "comparable",
        "conditions_of": "conditions",
        "find": "search",
        "verify": "verification",
    },
)
