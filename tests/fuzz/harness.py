"""Feeds readers with mutated files and sees to it that nothing but an InputError comes out, soon, in bounded memory."""

import contextlib
import faulthandler
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from mutations import mutated

from elasticface.base import keyed
from elasticface.base.errors import InputError

MEMORY = 1 << 30  # bytes of address space beyond what the process has at the start
LONGEST_MESSAGE = 1500  # characters, with the path of a temporary folder in them
_STATUS = Path("/proc/self/statm")

FORBIDDEN = tuple(
    "os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty os.startfile subprocess.Popen pickle.find_class "
    "marshal. ctypes. socket. webbrowser.open code.__new__ os.remove os.rename os.rmdir os.link os.symlink os.chmod "
    "os.mkdir shutil. import".split()
)
"""Audit events, or how they begin, of which a reader of data causes none once its modules are loaded."""


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads."""

    read: Callable[[Path], Any]  # of the folder that the files lie in; what it raises must be an InputError
    prepare: Callable[[Path], None]  # writes all files, valid
    fuzzed: Sequence[str]  # the files to change, one at a time
    words: Sequence[bytes]  # what means something in them
    also: Sequence[tuple[str, bytes]] = ()  # further valid contents of the fuzzed files


class TooLong(BaseException):
    """An input takes more than its time. No Exception, so that no reader takes it for its own."""


@dataclass
class Finding:
    """An input that a reader did not take well."""

    reader: str
    number: int
    what: str
    file: Path | None = None


@dataclass
class Outcome:
    """What became of the inputs of one reader."""

    reader: str
    inputs: int = 0
    read: int = 0  # taken for valid
    refused: int = 0
    slowest: float = 0.0  # seconds
    messages: set[str] = field(default_factory=set)  # how many kinds of refusals there were
    findings: list[Finding] = field(default_factory=list)


class Watch:
    """What happens in the process while a reader reads: forbidden events, and files opened elsewhere.

    Audit hooks can't be taken away again, which is why fuzzing has a process of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = os.fspath(folder)
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.100}")
        elif event == "open":
            path, _, flags = arguments
            inside = isinstance(path, str) and os.path.realpath(path).startswith(self.folder + os.sep)
            if not inside or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                self.seen.append(f"open {path!r:.100}")


def fuzz(
    name: str,
    reader: Reader,
    folder: Path,
    watch: Watch,
    *,
    inputs: int,
    seconds: float,
    seed: int = 0,
    first: int = 0,
    limit: float = 5.0,
    keep: Path | None = None,
    terminal: TextIO = sys.stderr,
) -> Outcome:
    """Inputs number ``first`` and following of one reader; each depends on the seed and its number alone.

    Args:
        name: of the reader.
        reader: what reads.
        folder: an empty one below that of ``watch``.
        watch: sees what is done.
        inputs: how many at most.
        seconds: end after so long.
        seed: of the mutations.
        first: number of the first input.
        limit: seconds an input may take.
        keep: where inputs that make a finding are put, with the finding beside.
        terminal: gets the traceback of a reader that cannot be interrupted; the process ends then.
    """
    folder.mkdir(parents=True)
    reader.prepare(folder)
    examples = [(file, (folder / file).read_bytes()) for file in reader.fuzzed]
    for file, content in [*examples, *reader.also]:  # also loads every module before anything is watched
        (folder / file).write_bytes(content)
        reader.read(folder)
        (folder / file).write_bytes(dict(examples)[file])
    contents = [*examples, *reader.also]
    outcome = Outcome(name)
    end = time.monotonic() + seconds
    for number in range(first, first + inputs):
        if time.monotonic() > end:
            break
        rng = keyed.generator(seed, f"fuzz {name}", number)
        file, content = contents[rng.integers(len(contents))]
        data = mutated(content, [other for _, other in contents], reader.words, rng)
        (folder / file).write_bytes(data)
        began = time.monotonic()
        what = _try(reader, folder, watch, limit, outcome, terminal)
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)
        outcome.inputs += 1
        if what is not None:
            finding = Finding(name, number, what)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                finding.file = keep / f"{name}-{seed}-{number}-{Path(file).name}"
                finding.file.write_bytes(data)
                finding.file.with_name(finding.file.name + ".finding").write_text(what + "\n")
            outcome.findings.append(finding)
        (folder / file).write_bytes(dict(examples)[file])
    shutil.rmtree(folder)
    return outcome


def _try(reader: Reader, folder: Path, watch: Watch, limit: float, outcome: Outcome, terminal: TextIO) -> str | None:
    """Read once. Returns what was wrong with it, or None."""
    watch.seen.clear()
    what = None
    try:
        with _timed(limit, terminal):
            watch.on = True
            try:
                reader.read(folder)
            finally:
                watch.on = False
        outcome.read += 1
    except InputError as error:
        outcome.refused += 1
        message = str(error)
        outcome.messages.add("".join(c for c in message.rpartition(": ")[2] if c.isalpha() or c == " ")[:60])
        if len(message) > LONGEST_MESSAGE or len(message.splitlines()) != 1 or not message.isprintable():
            what = f"a message that is no short printable line: {message!r:.300}"
    except TooLong:
        what = f"takes more than {limit:g} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        what = f"{type(error).__name__}: {str(error)[:300]}"
    return f"does what no reader does: {watch.seen[0]}" if watch.seen else what


@contextlib.contextmanager
def _timed(limit: float, terminal: TextIO) -> Iterator[None]:
    def end(_: int, __: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit)
    # Code in C is not interrupted: if it hangs, the process ends with a traceback, and the input is still there.
    faulthandler.dump_traceback_later(10 * limit, exit=True, file=terminal)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def bound_memory() -> None:
    """From here on the process may take ``MEMORY`` more than it has; beyond that is a MemoryError, a finding."""
    if not _STATUS.exists():
        return
    taken = int(_STATUS.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
