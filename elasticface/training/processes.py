"""The processes of a run and their devices; a process that is lost ends the run with one line.

Started by itself, a run is one process. `torchrun` and SLURM's `srun` start several, and say in the environment how
many there are and which one each is. Nothing here starts a process.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from elasticface.base.allocator import keep_freed_memory
from elasticface.base.errors import InputError, Stopped, first_line
from elasticface.distributed.agreement import print_only_in_first
from elasticface.distributed.communication import Group
from elasticface.heads.products import problem_with
from elasticface.training.config import TrainConfig

_TIMEOUT = timedelta(minutes=30)
"""A collective may take so long: another process may be validating, or writing a checkpoint of a hundred gigabytes."""

_BACKENDS = "cpu:gloo,cuda:nccl"
"""Processes with GPUs tell each other what is on the host by the host's own network, past what the devices do."""

_SLURM_PORTS = range(15_000, 25_000)
"""The number of a SLURM job chooses one of these ports: two jobs on one node seldom take the same."""


@dataclass(frozen=True)
class World:
    """All processes of a run, and which of them this one is.

    Attributes:
        device: where this process computes.
        rank: which one it is, from 0.
        size: how many there are.
        mesh: all of them in a row, for class centres that are shared out over them; ``None`` where there is one.
        background: all of them once more, on the host, for what a second thread has to tell; ``None`` likewise.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    background: ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and messages."""
        return self.rank == 0

    def gather(self, *own: float) -> list[list[float]]:
        """These numbers of every process, ordered by rank; the same in all. Collective; waits for no device."""
        return self._group.gather_numbers(torch.tensor(own, dtype=torch.float64))

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over the processes of what is on their devices, in place, the same in all. Collective."""
        return self._group.sum_(tensor)

    @property
    def _group(self) -> Group:
        return Group(self.mesh.get_group() if self.mesh else None)


@dataclass(frozen=True)
class Launch:
    """What the launcher says of this process: which one of how many it is, on the whole and on its node."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    per_node: int = 1


@contextlib.contextmanager
def connect(config: TrainConfig, resume_command: str) -> Iterator[World]:
    """Choose the device, make torch deterministic, and connect the processes.

    In the body torch's error about a lost process becomes one line, which tells the user to type ``resume_command``; so
    does its error about an operation that cannot be made deterministic.

    Raises:
        InputError: a device that is not there, processes that cannot work together, or such an operation.
        Stopped: another process has ended or cannot be reached.
    """
    launch = read_launch(os.environ)
    device = _device(config, launch)
    _choose_kernels(config)
    if device.type == "cpu":
        keep_freed_memory()
    if launch.size == 1:
        with _named_operation():
            yield World(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    created_here = not distributed.is_initialized()
    try:
        if created_here:
            _init_process_group(launch, device)
        elif "cpu:" not in distributed.get_backend_config():
            raise InputError(
                f"the process group has no backend for the CPU; initialise it with backend={_BACKENDS!r}, or leave "
                "that to train()"
            )
        mesh, background = init_device_mesh(device.type, (launch.size,)), distributed.new_group(backend="gloo")
        with _named_operation():
            yield World(device, launch.rank, launch.size, mesh, background)
    except RuntimeError as error:
        if isinstance(error, Stopped) or not _is_of_a_lost_process(error):
            raise
        raise Stopped(
            f"another process of the run has ended or cannot be reached ({first_line(error)}); see its message above. "
            f"Resume from the newest checkpoint with: {resume_command}"
        ) from error
    if created_here:  # not after an error: this waits for processes that may be gone
        distributed.destroy_process_group()


@contextlib.contextmanager
def _named_operation() -> Iterator[None]:
    """An operation without a deterministic kernel, in a backbone of the user's own, is an InputError with its name."""
    try:
        yield
    except RuntimeError as error:
        found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
        if found is None:
            raise
        message = f"{found[1]} has no deterministic kernel for this device; give --no-deterministic"
        raise print_only_in_first(InputError(message)) from error


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Which one of how many processes this is, as torchrun or SLURM's srun says it.

    Raises:
        InputError: nodes with different numbers of processes, or another launcher.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        launch = Launch(*(int(environment[name]) for name in names))
        if launch.size % launch.per_node:
            raise InputError(
                f"{launch.size} processes, {launch.per_node} of them on this node; start as many on every node"
            )
        return launch
    # Of the step that srun has started. The script of a job, or a shell in it, has the job's variables alone.
    if "SLURM_STEP_NUM_TASKS" in environment:
        tasks, nodes = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_STEP_NUM_NODES"])
        if tasks % nodes:
            raise InputError(f"SLURM has {tasks} tasks on {nodes} nodes; give --ntasks-per-node")
        return Launch(int(environment["SLURM_PROCID"]), tasks, int(environment["SLURM_LOCALID"]), tasks // nodes)
    if environment.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but neither torchrun nor srun has started this process; start "
            "all of them by one of these"
        )
    return Launch()


def check_precision(config: TrainConfig, device: str) -> None:
    """Raise an InputError where a device of this kind does not compute in the precision."""
    if config.precision == "fp16" and device == "cpu":
        raise InputError("precision fp16 needs a GPU; use bf16 or 32 on the CPU")


def _device(config: TrainConfig, launch: Launch) -> torch.device:
    available = ["cpu"]
    available += ["cuda"] if torch.cuda.is_available() else []
    available += ["mps"] if torch.backends.mps.is_available() else []
    kind = config.device
    if kind == "auto":
        kind = "cuda" if "cuda" in available else "cpu"
    if kind not in available:
        raise InputError(f"no device {kind!r} here; there is {', '.join(available)}")
    check_precision(config, kind)
    problem = problem_with(config.head_products, torch.device(kind))
    if problem:
        raise InputError(problem)
    if launch.size > 1 and kind == "mps":
        raise InputError("device mps supports one process alone; start without torchrun, or with --device cpu")
    if kind != "cuda":
        return torch.device(kind)
    gpus = torch.cuda.device_count()
    if gpus == 1 and "SLURM_STEP_NUM_TASKS" in os.environ:  # srun --gpus-per-task=1 shows each process its own
        return torch.device(kind, 0)
    if launch.per_node > gpus:
        raise InputError(f"{launch.per_node} processes on this node and {gpus} GPUs; start one process per GPU")
    return torch.device(kind, launch.local_rank)


def _choose_kernels(config: TrainConfig) -> None:
    """Tell torch whether it must compute the same bits each time, and what GPUs may compute in TF32."""
    # Filling memory that a kernel is about to overwrite is for finding mistakes, and costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    convolutions.fp32_precision = "ieee" if config.tf32 == "none" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32" if config.tf32 == "all" else "ieee"


def _init_process_group(launch: Launch, device: torch.device) -> None:
    """Connect the processes, at the address that the launcher gives or that follows from SLURM's variables."""
    environment = os.environ
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = _first_node(environment["SLURM_STEP_NODELIST"])
    if "MASTER_PORT" not in environment:
        number = int(environment["SLURM_JOB_ID"])
        environment["MASTER_PORT"] = str(_SLURM_PORTS[number % len(_SLURM_PORTS)])
    distributed.init_process_group(
        _BACKENDS if device.type == "cuda" else "gloo",
        rank=launch.rank,
        world_size=launch.size,
        timeout=_TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )


def _first_node(nodes: str) -> str:
    """The first of SLURM's list of nodes: "gpu[007-009,12],cpu1" -> "gpu007"."""
    first = re.match(r"([^,\[]*)(?:\[([^,\-\]]*)[^\]]*\]([^,]*))?", nodes)
    assert first is not None
    return "".join(part or "" for part in first.groups())


def _is_of_a_lost_process(error: RuntimeError) -> bool:
    message = str(error).lower()
    return isinstance(error, distributed.DistError) or "gloo" in message or "nccl" in message
