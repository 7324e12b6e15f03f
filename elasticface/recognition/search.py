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
from elasticface.data.images.photos import Photos, person_of
from elasticface.faces.choice import Choice
from elasticface.faces.finder import FaceFinder
from elasticface.model.calibration import gallery_fmr
from elasticface.model.encoder import FaceEncoder
from elasticface.recognition.embed_folder import EMBEDDINGS, FACES, embed_photos
from elasticface.recognition.verification import (
    USUAL_FMR,
    ChosenFace,
    Threshold,
    check_embedding,
    choose_face,
    cosine,
    name_of,
    share,
    threshold_of,
)

MOST_SHOWN = 5
"""People that are named."""

MOST_MISTAKEN = 0.5
"""Where more searches for strangers than this would name somebody, nobody is named unless the rate was asked for."""


@dataclass(frozen=True)
class Candidate:
    """A person of the folder."""

    person: str
    similarity: float  #: cosine of the most similar of the person's photos, -1 to 1
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
        was_asked: whether the false match rate is one that was asked for.
    """

    face: ChosenFace
    candidates: list[Candidate]
    threshold: Threshold
    people: int
    comparisons: int
    unusable: dict[str, str]
    was_asked: bool

    @property
    def reason(self) -> str | None:
        """Why there is no decision; None where there is one."""
        point, rate = self.threshold.point, self.false_positive_rate
        if point is None or rate is None:
            return self.threshold.reason
        if rate <= MOST_MISTAKEN or self.was_asked:
            return None
        return (
            f"a stranger would be taken for one of these people in {100 * rate:.3g} % of the searches; calibrate for a "
            f"lower rate, with more people, or ask for this one with --fmr {point.fmr}"
        )

    @property
    def person(self) -> str | None:
        """The person on the photo; None for unknown, and where there is no decision."""
        best = self.candidates[0]
        return best.person if self.reason is None and self.threshold.same(best.similarity) else None

    @property
    def false_positive_rate(self) -> float | None:
        """How often a stranger is taken for one of these people: each photo is one more chance."""
        point = self.threshold.point
        return None if point is None else gallery_fmr(point.fmr, self.comparisons)

    @property
    def false_positive_interval(self) -> tuple[float, float] | None:
        """Of that rate, from the 95 % interval of the false match rate."""
        if (point := self.threshold.point) is None:
            return None
        low, high = point.fmr_interval
        return gallery_fmr(low, self.comparisons), gallery_fmr(high, self.comparisons)

    def lines(self) -> list[str]:
        """For the terminal: the answer, how often it is wrong, and the most similar people."""
        point, rate, interval = self.threshold.point, self.false_positive_rate, self.false_positive_interval
        if self.reason is not None or point is None or rate is None or interval is None:
            lines = [f"no decision: {self.reason}"]
        else:
            where = "at or above" if self.person else "nobody is at or above"
            gallery = f"{self.people:,} people ({self.comparisons:,} photos)"
            lines = [
                f"{printable(self.person or 'unknown')}: {where} the threshold of {point.threshold:.4f}",
                f"a stranger is taken for one of these {gallery} in {share(rate, interval)} of the searches",
            ]
        for number, one in enumerate(self.candidates, start=1):
            lines.append(f"{number}. {printable(one.person)}  similarity {one.similarity:.4f}  {printable(one.photo)}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """As `elasticface find --json` writes it."""
        return {
            "person": self.person,
            "unknown": None if self.reason is not None else self.person is None,
            **self.threshold.as_json(),
            "false_positive_rate": self.false_positive_rate,
            "false_positive_interval": self.false_positive_interval,
            "people": self.people,
            "comparisons": self.comparisons,
            "candidates": [vars(candidate) for candidate in self.candidates],
            "unusable": self.unusable,
            "reason": self.reason,
            "face": self.face.as_json(),
        }


def find(
    image: Any,
    people: str | Path,
    encoder: FaceEncoder,
    finder: FaceFinder | None = None,
    *,
    fmr: float | None = None,
    faces: Choice = "largest",
    name: str | None = None,
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
        finder, faces: as in :func:`elasticface.recognition.verify`.
        fmr: the false match rate of one comparison, one of those calibrated. Where none is given, the nearest to 1e-3
            over the number of photos, with which one search for a stranger in a thousand would name somebody.
        name: of the photo, for messages; of a path the path itself.
        most: people that are named, ≥ 1.
        workers: processes that look for faces.

    Raises:
        InputError: a photo that cannot be read or has no face; no person with a face; an ``fmr`` not calibrated;
            ``most`` below 1.
    """
    if most < 1:
        raise InputError(f"most must be at least 1, not {most}")
    finder = finder or FaceFinder()
    photos = Photos(people)
    if not photos.names:
        raise InputError(f"{printable(people)}: no photo in it; give a folder of people, each a folder of photos")
    photos.check_people()
    threshold = threshold_of(encoder, finder, fmr, USUAL_FMR / len(photos))
    face = choose_face(image, name or name_of(image, "photo"), finder, encoder.card.preprocessing.size, faces)
    with tempfile.TemporaryDirectory() as folder:
        done = embed_photos(photos, folder, encoder, finder, faces="largest", workers=workers)
        embeddings = np.load(Path(folder) / EMBEDDINGS, allow_pickle=False)
        with files.opened_text(Path(folder) / FACES) as file:
            names = [row[0] for row in csv.reader(file)][1:]
    own = encoder.embed([face.aligned])[0]
    check_embedding(own, name or name_of(image, "photo"), encoder.card.name)
    similarities = embeddings @ own
    best: dict[str, Candidate] = {}
    for photo, similarity in sorted(zip(names, similarities.tolist(), strict=True), key=lambda item: -item[1]):
        person = person_of(photo)
        best.setdefault(person, Candidate(person, cosine(similarity), photo))
    unusable = (
        photos.passed_over()
        | done.left_out
        | done.damaged
        | dict.fromkeys(done.without_face, "no face was found in it")
    )
    return Search(face, list(best.values())[:most], threshold, len(best), len(names), unusable, fmr is not None)
