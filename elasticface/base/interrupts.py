"""Ctrl-C and SIGTERM, a cluster's warning: they set a flag, by which the caller saves its work and stops, or wait."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import ClassVar

from elasticface.base.errors import InputError

_SAME_SIGNAL = 2.0  # seconds: a launcher repeats the signal that the terminal has sent already


class Interrupts:
    """Records the first signal instead of ending. Another one, over two seconds later, raises KeyboardInterrupt.

    Attributes:
        number: of the signal; 0 while there was none.
    """

    EXIT_CODES: ClassVar = {signal.SIGTERM: 0, signal.SIGINT: 1}

    def __enter__(self) -> "Interrupts":
        self.number, self._came = 0, 0.0  # the signal's number, 0 for none; and when it came
        self._before = {number: signal.signal(number, self._note) for number in self.EXIT_CODES}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and time.monotonic() - self._came > _SAME_SIGNAL:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self._came = number, time.monotonic()


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is to end a program as Ctrl-C does, so that nothing is left half-made or running."""


@contextlib.contextmanager
def ended_by_sigterm(error: BaseException) -> Iterator[None]:
    """SIGTERM raises ``error`` in the body, once: `timeout` sends it twice. By itself it would end a program without
    its last steps, and would not end the first process of a container, which gets only the signals that it has handlers
    for. It is called in the main thread.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise error

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_main_thread() -> None:
    """Refuse another thread, where no signal can be answered.

    Raises:
        InputError: this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise InputError("call it from the main thread: it answers Ctrl-C and SIGTERM, which no other thread can")


@contextlib.contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """These signals wait until the body is done. Processes started in it never hear them: they inherit the hold."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
