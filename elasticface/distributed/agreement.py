"""Run a function in one or in all processes; an error in one is raised in all, so that no process waits for ever.

Every function here is collective: all processes of the group call it, in the same order. Without a group of
``torch.distributed``, or in a group of one, it calls what it is given and nothing else.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from elasticface.base.errors import InputError, Stopped, first_line

T = TypeVar("T")
E = TypeVar("E", bound=InputError | Stopped)


def process_count() -> int:
    """How many processes work together; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which one this process is, from 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def run_in_first(work: Callable[[], T]) -> T:
    """Run ``work`` in the first process; return its result, or raise its error, in all."""
    if process_count() == 1:
        return work()
    outcome, caught = _attempt(work) if rank() == 0 else (None, None)
    outcomes: list[Any] = [outcome]
    distributed.broadcast_object_list(outcomes, src=0)
    result: T = _results(outcomes, caught)[0]
    return result


def gather_results(work: Callable[[], T]) -> list[T]:
    """Run ``work`` in every process; return all results, ordered by rank, in all.

    All processes finish first; then all raise the error of the lowest rank that failed.
    """
    if process_count() == 1:
        return [work()]
    outcome, caught = _attempt(work)
    outcomes: list[Any] = [None] * process_count()
    distributed.all_gather_object(outcomes, outcome)
    return _results(outcomes, caught)


def run_in_all(work: Callable[[], T]) -> T:
    """Run ``work`` in every process; return its own result, which need not be picklable. Raise in all if one fails."""
    results: list[T] = []
    gather_results(lambda: results.append(work()))
    return results[0]


def print_only_in_first(error: E) -> E:
    """``error``, which all processes raise, marked so that the first process alone prints its message."""
    error.silent = rank() > 0
    return error


def _attempt(work: Callable[[], T]) -> tuple[tuple[T | None, Exception | None], Exception | None]:
    """(result, error as it is sent), and the error itself, which has the traceback."""
    try:
        return (work(), None), None
    except Exception as error:
        # An error of a library may be one that cannot be pickled.
        known = isinstance(error, OSError | InputError | Stopped)
        sent = error if known else RuntimeError(f"{type(error).__name__}: {first_line(error)}")
        return (None, sent), error


def _results(outcomes: list[Any], caught: Exception | None) -> list[Any]:
    errors = [error for _, error in outcomes if error is not None]
    if errors:
        if isinstance(errors[0], InputError | Stopped):
            print_only_in_first(errors[0])
        # After run_in_first the first process has the error itself, the others a copy.
        raise errors[0] from (caught if caught is not errors[0] else None)
    return [result for result, _ in outcomes]
