"""Photos of a user's own in, a model adapted to them out, without labels."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.pairwise.listed_faces import LANDMARKS_FILE, find_landmarks, left_out_of
from elasticface.benchmarks.pairwise.lists import BenchmarkPhotos, photos_path
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import DamagedImage, NoFace, decode
from elasticface.data.images.photos import Photos
from elasticface.faces import aligned as aligned_folder
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detect_folder import detected
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.model.encoder import FaceEncoder

_UNALIGNED = f"run `elasticface align` first, or give the landmarks ({LANDMARKS_FILE} beside the photos)"


@dataclass
class Taken:
    """What became of every photo. Names begin with the folder or tar."""

    photos: int = 0  #: that could be read
    faces: int = 0  #: that the model was adapted to
    without_face: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)  #: name -> why it cannot be read
    left_out: dict[str, str] = field(default_factory=dict)  #: name -> why it was not looked at

    def lines(self) -> list[str]:
        """For the terminal: counts, and of every kind of gap the first few."""
        return [
            f"adapted to {self.faces:,} faces in {self.photos:,} photos",
            *with_examples("photos without a face", self.without_face),
            *with_examples("photos that cannot be read", [f"{name}: {why}" for name, why in self.damaged.items()]),
            *with_examples("left out", [f"{name}: {why}" for name, why in self.left_out.items()]),
        ]


def adapt_to_photos(
    encoder: FaceEncoder,
    photos: Sequence[str | Path],
    finder: FaceFinder | None = None,
    *,
    faces: Choice = "largest",
    aligned: bool = False,
    workers: int = 2,
) -> tuple[FaceEncoder, Taken]:
    """The encoder adapted to the faces in photos: see :meth:`elasticface.model.FaceEncoder.adapted_to`.

    Args:
        encoder: the model, which stays as it is.
        photos: folders or uncompressed tars. What `elasticface align` has written is taken as it is, photos with a
            `landmarks5.csv` beside them are aligned by it, and in others the faces are looked for.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        faces: which of a photo's faces, where they are looked for.
        aligned: all photos are aligned faces, whatever wrote them.
        workers: processes that look for faces.

    Returns:
        The adapted encoder, and what became of the photos.

    Raises:
        InputError: nothing there, or no photo; a photo that should be aligned and is not; and as
            :meth:`elasticface.model.FaceEncoder.adapted_to`.
    """
    sets = [_Set(Path(path), _opened(Path(path)), encoder.card.preprocessing.size) for path in photos]
    taken = Taken()

    def every_face() -> Iterator[NDArray[np.uint8]]:
        # Lazily: a network that cannot be adapted is refused before any face is looked for.
        for one in sets:
            taken.left_out |= {one.label(name): why for name, why in one.photos.left_out.items()}
            listed = one.listed(aligned)
            if listed is None:
                found = one.looked_for(finder or FaceFinder(), faces, workers, taken)
            else:
                found = one.as_listed(listed, taken)
            for face in found:
                taken.faces += 1
                yield face

    return encoder.adapted_to(every_face()), taken


def _opened(path: Path) -> Photos:
    photos = Photos(path)
    if not photos.names and path.is_dir():
        photos = Photos(photos_path(path))  # one tar in it
    if not photos.names:
        raise InputError(f"{printable(path)}: no photo in it; give a folder or an uncompressed tar of photos")
    return photos


@dataclass(frozen=True)
class _Set:
    """The photos of one folder or tar."""

    path: Path
    photos: Photos
    size: int  # side of the model's input in pixels

    def label(self, name: str) -> str:
        return str(self.path / name)

    def listed(self, aligned: bool) -> BenchmarkPhotos | None:
        """Photos that are aligned or have landmarks; None where faces are to be looked for."""
        points, without = None, frozenset[str]()
        if not aligned:
            beside = self.path if self.path.is_dir() else self.path.parent
            left_out = left_out_of(beside, self.photos)
            points, without = find_landmarks(beside, None, self.photos.names, str(self.path), left_out)
            if points is None and aligned_folder.FILE not in self.photos:
                return None
        unaligned = "leave out --aligned, and faces are looked for" if aligned else _UNALIGNED
        return BenchmarkPhotos(
            str(self.path), self.photos, landmarks=points, if_unaligned=unaligned, without_face=without
        )

    def as_listed(self, listed: BenchmarkPhotos, taken: Taken) -> Iterator[NDArray[np.uint8]]:
        """The face of each photo, by its landmarks or as it is."""
        for name in progress.track(self.photos.names, "adapting", len(self.photos)):
            try:
                face = listed.face(name, self.size)
            except NoFace:
                taken.photos += 1
                taken.without_face.append(self.label(name))
            except DamagedImage as error:
                taken.damaged[self.label(name)] = str(error).rpartition(f"{printable(name)}: ")[2]
            else:
                taken.photos += 1
                yield face

    def looked_for(self, finder: FaceFinder, choice: Choice, workers: int, taken: Taken) -> Iterator[NDArray[np.uint8]]:
        """The chosen faces of each photo, after all photos have been looked at."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "faces.csv"
            listed = detected(self.photos, path, finder, workers=workers, only=None, resume=False)
        taken.photos += len(listed)
        taken.damaged |= {self.label(name): why for name, why in listed.damaged.items()}
        names = [name for name in self.photos.names if name in listed]
        for name in progress.track(names, "adapting", len(names)):
            faces = listed[name]
            if not faces:
                taken.without_face.append(self.label(name))
                continue
            photo = decode(self.photos.read(name), printable(name))
            for place in choose(faces, choice, photo.shape[1], photo.shape[0]):
                yield align(photo, faces[place].points, self.size)
