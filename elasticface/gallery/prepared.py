"""A photo before it is enrolled: the one face that is good enough, or why there is none."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elasticface.base.files import printable
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import DamagedImage, decode
from elasticface.faces.choice import choose
from elasticface.faces.detector import Face
from elasticface.faces.finder import FaceFinder
from elasticface.gallery.rules import Rules


@dataclass(frozen=True, eq=False)
class Prepared:
    """What was found in one photo: the chosen face, and why it is not one to enrol.

    Attributes:
        name: of the photo.
        photo: SHA-256 of its bytes.
        face: aligned, uint8 [size, size, 3] RGB, be it one to enrol or not; None where none was found.
        box: x1, y1, x2, y2 in whole pixels.
        score: the detector's.
        found: how many faces the photo has.
        reason: why there is none to enrol; "" where there is.
    """

    name: str
    photo: bytes = b""
    face: NDArray[np.uint8] | None = None
    box: tuple[int, ...] = ()
    score: float | None = None
    found: int = 0
    reason: str = ""

    @property
    def aligned(self) -> NDArray[np.uint8] | None:
        """The face to enrol; None where there is none."""
        return None if self.reason else self.face


def prepare(data: bytes | NDArray[np.uint8], name: str, finder: FaceFinder, rules: Rules, size: int) -> Prepared:
    """Find the face of a photo that is to be enrolled.

    Args:
        data: the bytes of an image file, or pixels, uint8 [H, W, 3] RGB.
        name: of the photo.
        finder: of faces.
        rules: which face is good enough.
        size: side of the aligned face in pixels.
    """
    digest = digest_of(data)
    try:
        photo = data if isinstance(data, np.ndarray) else decode(data, printable(name))
    except DamagedImage as error:
        return Prepared(name, digest, reason=str(error).removeprefix(f"{printable(name)}: "))
    faces = finder.find(photo)
    if not faces:
        return Prepared(name, digest, reason="no face was found in it")
    choice = "largest" if rules.faces == "single" else rules.faces
    face = faces[choose(faces, choice, photo.shape[1], photo.shape[0])[0]]
    box = tuple(int(edge) for edge in face.box.round())
    aligned = align(photo, face.points, size)
    return Prepared(name, digest, aligned, box, float(face.score), len(faces), _refusal(face, len(faces), rules))


def _refusal(face: Face, found: int, rules: Rules) -> str:
    """Why the chosen one of so many faces is not good enough; "" where it is."""
    width = float(face.box[2] - face.box[0])
    if found > 1 and rules.faces == "single":
        return f"{found} faces are in it; cut one out, or have the largest taken (faces: largest)"
    if width < rules.smallest:
        return f"its face is {width:.0f} pixels wide, less than {rules.smallest}"
    if face.score < rules.least_score:
        return f"the detector's score of its face is {face.score:.2f}, below {rules.least_score:g}"
    return ""


def digest_of(data: bytes | NDArray[np.uint8]) -> bytes:
    """SHA-256 of a photo's bytes, or of its shape and pixels."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).digest()
    return hashlib.sha256(str(data.shape).encode() + np.ascontiguousarray(data).tobytes()).digest()
