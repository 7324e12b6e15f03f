"""Faces in a whole photo, whatever their size and however the photo is turned.

A detector misleads in silence where a face is much larger, much smaller or turned further than those it was trained on:
it misses the face, or puts the points where they are not. Hence, around any :class:`~.detector.Detector`:

1. a coarse pass over the photo at a limited size, and a fine one in which the smallest faces are large enough;
2. a second pass on each candidate, turned upright by its points and brought to the size at which points are best. The
   crop is looked at as it is and mirrored, and the two are averaged: a mirrored photo then has mirrored points, which a
   network alone does not give;
3. where no score says that a face was seen upright, the same for the photo turned by 90, 180 and 270 degrees. The
   orientation with the highest score counts.

docs/faces.md has what each step is worth.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.data.images.alignment import cut_out, inverse, similarity, through, warp
from elasticface.data.images.decoding import cv2
from elasticface.faces.detector import Detector, Face, Floats
from elasticface.faces.yunet import YuNet

VERSION = 1
"""Of what is done here: counted up whenever other points come out, which voids the thresholds of other versions."""

SMALLEST = 20
"""Width in pixels of the smallest face that is looked for."""

_NARROWEST = 12  # width in pixels below which a detector finds no face
_COARSE_SIDE = 320  # long side of the coarse pass, unless the tiles of the fine one would miss larger faces
_ONE_PASS_SIDE = 480  # a fine image no longer than this needs no coarse pass
_TILE = 1280  # side of the fine pass's tiles: they bound its memory
_TILE_OVERLAP = 200  # pixels; a face up to this width lies whole in one of them
_CANDIDATE_SCORE = 0.5  # least score of the first pass
_FACE_SCORE = 0.6  # and of the second
_LOOKS = 4  # candidates that are looked at for each face that may be found, where there is a bound
_COVERED = 0.6  # share of the smaller of two boxes that lies in the other, from which they are of one face

# The second pass: the template's face, about 80 of its 112 pixels wide, is brought to 190 pixels, with room around it.
_ENLARGED = 190 / 80
_CROP = 285
_MIDDLE = (_CROP - 1) / 2
_TEMPLATE_CENTRE = np.array([56.0, 66.0])
_FARTHEST = 1 / 4  # of the crop, from its middle: a face further off is another one
_MIRRORED = [1, 0, 2, 4, 3]  # the order of five points in a mirrored image

Image = NDArray[np.uint8]


class TooManyFaces(InputError):
    """A photo holds more faces than a finder was told to take."""


class FaceFinder:
    """Finds the faces of photos. It is pickled to worker processes as its detector is.

    Args:
        detector: looks at one image; YuNet unless another is given.
        smallest: width in pixels of the smallest face that is looked for, ≥ 12. Larger is faster in large photos.
        turned: look at the photo turned by 90, 180 and 270 degrees too where no face is certainly upright.
        most: faces of a photo, beyond which it is refused before the work on it; no bound unless given. A photo that is
            made for it holds thousands of candidates, and each one costs as much as a small photo.

    Raises:
        InputError: ``smallest`` out of its range.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        smallest: int = SMALLEST,
        turned: bool = True,
        most: int | None = None,
    ) -> None:
        if smallest < _NARROWEST:
            raise InputError(
                f"smallest must be at least {_NARROWEST} pixels, not {smallest}: smaller faces are not found"
            )
        self.detector, self.smallest, self.turned = detector or YuNet(), smallest, turned
        self.most = most

    @property
    def name(self) -> str:
        """What finds the faces: the detector, our version, and the settings where they are others than usual."""
        settings = [f"smallest {self.smallest}"] if self.smallest != SMALLEST else []
        return ", ".join([f"{self.detector.name}/{VERSION}", *settings, *([] if self.turned else ["upright only"])])

    def find(self, photo: Image) -> list[Face]:
        """The faces in ``photo``, uint8 [H, W, 3] RGB, largest first.

        Raises:
            TooManyFaces: more than ``most``.
        """
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
        if self.most is not None and len(candidates) > _LOOKS * self.most:
            raise TooManyFaces(f"the photo seems to hold more than {self.most} faces; cut out a part of it")
        refined = (self._refined(photo, face) for face in candidates)
        faces = _one_a_face([face for face in refined if face is not None and face.score >= _FACE_SCORE])
        if self.most is not None and len(faces) > self.most:
            raise TooManyFaces(f"the photo holds more than {self.most} faces; cut out a part of it")
        return faces

    def _scales(self, side: int) -> list[float]:
        """Of the passes over a photo with this long side."""
        fine = min(1.0, _NARROWEST / self.smallest)
        if side * fine <= _ONE_PASS_SIDE:
            return [fine if side > _ONE_PASS_SIDE else 1.0]
        # The narrowest face of the coarse pass must be no wider than what a tile's overlap holds.
        return [max(_COARSE_SIDE / side, fine * _NARROWEST / _TILE_OVERLAP), fine]

    def _scaled(self, photo: Image, scale: float) -> Iterator[Face]:
        """Candidates of one pass over the photo."""
        image = _shrunk(photo, scale)
        height, width = image.shape[:2]
        to_photo = _of_shrunk(photo, image)
        for y in _tiles(height):
            for x in _tiles(width):
                tile = np.array([x, y])
                for face in self.detector.find(image[y : y + _TILE, x : x + _TILE]).faces():
                    if face.score >= _CANDIDATE_SCORE:
                        corners = through(to_photo, face.box.reshape(2, 2) + tile)
                        yield Face(corners.ravel(), face.score, through(to_photo, face.points + tile))

    def _refined(self, photo: Image, face: Face) -> Face | None:
        """The face as the second pass sees it; None where that sees none."""
        try:
            to_crop = similarity(face.points) * _ENLARGED
        except ValueError:  # five points in one place
            return None
        to_crop[:, 2] += _MIDDLE - _TEMPLATE_CENTRE * _ENLARGED
        crop = _warped(photo, to_crop, _CROP)
        mirrored = self._nearest_to_middle(np.ascontiguousarray(crop[:, ::-1]))
        looks = [self._nearest_to_middle(crop), mirrored and _mirrored(mirrored, _CROP)]
        found = [look for look in looks if look is not None]
        if not found:
            return None
        from_crop = inverse(to_crop)
        corners = np.mean([look.box for look in found], axis=0).reshape(2, 2)
        # The box stays upright in the photo and as large as it was; its centre is mapped back.
        half = (corners[1] - corners[0]) / 2 * np.hypot(from_crop[0, 0], from_crop[0, 1])
        centre = through(from_crop, corners.mean(axis=0))
        points = through(from_crop, np.mean([look.points for look in found], axis=0))
        score = float(np.mean([look.score for look in found]))
        return Face(np.concatenate([centre - half, centre + half]), score, points)

    def _nearest_to_middle(self, crop: Image) -> Face | None:
        """The face that a crop was made for."""
        found = self.detector.find(crop)
        if not len(found):
            return None
        away = np.abs(found.points.mean(axis=1) - _MIDDLE).max(axis=1) / _CROP
        place = int(np.argmax(found.scores - away))  # a whole crop off the middle costs a score of 1
        return found.faces()[place] if away[place] <= _FARTHEST else None


def _highest(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _one_a_face(faces: Sequence[Face]) -> list[Face]:
    """Without those that lie on a face of a higher score, or on a part of one, and those whose box has no area."""
    kept: list[Face] = []
    with_area = (face for face in faces if (face.box[2:] > face.box[:2]).all())
    for face in sorted(with_area, key=lambda face: -face.score):
        if all(_shared(face, other) <= _COVERED for other in kept):
            kept.append(face)
    return kept


def _shared(face: Face, other: Face) -> float:
    """How much of the smaller box lies in the other one, from 0 to 1."""
    sides = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    return float(np.prod(np.clip(sides, 0, None)) / min(face.area, other.area))


def _tiles(length: int) -> list[int]:
    """Where the tiles along a side begin: evenly, and overlapping by ``_TILE_OVERLAP`` pixels or more."""
    count = 1 if length <= _TILE else -(-(length - _TILE_OVERLAP) // (_TILE - _TILE_OVERLAP))
    return [int(start) for start in np.linspace(0, max(length - _TILE, 0), count)]


def _shrunk(image: Image, scale: float) -> Image:
    if scale >= 1:
        return image
    height, width = image.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _of_shrunk(image: Image, shrunk: Image) -> Floats:
    """The map [2, 3] from coordinates in a resized image to those in the image: pixels are squares, centred on them."""
    scale = np.array([image.shape[1] / shrunk.shape[1], image.shape[0] / shrunk.shape[0]])
    return np.column_stack([np.diag(scale), (scale - 1) / 2])


def _warped(image: Image, matrix: Floats, size: int) -> Image:
    """As :func:`warp`, but what shrinks by half or more is averaged first."""
    factor = int(1 / np.hypot(matrix[0, 0], matrix[0, 1]))
    if factor >= 2:
        part, matrix = cut_out(image, matrix, size, margin=factor)
        image = _shrunk(part, 1 / factor)
        to_part = _of_shrunk(part, image)
        matrix = np.column_stack([matrix[:, :2] @ to_part[:, :2], through(matrix, to_part[:, 2])])
    return warp(image, matrix, size)


def _mirrored(face: Face, width: int) -> Face:
    """A face of an image so wide as it lies in the mirrored image."""
    x1, y1, x2, y2 = face.box
    points = face.points[_MIRRORED] * (-1, 1) + (width - 1, 0)
    return Face(np.array([width - 1 - x2, y1, width - 1 - x1, y2]), face.score, points)


def _turned_back(face: Face, quarters: int, width: int, height: int) -> Face:
    """A face of ``numpy.rot90(photo, quarters)`` as it lies in the photo, which is ``width`` by ``height``."""
    right, bottom = width - 1, height - 1

    def back(points: Floats) -> Floats:
        x, y = points[..., 0], points[..., 1]
        turned = {1: (right - y, x), 2: (right - x, bottom - y), 3: (y, bottom - x)}
        return np.stack(turned[quarters], axis=-1)

    corners = back(face.box.reshape(2, 2))
    return Face(np.concatenate([corners.min(axis=0), corners.max(axis=0)]), face.score, back(face.points))
