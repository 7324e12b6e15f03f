"""A function in several processes that are one group of torch.distributed (gloo), and what it returns in each."""

import multiprocessing
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

TIMEOUT = 90.0  # seconds until a group that hangs is given up


def in_group(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``work(*arguments)`` in ``size`` processes, one thread each: their results by rank.

    ``work`` is a function of a module, since the processes import it anew. What it raises in one ends the test.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(size) as pool:
        meeting = str(Path(folder) / "meeting")
        jobs = [pool.apply_async(_member, (rank, size, meeting, work, arguments)) for rank in range(size)]
        return [job.get(TIMEOUT) for job in jobs]


def _member(rank: int, size: int, meeting: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    store = distributed.FileStore(meeting, size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    try:
        return work(*arguments)
    finally:
        distributed.destroy_process_group()
