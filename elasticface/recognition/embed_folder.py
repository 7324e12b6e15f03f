"""Photos in, the embeddings of the faces in them out."""

import csv
import hashlib
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.reading.features import BLOCK, embed_to, model_bytes
from elasticface.benchmarks.reading.npy import write_header
from elasticface.data.images.alignment import align
from elasticface.data.images.decoding import DamagedImage, decode
from elasticface.data.images.photos import Photos, canonical
from elasticface.faces.begun import begun
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detect_folder import detected, row_of, settings_of
from elasticface.faces.detector import Face
from elasticface.faces.examples import with_examples
from elasticface.faces.finder import FaceFinder
from elasticface.faces.landmarks import DETECTED_COLUMNS, ListedFaces
from elasticface.model.encoder import FaceEncoder

EMBEDDINGS, FACES, SUMMARY = "embeddings.npy", "faces.csv", "embed.json"

_DETECTED, _CACHE = "detected.csv", "unfinished"
_MOST = 1 << 28  # bytes of the summary
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
    damaged: dict[str, str] = field(default_factory=dict)  # name -> why it cannot be read
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why it was not looked at
    missing_identities: list[str] = field(default_factory=list)  # asked for by `only`, and no photo of them is there

    def lines(self) -> list[str]:
        """For the terminal: counts, and of every kind of gap the first few."""
        return [
            f"embeddings of {self.faces:,} faces in {self.photos:,} photos",
            *with_examples("photos without a face", self.without_face),
            *with_examples("photos that cannot be read", [f"{name}: {why}" for name, why in self.damaged.items()]),
            *with_examples("left out", [f"{name}: {why}" for name, why in self.left_out.items()]),
            *with_examples("identities without a photo", self.missing_identities),
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
    in the same order, a photo's faces numbered from 1 among those. ``out/embed.json``, written last, names the photos
    without a face; ``out/settings.json`` says how the folder was begun. Embeddings are of faces in a fixed order and
    batches of a fixed size, so they do not depend on ``workers`` or on how often the work was resumed.

    Args:
        photos: where to read.
        out: a folder that is not there or empty.
        encoder: the model.
        finder: of faces; :class:`FaceFinder` as it is by itself where none is given.
        faces: which of a photo's faces.
        flip: add the embedding of the mirror image.
        workers: processes that look for faces.
        only: the identities to take: the first parts of the photos' names.
        resume: keep what an earlier run with the same settings has made; all of it where that was finished.

    Raises:
        InputError: ``out`` holds something, or was begun with other settings; no photo, or no face in any; a model that
            takes other images.
    """
    out, finder = Path(out), finder or FaceFinder()
    files.check_writable(out)
    settings = settings_of(photos, finder, only) | {
        "faces": faces,
        "flip": flip,
        "model": encoder.card.name,
        "weights": model_bytes(encoder).hex(),
        "preprocessing": asdict(encoder.card.preprocessing),
    }
    with begun(out, settings, resume, "holds something already; resume, or give a new folder"):
        if not all((out / name).exists() for name in (EMBEDDINGS, FACES, SUMMARY)):
            listed = detected(photos, out / _DETECTED, finder, workers=workers, only=only, resume=resume)
            chosen = _chosen(photos, listed, faces)
            _embed(photos, out, encoder, listed, chosen, flip)
            damaged = {name: why for name in photos.names if (why := listed.damaged.get(canonical(name))) is not None}
            done = Embedded(
                photos=len(listed),
                faces=len(chosen),
                model=encoder.card.name,
                detector=finder.name,
                flip=flip,
                without_face=[name for name in listed if not listed.count(name)],
                damaged=damaged,
                left_out=photos.of(only)[1],
                missing_identities=photos.missing(only),
            )
            files.write_json(out / SUMMARY, asdict(done))
        # From here on the folder is whole, and the rest goes in any order.
        (out / _DETECTED).unlink(missing_ok=True)
        shutil.rmtree(out / _CACHE, ignore_errors=True)
        return records.read(out / SUMMARY, Embedded, "embed the photos again, into a new folder", _MOST)


class _Chosen(NamedTuple):
    """A face that is embedded."""

    name: str  # of its photo
    place: int  # among all faces of the photo
    number: int  # among those that are embedded, from 1


def _chosen(photos: Photos, listed: ListedFaces, choice: Choice) -> list[_Chosen]:
    chosen: list[_Chosen] = []
    for name in (name for name in photos.names if name in listed):
        several = choice == "central" and listed.count(name) > 1
        height, width = decode(photos.read(name), printable(name)).shape[:2] if several else (0, 0)
        places = choose(listed[name], choice, width, height)
        chosen += [_Chosen(name, place, number) for number, place in enumerate(places, start=1)]
    if not chosen:
        raise InputError(f"{printable(photos.path)}: no face was found in {len(listed):,} photos")
    return chosen


def _embed(
    photos: Photos, out: Path, encoder: FaceEncoder, listed: ListedFaces, chosen: Sequence[_Chosen], flip: bool
) -> None:
    """Write the embeddings of the chosen faces, and their list."""
    size = encoder.card.preprocessing.size

    @lru_cache(maxsize=_PHOTOS_HELD)
    def photo(name: str) -> NDArray[np.uint8]:
        return decode(photos.read(name), printable(name))

    def face(row: int) -> Face:
        return listed[chosen[row].name][chosen[row].place]

    def aligned(row: int) -> NDArray[np.uint8]:
        return align(photo(chosen[row].name), face(row).points, size)

    names = [f"{name} (face {place + 1})" for name, place, _ in chosen]
    points = hashlib.sha256()
    for row in range(len(chosen)):
        points.update(face(row).points.tobytes())
    what = [os.fsencode(os.path.realpath(photos.path)), points.digest()]
    features = embed_to(out / _CACHE, encoder, names, aligned, what, flip=flip, title="embedding")
    if features.damaged:
        name, why = next(iter(features.damaged.items()))
        raise DamagedImage(f"{why or name}; it could be read when faces were looked for: see what changed, and resume")
    with files.replacing(out / EMBEDDINGS) as temporary:
        _write_normalised(temporary, features.rows)
    with files.replacing(out / FACES) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(DETECTED_COLUMNS)
        table.writerows(row_of(one.name, face(row), one.number) for row, one in enumerate(chosen))


def _write_normalised(path: Path, rows: NDArray[np.float32]) -> None:
    """Embeddings [N, D], brought to length 1, as a `.npy`; block by block, for they may be larger than the memory."""
    with path.open("wb") as file:
        write_header(file, np.float32, (len(rows), rows.shape[1]))
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            lengths = np.linalg.norm(block, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
            file.write(np.divide(block, lengths, dtype="<f4").tobytes())
