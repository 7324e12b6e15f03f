"""What found the faces that a model is calibrated on, by the name that verification knows it by."""

from collections.abc import Sequence
from pathlib import Path

from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.faces import aligned
from elasticface.faces.finder import FaceFinder
from elasticface.faces.installed import INSTALLED, open_detector
from elasticface.model.calibration import LONGEST_TEXT, UNKNOWN_DETECTOR


def named_detector(given: str) -> str:
    """The name of a detector as :attr:`elasticface.faces.finder.FaceFinder.name` has it.

    Args:
        given: what :func:`elasticface.faces.installed.open_detector` takes, whose own names those are not; or any other
            name. Settings may follow, as in "yunet, smallest 60".

    Raises:
        InputError: an `.onnx` that is not there or no detector, a package that is not installed, an empty or a long
            name.
    """
    if not given.strip() or len(given) > LONGEST_TEXT:
        raise InputError(f"--detector must be a name of at most {LONGEST_TEXT} characters, such as yunet")
    name, comma, settings = given.partition(",")
    if name in ("yunet", *INSTALLED) or name.lower().endswith(".onnx"):
        name = FaceFinder(open_detector(name)).name
    return f"{name}{comma}{settings}"


def detector_of(benchmarks: Sequence[Path]) -> str:
    """What `align` has written of the faces in some folders: the name of the detector, or UNKNOWN_DETECTOR.

    Raises:
        InputError: several detectors, or a damaged `align.json`.
    """
    summaries = [aligned.read(path) for path in benchmarks]
    told = {(summary and summary.detector) or UNKNOWN_DETECTOR for summary in summaries}
    if len(told) > 1:
        names = ", ".join(printable(name, 100) for name in sorted(told))
        raise InputError(f"faces of different detectors ({names}) make no common threshold; calibrate on one alone")
    return told.pop()
