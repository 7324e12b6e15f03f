"""Whom the class centres of a run that is done are of, and the centres: RUN/classes/.

    identities.json                      as in a checkpoint: names, and images of each
    centres-00000-of-00001.safetensors   {"centres": [c, D]}, the rows of each process; those of all together are [C, D]

What is passed on of a run is RUN/model/, which has no one's name and no one's centre: this stays with the run.
"""

import re
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from elasticface.base import files
from elasticface.base.errors import InputError, first_line
from elasticface.base.files import printable
from elasticface.distributed.agreement import process_count, rank, run_in_all, run_in_first
from elasticface.model.storing import writing_tensors
from elasticface.training import checkpoint
from elasticface.training.identities import IDENTITIES, Identities

_NAME = re.compile(r"centres-\d{5,}-of-\d{5,}\.safetensors")


def write(folder: Path, identities: Identities, own: Tensor) -> None:
    """Write ``folder``, whole or not at all. Collective: each process writes its own rows.

    Args:
        folder: on a disk that all processes share.
        identities: whom the centres are of.
        own: [c, D], this process's.

    Raises:
        OSError: it cannot be written, by any one process.
    """
    name = f"centres-{rank():05d}-of-{process_count():05d}.safetensors"
    with checkpoint.replacing(folder) as temporary:
        run_in_first(temporary.mkdir)
        run_in_all(lambda: _save(own, temporary / name))
        run_in_first(lambda: files.write_json(temporary / IDENTITIES, asdict(identities)))


def _save(own: Tensor, path: Path) -> None:
    with writing_tensors(path):
        save_file({"centres": own.cpu().contiguous()}, path)


def read(folder: Path) -> tuple[Identities, Tensor]:
    """The C identities and the centres [C, D] that :func:`write` wrote, on any number of processes.

    Raises:
        InputError: something is missing or damaged.
    """
    identities = Identities.of_checkpoint(folder)
    parts = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    try:
        centres = torch.cat([load_file(path)["centres"] for path in parts])
    except (SafetensorError, OSError, LookupError, RuntimeError, ValueError) as error:
        raise InputError(f"{printable(folder)}: damaged: {printable(first_line(error), 120)}; remove it") from error
    if len(centres) != len(identities.names):
        raise InputError(f"{printable(folder)}: {len(centres):,} centres of {len(identities.names):,} names; remove it")
    return identities, centres
