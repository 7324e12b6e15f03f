"""A made-up calibration of a small model."""

from dataclasses import replace

from elasticface.faces.finder import FaceFinder
from elasticface.model.calibration import Calibration, LikelihoodRatio, OperatingPoint
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.conditions import conditions_of


def calibration(encoder: FaceEncoder, *points: tuple[float, float]) -> Calibration:
    """Of false match rates and their thresholds."""
    measured = tuple(
        OperatingPoint(fmr, threshold, fmr / 2, (fmr / 4, fmr * 2), 0.9, (0.8, 0.95), 10_000)
        for fmr, threshold in points
    )
    conditions = conditions_of(encoder, FaceFinder().name)
    likelihood = LikelihoodRatio(10.0, -4.0, 0.2, 50, 50)
    return Calibration(conditions, measured, likelihood, ("lfw",), "people", 100, 3000, 3000)


def calibrated(encoder: FaceEncoder, *points: tuple[float, float]) -> FaceEncoder:
    """The model with that calibration."""
    return having(encoder, calibration(encoder, *points))


def having(encoder: FaceEncoder, given: Calibration | None) -> FaceEncoder:
    """The model with a calibration, or without."""
    return FaceEncoder(encoder.network, replace(encoder.card, calibration=given))
