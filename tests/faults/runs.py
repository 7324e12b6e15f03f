"""Training runs that are killed, and what they leave: a run that goes on must end as one that was never stopped.

One process: every run is a fork of this process, which has all modules loaded and no threads yet. A run then takes a
second or two instead of five, and what is forked can be told to kill itself at a line of its choice. Several processes:
`torch.distributed.run`, as a user starts it.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2]
for folder in (PACKAGE, PACKAGE / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import torch  # noqa: E402
from conftest import write_pairs, write_people  # noqa: E402
from on_processes import children  # noqa: E402
from torch.distributed.checkpoint.filesystem import FileSystemReader  # noqa: E402
from torch.distributed.checkpoint.state_dict_loader import load  # noqa: E402
from torch.utils.tensorboard import SummaryWriter  # noqa: E402, F401  (so that no fork has to load it)

from elasticface.base import files  # noqa: E402
from elasticface.cli import main  # noqa: E402
from elasticface.model import checkpoint_folder  # noqa: E402
from elasticface.training import checkpoint, hooks, run_folder  # noqa: E402

SETTINGS = (
    "--loss=elastic-arc+ --scale=16 --backbone=own_parts:shrunk --embedding-size=16 --batch-size=8 --epochs=4 "
    "--lr=0.05 --schedule=cosine --warmup-epochs=0.5 --augment=1 --workers=0 --device=cpu --log-every=3 "
    "--checkpoint-every=2 --keep-checkpoints=2"
).split()
FINAL = ("model/model.safetensors", "checkpoints/best.json")
TIMEOUT = 120.0  # seconds until a run that does not end is a finding

Sign = dict[str, Any]


@dataclass
class Ended:
    """A process that ran, or was killed."""

    code: int  # as of subprocess: −9 where it was killed
    error: str  # what it wrote on stderr
    seconds: float


@dataclass
class Runs:
    """Runs on one made-up set, with the same settings.

    Args:
        folder: an empty one, for the faces and the runs.
        processes: that a run is trained in.
    """

    folder: Path
    processes: int = 1
    seconds: float = field(init=False)  # of the unbroken run, from when it opened its folder where there are several

    def __post_init__(self) -> None:
        self.faces = write_pairs(write_people(self.folder / "faces", 6, 5), 6, 5)
        self.unbroken = self.folder / "unbroken"
        started = time.monotonic()
        process = self.start(self.unbroken)
        if self.processes > 1:
            started = process.wait_until_open(b"")
        ended = process.wait()
        self.seconds = time.monotonic() - started
        if ended.code:
            raise RuntimeError(f"the unbroken run ended with {ended.code}:\n{ended.error}")

    def start(self, run: Path, resume: bool = False, prepare: Callable[[], None] | None = None) -> "Process":
        """Begin to train, or go on.

        Args:
            run: the run folder.
            resume: with --resume.
            prepare: called in the process before it trains; one process only.
        """
        arguments = ["train", str(self.faces), "--out", str(run), "--validate", str(self.faces), *SETTINGS]
        arguments += ["--resume"] if resume else []
        return Process(self.processes, run, self.folder / f"{run.name}.stderr", arguments, prepare)

    def differences(self, run: Path) -> list[str]:
        """In what a finished run is not the unbroken one, to the bit."""
        wrong = [name for name in FINAL if content(run / name) != content(self.unbroken / name)]
        if lines(run) != lines(self.unbroken):
            wrong.append("metrics.jsonl")
        if not _same_newest(run, self.unbroken):
            wrong.append("the newest checkpoint")
        left = [str(path.relative_to(run)) for path in run.rglob("*") if files.is_temporary(path.name)]
        return wrong + [f"left: {name}" for name in left]


class Process:
    """A run that is going on."""

    def __init__(
        self, processes: int, run: Path, output: Path, arguments: list[str], prepare: Callable[[], None] | None
    ) -> None:
        self.run, self.output, self.started = run, output, time.monotonic()
        self._popen: subprocess.Popen[bytes] | None = None
        if processes > 1:
            assert prepare is None
            launch = f"-m torch.distributed.run --standalone --nproc-per-node {processes} -m elasticface".split()
            found = os.pathsep.join([str(PACKAGE), str(PACKAGE / "tests")])  # own_parts, too
            environment = {**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1"}
            with output.open("wb") as file:
                self._popen = subprocess.Popen(
                    [sys.executable, *launch, *arguments],
                    stdout=file,
                    stderr=file,
                    env=environment,
                    start_new_session=True,
                )
            self.pid = self._popen.pid
        else:
            self.output.touch()  # the fork may be killed before it can
            self.pid = os.fork()
            if not self.pid:
                self._train(arguments, prepare)

    def _train(self, arguments: list[str], prepare: Callable[[], None] | None) -> None:
        """The fork: it ends here, come what may."""
        code = 1
        try:
            os.setsid()
            descriptor = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            if prepare is not None:
                prepare()
            main.main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait_until_open(self, before: bytes) -> float:
        """When the run has opened its folder, so that what follows is training and not loading of modules.

        Args:
            before: its environment.json as it was; it is written anew each time.
        """
        file = self.run / "environment.json"
        stamp = file.stat().st_ino if before else None
        while self.alive() and time.monotonic() - self.started < TIMEOUT:
            if file.exists() and file.stat().st_ino != stamp:
                break
            time.sleep(0.005)
        return time.monotonic()

    def alive(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def send(self, number: int, to: str = "all") -> bool:
        """A signal to all its processes, or to ``"one"`` of the workers. False where it had ended by itself."""
        if not self.alive():
            return False
        below = _descendants(self.pid)
        chosen = below[-1:] if to == "one" else [self.pid, *below]
        for pid in chosen:  # the workers of torch.distributed.run are no process group with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return True

    def wait(self) -> Ended:
        """Until it ends.

        Raises:
            TimeoutError: it does not.
        """
        while self.alive():
            if time.monotonic() - self.started > TIMEOUT:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"{self.run} does not end:\n{self.output.read_text()}")
            time.sleep(0.005)
        seconds = time.monotonic() - self.started
        code = self._popen.wait() if self._popen else os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Ended(code, self.output.read_text(errors="replace"), seconds)


def _same_newest(one: Path, other: Path) -> bool:
    """Whether the newest checkpoints are of one step, and every tensor in them has the same bits.

    Which others there are depends on where SIGTERM made one, and the bytes of files on the layout of tensors.
    """
    paths = [checkpoint_folder.newest_first(run / "checkpoints")[0] for run in (one, other)]
    first, second = (_tensors(path) for path in paths)
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    return same and paths[0].name == paths[1].name


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    stored = FileSystemReader(path).read_metadata().state_dict_metadata
    tensors = {name: torch.empty(there.size, dtype=there.properties.dtype) for name, there in stored.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one process is meant
        load(tensors, checkpoint_id=path, no_dist=True)
    return tensors


def _descendants(pid: int) -> list[int]:
    return [descendant for child in children(pid) for descendant in (child, *_descendants(child))]


def content(path: Path) -> bytes:
    """Of a file; nothing where it is missing."""
    return path.read_bytes() if path.exists() else b""


def lines(run: Path) -> list[dict[str, Any]]:
    """What a run logged, without its speed, which is another each time."""
    read = [json.loads(line) for line in content(run / "metrics.jsonl").splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in read]


def on_disk(run: Path) -> Sign:
    """What there is of a run."""
    checkpoints = run / "checkpoints"
    there = sorted(os.listdir(checkpoints)) if checkpoints.is_dir() else []
    return {
        "checkpoints": [name for name in there if name.startswith("step-")],
        "temporaries": [name for name in there if files.is_temporary(name)],
        "lines": content(run / "metrics.jsonl").count(b"\n"),
        "model": (run / "model").is_dir(),
    }


DAMAGES = ("cut", "flipped", "half written")


def damage_newest(run: Path, how: str, place: float) -> str | None:
    """Damage the newest checkpoint, where there is another to go back to.

    Args:
        run: the run folder.
        how: one of ``DAMAGES``.
        place: which byte or file of it, in [0, 1).

    Returns:
        Which file of which checkpoint.
    """
    there = checkpoint_folder.newest_first(run / "checkpoints")
    if len(there) < 2:
        return None
    parts = sorted(there[0].iterdir())
    if how == "half written":  # as by a copy that was cut short
        for part in parts[int(place * len(parts)) :]:
            part.unlink()
        return there[0].name
    part = parts[int(place * len(parts))]
    data = bytearray(part.read_bytes())
    if how == "cut":
        del data[int(place * len(data)) :]
    else:
        data[int(place * len(data))] ^= 1 << int(8 * place)
    part.write_bytes(data)
    return f"{there[0].name}/{part.name}"


def no_room(size: int) -> Callable[[], None]:
    """For `prepare`: files can't become larger than so many bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """``folder`` on a disk of so many bytes; False where this user may not make one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def grow(folder: Path) -> None:
    """Much room on a small disk."""
    subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(module: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> Callable[[], None]:
    """Dies where ``module.name`` is called with arguments that ``when`` is true of."""

    def prepare() -> None:
        function = getattr(module, name)

        def dying(*arguments: Any, **named: Any) -> Any:
            if when(*arguments, **named):
                _die()
            return function(*arguments, **named)

        setattr(module, name, dying)

    return prepare


def _while_writing() -> None:
    write_data = checkpoint._Writer.write_data

    def dying(self: Any, *arguments: Any) -> None:
        write_data(self, *arguments)
        (shard,) = Path(self.path).glob("*.distcp")
        os.truncate(shard, shard.stat().st_size // 2)
        _die()

    checkpoint._Writer.write_data = dying  # type: ignore[method-assign, assignment]


def _before_validating() -> None:
    def dying(_: Any, state: Any, run: Any) -> None:
        run.finish_saving()  # or it is still being written
        _die()

    hooks.Validate._measure = dying  # type: ignore[method-assign, assignment]


def _while_removing() -> None:
    def dying(path: Path) -> None:
        next(path.iterdir()).unlink()
        _die()

    shutil.rmtree = dying  # type: ignore[assignment]


def _is_checkpoint(_: Any, path: Path) -> bool:
    return Path(path).name.startswith("step-")


POINTS: dict[str, Callable[[], None]] = {
    "while a shard is written": _while_writing,
    "before the metadata is": _before(checkpoint._Writer, "finish"),
    "before the checksums are": _before(checkpoint_folder, "write_checksums"),
    "before the checkpoint gets its name": _before(os, "replace", _is_checkpoint),
    "when it has it, before old ones are removed": _before(checkpoint_folder, "prune"),
    "after a checkpoint, before its validation": _before_validating,
    "after a validation, before its figure is noted": _before(checkpoint_folder, "add_validation"),
    "before the best one is written down": _before(
        files, "write_json", lambda path, _: path.name == checkpoint_folder.BEST
    ),
    "while an old one is removed": _while_removing,
    "before the metrics are opened": _before(files, "write_text", lambda path, _: path.name == "metrics.jsonl"),
    "before the model gets its name": _before(os, "replace", lambda _, path: Path(path).name == "model"),
    "before the model is written": _before(run_folder.FaceEncoder, "save"),
}
"""Where a run can be made to kill itself, by the name of the point: what `prepare` of :meth:`Runs.start` does."""

torch.set_num_threads(1)
