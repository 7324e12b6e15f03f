"""A picture of what was found in photos, for a person to look at: the doubtful ones first."""

import contextlib
import io
import itertools
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files, progress
from elasticface.base.files import printable
from elasticface.data.images.alignment import SIZE, align
from elasticface.data.images.decoding import DamagedImage, cv2, decode
from elasticface.data.images.photos import Photos
from elasticface.faces.choice import Choice, choose
from elasticface.faces.detector import Face
from elasticface.faces.plausible import implausible

MOST = 120
"""Pictures on a sheet."""

_COLUMNS = 12
_NAME = 18  # characters of a photo's name below its picture
_RED = (200, 30, 30)


@dataclass(frozen=True)
class _Tile:
    picture: NDArray[np.uint8]  # [112, 112, 3]
    label: str


def write_sheet(
    path: Path,
    photos: Photos,
    found: Mapping[str, Sequence[Face]],
    choice: Choice = "largest",
    only: Collection[str] | None = None,
) -> None:
    """Write a PNG: first photos without a face, then those whose landmarks are no face's, both whole in a red frame,
    then aligned faces, the lowest scores first.

    Args:
        path: the file.
        photos: where to read.
        found: a photo's name -> its faces, largest first.
        choice: which of a photo's faces are shown, and sorted by.
        only: the identities that are shown: the first parts of the photos' names.
    """
    shown = [_shown(photos, name, found[name], choice) for name in photos.of(only)[0] if name in found]
    shown.sort(key=lambda photo: (bool(photo.places), photo.score))
    tiles = list(itertools.islice(_tiles(photos, found, shown), MOST))
    without = sum(not photo.places for photo in shown)
    skipped = sum(not photo.has_face for photo in shown) - without
    no_face = f"{without:,} without" + (f", {skipped:,} skipped for their landmarks" if skipped else "")
    title = f"{len(shown) - without - skipped:,} photos with a face, {no_face} (red). Shown: {len(tiles):,}"
    with progress.status(f"drawing {printable(path)}"):
        files.write_bytes(path, _drawn(tiles, f"{title}, lowest scores first"))


class _Shown(NamedTuple):
    """Which of a photo's faces are shown."""

    name: str
    places: list[int]
    has_face: bool  # one of them can be a face
    score: float  # the least of them; 0 where one cannot be a face


def _shown(photos: Photos, name: str, faces: Sequence[Face], choice: Choice) -> _Shown:
    height = width = 0
    if choice == "central" and len(faces) > 1:
        with contextlib.suppress(DamagedImage):  # damaged since: it is passed over below
            height, width = decode(photos.read(name), printable(name)).shape[:2]
    places = choose(faces, choice, width, height)
    are_faces = [implausible(faces[place].points, sys.maxsize, sys.maxsize) is None for place in places]
    least = min((faces[place].score for place in places), default=0.0)
    return _Shown(name, places, any(are_faces), least if all(are_faces) else 0.0)


def _tiles(photos: Photos, found: Mapping[str, Sequence[Face]], shown: Sequence[_Shown]) -> Iterator[_Tile]:
    for name, places, *_ in shown:
        try:
            photo = decode(photos.read(name), printable(name))
        except DamagedImage:
            continue
        short = printable(Path(name).name)
        short = short if len(short) <= _NAME else f"…{short[-_NAME:]}"
        height, width = photo.shape[:2]
        if not places:
            yield _Tile(_framed(photo), short)
        for face in (found[name][place] for place in places):
            if implausible(face.points, width, height) is None:
                yield _Tile(align(photo, face.points), f"{short}\n{face.score:.2f}")
            else:
                yield _Tile(_framed(photo), f"{short}\nskipped")


def _framed(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole photo, small, in a red frame."""
    scale = (SIZE - 8) / max(photo.shape[:2])
    size = max(round(photo.shape[1] * scale), 1), max(round(photo.shape[0] * scale), 1)
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    tile = np.empty((SIZE, SIZE, 3), np.uint8)
    tile[:] = _RED
    top, left = (SIZE - small.shape[0]) // 2, (SIZE - small.shape[1]) // 2
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    return tile


def _drawn(tiles: Sequence[_Tile], title: str) -> bytes:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(len(tiles), 4))
    rows = max(-(-len(tiles) // columns), 1)
    figure = Figure(figsize=(columns * 1.2, rows * 1.5 + 0.5), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, tile in itertools.zip_longest(grid.ravel(), tiles):
        axes.set_axis_off()
        if tile is not None:
            axes.imshow(tile.picture)
            place = {"transform": axes.transAxes, "ha": "center", "va": "top"}
            axes.text(0.5, -0.04, tile.label, fontsize=6, parse_math=False, **place)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
