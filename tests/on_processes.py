"""Work on several processes, as a launcher would start them: with a group of gloo on the CPU, one thread each.

Importing torch takes a process seconds. So one server imports it and all are forked from there, and a test module asks
once for all of its cases and looks at the results.
"""

import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.multiprocessing import start_processes

IMPORTED = ["elasticface.heads.head", "elasticface.training.loop", "torch.distributed.checkpoint.state_dict"]
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


def command(size: int, *words: str, code: int = 0, timeout: float = TIMEOUT) -> str:
    """What a command says on stderr, on ``size`` processes that find each other as torchrun's do.

    Each of them must end with ``code`` before ``timeout`` seconds are over.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.txt"
        running = start_command(size, told, *words)
        until = time.monotonic() + timeout
        for process in running:
            process.join(max(0.0, until - time.monotonic()))
        ended = [process.exitcode for process in running]
        for process in running:
            process.kill()
        assert ended == [code] * size, told.read_text()
        return told.read_text()


def start_command(size: int, told: Path, *words: str) -> list[BaseProcess]:
    """As :func:`command`, without waiting: the processes, which write to ``told``."""
    multiprocessing.set_forkserver_preload(IMPORTED)
    context = multiprocessing.get_context("forkserver")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    running = [context.Process(target=_command, args=(rank, size, port, told, words)) for rank in range(size)]
    for process in running:
        process.start()
    return list(running)


def children(pid: int) -> list[int]:
    """The processes that a process has started, none where it has ended (Linux)."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _command(rank: int, size: int, port: int, told: Path, words: tuple[str, ...]) -> None:
    from elasticface.cli.main import main

    torch.set_num_threads(1)
    if size > 1:
        own = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "GROUP_WORLD_SIZE": 1}
        os.environ |= {name: str(value) for name, value in own.items()}
        os.environ |= {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with told.open("a") as file, open(os.devnull, "w") as nowhere:
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    main(words)


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
