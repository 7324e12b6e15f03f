"""Training state on disk: whole or absent, checksummed, the newest good one found by itself.

A checkpoint is a folder `step-000001234` that `torch.distributed.checkpoint` writes, with the SHA-256 of each of its
files in `checksums.json`. It is one's own file, not one to take from strangers: its metadata is a pickle. What one
shares is the model folder.
"""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state

from elasticface import files
from elasticface.errors import InputError

_CHECKSUMS = "checksums.json"


def save(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Tensor], keep: int
) -> Path:
    """One more checkpoint in ``folder``, and all but the newest ``keep`` removed.

    Args:
        folder: of all checkpoints of a run.
        model: everything that has parameters or buffers; extra state must be tensors.
        optimizer: of the model's parameters.
        progress: where the run is, tensors by name; ``"step"`` names the checkpoint.
        keep: how many stay, ≥ 1.

    Returns:
        The checkpoint's path.
    """
    step = int(progress["step"])
    path = folder / f"step-{step:09d}"
    with files.replacing(path) as temporary:
        with _one_process():
            save_state(_state(model, optimizer, progress), checkpoint_id=temporary, no_dist=True)
        files.write_json(temporary / _CHECKSUMS, {file.name: _sha256(file) for file in sorted(temporary.iterdir())})
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old)
    return path


def load_newest(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Tensor],
    warn: Callable[[str], None],
) -> Path | None:
    """The newest checkpoint that is whole, loaded in place into what is given; ``None`` where there is none.

    A damaged one is named through ``warn`` and the one before it taken.

    Raises:
        InputError: a whole checkpoint of another architecture or number of classes.
    """
    for path in _newest_first(folder):
        damage = _damage(path)
        if damage:
            warn(f"{path}: {damage}; going back to the checkpoint before it")
            continue
        state = _state(model, optimizer, progress)
        _check_shapes(path, state)
        with _one_process():
            load_state(state, checkpoint_id=path, no_dist=True)
        set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        return path
    return None


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Tensor]) -> dict[str, Any]:
    model_state, optimizer_state = get_state_dict(model, optimizer)
    return {"model": model_state, "optimizer": optimizer_state, "progress": progress}


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None."""
    try:
        checksums = json.loads((path / _CHECKSUMS).read_text("utf-8"))
        for name, expected in checksums.items():
            if _sha256(path / Path(name).name) != expected:
                return f"{name} doesn't have the checksum it was written with"
    except (OSError, ValueError, AttributeError) as error:
        return f"damaged: {error}"
    return None


def _check_shapes(path: Path, state: dict[str, Any]) -> None:
    stored = FileSystemReader(path).read_metadata().state_dict_metadata
    wanted = {f"model.{name}": value for name, value in state["model"].items() if isinstance(value, Tensor)}
    for name, value in wanted.items():
        there = stored.get(name)
        found = list(there.size) if isinstance(there, TensorStorageMetadata) else "not in it"
        if found != list(value.shape):
            raise InputError(
                f"{path}: a checkpoint of another model: {name} is {found}, {list(value.shape)} is needed; "
                "resume with the data and settings that the run was started with, or train into another folder"
            )


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Without the warning that one process is meant: it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
