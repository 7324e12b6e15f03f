"""Where a run computes: its device and precision, and the processes it is shared out to, through Lightning Fabric.

Started by itself, a run is one process. `torchrun`, `fabric run` and SLURM's `srun` start several; how many, and which
one each is, they say in the environment. Nothing here starts a process.
"""

import contextlib
import inspect
import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from elasticface.base.errors import InputError, Stopped, first_line
from elasticface.distributed.communication import Group
from elasticface.training.config import TrainConfig
from elasticface.training.optim import GradScaler

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed", "64": "64-true"}

_LONGEST_WAIT = timedelta(minutes=30)
"""For another process: it may be validating, or writing a checkpoint of a hundred gigabytes."""

_OF_FABRIC = {"LT_PRECISION": "--precision", "LT_ACCELERATOR": "--device", "LT_STRATEGY": None}


def start(config: TrainConfig) -> Fabric:
    """The processes of the run, connected, each with its device.

    Raises:
        InputError: a device that is not there, or processes that cannot work together.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, False):
        raise InputError(f"no device {device!r} here; there is {', '.join(name for name in there if there[name])}")
    if config.precision == "fp16" and device == "cpu":
        raise InputError("precision fp16 needs a GPU; use bf16 or 32 on the CPU")
    # Buffers that a kernel is about to overwrite need no filling to make a run repeatable.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every process that it connects
    on_node, nodes = _processes()
    if on_node * nodes == 1:
        return Fabric(accelerator=device, devices=1, precision=_PRECISION[config.precision])  # type: ignore[arg-type]
    if device == "mps":
        raise InputError("device mps is one process's; start without torchrun, or with --device cpu")
    if device == "cuda" and on_node > torch.cuda.device_count():
        raise InputError(f"{on_node} processes on this node and {torch.cuda.device_count()} GPUs; start one for each")
    # Each process keeps its own running statistics: they don't touch the training, and what
    # is saved are the first one's, which DDP would otherwise send round in every step.
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    no_buffers: Any = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
    together = DDPStrategy(timeout=_LONGEST_WAIT, gradient_as_bucket_view=True, **no_buffers)
    precision: dict[str, Any] = {"precision": _PRECISION[config.precision]}
    if config.precision == "fp16":
        # Every process skips a step that overflowed in one of them: its class centres are nobody else's.
        precision = {"plugins": MixedPrecision("16-mixed", "cuda", GradScaler())}
    fabric = Fabric(accelerator=device, devices=on_node, num_nodes=nodes, strategy=together, **precision)
    fabric.launch()
    return fabric


def mesh(fabric: Fabric) -> DeviceMesh | None:
    """All processes in a row, for class centres that are shared out over them; None where there is one."""
    return init_device_mesh(fabric.device.type, (fabric.world_size,)) if fabric.world_size > 1 else None


def all_counts(fabric: Fabric, *own: int) -> Tensor:
    """Small numbers of every process, int64 [processes, numbers], the same in all of them. Collective."""
    group = Group(distributed.group.WORLD if fabric.world_size > 1 else None)
    numbers = group.gather_numbers(torch.tensor(own, dtype=torch.int64, device=fabric.device))
    return torch.tensor(numbers).view(fabric.world_size, len(own))


def note_scale(fabric: Fabric, done: dict[str, Tensor]) -> None:
    """What float16's gradients are multiplied with goes into "scale" and "scale_age" of a checkpoint's counts."""
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None:
        done["scale"].fill_(scaler.state_dict()["scale"])
        done["scale_age"].fill_(scaler.state_dict()["_growth_tracker"])


def restore_scale(fabric: Fabric, done: dict[str, Tensor]) -> None:
    """Go on with the scale that :func:`note_scale` noted, if there is one."""
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None and done["scale"] > 0:
        known = {"scale": float(done["scale"]), "_growth_tracker": int(done["scale_age"])}
        scaler.load_state_dict(scaler.state_dict() | known)


@contextlib.contextmanager
def peers(way_on: str) -> Iterator[None]:
    """What it comes to when another process is gone: one line, in place of the library's error.

    Raises:
        Stopped: in the body a process was waited for that has ended or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, Stopped) or not _is_of_a_peer(error):
            raise
        raise Stopped(
            f"another process of the run has ended or cannot be reached ({first_line(error)}); what it said is above. "
            f"Go on from the newest checkpoint with: {way_on}"
        ) from error


def _is_of_a_peer(error: RuntimeError) -> bool:
    told = str(error)
    return isinstance(error, distributed.DistError) or any(name in told for name in ("gloo", "Gloo", "NCCL", "nccl"))


def _processes() -> tuple[int, int]:
    """(processes on each node, nodes), as the environment says; (1, 1) where nothing has started several."""
    if TorchElasticEnvironment.detect():
        for name, instead in _OF_FABRIC.items():
            if os.environ.get(name, "") not in ("", "auto", "ddp"):
                advice = f"give train its own {instead}" if instead else "training has its own"
                raise InputError(f"fabric run set {name}={os.environ[name]}; leave it out there, {advice}")
        for name in (*_OF_FABRIC, "LT_DEVICES", "LT_NUM_NODES", "LT_CLI_USED"):  # they would go over what is said here
            os.environ.pop(name, None)
        world, on_node = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if world % on_node:
            raise InputError(f"{world} processes, {on_node} of them on this node; start as many on every node")
        return on_node, world // on_node
    if SLURMEnvironment.detect():
        tasks, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
        if tasks % nodes:
            raise InputError(f"SLURM has {tasks} tasks on {nodes} nodes; give --ntasks-per-node")
        return tasks // nodes, nodes
    return 1, 1
