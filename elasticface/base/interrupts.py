"""Ctrl-C and SIGTERM, a cluster's warning, are noted: the work in hand is finished and saved first."""

import signal
import time
from types import FrameType, TracebackType
from typing import ClassVar

_ONE = 2.0  # seconds in which several are one: a launcher passes on what its processes have had already


class Interrupts:
    """Notes a signal instead of being ended by it; one more, seconds later, raises KeyboardInterrupt at once.

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
        if self.number and time.monotonic() - self._came > _ONE:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self._came = number, time.monotonic()
