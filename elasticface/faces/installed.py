"""Detectors by name: ours, those of installed packages, and `.onnx` files."""

from abc import ABC, abstractmethod
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base import progress
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.faces.detector import SURE, Detections, Detector
from elasticface.faces.onnx_detector import OnnxDetector
from elasticface.faces.yunet import YuNet

INSTALLED = ("insightface", "uniface")
"""Packages that bring detectors of their own."""

_TERMS = {
    "insightface": "InsightFace's weights, which it downloads, are for non-commercial research only",
    "uniface": "uniface's weights, which it downloads, have licences of their own",
}


def open_detector(name: str) -> Detector:
    """The detector of that name; what is to be known of the licence of its weights is said.

    Args:
        name: "yunet", the name of an installed package ("insightface", "uniface"), or the path of an `.onnx` file.

    Raises:
        InputError: no such detector, package or file.
    """
    if name == "yunet":
        return YuNet()
    if name in _TERMS:
        detector: Detector = _InsightFace() if name == "insightface" else _UniFace()
        progress.say(f"note: {_TERMS[name]}")
        return detector
    if name.lower().endswith(".onnx"):
        detector = OnnxDetector(name)
        progress.say(f"note: the licence of {printable(Path(name).name)} is its authors'; see that it allows your use")
        return detector
    raise InputError(f"no detector {printable(name, 100)!r}: give yunet, insightface, uniface or the path of an .onnx")


class _Installed(ABC):
    """A detector of another package, made in the process that uses it."""

    upright_score = SURE
    package: str

    def __init__(self) -> None:
        try:
            self.name = f"{self.package} {version(self.package)}"  # other versions bring other weights
            self._model = self._made()
        except ImportError as error:
            raise InputError(f"{self.package} is not installed: pip install {self.package}") from error
        except Exception as error:  # a download that failed, say: the packages have errors of all kinds
            raise InputError(f"{self.package}: its detector cannot be made: {first_line(error)}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    @abstractmethod
    def _made(self) -> Any: ...


class _InsightFace(_Installed):
    package = "insightface"

    def _made(self) -> Any:
        from insightface.app import FaceAnalysis

        analysis = FaceAnalysis(allowed_modules=["detection"], providers=["CPUExecutionProvider"])
        analysis.prepare(ctx_id=-1)
        return analysis.det_model

    def find(self, image: NDArray[np.uint8]) -> Detections:
        rows, points = self._model.detect(np.ascontiguousarray(image[..., ::-1]))
        rows = np.asarray(rows, np.float64).reshape(-1, 5)
        return Detections(rows[:, :4], rows[:, 4], np.asarray(points, np.float64).reshape(-1, 5, 2))


class _UniFace(_Installed):
    package = "uniface"

    def _made(self) -> Any:
        from uniface import RetinaFace

        return RetinaFace()

    def find(self, image: NDArray[np.uint8]) -> Detections:
        faces = self._model.detect(np.ascontiguousarray(image[..., ::-1]))
        return Detections(
            np.array([face.bbox[:4] for face in faces], np.float64).reshape(-1, 4),
            np.array([face.confidence for face in faces], np.float64),
            np.array([face.landmarks for face in faces], np.float64).reshape(-1, 5, 2),
        )
