"""The processes that a run is shared out to, the device of each, and what becomes of the run when one is lost.

Started by itself, a run is one process. `torchrun` and SLURM's `srun` start several; how many, and which one each is,
they say in the environment. Nothing here starts a process.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from elasticface.base.errors import InputError, Stopped, first_line
from elasticface.distributed.communication import Group
from elasticface.training.config import TrainConfig

_LONGEST_WAIT = timedelta(minutes=30)
"""For another process: it may be validating, or writing a checkpoint of a hundred gigabytes."""

_SLURM_PORTS = range(15_000, 25_000)
"""Where the processes of a SLURM job meet, by the job's number: two jobs on one node seldom take the same."""


@dataclass(frozen=True)
class World:
    """All processes of a run, and which of them this one is.

    Attributes:
        device: where this process computes.
        rank: which one it is, from 0.
        size: how many there are.
        mesh: all of them in a row, for class centres that are shared out over them; ``None`` where there is one.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def gather(self, *own: float) -> list[list[float]]:
        """A few numbers of every process, in their order, the same in all of them. Collective."""
        group = Group(self.mesh.get_group() if self.mesh else None)
        return group.gather_numbers(torch.tensor(own, dtype=torch.float64, device=self.device if self.mesh else "cpu"))


@dataclass(frozen=True)
class Place:
    """What the environment says of one process: which one of how many it is, and how many share its node."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    on_node: int = 1


@contextlib.contextmanager
def connect(config: TrainConfig, resume_command: str) -> Iterator[World]:
    """The processes of the run, connected; where one of them is lost, one line in place of the library's error.

    Args:
        config: whose device and precision are used.
        resume_command: what to name where the run ends for want of a process.

    Raises:
        InputError: a device that is not there, or processes that cannot work together.
        Stopped: in the body a process was waited for that has ended or cannot be reached.
    """
    place = find_place(os.environ)
    device = _device(config, place)
    _compute_deterministically()
    if place.size == 1:
        yield World(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ours = not distributed.is_initialized()
    try:
        if ours:
            _meet(place, device)
        yield World(device, place.rank, place.size, init_device_mesh(device.type, (place.size,)))
    except RuntimeError as error:
        if isinstance(error, Stopped) or not _is_of_a_lost_process(error):
            raise
        raise Stopped(
            f"another process of the run has ended or cannot be reached ({first_line(error)}); what it said is above. "
            f"Resume from the newest checkpoint with: {resume_command}"
        ) from error
    if ours:  # after an error the others may be gone, and would be waited for
        distributed.destroy_process_group()


def find_place(environment: Mapping[str, str]) -> Place:
    """Which one of how many processes this is, as torchrun or SLURM says it.

    Raises:
        InputError: nodes with unlike numbers of processes.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        place = Place(*(int(environment[name]) for name in names))
        if place.size % place.on_node:
            raise InputError(
                f"{place.size} processes, {place.on_node} of them on this node; start as many on every node"
            )
        return place
    # A shell in a SLURM job is one process, however many tasks the job may start.
    if "SLURM_PROCID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        tasks, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", "1"))
        if tasks % nodes:
            raise InputError(f"SLURM has {tasks} tasks on {nodes} nodes; give --ntasks-per-node")
        return Place(int(environment["SLURM_PROCID"]), tasks, int(environment["SLURM_LOCALID"]), tasks // nodes)
    return Place()


def _device(config: TrainConfig, place: Place) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = config.device
    if kind == "auto":
        kind = "cuda" if there["cuda"] else "cpu"
    if not there.get(kind, False):
        raise InputError(f"no device {kind!r} here; there is {', '.join(name for name in there if there[name])}")
    if config.precision == "fp16" and kind == "cpu":
        raise InputError("precision fp16 needs a GPU; use bf16 or 32 on the CPU")
    if place.size > 1 and kind == "mps":
        raise InputError("device mps is one process's; start without torchrun, or with --device cpu")
    if kind == "cuda" and place.on_node > torch.cuda.device_count():
        gpus = torch.cuda.device_count()
        raise InputError(f"{place.on_node} processes on this node and {gpus} GPUs; start one for each")
    return torch.device(kind, place.local_rank) if kind == "cuda" else torch.device(kind)


def _compute_deterministically() -> None:
    # Buffers that a kernel is about to overwrite need no filling to make a run repeatable.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _meet(place: Place, device: torch.device) -> None:
    """Connect the processes, at the address that the launcher gives or that follows from SLURM's variables."""
    environment = os.environ
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = _first_node(environment["SLURM_JOB_NODELIST"])
    if "MASTER_PORT" not in environment:
        number = int(environment["SLURM_JOB_ID"])
        environment["MASTER_PORT"] = str(_SLURM_PORTS[number % len(_SLURM_PORTS)])
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=place.rank,
        world_size=place.size,
        timeout=_LONGEST_WAIT,
        device_id=device if device.type == "cuda" else None,
    )


def _first_node(nodes: str) -> str:
    """The first of SLURM's list of nodes: "gpu[007-009,12],cpu1" -> "gpu007"."""
    found = re.match(r"([^,\[]*)(?:\[([^,\-\]]*)[^\]]*\]([^,]*))?", nodes)
    assert found is not None
    return "".join(part or "" for part in found.groups())


def _is_of_a_lost_process(error: RuntimeError) -> bool:
    told = str(error)
    return isinstance(error, distributed.DistError) or any(name in told for name in ("gloo", "Gloo", "NCCL", "nccl"))
