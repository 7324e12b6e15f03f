"""Files that are whole or absent: written under a temporary name, fsynced, renamed."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from elasticface.base.errors import InputError

RESERVE = 1 << 30
"""Bytes of a disk that what can be made again leaves free."""

MOST_TEXT = 1 << 28
"""The most bytes of a file that is read as one text: a list of five million pairs."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What an OSError says where a disk is full, or a file may not grow."""

LOCK = ".lock"
"""The file in a folder that the process writing there holds locked (:mod:`elasticface.base.locks`)."""

LONGEST_NAME = 255
"""Bytes of a file's name, at most, on the usual file systems."""

_FROM_SHELL = ("/dev/stdin", "/dev/fd/")
"""Names of pipes that the shell has opened for a command: its standard input, and what ``<(…)`` becomes."""

_KINDS = {
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
    stat.S_IFDIR: os.strerror(errno.EISDIR),
}

_LONGEST_MARK = len("..01234567.old.tmp")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.old)?\.tmp", re.DOTALL)


@contextlib.contextmanager
def replacing(path: Path, sync: bool = True, new: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path``; what the body writes there, a file or a folder, takes the place of ``path``.

    If the body raises, the temporary is removed and ``path`` stays as it was. Only files and folders are replaced: a
    device such as ``/dev/null``, which root could replace for the whole machine, a pipe, and a folder where a disk is
    mounted are not. Of a link the link itself is replaced, not what it leads to.

    Args:
        path: where the result goes; folders above it are made.
        sync: see to it that the content is on the disk before the name is. Without, a power cut can leave an empty
            file under the name: for many small files, whose writer calls ``os.sync()`` once after the last.
        new: refuse to replace a folder that holds something by then (:func:`check_new_folder`).

    Raises:
        InputError: ``path`` is a device, a pipe, a socket or a mounted disk, or has no name of its own, as "." and ".."
            have none; ``new``, and something came into it while the body ran.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        if sync:
            for file in [*sorted(temporary.rglob("*")), temporary] if temporary.is_dir() else [temporary]:
                to_disk(file)
        if new:
            check_new_folder(path)
        before = temporary.with_suffix(".old.tmp")
        if temporary.is_dir() and os.path.lexists(path):
            path.rename(before)  # a folder cannot be renamed over another; this way either is whole at any moment
        os.replace(temporary, path)
        if before.is_dir() and not before.is_symlink():
            shutil.rmtree(before)
        else:
            before.unlink(missing_ok=True)
        if sync:
            to_disk(path.parent)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, sync: bool = True) -> None:
    """``data`` in ``path``, whole or not at all. For ``sync`` see :func:`replacing`."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """``text`` in ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON in ``path``, whole or not at all. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def opened(path: str | Path) -> io.BufferedReader:
    """A regular file, open to be read. Nothing else is, since any name may come from data: a named pipe would wait for
    a writer for ever, and a device may never end. The one exception is a pipe that the user's shell has opened and
    that is named as such: ``/dev/stdin``, or ``/dev/fd/63``, which is what ``<(command)`` becomes.

    Raises:
        OSError: it cannot be opened, or is no file; ``strerror`` says which.
    """
    descriptor, _ = open_file(path)
    return io.BufferedReader(io.FileIO(os.fspath(path), "r", opener=lambda *_: descriptor))  # with its name


def open_file(path: str | Path) -> tuple[int, int]:
    """As :func:`opened`, for what is read at once: a descriptor, which the caller closes, and the file's bytes.

    A pipe has 0 bytes, and so have files that the system makes up, such as those of `/proc`.
    """
    name = os.fspath(path)
    if "\0" in name:
        raise OSError(errno.EINVAL, "its name has a NUL", name)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise OSError(errno.EINVAL, "no file can have such a name", name) from None
    try:
        # Without O_NONBLOCK opening a named pipe waits; a terminal must not become this process's own.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what opening a socket says
            raise _not_a_file(name, os.stat(name).st_mode) from None
        raise
    # The open file is asked and not its name, which may be another file's by now.
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    if stat.S_ISFIFO(status.st_mode) and name.startswith(_FROM_SHELL):
        os.set_blocking(descriptor, True)
        return descriptor, 0
    os.close(descriptor)
    raise _not_a_file(name, status.st_mode)


def opened_text(path: str | Path) -> io.TextIOWrapper:
    """A text file in UTF-8, as :func:`opened`, its line ends as they are: what the csv module reads."""
    return io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="")


@contextlib.contextmanager
def reading(path: str | Path, advice: str = "") -> Iterator[None]:
    """The body reads ``path``: an OSError in it is raised as an InputError that names the file.

    Args:
        path: the file, as the user or a file of theirs has named it.
        advice: what to do where it cannot be read, for the message.
    """
    try:
        yield
    except OSError as error:
        then = f"; {advice}" if advice else ""
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}{then}") from error


def read_bytes(path: Path, advice: str = "", most: int | None = None) -> bytes:
    """The content of a file that the user or a file of theirs has named.

    Args:
        path: the file.
        advice: what to do where it cannot be read, for the message.
        most: bytes that are read; a larger file is refused before it takes the memory.

    Raises:
        InputError: the file cannot be read, or is larger.
    """
    content = bytearray()
    with reading(path, advice), opened(path) as file:
        if most is None:
            return file.read()
        # In parts, since a pipe does not say its size, and a file may grow.
        while part := file.read(1 << 20):
            content += part
            if len(content) > most:
                raise InputError(f"{printable(path)}: more than {most:,} bytes; is it the right file?")
    return bytes(content)


def read_text(path: Path, advice: str = "", most: int | None = None) -> str:
    """A file as text: UTF-8, a byte order mark removed, at most ``most`` bytes, or ``MOST_TEXT``.

    Raises:
        InputError: the file cannot be read, is larger, or not UTF-8.
    """
    try:
        return read_bytes(path, advice, MOST_TEXT if most is None else most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def temporary_beside(path: Path) -> Path:
    """A name that nothing has, for what is to become ``path`` or has been; :func:`remove_temporaries` knows it."""
    name, encoded = path.name, path.name.encode(errors="replace")
    if len(encoded) <= LONGEST_NAME:  # a longer one is found out by trying; here what is added must not make it so
        name = encoded[: LONGEST_NAME - _LONGEST_MARK].decode(errors="ignore")
    return path.with_name(f".{name}.{uuid.uuid4().hex[:8]}.tmp")


def remove_temporaries(folder: Path, older_than: float = 0.0) -> None:
    """Remove the temporary files and folders that killed writers have left anywhere below ``folder``.

    Links are removed, and not followed.

    Args:
        folder: where; that of a living writer, too, unless ``older_than`` spares it.
        older_than: seconds since a file was last written to, at least; of a folder, since a name in it was.
    """
    for parent, folders, names in os.walk(folder):
        for name in filter(is_temporary, [*folders, *names]):
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):  # its writer may be done with it
                if not older_than or time.time() - path.lstat().st_mtime > older_than:
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
        folders[:] = [name for name in folders if not is_temporary(name)]


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one of :func:`replacing`'s that did not get its place yet."""
    return _TEMPORARY.fullmatch(name) is not None


def holds_something(folder: Path, beside: Collection[str] = ()) -> bool:
    """Whether a folder that is to be written to holds anything; one that is not there yet does not.

    Its lock and what killed writers have left (:func:`replacing`) do not count, nor do the names ``beside``.

    Raises:
        InputError: ``folder`` is a file, or cannot be read.
    """
    try:
        names = {path.name for path in folder.iterdir()} - {LOCK, *beside}
        return not all(map(is_temporary, names))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be used: {error.strerror}; give a new folder") from error


def check_new_folder(out: Path) -> None:
    """Refuse, before the work, a folder that :func:`replacing` could not make, or that holds something already.

    Raises:
        InputError: it is such a folder.
    """
    if holds_something(out):
        raise InputError(f"{printable(out)}: holds something already; give a new folder")
    if out.is_symlink():
        raise InputError(f"{printable(out)}: is a link, which would be replaced; give the folder itself")
    check_replaceable(out)
    check_writable(out.parent)


def check_replaceable(path: Path) -> None:
    """Refuse what :func:`replacing` would not replace.

    Raises:
        InputError: ``path`` is a device, a pipe, a socket or a mounted disk, or has no name of its own, as "." and ".."
            have none.
    """
    if path.name in ("", ".."):
        raise InputError(f"{printable(path)}: cannot be replaced; give a new name")
    with contextlib.suppress(OSError):  # what is not there, or cannot be reached, is found out by who writes
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = _KINDS.get(stat.S_IFMT(mode), "is no file")
            raise InputError(f"{printable(path)}: {what}; give the name of a file")
        if os.path.ismount(path):
            raise InputError(f"{printable(path)}: a disk is mounted there; give a new folder on it")


def check_writable(out: Path, name: str | None = None) -> None:
    """Refuse a folder that cannot be written to before the work, not after it; by trying, and nothing stays of that.

    Args:
        out: the folder; those above it may be missing too.
        name: the file that is to be written in it: it may be too long a name, or a folder's.

    Raises:
        InputError: it cannot be made, is no folder, or may not be written to.
    """
    if name is not None:
        if not name or os.path.isdir(out / name):
            raise InputError(f"{printable(out / name)}: is a folder; give the name of a file")
        check_replaceable(out / name)
    there = Path(os.path.abspath(out))
    missing: list[str] = []
    while not os.path.lexists(there):
        missing.insert(0, there.name)
        there = there.parent
    trial = temporary_beside(there / (name or "file"))
    deepest = trial.joinpath(*missing)
    try:
        # In one step where ``out`` is there, since another process may remove temporaries in it.
        deepest.mkdir(parents=True)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        no_folder = isinstance(error, FileExistsError)  # a link to nothing
        why = f"{printable(error.filename)} is no folder" if no_folder else error.strerror
        raise InputError(f"{printable(out)}: cannot be written: {why}; give another") from error
    finally:
        for made in (deepest, *list(deepest.parents)[: len(missing)]):
            with contextlib.suppress(OSError):  # it was not made
                made.rmdir()


def room(path: Path) -> int:
    """Bytes that may be written where ``path`` is or would be, with ``RESERVE`` left free."""
    return max(0, shutil.disk_usage(_nearest(path)).free - RESERVE)


def printable(name: str | Path, most: int | None = None) -> str:
    """A name as one line of text: file names may hold line ends, and bytes that are not UTF-8.

    Args:
        name: what to show.
        most: characters to show; of a longer name, as a row in a stranger's file may hold it, the middle is left out.
    """
    text = str(name)
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2) :]}"
    return text if text.isprintable() else repr(text)[1:-1]


def _not_a_file(path: str, mode: int) -> OSError:
    return OSError(errno.EINVAL, _KINDS.get(stat.S_IFMT(mode), "is no file"), path)


def _nearest(path: Path) -> Path:
    """``path``, or the folder above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))


def to_disk(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
