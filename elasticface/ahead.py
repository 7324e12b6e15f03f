"""Work that goes on while its last result is used: images are decoded in threads while a network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=Exception)

_THREADS = 8
"""At most: more decode faster than any network embeds."""

_AHEAD = 256
"""Results that wait at most: four batches of faces, 10 MB."""


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], ahead: int = _AHEAD, caught: type[E] | tuple[()] = ()
) -> Iterator[R | E]:
    """``map``, up to ``ahead`` results ahead of whoever takes them, made in as many threads as there are processors.

    Args:
        function: called from several threads; it should not hold the GIL for long.
        items: what it is called with; taken one by one by the thread that takes the results.
        ahead: results that wait at most, ≥ 1.
        caught: errors that come as results.

    Yields:
        The results in the order of ``items``. What else ``function`` raises is raised where its result would come.
    """

    def result_or_error(item: T) -> R | E:
        try:
            return function(item)
        except caught as error:
            return error

    waiting: deque[Future[R | E]] = deque()
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        for item in items:
            waiting.append(pool.submit(result_or_error, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
