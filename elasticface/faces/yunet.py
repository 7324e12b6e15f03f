"""YuNet (Wu, Peng and Yu, 2023, doi 10.1007/s11633-023-1423-y), run by OpenCV. Its weights lie beside this file.

Licence and source of the weights: THIRD_PARTY.md in this folder.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.data.images.decoding import cv2  # which sets OpenCV's limits and threads
from elasticface.faces.detector import Detections
from elasticface.faces.overlap import SAME_FACE, overlap

_WEIGHTS = Path(__file__).with_name("yunet_2023mar.onnx")
_LEAST_SCORE = 0.5
_ANY_SIZE = (320, 320)  # set anew for each image
_KEEP_ALL = 1.0  # overlap from which OpenCV would drop candidates
_MOST = 5000  # candidates of an image: some tens surround each face, so a hundred faces are far below it


class YuNet:
    """The detector that ships with the package.

    The candidates that surround a face agree within some pixels on its points. OpenCV keeps the one of the highest
    score; here they are averaged, weighted by the square of their scores, which makes the points steadier (figures in
    docs/faces.md).
    """

    name = "yunet-2023mar"
    upright_score = 0.94  # docs/faces.md: photos turned the wrong way stay below it, 9 in 10 upright ones do not

    def __init__(self) -> None:
        self._of_thread = threading.local()  # the network keeps the size of its input

    def __reduce__(self) -> tuple[Any, ...]:
        return YuNet, ()

    def find(self, image: NDArray[np.uint8]) -> Detections:
        """The faces in an image, uint8 [H, W, 3] RGB; best those that are 12 to 300 pixels wide."""
        return _averaged(self.candidates(image))

    def candidates(self, image: NDArray[np.uint8]) -> Detections:
        """All that the network puts out, some tens a face."""
        height, width = image.shape[:2]
        network = self._network()
        network.setInputSize((width, height))
        _, rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        rows = np.zeros((0, 15)) if rows is None else rows.astype(np.float64)
        rows[:, 2:4] += rows[:, :2]  # corner and size -> two corners
        return Detections(rows[:, :4], rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2))

    def _network(self) -> Any:
        if not hasattr(self._of_thread, "network"):
            create = cv2.FaceDetectorYN.create
            self._of_thread.network = create(str(_WEIGHTS), "", _ANY_SIZE, _LEAST_SCORE, _KEEP_ALL, _MOST)
        return self._of_thread.network


def _averaged(candidates: Detections) -> Detections:
    """One detection a face: the mean of its candidates, with the highest of their scores."""
    boxes, points = candidates.boxes, candidates.points.reshape(-1, 10)
    remaining = np.argsort(-candidates.scores, kind="stable")
    faces = []
    while len(remaining):
        same = overlap(boxes[remaining[0]], boxes[remaining]) > SAME_FACE
        same[0] = True  # a box without an area overlaps nothing
        rows = remaining[same]
        weights = candidates.scores[rows] ** 2
        values = np.hstack([boxes[rows], points[rows]])
        faces.append(np.append(weights @ values / weights.sum(), candidates.scores[rows[0]]))
        remaining = remaining[~same]
    table = np.array(faces).reshape(-1, 15)
    return Detections(table[:, :4], table[:, 14], table[:, 4:14].reshape(-1, 5, 2))
