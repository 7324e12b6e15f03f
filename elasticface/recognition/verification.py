"""Two photos, a decision: are they of one person, at which false match rate?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import NoFace
from elasticface.data.images.pixels import to_pixels
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detector import Face
from elasticface.faces.finder import FaceFinder
from elasticface.model.calibration import Calibration, OperatingPoint
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.conditions import conditions_of

USUAL_FMR = 1e-3
"""The false match rate of a decision where none is asked for; the nearest that is calibrated."""


@dataclass(frozen=True, eq=False)
class ChosenFace:
    """The face of a photo that was compared.

    Attributes:
        name: of the photo.
        photo: uint8 [H, W, 3] RGB, upright.
        face: the one that was taken.
        aligned: uint8 [size, size, 3] RGB, as the model sees it.
        found: how many faces the photo has.
    """

    name: str
    photo: NDArray[np.uint8]
    face: Face
    aligned: NDArray[np.uint8]
    found: int

    @property
    def note(self) -> str | None:
        """What is to be said where there was a choice."""
        if self.found == 1:
            return None
        x1, y1, x2, y2 = self.face.box.round().astype(int)
        return f"{self.name}: {self.found} faces; the one at ({x1}, {y1}) to ({x2}, {y2}) was taken"

    def as_json(self) -> dict[str, Any]:
        """Which face of which photo it is."""
        box = self.face.box.round(2).tolist()
        return {"file": self.name, "box": box, "score": self.face.score, "found": self.found}


@dataclass(frozen=True)
class Threshold:
    """What a decision was made by, or why none was made.

    Attributes:
        point: None where the model is not calibrated for this use.
        calibration: of which ``point`` is a part.
        reason: why ``point`` is None.
        note: what is to be said of the choice of the point.
    """

    point: OperatingPoint | None
    calibration: Calibration | None = None
    reason: str | None = None
    note: str | None = None

    def same(self, similarity: float) -> bool | None:
        """Whether it is one person; None where that is not calibrated."""
        return None if self.point is None else similarity >= self.point.threshold

    def as_json(self) -> dict[str, Any]:
        """The point; None for all of it where there is none."""
        point = self.point
        return {
            "threshold": point and point.threshold,
            "fmr": point and point.fmr,
            "fmr_interval": point and list(point.fmr_interval),
            "acceptance": point and point.acceptance,
        }


@dataclass(frozen=True, eq=False)
class Verification:
    """Two faces compared."""

    similarity: float  #: cosine, -1 to 1
    threshold: Threshold
    faces: tuple[ChosenFace, ChosenFace]

    @property
    def same(self) -> bool | None:
        """Whether it is one person; None where the model is not calibrated."""
        return self.threshold.same(self.similarity)

    @property
    def llr(self) -> float | None:
        """The natural logarithm of the likelihood ratio of one person to two; None where that is not calibrated."""
        calibration = self.threshold.calibration
        return None if calibration is None else calibration.llr(self.similarity)

    def lines(self) -> list[str]:
        """For the terminal: the similarity, the decision, and how often such a decision is wrong."""
        lines = [f"similarity {self.similarity:.4f}"]
        if (point := self.threshold.point) is None:
            lines.append(f"no decision: {self.threshold.reason}")
        else:
            answer = "the same person: at or above" if self.same else "different people: below"
            low, high = point.acceptance_interval
            lines += [
                f"{answer} the threshold of {point.threshold:.4f}",
                f"of different people {share(point.fmr, point.fmr_interval)} are taken for one at this threshold",
                f"of one person's pairs {share(1 - point.acceptance, (1 - high, 1 - low))} are taken for two people",
            ]
        if self.llr is not None:
            lines.append(f"log-likelihood ratio {self.llr:+.2f} (above 0 speaks for one person)")
        return lines

    def as_json(self) -> dict[str, Any]:
        """As `elasticface verify --json` writes it."""
        point = self.threshold.point
        return {
            "similarity": self.similarity,
            "same": self.same,
            **self.threshold.as_json(),
            "acceptance_interval": point and list(point.acceptance_interval),
            "llr": self.llr,
            "reason": self.threshold.reason,
            "faces": [face.as_json() for face in self.faces],
        }


def verify(
    first: Any,
    second: Any,
    encoder: FaceEncoder,
    finder: FaceFinder | None = None,
    *,
    fmr: float | None = None,
    faces: Choice = "largest",
    names: tuple[str, str] | None = None,
) -> Verification:
    """Compare the faces in two photos.

    Args:
        first, second: each a path, the bytes of a file, a PIL image, or an array, uint8 [H, W, 3] RGB.
        encoder: the model. Where it is not calibrated there is a similarity and no decision.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        fmr: the false match rate of the decision, one of those calibrated; the nearest to 1e-3 where none is given.
        faces: which face of a photo that has several: the "largest" or the "central" one.
        names: of the photos, for messages; of paths the paths themselves.

    Raises:
        InputError: a photo that cannot be read, one without a face, or an ``fmr`` that was not calibrated.
    """
    finder = finder or FaceFinder()
    threshold = threshold_of(encoder, finder, fmr)
    size = encoder.card.preprocessing.size
    names = names or (name_of(first, "first photo"), name_of(second, "second photo"))
    found = (
        choose_face(first, names[0], finder, size, faces),
        choose_face(second, names[1], finder, size, faces),
    )
    embeddings = encoder.embed([face.aligned for face in found])
    return compared(found, embeddings, threshold, encoder.card.name)


def compared(
    faces: tuple[ChosenFace, ChosenFace], embeddings: NDArray[np.float32], threshold: Threshold, model: str
) -> Verification:
    """What two embeddings say of two faces.

    Args:
        faces: both.
        embeddings: theirs, float32 [2, D], of unit length.
        threshold: to decide by.
        model: its name, for the message.

    Raises:
        InputError: an embedding is zero.
    """
    for face, embedding in zip(faces, embeddings, strict=True):
        check_embedding(embedding, face.name, model)
    return Verification(cosine(float(embeddings[0] @ embeddings[1])), threshold, faces)


def cosine(product: float) -> float:
    """An inner product of vectors of unit length, −1 to 1: what their rounding adds beyond that is cut off."""
    return min(max(product, -1.0), 1.0)


def check_embedding(embedding: NDArray[np.float32], name: str, model: str) -> None:
    """Refuse an embedding that says nothing.

    Args:
        embedding: [D].
        name: of the photo.
        model: its name.

    Raises:
        InputError: it is zero, or holds a number that is none.
    """
    if not embedding.any():
        raise InputError(f"{model}: its embedding of {name} is zero; the model is broken")
    if not np.isfinite(embedding).all():
        raise InputError(f"{model}: its embedding of {name} holds a number that is none; the model is broken")


def share(rate: float, interval: tuple[float, float]) -> str:
    """A rate in percent, with its 95 % interval."""
    low, high = (f"{100 * bound:.2g}" for bound in interval)
    return f"{100 * rate:.3g} % (95 % interval {low} to {high} %)"


def name_of(image: Any, otherwise: str) -> str:
    """What to call a photo in messages: by its path, where it is one."""
    return printable(image) if isinstance(image, str | Path) else otherwise


def choose_face(image: Any, name: str, finder: FaceFinder, size: int, choice: Choice = "largest") -> ChosenFace:
    """The face of a photo that is to be compared.

    Args:
        image: as in :func:`verify`.
        name: of the photo.
        finder: of faces.
        size: side of the aligned face in pixels.
        choice: "largest" or "central".

    Raises:
        InputError: a photo that cannot be read; of one without a face :class:`NoFace`, which is one.
    """
    photo = to_pixels(image, name)
    faces = finder.find(photo)
    if not faces:
        height, width = photo.shape[:2]
        raise NoFace(
            f"{name}: no face was found in {width}x{height} pixels; give a photo in which a face is at least "
            f"{finder.smallest} pixels wide, and not turned to a full profile"
        )
    face = faces[choose(faces, choice, photo.shape[1], photo.shape[0])[0]]
    return ChosenFace(name, photo, face, align(photo, face.points, size), len(faces))


def threshold_of(
    encoder: FaceEncoder,
    finder: FaceFinder,
    fmr: float | None,
    usual: float = USUAL_FMR,
) -> Threshold:
    """What to decide by, if the model is calibrated, and for this detector.

    Args:
        encoder: the model.
        finder: of faces.
        fmr: the false match rate that is asked for.
        usual: where none is asked for: the nearest calibrated rate is taken, by its logarithm.

    Raises:
        InputError: an ``fmr`` that was not calibrated, or is none.
    """
    return threshold_by(usable_calibration(encoder, finder), fmr, usual)


def usable_calibration(encoder: FaceEncoder, finder: FaceFinder) -> Calibration | str:
    """The calibration of a model if it holds for faces of this finder; else the reason why there is none.

    It embeds two small images, to see whether the model still is the one that was calibrated.
    """
    calibration = encoder.card.calibration
    if calibration is None:
        return "the model is not calibrated: see `elasticface calibrate`"
    difference = calibration.difference(conditions_of(encoder, finder.name))
    if difference is not None:
        return f"the model's calibration is void: {difference}; calibrate it again"
    return calibration


def threshold_by(calibration: Calibration | str, fmr: float | None, usual: float = USUAL_FMR) -> Threshold:
    """As :func:`threshold_of`, by what :func:`usable_calibration` has found."""
    if fmr is not None and not 0 < fmr < 1:
        raise InputError(f"a false match rate lies between 0 and 1, and is not {fmr:g}; give one such as 1e-3")
    if isinstance(calibration, str):
        return Threshold(None, reason=calibration)
    if fmr is not None:
        return Threshold(calibration.threshold(fmr), calibration)
    point = min(calibration.points, key=lambda point: abs(np.log(point.fmr / usual)))
    note = None
    if not np.isclose(point.fmr, usual, atol=0):
        note = f"no threshold is calibrated for a false match rate of {usual:g}; that for {point.fmr:g} is the nearest"
    return Threshold(point, calibration, note=note)
