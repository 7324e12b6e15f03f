"""Ctrl-C and SIGTERM, a cluster's warning: the step in hand is finished first, and what ends an epoch after it."""

import signal
import time
from types import FrameType, TracebackType
from typing import ClassVar

from elasticface.base.errors import Stopped

_ONE = 2.0  # seconds in which several are one: a launcher passes on what its processes have had already


class Interrupts:
    """Notes a signal instead of being ended by it; one more, seconds later, raises KeyboardInterrupt at once."""

    EXIT_CODES: ClassVar = {signal.SIGTERM: 0, signal.SIGINT: 1}

    def __enter__(self) -> "Interrupts":
        self.number, self._came = 0, 0.0  # the signal's number, 0 for none; and when it came
        self._before = {number: signal.signal(number, self._note) for number in self.EXIT_CODES}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopped(self, by: signal.Signals, saved: str, way_on: str) -> Stopped:
        """What ends a run that any of its processes had the signal ``by`` in."""
        return Stopped(f"stopped by {by.name}, {saved}; go on with: {way_on}", self.EXIT_CODES[by])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and time.monotonic() - self._came > _ONE:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self._came = number, time.monotonic()
