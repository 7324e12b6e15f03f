"""How far the work is, on stderr, so that stdout stays clean: a bar on a terminal, plain lines everywhere else."""

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from elasticface.base.files import printable

T = TypeVar("T")

EVERY = 10.0
"""Seconds between two lines of one piece of work, at least, where stderr is no terminal."""

PATIENCE = 2.0
"""Seconds after which work is worth a line whose end cannot be foreseen."""

console = Console(stderr=True, highlight=False)
clock = time.monotonic


def bar(*extra: str, shown: bool = True) -> Progress:
    """A rich progress bar; where stderr is no terminal (SLURM, nohup, docker logs, CI) plain lines with the same texts.

    Rich decides what a terminal is, by ``FORCE_COLOR``, ``TTY_COMPATIBLE`` and ``TERM=dumb`` too.

    Args:
        extra: further columns in rich's format, e.g. ``"loss {task.fields[loss]}"``.
        shown: False shows nothing. Of the processes of a distributed run only the first one shows anything.
    """
    if not shown or not _is_first_process():
        return Progress(console=console, disable=True)
    if not _on_terminal():
        return Lines(*extra)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(column, markup=False) for column in extra),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def track(items: Iterable[T], description: str, total: int, shown: bool = True) -> Iterator[T]:
    """``items``, with a bar that moves by one an item."""
    with bar(shown=shown) as progress:
        yield from progress.track(items, total=total, description=description)


def say(message: str) -> None:
    """A line on stderr, above the bar where there is one. Of several processes only the first one says it."""
    if _is_first_process():
        console.print(message, markup=False, soft_wrap=True)


@contextlib.contextmanager
def status(description: str, shown: bool = True) -> Iterator[None]:
    """Say what the body does, where it cannot be counted how far that is: a spinner, or a line if it takes long."""
    if not shown or not _is_first_process():
        yield
    elif _on_terminal():
        with console.status(escape(description)):
            yield
    else:
        line = threading.Timer(PATIENCE, _print, [description])
        line.daemon = True
        line.start()
        try:
            yield
        finally:
            line.cancel()


class Lines(Progress):
    """Progress as plain lines: one at the start, at most one every ``EVERY`` seconds, and one at the end.

    Rich keeps count of each task and estimates the time left; it is disabled and so displays nothing itself.
    """

    def __init__(self, *extra: str) -> None:
        super().__init__(console=console, auto_refresh=False, disable=True, get_time=clock)
        self._extra = extra
        self._due: dict[TaskID, float] = {}  # when the next line of each task that is not finished may be written

    def add_task(self, *arguments: Any, **keywords: Any) -> TaskID:
        number = super().add_task(*arguments, **keywords)
        task = self._tasks[number]
        _print(_count(task))
        self._due[number] = clock() + EVERY
        return number

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(self._tasks[task_id])

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(self._tasks[task_id])

    def _tell(self, task: Task) -> None:
        if task.id not in self._due or (not task.finished and clock() < self._due[task.id]):
            return
        texts = [column.format(task=task) for column in self._extra]
        times = f"{'done in' if task.finished else 'after'} {_time(task.elapsed or 0)}"
        if not task.finished and task.time_remaining is not None:
            times += f", {_time(task.time_remaining)} left"
        _print(_count(task), *texts, times)
        if task.finished:
            del self._due[task.id]
        else:
            self._due[task.id] = clock() + EVERY


def _print(*texts: str) -> None:
    console.print(printable("  ".join(texts)), markup=False, soft_wrap=True)


def _count(task: Task) -> str:
    """What is being done and how far it is: ``embedding 1,200/4,000``."""
    done = f"{int(task.completed):,}"
    if task.total is None:
        return f"{task.description} {done}" if task.completed else task.description
    return f"{task.description} {done}/{int(task.total):,}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _on_terminal() -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _is_first_process() -> bool:
    """Torchrun numbers its processes by the variable RANK, SLURM by SLURM_PROCID."""
    return (os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0") == "0"
