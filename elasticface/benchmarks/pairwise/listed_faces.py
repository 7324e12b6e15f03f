"""The faces of the photos that a list of pairs names: their five points, and in which photos none was found."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data.images.listed import without_suffix
from elasticface.data.images.photos import Photos, canonical, flaw
from elasticface.faces import aligned
from elasticface.faces.landmarks import read_faces

LANDMARKS_FILE = "landmarks5.csv"


@dataclass(frozen=True)
class LeftOut:
    """The photos that `elasticface align` could not align, by their names: they are listed, and not there."""

    without_face: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.without_face + self.damaged


def left_out_of(folder: Path, photos: Photos) -> LeftOut:
    """What the `align.json` in ``folder`` says; nothing where there is none.

    Raises:
        InputError: one that is damaged.
    """
    told = aligned.read(folder)
    if told is None:
        return LeftOut()
    there = {without_suffix(name) for name in photos.names}

    def gone(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(name for name in names if not flaw(name) and without_suffix(name) not in there))

    return LeftOut(gone(told.without_face + told.without_landmarks), gone(told.skipped_photos))


def find_landmarks(
    folder: Path, given: str | Path | None, listed: Collection[str], source: str, left_out: LeftOut
) -> tuple[dict[str, NDArray[np.float64]] | None, frozenset[str]]:
    """Five points of the listed photos, from ``given`` or `landmarks5.csv` in ``folder``; and in which no face is.

    A file with the columns of `elasticface detect` has a row of its own kind for a photo without a face, and for one
    that could not be read: that one has neither points nor is it without a face, and counts as damaged. A file with the
    points alone cannot say it: a photo that it has no row for has no face, as long as it has rows for most.

    Args:
        folder: where the benchmark lies.
        given: the file, where it is another one.
        listed: the names of the photos in a list of pairs.
        source: the list's name, for messages.
        left_out: photos that are not there, as ``left_out_of`` gives them.

    Returns:
        Points by name, None where there is no file and the photos are aligned; and the listed photos without a face.

    Raises:
        InputError: a file that is wrong, or one without a photo that ``source`` names where it should have one.
    """
    listed = sorted(listed)
    path = Path(given) if given else folder / LANDMARKS_FILE
    if not given and not path.exists():
        return None, frozenset(left_out.without_face).intersection(listed)
    rows = read_faces(path)
    damaged = frozenset(name for name in listed if canonical(name) in rows.damaged)
    found = {name: rows.get(name) for name in listed if name not in damaged}
    missing = [name for name, faces in found.items() if faces is None]
    points = {name: faces[0].points for name, faces in found.items() if faces}
    if missing:
        first = f"{printable(path)}: no row for {printable(missing[0], 200)}, which {printable(source)} lists"
        if rows.from_detector:
            again = "let it finish (--resume), or run it again where photos were added"
            raise InputError(f"{first}; `elasticface detect` lists every photo: {again}")
        if 2 * len(missing) > len(listed):
            raise InputError(f"{first}, nor for {len(missing) - 1:,} others of {len(listed):,}; give the photos' own")
    return points, frozenset(name for name in found if name not in points)
