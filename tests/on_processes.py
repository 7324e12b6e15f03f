"""Work on several processes, as a launcher would start them: with a group of gloo on the CPU, one thread each.

Importing torch takes a process seconds. So one server imports it and all are forked from there, and a test module asks
once for all of its cases and looks at the results.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.multiprocessing import start_processes

IMPORTED = ["elasticface.heads.head", "elasticface.training.optim", "torch.distributed.checkpoint.state_dict"]
TIMEOUT = 180.0  # seconds, of all of it: far more than any of the tests takes


def run(work: Callable[..., Any], size: int, *inputs: Any, timeout: float = TIMEOUT) -> list[Any]:
    """What ``work(mesh, *inputs)`` returns in each of ``size`` processes: tensors, numbers, strings, and lists of such.

    ``work`` must be a function of a module that can be imported. What one process raises is raised here; so is a
    TimeoutError where they are not done after ``timeout`` seconds, and where one waits half as long for another.
    """
    multiprocessing.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        running = start_processes(
            _process, (size, folder, timeout / 2, work, inputs), nprocs=size, join=False, start_method="forkserver"
        )
        until = time.monotonic() + timeout
        try:
            while not running.join(timeout=1):
                if time.monotonic() > until:
                    raise TimeoutError(f"{work.__name__} on {size} processes: not done after {timeout:.0f} s")
        finally:
            for process in running.processes:
                if process.is_alive():
                    process.kill()
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(size)]


def children(pid: int) -> list[int]:
    """The processes that a process has started, none where it has ended (Linux)."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _process(rank: int, size: int, folder: str, wait: float, work: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    store = f"file://{folder}/store"
    distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=size, timeout=timedelta(seconds=wait)
    )
    mesh: DeviceMesh = init_device_mesh("cpu", (size,))
    torch.save(work(mesh, *inputs), Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
