"""A small model whose every value is known, and what each process of a group does with its checkpoints.

In a module of its own, since processes that are spawned import it.
"""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh

from elasticface import heads
from elasticface.base.errors import InputError, Stopped
from elasticface.distributed import agreement
from elasticface.training import checkpoint
from elasticface.training.config import TrainConfig
from elasticface.training.processes import World
from elasticface.training.state import TrainState

SIZE = 8
CONFIG = TrainConfig(loss="cosface", embedding_size=SIZE, device="cpu", lr=0.1)


def fresh(classes: int = 101, mesh: DeviceMesh | None = None) -> TrainState:
    """A state of zeros."""
    backbone = nn.Sequential(nn.Linear(SIZE, SIZE), nn.BatchNorm1d(SIZE))
    head = heads.CosFace(classes, SIZE, mesh=mesh, seed=7)
    for value in (*backbone.parameters(), *head.parameters()):
        nn.init.zeros_(value)
    world = World(torch.device("cpu"), mesh.get_rank(), mesh.size(), mesh) if mesh else World(torch.device("cpu"))
    return TrainState(CONFIG, world, backbone, head, per_epoch=10)


def value_of(name: str, shape: torch.Size) -> Tensor:
    """Other values for every name, none of them alike."""
    generator = torch.Generator().manual_seed(sum(name.encode()))
    return torch.randn(shape, generator=generator)


def expected(state: TrainState) -> dict[str, tuple[Tensor, Tensor]]:
    """By name the tensors of this process that are saved, and the values that they have in :func:`trained`."""
    found = {}
    own = state.head.own_classes
    for name, parameter in state.model.named_parameters():
        momentum = state.optimizer.state[parameter]["momentum_buffer"]
        for key, tensor in ((name, parameter.detach()), (f"{name} momentum", momentum)):
            if parameter is state.head.weight:
                whole = value_of(key, torch.Size([state.head.num_classes, SIZE]))
                found[key] = tensor, whole[own]
            else:
                found[key] = tensor, value_of(key, tensor.shape)
    mean = state.backbone[1].running_mean
    found["running mean"] = mean, value_of("mean", mean.shape)
    return found


def trained(step: int, classes: int = 101, mesh: DeviceMesh | None = None) -> TrainState:
    """The state with values, and with momentum. The running mean is another in every process."""
    state = fresh(classes, mesh)
    for tensor, value in expected(state).values():
        tensor.copy_(value)
    state.backbone[1].running_mean += distributed.get_rank() if mesh is not None else 0
    state.head.step, state.step, state.loss_sum = 41, step, 0.25
    return state


def differences(state: TrainState, step: int) -> list[str]:
    """What is not, to the bit, as `trained` made it and `save` was told."""
    wrong = [name for name, (tensor, value) in expected(state).items() if not torch.equal(tensor, value)]
    wrong += [] if (state.head.seed, state.head.step) == (7, 41) else ["extra state"]
    return wrong + ([] if (state.step, state.loss_sum) == (step, 0.25) else ["progress"])


def save(folder: Path, step: int, classes: int = 101, mesh: DeviceMesh | None = None, keep: int = 3) -> Path:
    group = mesh.get_group() if mesh else None  # nothing else is told in it until the checkpoint is there
    return checkpoint.start(folder, trained(step, classes, mesh), step, keep, group=group).finish()


def load(folder: Path, step: int, classes: int = 101, mesh: DeviceMesh | None = None) -> dict[str, Any]:
    """What was loaded, what differs from what was saved, and what was said."""
    state, warnings = fresh(classes, mesh), []
    path = checkpoint.newest(folder, warnings.append)
    if path is not None:
        checkpoint.load(path, state)
    return {"path": str(path), "wrong": differences(state, step), "warnings": warnings}


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """A disk with no room for files larger than so many bytes, in this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def error_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except (InputError, Stopped) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def two(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    """All that is tried with two processes; a group is slow to start."""
    rank, two = mesh.get_rank(), folder / "two"
    outcome: dict[str, Any] = {"agreed": agreed(rank)}
    outcome |= {"of one": load(folder / "one", 4, mesh=mesh)}
    outcome["saved"] = str(save(two, 4, mesh=mesh))
    outcome["seen"] = (two / "step-000000004").is_dir()
    outcome["of two"] = load(two, 4, mesh=mesh)
    outcome["few classes"] = str(save(folder / "few", 2, classes=1, mesh=mesh))

    faults = folder / "faults"
    save(faults, 2, mesh=mesh)
    save(faults, 4, mesh=mesh)
    distributed.barrier()
    for at in (0, 1):
        with files_at_most(2000 if rank == at else 1 << 40):
            outcome[f"no room at {at}"] = error_of(lambda: save(faults, 6, mesh=mesh))
            distributed.barrier()
            outcome[f"left by {at}"] = sorted(os.listdir(faults))
            distributed.barrier()
    outcome["another model"] = error_of(lambda: load(faults, 4, classes=99, mesh=mesh))
    if rank == 0:
        shard = faults / "step-000000004" / "__1_0.distcp"
        shard.write_bytes(shard.read_bytes()[:-1])
    distributed.barrier()
    outcome["after damage"] = load(faults, 2, mesh=mesh)
    return outcome


def agreed(rank: int) -> dict[str, Any]:
    """What `agreement` makes of results and errors of one process and of all."""

    class Local(Exception):
        """Of a class that no other process can find."""

    def fail(at: int, error: Exception) -> int:
        if rank == at:
            raise error
        return 10 + rank

    def outcome(together: Callable[[Callable[[], int]], Any], at: int, error: Exception) -> Any:
        try:
            return together(lambda: fail(at, error))
        except Exception as raised:
            return f"{type(raised).__name__}: {raised}"

    return {
        "first": outcome(
            agreement.run_in_first, 1, OSError(28, "full")
        ),  # what another process would raise is not asked
        "first fails": outcome(agreement.run_in_first, 0, OSError(28, "full")),
        "all": outcome(agreement.gather_results, -1, OSError()),
        "one fails": outcome(agreement.gather_results, 1, Stopped("stop", 3)),
        "one fails in its own way": outcome(agreement.gather_results, 0, Local("mine")),
        "own": outcome(agreement.run_in_all, -1, OSError()),
    }


def three(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    return {
        "of two": load(folder / "two", 4, mesh=mesh),
        "few classes": load(folder / "few", 2, classes=1, mesh=mesh),
    }
