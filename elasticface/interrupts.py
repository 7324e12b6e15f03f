"""Ctrl-C and SIGTERM, a cluster's warning: the step in hand is finished first."""

import signal
from types import FrameType, TracebackType
from typing import ClassVar


class Interrupts:
    """Notes a signal instead of being ended by it; a second one raises KeyboardInterrupt at once."""

    EXIT_CODES: ClassVar = {signal.SIGTERM: 0, signal.SIGINT: 1}

    def __enter__(self) -> "Interrupts":
        self.number = 0  # of the signal that came; 0 for none
        self._before = {number: signal.signal(number, self._note) for number in self.EXIT_CODES}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
