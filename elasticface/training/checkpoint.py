"""Training state on disk: whole or absent, checksummed, the newest good one found by itself.

A checkpoint is a folder `step-000001234` that `torch.distributed.checkpoint` writes, with the SHA-256 of each of its
files in `checksums.json`; :mod:`.checkpoint_folder` says what lies where. It is one's own file, not one to take from
strangers: its metadata is a pickle. What one shares is the model folder.

Where ``torch.distributed`` has a group of several processes, :func:`save` and :func:`load_newest` are collective: all
processes call them. Each writes and reads its own rows of a ``DTensor``; what all of them hold alike is written once,
by the first. A checkpoint doesn't know how many processes wrote it, and loads on any number, with the same bits.
Of what differs from process to process without being a DTensor the first one's is saved: that is the running statistics
of batch norms that are not synchronised, of which `DistributedDataParallel` uses the first one's too.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.tensor import DTensor
from torch.futures import Future

from elasticface.base import files
from elasticface.base.errors import InputError, Stopped
from elasticface.distributed.agreement import from_all, from_first, in_all, processes, rank
from elasticface.training import checkpoint_folder
from elasticface.training.checkpoint_folder import Validation

__all__ = ["Validation", "load_newest", "save"]

_MODEL, _OPTIMIZER, _PROGRESS = "model.", "optimizer.state.", "progress."


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Tensor],
    keep: int,
    validation: Validation | None = None,
) -> Path:
    """One more checkpoint in ``folder``; all but the newest ``keep`` and the best one are removed.

    Args:
        folder: of all checkpoints of a run, on a disk that all processes share.
        model: everything that has parameters or buffers; extra state must be tensors.
        optimizer: of the model's parameters. What it holds for each of them is saved (momentum), and must be tensors;
            a DTensor for a parameter that is one. The settings of its groups are the run's, and not saved.
        progress: where the run is, tensors by name; ``"step"`` names the checkpoint.
        keep: how many stay, ≥ 1.
        validation: the figure of the model as it is. The checkpoint with the best one stays, however old, and is named
            in `best.json`; of equal ones the earliest. Only figures of the benchmark that was used last count.

    Returns:
        The checkpoint's path; it is there, in all processes.

    Raises:
        Stopped: it could not be written, by any one process: the disk is full, say. Nothing is left of it then, and
            what there was is as it was. All processes raise.
    """
    path = checkpoint_folder.path_of(folder, int(progress["step"]))
    state = _named(_MODEL, model.state_dict()) | _named(_PROGRESS, progress)
    state |= _flat(_names(model, optimizer), optimizer.state)
    try:
        with _replacing(path) as temporary:
            with _one_process():
                save_state(
                    state,
                    storage_writer=_Writer(temporary),
                    planner=DefaultSavePlanner(dedup_save_to_lowest_rank=True),
                    no_dist=processes() == 1,
                )
            # Each process reads what it wrote itself, while it is still in its memory.
            own = from_all(lambda: {p.name: checkpoint_folder.sha256(p) for p in temporary.glob(f"__{rank()}_*")})
            checksums = {name: checksum for part in own for name, checksum in part.items()}
            from_first(lambda: checkpoint_folder.describe(temporary, checksums, validation))
        from_first(lambda: checkpoint_folder.prune(folder, path, keep))
    except (OSError, CheckpointException) as error:
        raise _stopped(error, path) from error
    return path


def load_newest(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Tensor],
    warn: Callable[[str], None],
) -> Path | None:
    """The newest checkpoint that is whole, loaded in place into what is given; ``None`` where there is none.

    A damaged one is named through ``warn``, which the first process alone calls, and the one before it taken. What the
    optimizer held before is gone; where the checkpoint has nothing for a parameter, it begins anew.

    Raises:
        InputError: a whole checkpoint of another architecture or number of classes.
    """
    path = from_first(lambda: checkpoint_folder.newest_whole(folder, warn))
    if path is None:
        return None
    model_state = model.state_dict()
    state = _named(_MODEL, model_state) | _named(_PROGRESS, progress)

    def room_for_optimizer_state() -> dict[Tensor, dict[str, Tensor]]:
        stored = FileSystemReader(path).read_metadata().state_dict_metadata
        _check_shapes(path, state, stored)
        return _room_for_optimizer_state(_names(model, optimizer), stored)

    optimizer_state = in_all(room_for_optimizer_state)
    with _one_process():
        everything = state | _flat(_names(model, optimizer), optimizer_state)
        load_state(everything, checkpoint_id=path, no_dist=processes() == 1)
    model.load_state_dict(model_state)  # parameters and buffers were loaded in place, extra state was not
    optimizer.state.clear()
    optimizer.state.update(optimizer_state)
    return path


def _named(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in tensors.items()}


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[Tensor, str]:
    """The optimizer's parameters by their names in the model's state dict, which wrappers do not change."""
    names = {value: name for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, nn.Parameter)}
    return {parameter: names[parameter] for group in optimizer.param_groups for parameter in group["params"]}


def _flat(names: dict[Tensor, str], state: Mapping[Tensor, dict[str, Any]]) -> dict[str, Tensor]:
    """What an optimizer holds for its parameters: {"optimizer.state.<parameter>.<momentum_buffer, say>": tensor}."""
    flat = {}
    for parameter, name in names.items():
        for key, value in state.get(parameter, {}).items():
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise TypeError(f"the optimizer's {key} of {name} is no tensor: {type(value).__name__}")
            if isinstance(parameter, DTensor) and value.ndim and not isinstance(value, DTensor):
                raise TypeError(f"the optimizer's {key} of {name} is no DTensor, though the parameter is one")
            flat[f"{_OPTIMIZER}{name}.{key}"] = value
    return flat


def _room_for_optimizer_state(names: dict[Tensor, str], stored: Mapping[str, Any]) -> dict[Tensor, dict[str, Tensor]]:
    """Tensors of the shapes that a checkpoint has for an optimizer's state."""
    parameters = {name: parameter for parameter, name in names.items()}
    room: dict[Tensor, dict[str, Tensor]] = {}
    for full_name, there in stored.items():
        name, _, key = full_name.removeprefix(_OPTIMIZER).rpartition(".")
        if not full_name.startswith(_OPTIMIZER) or name not in parameters:
            continue
        parameter, dtype = parameters[name], there.properties.dtype
        like = there.size == parameter.shape
        device = parameter.device if len(there.size) else torch.device("cpu")  # counters of steps stay on the CPU
        room.setdefault(parameter, {})[key] = (
            torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
            if like
            else torch.zeros(there.size, dtype=dtype, device=device)
        )
    return room


def _check_shapes(path: Path, state: dict[str, Tensor], stored: Mapping[str, Any]) -> None:
    expected = {name: list(value.shape) for name, value in state.items()}
    shapes = {name: list(there.size) for name, there in stored.items() if isinstance(there, TensorStorageMetadata)}
    for name in [*expected, *(name for name in shapes if name.startswith(_MODEL))]:
        found, needed = shapes.get(name, "not in it"), expected.get(name, "nothing")
        if found != needed:
            raise InputError(
                f"{path}: a checkpoint of another model: {name.removeprefix(_MODEL)} is {found}, {needed} is needed; "
                "resume with the data and settings that the run was started with, or train into another folder"
            )


class _Writer(FileSystemWriter):
    """Says why a file could not be written, where `torch.save` only says that it was cut short."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, OSError):
                raise cause from error
            raise


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """:func:`files.replacing` over all processes: the first names the temporary, syncs and renames it."""
    with contextlib.ExitStack() as stack:
        yield from_first(lambda: stack.enter_context(files.replacing(path)))
        from_first(stack.close)


def _stopped(error: OSError | CheckpointException, path: Path) -> BaseException:
    """One line for the user where a file could not be written; any other error is ours, and is as it was."""
    cause: BaseException = error
    if isinstance(error, CheckpointException):
        failures = [failure for _, (failure, _) in sorted(error.failures.items())]
        cause = next((failure for failure in failures if isinstance(failure, OSError)), failures[0])
    if isinstance(cause, KeyboardInterrupt):
        return cause
    if not isinstance(cause, OSError):
        return error
    others = from_first(lambda: [old for old in checkpoint_folder.newest_first(path.parent) if old != path])
    way_on = "there is none before it"
    if others:
        way_on = f"{others[0]} is as it was: once this is mended, go on from it with --resume"
    return Stopped(f"{path}: the checkpoint cannot be written: {cause.strerror or cause}; {way_on}")


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Without the warning that one process is meant: it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield
