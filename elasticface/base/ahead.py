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
"""At most: eight already decode faster than any network embeds."""

_AHEAD = 256
"""Results that wait at most: four batches of faces, 10 MB."""


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], ahead: int = _AHEAD, caught: type[E] | tuple[()] = ()
) -> Iterator[R | E]:
    """``map``, up to ``ahead`` results ahead of whoever takes them, made in up to 8 threads.

    Args:
        function: called from several threads; it should not hold the GIL for long.
        items: what it is called with; taken one by one by the thread that takes the results.
        ahead: results that wait at most, ≥ 1.
        caught: errors of these types are yielded, not raised; without tracebacks, whose frames may hold a photo.

    Yields:
        The results in the order of ``items``. Any other error is raised in place of its result.
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
    """Drop the tracebacks of an error and its causes: their frames would keep images alive."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            waiting += [each.__cause__, each.__context__]
