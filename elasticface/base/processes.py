"""Work shared out over processes that never hear Ctrl-C themselves and never outlive the one that started them."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from elasticface.base.errors import Stopped
from elasticface.base.interrupts import held_back

_AT_START = (
    'before it had done anything: in a script, put what calls this under `if __name__ == "__main__":`, since every '
    "worker runs the script's other lines; or memory is short"
)

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4
"""Chunks handed out a process: enough that none waits, few enough that millions of chunks take no memory."""


def run(work: Callable[[T], R], chunks: Sequence[T], workers: int, if_killed: str) -> Generator[R]:
    """What ``work`` returns for every chunk, in the order in which they are done.

    Closing the generator waits for the chunks in hand: after that no process is writing any more.

    Args:
        work: can be pickled, and so can its arguments and results.
        chunks: its arguments; some tenths of a second each, next to which handing one over costs nothing.
        workers: processes, ≥ 1; 1 does it in this one. Like everything that starts processes, more need a caller whose
            main module is guarded by ``if __name__ == "__main__":``.
        if_killed: what to say of the work done and of the way on when a process was killed.

    Raises:
        Stopped: a worker process was killed. What ``work`` raises comes through.
    """
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from map(work, chunks)
        return
    # Forking a process that has threads (torch, OpenMP) can hang the child, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(work,))
    remaining = iter(chunks)
    waiting: set[Future[R]] = set()
    any_done = False
    try:
        while True:
            # Handing out work is what starts processes: so they never hear Ctrl-C, not even before `_start_worker`.
            with held_back(signal.SIGINT):
                more = itertools.islice(remaining, _AHEAD * workers - len(waiting))
                waiting |= {pool.submit(_run_in_worker, chunk) for chunk in more}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                any_done = True
                yield result
    except BrokenProcessPool as error:
        why = "perhaps for want of memory" if any_done else _AT_START
        raise Stopped(f"a worker process was killed, {why}; {if_killed}") from error
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the chunks in hand, so that no file is left half-made


_work: Callable[[Any], Any]  # in a worker process


def _start_worker(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    # Ctrl-C reaches every process of the terminal. This one's parent hears it too, and stops it between two chunks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed ends no workers: without this they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(chunk: Any) -> Any:
    return _work(chunk)
