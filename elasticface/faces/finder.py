"""Faces in a whole photo, whatever their size and however the photo is turned.

A detector misleads in silence where a face is much larger, much smaller or turned further than those it was trained on:
it misses the face, or puts the points where they are not. Hence, around any :class:`~.detector.Detector`:

1. a coarse pass over the photo at a limited size, and a fine one in which the smallest faces are large enough;
2. a second pass on each candidate, turned upright by its points and brought to the size at which points are best;
3. where no score says that a face was seen upright, the same for the photo turned by 90, 180 and 270 degrees. The
   orientation with the highest score counts.

docs/faces.md has what each step is worth.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.data.images.alignment import similarity
from elasticface.data.images.decoding import cv2
from elasticface.faces.detector import Detector, Face, Floats
from elasticface.faces.yunet import YuNet

SMALLEST = 20
"""Width in pixels of the smallest face that is looked for."""

_SEEN = 12  # pixels that a face must be wide to be found at all
_COARSE, _COARSE_ENOUGH = 320, 480  # long side of the coarse pass; and one with which no fine pass is needed
_TILE, _OVERLAP = 1280, 200  # of the fine pass, which is cut into tiles so that its memory is bounded
_CANDIDATE, _FACE = 0.5, 0.6  # least scores of the first and the second pass
_SAME_FACE = 0.6  # share of the smaller of two boxes that lies in the other, from which they are of one face

# The second pass: the template's face, about 80 of its 112 pixels wide, is brought to 190 pixels, with room around it.
_ENLARGED = 190 / 80
_CROP = 285
_TEMPLATE_CENTRE = (56.0, 66.0)

Image = NDArray[np.uint8]


class FaceFinder:
    """Finds the faces of photos. It is pickled to worker processes as its detector is.

    Args:
        detector: looks at one image; YuNet unless another is given.
        smallest: width in pixels of the smallest face that is looked for, ≥ 12. Larger is faster in large photos.
        turned: look at the photo turned by 90, 180 and 270 degrees too where no face is certainly upright.

    Raises:
        InputError: ``smallest`` out of its range.
    """

    def __init__(self, detector: Detector | None = None, smallest: int = SMALLEST, turned: bool = True) -> None:
        if smallest < _SEEN:
            raise InputError(f"smallest must be at least {_SEEN} pixels, not {smallest}: smaller faces are not found")
        self.detector, self.smallest, self.turned = detector or YuNet(), smallest, turned

    @property
    def name(self) -> str:
        """What finds the faces: the detector, and the settings where they are others than usual."""
        settings = [f"smallest {self.smallest}"] if self.smallest != SMALLEST else []
        return ", ".join([self.detector.name, *settings, *([] if self.turned else ["upright only"])])

    def find(self, photo: Image) -> list[Face]:
        """The faces in ``photo``, uint8 [H, W, 3] RGB, largest first."""
        faces = self._upright_faces(photo)
        if self.turned and _highest(faces) < self.detector.upright_score:
            for quarters in (1, 2, 3):
                others = self._upright_faces(np.ascontiguousarray(np.rot90(photo, quarters)))
                if _highest(others) > _highest(faces):
                    faces = [_turned_back(face, quarters, photo.shape[1], photo.shape[0]) for face in others]
        return sorted(faces, key=lambda face: -face.area)

    def _upright_faces(self, photo: Image) -> list[Face]:
        passes = [self._scaled(photo, scale) for scale in self._scales(max(photo.shape[:2]))]
        candidates = _one_a_face([face for found in passes for face in found])
        refined = (self._refined(photo, face) for face in candidates)
        return _one_a_face([face for face in refined if face is not None and face.score >= _FACE])

    def _scales(self, side: int) -> list[float]:
        """Of the passes over a photo with this long side."""
        fine = min(1.0, _SEEN / self.smallest)
        if side * fine <= _COARSE_ENOUGH:
            return [fine if side > _COARSE_ENOUGH else 1.0]
        return [_COARSE / side, fine]

    def _scaled(self, photo: Image, scale: float) -> Iterator[Face]:
        """Candidates of one pass over the photo."""
        image = _shrunk(photo, scale)
        height, width = image.shape[:2]
        factors = np.array([photo.shape[1] / width, photo.shape[0] / height])
        for y in _tiles(height):
            for x in _tiles(width):
                corner = np.array([x, y])
                found = self.detector.find(image[y : y + _TILE, x : x + _TILE])
                for face in found.faces():
                    if face.score >= _CANDIDATE:
                        box = (face.box.reshape(2, 2) + corner) * factors
                        yield Face(box.ravel(), face.score, (face.points + corner) * factors)

    def _refined(self, photo: Image, face: Face) -> Face | None:
        """The face as the second pass sees it; None where that sees none."""
        try:
            to_crop = similarity(face.points) * _ENLARGED
        except ValueError:  # five points in one place
            return None
        to_crop[:, 2] += _CROP / 2 - np.array(_TEMPLATE_CENTRE) * _ENLARGED
        crop = _warped(photo, to_crop, _CROP)
        found = self.detector.find(crop)
        if not len(found):
            return None
        middle = found.points.mean(axis=1) - _CROP / 2
        nearest = int(np.argmax(found.scores - np.abs(middle).max(axis=1) / _CROP))
        if np.abs(middle[nearest]).max() > _CROP / 4:  # another face
            return None
        back = _inverse(to_crop)
        corners = found.boxes[nearest].reshape(2, 2)
        half = (corners[1] - corners[0]) / 2 * np.hypot(back[0, 0], back[0, 1])  # upright in the photo, as large
        centre = _through(back, corners.mean(axis=0))
        box = np.concatenate([centre - half, centre + half])
        return Face(box, float(found.scores[nearest]), _through(back, found.points[nearest]))


def _highest(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _one_a_face(faces: Sequence[Face]) -> list[Face]:
    """Without those that lie on a face of a higher score, or on a part of one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_shared(face, other) <= _SAME_FACE for other in kept):
            kept.append(face)
    return kept


def _shared(face: Face, other: Face) -> float:
    """How much of the smaller box lies in the other one, from 0 to 1."""
    sides = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    smaller = min(face.area, other.area)
    return float(np.prod(np.clip(sides, 0, None)) / smaller) if smaller > 0 else 1.0


def _tiles(length: int) -> list[int]:
    """Where the tiles along a side begin: evenly, and overlapping by ``_OVERLAP`` pixels or more."""
    count = 1 if length <= _TILE else -(-(length - _OVERLAP) // (_TILE - _OVERLAP))
    return [int(start) for start in np.linspace(0, max(length - _TILE, 0), count)]


def _shrunk(image: Image, scale: float) -> Image:
    if scale >= 1:
        return image
    height, width = image.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _warped(image: Image, matrix: Floats, size: int) -> Image:
    """``size`` by ``size`` pixels of the image under an affine map; what shrinks by half or more is averaged first."""
    factor = int(1 / np.hypot(matrix[0, 0], matrix[0, 1]))
    if factor >= 2:
        corners = _through(_inverse(matrix), np.array([(0, 0), (size, 0), (0, size), (size, size)]))
        height, width = image.shape[:2]
        left, top = np.clip(corners.min(axis=0) - factor, 0, (width - 1, height - 1)).astype(int)
        right, bottom = np.clip(corners.max(axis=0) + factor + 1, (left + 1, top + 1), (width, height)).astype(int)
        part = image[top:bottom, left:right]
        image = _shrunk(part, 1 / factor)
        scale = np.array([part.shape[1] / image.shape[1], part.shape[0] / image.shape[0]])
        matrix = np.column_stack([matrix[:, :2] * scale, _through(matrix, np.array([left, top], np.float64))])
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def _turned_back(face: Face, quarters: int, width: int, height: int) -> Face:
    """A face of ``numpy.rot90(photo, quarters)`` as it lies in the photo, which is ``width`` by ``height``."""
    right, bottom = width - 1, height - 1

    def back(points: Floats) -> Floats:
        x, y = points[..., 0], points[..., 1]
        turned = {1: (right - y, x), 2: (right - x, bottom - y), 3: (y, bottom - x)}
        return np.stack(turned[quarters], axis=-1)

    corners = back(face.box.reshape(2, 2))
    return Face(np.concatenate([corners.min(axis=0), corners.max(axis=0)]), face.score, back(face.points))


def _inverse(matrix: Floats) -> Floats:
    """Of an affine map [2, 3]."""
    linear = np.linalg.inv(matrix[:, :2]).astype(np.float64)
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def _through(matrix: Floats, points: Floats) -> Floats:
    """Points [..., 2] under an affine map [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]
