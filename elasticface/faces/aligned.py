"""What became of every photo that was to be aligned: `align.json` in the folder of aligned faces."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from elasticface.base import files, records
from elasticface.faces.examples import with_examples

FILE = "align.json"

_MOST = 1 << 28  # bytes of it
_ADVICE = "align the photos again"
_FURTHER_FACE = re.compile(r".* \(face \d+\)", re.DOTALL)


@dataclass(frozen=True)
class Summary:
    """What became of every photo and every row of landmarks."""

    size: int
    format: str
    aligned: int = 0  # made in this run
    kept: int = 0  # found there, from an earlier run
    skipped: dict[str, str] = field(default_factory=dict)  # name -> why it could not be aligned
    without_landmarks: list[str] = field(default_factory=list)  # photos that are not listed
    without_face: list[str] = field(default_factory=list)  # photos in which none was found
    without_photo: list[str] = field(default_factory=list)  # rows of landmarks
    missing_identities: list[str] = field(default_factory=list)  # asked for by `only`, and no photo of them is there
    detector: Annotated[str, Meta(min_length=1, max_length=500)] | None = None  # what found the faces on the way

    @property
    def skipped_photos(self) -> list[str]:
        """The photos that were skipped: not those of which only a further face was."""
        return [name for name in self.skipped if not _FURTHER_FACE.fullmatch(name)]

    def lines(self) -> list[str]:
        """For the terminal: what was done, and of every kind of gap how many there are and the first few."""
        lines = [f"faces aligned to {self.size}x{self.size} {self.format}: {self.aligned:,}"]
        if self.kept:
            lines.append(f"faces aligned before and kept: {self.kept:,}")
        lines += with_examples("photos skipped", [f"{name}: {why}" for name, why in self.skipped.items()])
        lines += with_examples("photos without a face", self.without_face)
        lines += with_examples("photos without landmarks", self.without_landmarks)
        lines += with_examples("landmarks without a photo", self.without_photo)
        lines += with_examples("identities without a photo", self.missing_identities)
        return lines


def label_of(name: str, number: int) -> str:
    """What a face is called in ``Summary.skipped``: as its photo, and with its number, counted from 0, if it is not
    the first.
    """
    return f"{name} (face {number + 1})" if number else name


def write(folder: Path, summary: Summary) -> None:
    """Keep the summary in the folder of aligned faces."""
    files.write_json(folder / FILE, asdict(summary))


def read(folder: Path) -> Summary | None:
    """The summary of a folder of aligned faces; None where it has none.

    Raises:
        InputError: one that is damaged.
    """
    path = folder / FILE
    return records.read(path, Summary, _ADVICE, _MOST) if path.is_file() else None
