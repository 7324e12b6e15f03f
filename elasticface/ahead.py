"""Work that goes on while its last result is used: images are decoded in threads while a network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8
"""At most: more decode faster than any network embeds."""

_AHEAD = 256
"""Results that wait at most: four batches of faces, 10 MB."""


def map_ahead(function: Callable[[T], R], items: Iterable[T], ahead: int = _AHEAD) -> Iterator[R]:
    """``map``, up to ``ahead`` results ahead of whoever takes them, made in as many threads as there are processors.

    Args:
        function: called from several threads; it should not hold the GIL for long.
        items: what it is called with; taken one by one by the thread that takes the results.
        ahead: results that wait at most, ≥ 1.

    Yields:
        The results in the order of ``items``. What ``function`` raises is raised where its result would come.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
