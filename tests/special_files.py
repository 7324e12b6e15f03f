"""What stands in a folder under the name of a file and is none; and a reader that waits for it, caught."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType


def _socket(path: Path) -> None:
    """Bound by a short name, since a socket's path has at most 107 bytes."""
    before = Path.cwd()
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(path.parent)
        bound.bind(path.name)
        os.chdir(before)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "is a named pipe, not a file"),
    "socket": (_socket, "is a socket, not a file"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    "empty device": (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
    "folder": (Path.mkdir, "Is a directory"),
    "link to itself": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "No such file or directory"),
}
"""Kind -> how to make one at a path, and what is said of it."""


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """The body, or an error where it hangs: no test can wait for a pipe that no one writes to."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
