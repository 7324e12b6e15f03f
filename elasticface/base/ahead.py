"""Results are computed ahead of their use: threads decode images while a network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
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
        caught: errors that come as results; without the frames in which they arose, which may hold a photo.

    Yields:
        The results in the order of ``items``. What else ``function`` raises is raised where its result would come.
    """

    failed: list[int] = []  # numbers of items; no result of a later one will be taken

    def result_or_error(number: int, item: T) -> R | E:
        if failed and number > min(failed):
            raise CancelledError
        try:
            return function(item)
        except caught as error:
            _forget_frames(error)
            return error
        except BaseException:
            failed.append(number)
            raise

    waiting: deque[Future[R | E]] = deque()
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
    try:
        for number, item in enumerate(items):
            waiting.append(pool.submit(result_or_error, number, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _forget_frames(error: BaseException) -> None:
    """Of an error and those that led to it: what their frames hold would be kept as long as the error is."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            waiting += [each.__cause__, each.__context__]
