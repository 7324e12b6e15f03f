"""The one progress bar: what is being done, how far it is, how long to go. On stderr, so that stdout stays clean."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True, highlight=False)


def bar(*extra: str, shown: bool = True) -> Progress:
    """A rich progress bar; ``extra`` are further columns in rich's format, e.g. ``"loss {task.fields[loss]}"``.

    Of several processes only one should have its ``shown``.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(column) for column in extra),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not shown,
    )


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """``items``, with a bar that moves by one an item."""
    with bar() as progress:
        yield from progress.track(items, total=total, description=description)


def say(message: str, shown: bool = True) -> None:
    """A line on stderr, above the bar where there is one."""
    if shown:
        console.print(message, markup=False, soft_wrap=True)
