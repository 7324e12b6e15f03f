"""What the folder of IJB-B or IJB-C holds: images with template and medium, the pairs to judge, galleries and probes.

The layout is that of the aligned releases that the field passes on:

    meta/ijbc_face_tid_mid.txt          name, template, medium of every image
    meta/ijbc_name_5pts_score.txt       name, five points, detector score, in the same order
    meta/ijbc_template_pair_label.txt   the pairs of templates of 1:1, 1 for genuine
    meta/ijbc_1N_gallery_G1.csv, _G2.csv, ijbc_1N_probe_mixed.csv        1:N, all three or none
    loose_crop/<name>, or loose_crop.tar

and the same with `ijbb_`, whose galleries are S1 and S2.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.benchmarks.reading import rows

KINDS = {"ijbb": "IJB-B", "ijbc": "IJB-C"}
_GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}
_IMAGES = "loose_crop"
_BLOCK = 1 << 20  # pairs whose ids are looked up at a time
_MOST_CSV_BYTES = 1 << 29  # twenty times the published files

Ids = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Templates:
    """Templates of one subject each, as rows of ``IjbFiles.template_ids``: a gallery, or the probes. [K] each."""

    name: str
    templates: NDArray[np.intp]
    subjects: Ids


@dataclass(frozen=True, eq=False)
class IjbFiles:
    """A folder of IJB-B or IJB-C, read and checked: N images, T templates, P pairs."""

    kind: str  # a key of KINDS
    root: Path
    names: list[str]  # [N] of the images
    templates: Ids  # [N] ids
    media: Ids  # [N] ids
    landmarks: NDArray[np.float64]  # [N, 5, 2] pixels
    detector_scores: NDArray[np.float64]  # [N]
    template_ids: Ids  # [T], ascending
    first: Ids  # [P] rows of template_ids
    second: Ids  # [P]
    same: NDArray[np.bool_]  # [P]
    galleries: tuple[Templates, ...]  # none where the folder has no 1:N files
    probes: Templates | None

    @property
    def images(self) -> Path:
        """Where the images are.

        Raises:
            InputError: they are not there.
        """
        for path in (self.root / _IMAGES, self.root / f"{_IMAGES}.tar"):
            if path.exists():
                return path
        raise InputError(
            f"{printable(self.root)}: no {_IMAGES} in it; put the images there, or give their features (.npy) as MODEL"
        )


def kind_of(path: str | Path) -> str | None:
    """Which of KINDS ``path`` is a folder of, or None."""
    found = [kind for kind in KINDS if (Path(path) / "meta" / f"{kind}_face_tid_mid.txt").is_file()]
    return found[0] if found else None


def read_ijb(path: str | Path) -> IjbFiles:
    """The folder at ``path``.

    Raises:
        InputError: a piece that is missing, or a row that is wrong or doesn't fit the others: which file, which row.
    """
    root = Path(path)
    kind = kind_of(root)
    if kind is None:
        raise InputError(f"{printable(root)}: no meta/ijbb_face_tid_mid.txt or meta/ijbc_face_tid_mid.txt in it")
    media_file, points_file, pairs_file = (
        root / "meta" / f"{kind}_{name}.txt" for name in ("face_tid_mid", "name_5pts_score", "template_pair_label")
    )
    search_files = [root / "meta" / f"{kind}_1N_gallery_{name}.csv" for name in _GALLERIES[kind]]
    search_files.append(root / "meta" / f"{kind}_1N_probe_mixed.csv")
    searches = any(file.exists() for file in search_files)
    wanted = [points_file, pairs_file, *(search_files if searches else [])]
    missing = [f"meta/{file.name}" for file in wanted if not file.exists()]
    if missing:
        raise InputError(f"{printable(root)}: {', '.join(missing)} missing; fetch the folder again")

    media = rows.read_media(media_file)
    points = rows.read_points(points_file)
    _check_same_images(media.names, points.names, media_file, points_file)
    template_ids = np.unique(media.templates)
    pairs = rows.read_pairs(pairs_file)
    for ids in (pairs.first, pairs.second):
        _to_rows(ids, template_ids, pairs_file, media_file)
    if pairs.same.all() or not pairs.same.any():
        which = "genuine" if pairs.same.all() else "impostor"
        raise InputError(f"{printable(pairs_file)}: only {which} pairs; both kinds are needed")
    read = [_read_templates(file, template_ids, media_file) for file in search_files] if searches else []
    for gallery, file in zip(read[:-1], search_files, strict=False):
        _check_gallery(gallery, template_ids, file)
    return IjbFiles(
        kind=kind,
        root=root,
        names=media.names,
        templates=media.templates,
        media=media.media,
        landmarks=points.landmarks,
        detector_scores=points.scores,
        template_ids=template_ids,
        first=pairs.first,
        second=pairs.second,
        same=pairs.same,
        galleries=tuple(read[:-1]),
        probes=read[-1] if read else None,
    )


def _check_same_images(media: list[str], points: list[str], media_file: Path, points_file: Path) -> None:
    """Published features have one row an image in this order, so both files must have it."""
    if media != points:
        row = next((i for i, (a, b) in enumerate(zip(media, points, strict=False)) if a != b), None)
        if row is None:
            what = f"{len(points)} rows where {media_file.name} has {len(media)}"
            raise InputError(f"{printable(points_file)}: {what}; both list the same images")
        raise InputError(
            f"{printable(points_file)}, row {row + 1}: {printable(points[row], 100)} where {media_file.name} has "
            f"{printable(media[row], 100)}; both list the same images in the same order"
        )


def _to_rows(ids: Ids, known: Ids, source: Path, media_file: Path) -> None:
    """Each id of ``ids`` [P] becomes, in place, its row in ``known`` [T]."""
    import pandas

    index = pandas.Index(known)
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        found = index.get_indexer(block)
        if len(wrong := np.flatnonzero(found < 0)):
            row = int(wrong[0])
            raise InputError(
                f"{printable(source)}, row {start + row + 1}: template {block[row]} has no image in {media_file.name}"
            )
        block[:] = found


def _read_templates(path: Path, known: Ids, media_file: Path) -> Templates:
    """The templates of a CSV with the columns TEMPLATE_ID and SUBJECT_ID, one row an image, in order of appearance."""
    label = printable(path)
    subjects: dict[int, int] = {}
    for row, template, subject in _csv_rows(path):
        where = f"{label}, row {row}"
        if template not in subjects:
            at = int(np.searchsorted(known, template))
            if at == len(known) or known[at] != template:
                raise InputError(f"{where}: template {template} has no image in {media_file.name}")
            subjects[template] = subject
        elif subjects[template] != subject:
            raise InputError(
                f"{where}: template {template} is of subject {subject}, and of {subjects[template]} before"
            )
    if not subjects:
        raise InputError(f"{label}: no templates after the first line; fetch it again")
    name = path.stem.rpartition("_")[2]
    return Templates(
        name, np.searchsorted(known, np.array([*subjects])), np.array([*subjects.values()], dtype=np.int32)
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, int, int]]:
    """Row of the file, template and subject, of each row that has not those of the one before it."""
    label = printable(path)
    try:
        if path.stat().st_size > _MOST_CSV_BYTES:
            raise InputError(f"{label}: more than {_MOST_CSV_BYTES:,} bytes; is it the file of the protocol?")
        with files.opened_text(path) as file:
            reader = csv.reader(file)
            header = [cell.strip().upper() for cell in next(reader, [])]
            columns = [header.index(name) for name in ("TEMPLATE_ID", "SUBJECT_ID") if name in header]
            if len(columns) < 2:
                raise InputError(f"{label}, row 1: no columns TEMPLATE_ID and SUBJECT_ID")
            last: list[str] = []
            for cells in reader:
                if len(cells) > 1 or (cells and cells[0].strip()):  # a blank line is passed over
                    words = [cells[column] if column < len(cells) else "" for column in columns]
                    if words == last:  # a template's images stand together
                        continue
                    last, values = words, [word.strip() for word in words]
                    if not all(value.isascii() and value.isdecimal() and int(value) < 2**31 for value in values):
                        given = printable(",".join(cells)[:100])
                        raise InputError(f"{label}, row {reader.line_num}: TEMPLATE_ID or SUBJECT_ID no id: {given}")
                    yield reader.line_num, int(values[0]), int(values[1])
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{label}: not UTF-8 text ({error.reason}); fetch it again") from error
    except (csv.Error, ValueError) as error:  # ValueError: an id of thousands of digits
        if isinstance(error, InputError):
            raise
        raise InputError(f"{label}: not CSV ({error}); fetch it again") from error


def _check_gallery(gallery: Templates, template_ids: Ids, path: Path) -> None:
    """A subject has one template in a gallery (Maze et al., 2018)."""
    subjects, counts = np.unique(gallery.subjects, return_counts=True)
    if counts.max() > 1:
        subject = subjects[counts > 1][0]
        twice = template_ids[gallery.templates[gallery.subjects == subject][:2]]
        raise InputError(
            f"{printable(path)}: subject {subject} has the templates {twice[0]} and {twice[1]}; a gallery has one"
        )
