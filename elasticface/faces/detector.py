"""What a detector is: RGB in; boxes, scores and five points out. YuNet is ours, and others plug in."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SURE = 0.8
"""``upright_score`` of a detector for which nobody has measured it: photos of a lower score are turned and tried."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face that was found, in pixels of the upright photo: (0, 0) is the upper left corner, EXIF orientation applied.

    Attributes:
        box: float64 [4], x1, y1, x2, y2.
        score: the detector's, from 0 to 1.
        points: float64 [5, 2], left eye, right eye, nose, left and right mouth corner; left as seen with the face
            upright.
    """

    box: Floats
    score: float
    points: Floats

    @property
    def area(self) -> float:
        """Of its box, in square pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image: K faces, in pixels of that image.

    Attributes:
        boxes: float64 [K, 4], x1, y1, x2, y2.
        scores: float64 [K], from 0 to 1.
        points: float64 [K, 5, 2], in the order of :class:`Face`.
    """

    boxes: Floats
    scores: Floats
    points: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def faces(self) -> list[Face]:
        """One by one."""
        return [Face(*row) for row in zip(self.boxes, self.scores.tolist(), self.points, strict=True)]


class Detector(Protocol):
    """Finds upright faces that are neither much smaller nor much larger than those it was trained on.

    Turned photos and faces of other sizes are :class:`elasticface.faces.finder.FaceFinder`'s. A detector is pickled to
    worker processes.

    Attributes:
        name: what it is; figures and thresholds are only good for faces that the same one found.
        upright_score: the least score of a face that is certainly upright: turned faces are found with lower ones.
    """

    name: str
    upright_score: float

    def find(self, image: NDArray[np.uint8]) -> Detections:
        """The faces in an image, uint8 [H, W, 3] RGB, of any size."""
        ...
