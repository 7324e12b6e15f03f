"""Work on several processes, as a launcher would start them: with a group of gloo on the CPU, one thread each.

Importing torch takes a process seconds. So one server imports it and all are forked from there, and a test module asks
once for all of its cases and looks at the results.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.multiprocessing import start_processes

IMPORTED = ["elasticface.heads", "elasticface.optim", "torch.distributed.checkpoint.state_dict"]
TIMEOUT = 180.0  # seconds, of all of it: far more than any of the tests takes


def run(work: Callable[..., Any], size: int, *inputs: Any) -> list[Any]:
    """What ``work(mesh, *inputs)`` returns in each of ``size`` processes: tensors, numbers, strings, and lists of such.

    ``work`` must be a function of a module that can be imported. What one process raises is raised here.
    """
    multiprocessing.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        running = start_processes(
            _process, (size, folder, work, inputs), nprocs=size, join=False, start_method="forkserver"
        )
        until = time.monotonic() + TIMEOUT
        try:
            while not running.join(timeout=1):
                if time.monotonic() > until:
                    raise TimeoutError(f"{work.__name__} on {size} processes: not done after {TIMEOUT:.0f} s")
        finally:
            for process in running.processes:
                if process.is_alive():
                    process.kill()
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _process(rank: int, size: int, folder: str, work: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    mesh: DeviceMesh = init_device_mesh("cpu", (size,))
    torch.save(work(mesh, *inputs), Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
