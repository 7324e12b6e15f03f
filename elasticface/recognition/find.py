"""Who in a folder of people is on a photo, or nobody of them."""

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.photos import Photos, identity_of
from elasticface.faces.choice import Choice
from elasticface.faces.finder import FaceFinder
from elasticface.model.calibration import Calibration, gallery_fmr
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.embed_folder import EMBEDDINGS, FACES, embed_photos
from elasticface.recognition.verification import ChosenFace, Threshold, choose_face, threshold_of

MOST_SHOWN = 5
"""People that are named."""


@dataclass(frozen=True)
class Candidate:
    """A person of the folder."""

    person: str
    similarity: float  # cosine of the most similar of the person's photos, -1 to 1
    photo: str


@dataclass(frozen=True, eq=False)
class Search:
    """A face searched among people.

    Attributes:
        face: that was searched for.
        candidates: the most similar people, most similar first.
        threshold: what is decided by.
        people: how many there are.
        comparisons: photos that the face was compared with.
        unusable: photos of people that it was not compared with, and why: no face was found, they cannot be read, …
    """

    face: ChosenFace
    candidates: list[Candidate]
    threshold: Threshold
    people: int
    comparisons: int
    unusable: dict[str, str]

    @property
    def person(self) -> str | None:
        """The person on the photo; None for unknown, and where the model is not calibrated."""
        best = self.candidates[0]
        return best.person if self.threshold.same(best.similarity) else None

    @property
    def false_positive_rate(self) -> float | None:
        """How often a stranger would be taken for one of these people, at most: each photo is one more chance."""
        point = self.threshold.point
        return None if point is None else gallery_fmr(point.fmr, self.comparisons)

    def as_json(self) -> dict[str, Any]:
        """As `elasticface find --json` writes it."""
        point = self.threshold.point
        return {
            "person": self.person,
            "unknown": None if point is None else self.person is None,
            "threshold": point and point.threshold,
            "fmr": point and point.fmr,
            "false_positive_rate": self.false_positive_rate,
            "people": self.people,
            "comparisons": self.comparisons,
            "candidates": [vars(candidate) for candidate in self.candidates],
            "unusable": self.unusable,
            "reason": self.threshold.reason,
        }


def find(
    image: Any,
    people: str | Path,
    encoder: FaceEncoder,
    finder: FaceFinder | None = None,
    *,
    calibration: Calibration | None = None,
    fmr: float | None = None,
    faces: Choice = "largest",
    name: str = "photo",
    most: int = MOST_SHOWN,
    workers: int = 2,
) -> Search:
    """Search the face on a photo among the people of a folder.

    A person is a folder of photos, or a single photo beside such folders; the largest face of each photo counts. Every
    call embeds the whole folder.

    Args:
        image: a path, the bytes of a file, a PIL image, or an array, uint8 [H, W, 3] RGB.
        people: the folder, or an uncompressed tar.
        encoder: the model.
        finder, calibration, fmr, faces: as in :func:`elasticface.recognition.verification.verify`.
        name: of the photo, for messages.
        most: people that are named, ≥ 1.
        workers: processes that look for faces.

    Raises:
        InputError: a photo that cannot be read or has no face; no person with a face; an ``fmr`` not calibrated;
            ``most`` below 1.
    """
    if most < 1:
        raise InputError(f"most must be at least 1, not {most}")
    finder = finder or FaceFinder()
    threshold = threshold_of(encoder, finder, calibration, fmr)
    face = choose_face(image, name, finder, encoder.card.preprocessing.size, faces)
    photos = Photos(people)
    if not photos.names:
        raise InputError(f"{printable(people)}: no photo in it; give a folder of people, each a folder of photos")
    with tempfile.TemporaryDirectory() as folder:
        done = embed_photos(photos, folder, encoder, finder, faces="largest", workers=workers)
        embeddings = np.load(Path(folder) / EMBEDDINGS, allow_pickle=False)
        with files.opened_text(Path(folder) / FACES) as file:
            names = [row[0] for row in csv.reader(file)][1:]
    similarities = embeddings @ encoder.embed([face.aligned])[0]
    best: dict[str, Candidate] = {}
    for photo, similarity in sorted(zip(names, similarities.tolist(), strict=True), key=lambda item: -item[1]):
        person = identity_of(photo) if "/" in photo else Path(photo).stem
        best.setdefault(person, Candidate(person, similarity, photo))
    unusable = done.left_out | done.damaged | dict.fromkeys(done.without_face, "no face was found in it")
    return Search(face, list(best.values())[:most], threshold, len(best), len(names), unusable)
