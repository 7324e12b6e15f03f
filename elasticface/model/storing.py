"""Where a calibration lies: in the card of a model folder, or in a file beside a model that is one file.

And what goes wrong when tensors are written.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from elasticface.base import files, records
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.model.calibration import Calibration
from elasticface.model.shipped import is_shipped

CALIBRATION_FORMAT = 1
CARD, WEIGHTS = "model.json", "model.safetensors"
"""What a model folder consists of."""

_ADVICE = "remove the file, and calibrate again"


def calibration_beside(path: Path) -> Calibration | None:
    """The calibration in the file beside a model that is one file; None where there is none.

    It goes over what is in the model itself: it is the later one.

    Raises:
        InputError: that file is damaged.
    """
    beside = beside_model(path)
    if beside is None or not beside.is_file():
        return None
    content = records.read_object(beside, _ADVICE)
    if content.pop("format", None) != CALIBRATION_FORMAT:
        raise InputError(
            f"{printable(beside)}: not a calibration of format {CALIBRATION_FORMAT}, the one this version reads"
        )
    return records.convert(content, Calibration, printable(beside), _ADVICE)


def store_calibration(path: str | Path, calibration: Calibration) -> Path:
    """Keep a calibration with the model at ``path``, in place of an earlier one. Returns the file it is in.

    Args:
        path: a model folder, a run folder that holds one, or the file of a model.
        calibration: of that model.

    Raises:
        InputError: the card of a model folder is damaged, or the model is the one that comes with the package.
    """
    place = place_of(path)
    if place.name == CARD:
        files.write_json(place, records.read_object(place) | {"calibration": asdict(calibration)})
    else:
        files.write_json(place, {"format": CALIBRATION_FORMAT, **asdict(calibration)})
    return place


def place_of(path: str | Path) -> Path:
    """The file that a calibration of the model at ``path`` is kept in.

    Raises:
        InputError: it is the model that comes with the package, which stays as it came.
    """
    if is_shipped(path):
        raise InputError(
            f"{path}: the model that comes with the package keeps its own calibration; "
            f"calibrate a file of it: elasticface export {path} mine.onnx"
        )
    path = Path(path)
    beside = beside_model(path)
    return beside or (path / "model" if (path / "model" / CARD).exists() else path) / CARD


def beside_model(path: Path) -> Path | None:
    """The file beside a model that is one file, `net.onnx.calibration.json`; None for a folder, whose card holds it.

    The suffix stays: `net.onnx` and `net.pth` are two models.
    """
    return None if path.is_dir() else path.with_name(f"{path.name}.calibration.json")


@contextlib.contextmanager
def writing_tensors(file: Path, told: Path | None = None) -> Iterator[None]:
    """The body writes ``file`` by safetensors.

    That says in words alone what the system said, which is raised as an OSError of ``told`` (``file`` itself unless
    given); and from version 0.8 on it makes files that nobody else can read: here who may enter the folder may.
    """
    from safetensors import SafetensorError

    try:
        yield
        file.chmod(file.parent.stat().st_mode & 0o666)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(told or file)) from error
