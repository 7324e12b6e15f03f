"""Photos in, the embeddings of the faces in them out."""

import csv
import io
import os
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.reading.features import embed_to
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import DamagedImage, decode
from elasticface.data.images.photos import Photos
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detect_folder import detect_photos, row_of
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.faces.landmarks import DETECTED_COLUMNS, read_faces
from elasticface.model.encoder import FaceEncoder

EMBEDDINGS, FACES, SUMMARY = "embeddings.npy", "faces.csv", "embed.json"

_DETECTED, _CACHE = "detected.csv", "unfinished"
_PHOTOS_HELD = 4  # decoded, since several faces of one photo follow each other


@dataclass(frozen=True)
class Embedded:
    """What became of every photo."""

    photos: int  # that could be read
    faces: int  # embedded
    model: str
    detector: str
    flip: bool
    without_face: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # photos that cannot be read
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why it was not looked at

    def lines(self) -> list[str]:
        """For the terminal: counts, and of every kind of gap the first few."""
        return [
            f"embeddings of {self.faces:,} faces in {self.photos:,} photos",
            *with_examples("photos without a face", self.without_face),
            *with_examples("photos that cannot be read", self.damaged),
            *with_examples("left out", [f"{name}: {why}" for name, why in self.left_out.items()]),
        ]


def embed_photos(
    photos: Photos,
    out: str | Path,
    encoder: FaceEncoder,
    finder: FaceFinder | None = None,
    *,
    faces: Choice = "all",
    flip: bool = True,
    workers: int = 2,
    only: Collection[str] | None = None,
    resume: bool = False,
) -> Embedded:
    """Find the faces of all photos, and write their embeddings.

    ``out/embeddings.npy`` is float32 [N, D], of length 1 each; its rows are of the faces that ``out/faces.csv`` lists,
    in the same order. ``out/embed.json``, written last, names the photos without a face. Embeddings are of faces in a
    fixed order and batches of a fixed size, so they do not depend on ``workers`` or on how often the work was resumed.

    Args:
        photos: where to read.
        out: a folder that is not there or empty.
        encoder: the model.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        faces: which of a photo's faces.
        flip: add the embedding of the mirror image.
        workers: processes that look for faces.
        only: the identities to take: the first parts of the photos' names.
        resume: keep what an earlier run with the same settings has made.

    Raises:
        InputError: ``out`` holds something; no photo, or no face in any; a model that takes other images.
    """
    out, finder = Path(out), finder or FaceFinder()
    if files.holds_something(out) and not resume:
        raise InputError(f"{printable(out)}: holds something already; resume, or give a new folder")
    files.check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    detected = out / _DETECTED
    if not detected.exists():
        detect_photos(photos, detected, finder, workers=workers, only=only, resume=resume)
    listed = read_faces(detected)

    @lru_cache(maxsize=_PHOTOS_HELD)
    def photo(name: str) -> NDArray[np.uint8]:
        return decode(photos.read(name), printable(name))

    chosen = []
    for name in (name for name in photos.names if name in listed):
        found = listed[name]
        height, width = photo(name).shape[:2] if faces == "central" and len(found) > 1 else (0, 0)
        chosen += [(name, found[place], place + 1) for place in choose(found, faces, width, height)]
    if not chosen:
        raise InputError(f"{printable(photos.path)}: no face was found in {len(listed):,} photos")
    size = encoder.card.preprocessing.size

    def aligned(row: int) -> NDArray[np.uint8]:
        name, face, _ = chosen[row]
        return align(photo(name), face.points, size)

    names = [f"{name} (face {number})" for name, _, number in chosen]
    what = [os.fsencode(os.path.realpath(photos.path)), *(face.points.tobytes() for _, face, _ in chosen)]
    features = embed_to(out / _CACHE, encoder, names, aligned, what, flip=flip, title="embedding")
    if features.damaged:
        name, why = next(iter(features.damaged.items()))
        raise DamagedImage(f"{why or name}; it could be read when faces were looked for: see what changed, and resume")
    rows = features.rows / np.linalg.norm(features.rows, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
    with files.replacing(out / EMBEDDINGS) as temporary, temporary.open("wb") as file:
        np.save(file, rows)
    table = io.StringIO(newline="")
    csv.writer(table).writerows([DETECTED_COLUMNS, *(row_of(*face) for face in chosen)])
    files.write_text(out / FACES, table.getvalue())
    done = Embedded(
        photos=len(listed),
        faces=len(chosen),
        model=encoder.card.name,
        detector=finder.name,
        flip=flip,
        without_face=[name for name, found in listed.items() if not found],
        damaged=[name for name in photos.names if name not in listed and (only is None or name.split("/")[0] in only)],
        left_out=dict(photos.left_out),
    )
    files.write_json(out / SUMMARY, asdict(done))
    detected.unlink()
    shutil.rmtree(out / _CACHE)
    return done
