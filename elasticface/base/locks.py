"""A folder that one process at a time writes to: two at once would spoil each other's files."""

import contextlib
import errno
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from elasticface.base import files
from elasticface.base.errors import InputError

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What an OSError says on a file system that has no locks, as some network disks."""


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold ``folder`` against other processes, and against other calls in this one, while the body runs.

    The operating system releases the lock of a process that ends in any way, a kill included. The lock is on
    ``folder/.lock``, which :func:`elasticface.base.files.holds_something` does not count. That file is removed at the
    end; only a killed process leaves it, unlocked. A child process that is forked in the body does not hold the lock.

    Args:
        folder: it is made if it is not there, and removed again if the body leaves it empty.
        wait: seconds for another process to be done.

    Raises:
        InputError: another process still holds the folder, or it cannot be written to.
    """
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    path = folder / files.LOCK
    lock = FileLock(path, timeout=wait, blocking=wait > 0, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{files.printable(folder)}: another process{_holder(path)} is writing to it; wait until that is done or "
            "stop it, or give another folder"
        ) from None
    except OSError as error:
        if error.errno in files.NO_ROOM:
            raise
        if error.errno not in _NO_LOCKS:
            raise InputError(f"{files.printable(folder)}: cannot be written: {error.strerror}; give another") from error
        warnings.warn(
            f"{files.printable(folder)}: its file system has no locks ({error.strerror}); see to it yourself that no "
            "other process writes there",
            stacklevel=3,
        )
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the note
            path.write_text(f"{os.getpid()} {platform.node()}")
        yield
    finally:
        # Removed while it is still locked: a process that has opened it by now sees that it is gone, and is refused.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        for parent in made:
            with contextlib.suppress(OSError):  # it holds something
                parent.rmdir()


@contextlib.contextmanager
def new_folder(out: Path, sync: bool = True) -> Iterator[Path]:
    """A temporary path for a folder that becomes ``out`` once the body is done (:func:`files.replacing`).

    ``out`` is held meanwhile, so that a second process is refused at once, and what any program puts there is kept.

    Raises:
        InputError: ``out`` holds something, before the body or after it; another process holds it; it cannot be
            written.
    """
    files.check_new_folder(out)
    with locked(out), files.replacing(out, sync, new=True) as temporary:
        yield temporary


def _holder(path: Path) -> str:
    """The process that holds a lock, as far as its note says it."""
    with contextlib.suppress(InputError):
        pid, _, host = files.read_text(path, most=1000).partition(" ")
        if pid.isdecimal() and host:
            return f" (pid {pid} on {files.printable(host, 64)})"
    return ""
