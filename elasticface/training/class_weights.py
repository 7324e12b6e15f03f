"""What each identity's images weigh in the mean loss: by how many there are, or as a file says."""

import csv
import math
import unicodedata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticface.base import files, progress
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.data import Source
from elasticface.training.config import TrainConfig

BALANCED, EFFECTIVE = "balanced", "effective:"

_HEADER = ["name", "weight"]
_LARGEST = 1e6
"""Of two weights in a file; beyond it the smaller has no effect in float32."""


def class_weights(config: TrainConfig, source: Source) -> Tensor | None:
    """float64 [C] as `class_weights` says, 1 in the mean over all images; ``None`` without.

    The mean loss is Σ w·L / Σ w over a batch, so their size means nothing. With n images of an identity they are

        balanced       1 / n: all identities together count as much
        effective:B    (1 − B) / (1 − B^n), n ↦ 1 / n for B → 1 and equal weights for B → 0 (Cui et al., CVPR 2019)
        a CSV          `name,weight` rows; identities that are not in it weigh 1, and a line says how many these are

    Raises:
        InputError: a B out of (0, 1), or a file that cannot be read, with a row that is not of this kind, a weight that
            is not above 0, or a name that is twice in it or not in the set.
    """
    how = config.class_weights
    if how is None:
        return None
    counts = np.bincount(source.labels, minlength=source.num_classes)
    # Classes without images are never asked for.
    if how == BALANCED:
        weights = 1 / np.maximum(counts, 1)
    elif how.startswith(EFFECTIVE):
        weights = _effective(how, np.maximum(counts, 1))
    else:
        weights = _of_file(Path(how), source)
    return torch.from_numpy(weights * (counts.sum() / (weights @ counts)))


def file_of_weights(config: TrainConfig) -> bytes | None:
    """The content of the file that `class_weights` names; ``None`` where it names none.

    Raises:
        InputError: the file cannot be read.
    """
    how = config.class_weights
    if how is None or how == BALANCED or how.startswith(EFFECTIVE):
        return None
    return files.read_bytes(Path(how))


def _effective(how: str, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    try:
        beta = float(how.removeprefix(EFFECTIVE))
    except ValueError:
        beta = math.nan
    if not 0 < beta < 1:
        raise InputError(f"class_weights {printable(how, 60)}: B must be above 0 and below 1, as in {EFFECTIVE}0.999")
    # −expm1(n·log B) is 1 − B^n without its cancellation.
    weights: NDArray[np.float64] = (1 - beta) / -np.expm1(counts * math.log(beta))
    return weights


def _of_file(path: Path, source: Source) -> NDArray[np.float64]:
    labels = {unicodedata.normalize("NFC", str(name)): label for label, name in enumerate(source.class_names)}
    weights = np.zeros(source.num_classes)
    advice = f"class_weights is {BALANCED}, {EFFECTIVE}B or a CSV of {','.join(_HEADER)}"
    try:
        with files.reading(path, advice), files.opened_text(path) as file:
            for number, cells in enumerate(csv.reader(file), 1):
                if cells and (number > 1 or cells != _HEADER):
                    label, weight = _row(cells, labels, f"{printable(path)}, row {number}")
                    if weights[label]:
                        raise InputError(f"{printable(path)}, row {number}: {printable(cells[0], 60)} is listed twice")
                    weights[label] = weight
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{printable(path)}: no CSV in UTF-8; {advice}") from error
    listed = weights > 0
    if not listed.all():
        missing = int((~listed).sum())
        progress.say(f"{printable(path)}: does not list {missing:,} of {len(weights):,} identities; these weigh 1")
    weights[~listed] = 1
    if weights.max() > _LARGEST * weights.min():
        raise InputError(
            f"{printable(path)}: weights from {weights.min():g} to {weights.max():g}; a factor of more than "
            f"{_LARGEST:g} between two is refused"
        )
    return weights


def _row(cells: list[str], labels: dict[str, int], where: str) -> tuple[int, float]:
    """Label and weight."""
    if len(cells) != len(_HEADER):
        raise InputError(f"{where}: {len(cells)} column{'s' * (len(cells) > 1)} where {','.join(_HEADER)} are needed")
    label = labels.get(unicodedata.normalize("NFC", cells[0]))
    if label is None:
        raise InputError(f"{where}: there is no identity {printable(cells[0], 60)!r} in the data")
    try:
        weight = float(cells[1])
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise InputError(f"{where}: weight is {printable(cells[1].strip(), 60)!r}; it must be a number above 0")
    return label, weight
