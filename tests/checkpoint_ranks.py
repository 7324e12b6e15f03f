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
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from elasticface.base.errors import InputError, Stopped
from elasticface.distributed import agreement
from elasticface.training import checkpoint

SIZE = 8


class Head(nn.Module):
    """Class centres, over all processes where there is a mesh, and an extra state that is a tensor."""

    def __init__(self, classes: int, mesh: DeviceMesh | None) -> None:
        super().__init__()
        weight = torch.zeros(classes, SIZE)
        self.weight = nn.Parameter(weight if mesh is None else distribute_tensor(weight, mesh, [Shard(0)]))
        self.step = 0

    def get_extra_state(self) -> Tensor:
        return torch.tensor([7, self.step])

    def set_extra_state(self, state: Tensor) -> None:
        self.step = int(state[1])


def fresh(classes: int = 101, mesh: DeviceMesh | None = None) -> tuple[nn.ModuleDict, torch.optim.SGD]:
    """A model of zeros, and its optimizer without state. Biases are in a group without momentum."""
    backbone = nn.Sequential(nn.Linear(SIZE, SIZE), nn.BatchNorm1d(SIZE))
    model = nn.ModuleDict({"backbone": backbone, "head": Head(classes, mesh)})
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
    weights = [p for p in backbone.parameters() if p.ndim > 1]
    biases = [p for p in backbone.parameters() if p.ndim <= 1]
    groups = [{"params": weights}, {"params": biases, "momentum": 0.0}, {"params": [model["head"].weight]}]
    return model, torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def value_of(name: str, shape: torch.Size) -> Tensor:
    """Other values for every name, none of them alike."""
    generator = torch.Generator().manual_seed(sum(name.encode()))
    return torch.randn(shape, generator=generator)


def trained(classes: int = 101, mesh: DeviceMesh | None = None) -> tuple[nn.ModuleDict, torch.optim.SGD]:
    """The model with values, and with momentum. The running mean is another in every process."""
    model, optimizer = fresh(classes, mesh)
    for name, parameter in model.named_parameters():
        parameter.grad = spread(value_of(f"{name} momentum", parameter.shape), parameter)
    optimizer.step()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(spread(value_of(name, parameter.shape), parameter))
    mean = model["backbone"][1].running_mean
    mean.copy_(value_of("mean", mean.shape) + (distributed.get_rank() if mesh is not None else 0))
    model["head"].step = 41
    return model, optimizer


def spread(value: Tensor, like: Tensor) -> Tensor:
    return distribute_tensor(value, like.device_mesh, like.placements) if isinstance(like, DTensor) else value


def start() -> dict[str, Tensor]:
    return {"step": torch.tensor(0), "loss_sum": torch.tensor(0.0, dtype=torch.float64)}


def differences(model: nn.ModuleDict, optimizer: torch.optim.SGD, progress: dict[str, Tensor], step: int) -> list[str]:
    """What is not, to the bit, as `trained` made it and `save` was told."""
    wrong = []
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        expected = {} if parameter.ndim <= 1 else {"momentum_buffer": value_of(f"{name} momentum", parameter.shape)}
        found = {"": parameter, **state}
        for key, value in {"": value_of(name, parameter.shape), **expected}.items():
            there = found.pop(key, torch.tensor(torch.nan))
            # Each process compares its own rows; gathering them would hang where only one of them fails.
            mine, value = (
                (there.to_local(), spread(value, there).to_local()) if isinstance(there, DTensor) else (there, value)
            )
            wrong += [] if torch.equal(mine, value) else [f"{name} {key}"]
        wrong += [f"{name} {key} is more than there was" for key in found]
    mean = model["backbone"][1].running_mean
    wrong += [] if torch.equal(mean, value_of("mean", mean.shape)) else ["running mean"]
    wrong += [] if model["head"].step == 41 else ["extra state"]
    wrong += [] if int(progress["step"]) == step and float(progress["loss_sum"]) == 0.25 else ["progress"]
    return wrong


def save(folder: Path, step: int, classes: int = 101, mesh: DeviceMesh | None = None, keep: int = 3) -> Path:
    progress = {"step": torch.tensor(step), "loss_sum": torch.tensor(0.25, dtype=torch.float64)}
    return checkpoint.save(folder, *trained(classes, mesh), progress, keep)


def load(folder: Path, step: int, classes: int = 101, mesh: DeviceMesh | None = None) -> dict[str, Any]:
    """What was loaded, what differs from what was saved, and what was said."""
    model, optimizer = fresh(classes, mesh)
    progress, warnings = start(), []
    path = checkpoint.load_newest(folder, model, optimizer, progress, warnings.append)
    wrong = differences(model, optimizer, progress, step)
    return {"path": str(path), "wrong": wrong, "warnings": warnings}


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
        "first": outcome(agreement.from_first, 1, OSError(28, "full")),  # what another process would raise is not asked
        "first fails": outcome(agreement.from_first, 0, OSError(28, "full")),
        "all": outcome(agreement.from_all, -1, OSError()),
        "one fails": outcome(agreement.from_all, 1, Stopped("stop", 3)),
        "one fails in its own way": outcome(agreement.from_all, 0, Local("mine")),
        "own": outcome(agreement.in_all, -1, OSError()),
    }


def three(mesh: DeviceMesh, folder: Path) -> dict[str, Any]:
    return {
        "of two": load(folder / "two", 4, mesh=mesh),
        "few classes": load(folder / "few", 2, classes=1, mesh=mesh),
    }
