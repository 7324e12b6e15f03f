"""Failure to enrol: images in which no face was found, or that cannot be read, and how their comparisons count.

No detector finds every face. `--undetected` says what becomes of a comparison with an image that has none:

    reject    it is a non-match at every threshold, as NIST's FRTE counts it
    skip      it is left out
    centre    it is made with the central square of the image in place of the face, as public packs have it
"""

from dataclasses import dataclass
from typing import Literal, get_args

Undetected = Literal["reject", "skip", "centre"]
UNDETECTED: tuple[Undetected, ...] = get_args(Undetected)


@dataclass(frozen=True)
class Enrolment:
    """How many images of a benchmark could not be enrolled, and how they were counted."""

    undetected: Undetected  # the rule
    images: int  # of the benchmark's lists
    without_face: int  # no face was found; with "centre" their central squares were embedded
    damaged: int  # missing or unreadable; with "centre" they count as with "reject", since they have no centre
    rate: float  # failures to enrol: without_face and damaged, over images
    trials: int  # comparisons or searches that count as non-matches, or that were left out ("skip"), for these images

    @staticmethod
    def counted(undetected: Undetected, *, images: int, without_face: int, damaged: int, trials: int) -> "Enrolment":
        """The counts with their rate, 0 without images."""
        rate = (without_face + damaged) / images if images else 0.0
        return Enrolment(undetected, images, without_face, damaged, rate, trials)

    @property
    def failures(self) -> int:
        """Images that could not be enrolled."""
        return self.without_face + self.damaged

    def sentence(self, outcome: str, images: str = "photos", trials: str = "pairs", templates_lost: str = "") -> str:
        """What happened, for the terminal and the report; "" where all images were enrolled.

        Args:
            outcome: what became of the trials with "reject", e.g. "count as non-matches at every threshold".
            images: what the images are called.
            trials: what the comparisons or searches are called.
            templates_lost: how many templates have no image left, in words; "" where images make up no templates.
        """
        if not self.failures:
            return ""
        found = [
            *([f"no face was found in {self.without_face:,}"] if self.without_face else []),
            *([f"{self.damaged:,} {'is' if self.damaged == 1 else 'are'} missing or damaged"] if self.damaged else []),
        ]
        counted = f"{self.trials:,} {trials if self.trials != 1 else trials.removesuffix('s')}"
        lost = f"{counted} with them {'are left out' if self.undetected == 'skip' else outcome}"
        centres = "the central squares of those without a face are taken for faces"
        become = [centres] if self.undetected == "centre" and self.without_face else []
        if self.undetected != "centre" or self.damaged:
            become += [templates_lost] if templates_lost else []
            become += [lost] if self.trials or not templates_lost else []
        return (
            f"failure to enrol {100 * self.rate:.2f} %: of {self.images:,} {images} {' and '.join(found)}; "
            f"{', and '.join(become)} (--undetected {self.undetected})"
        )
