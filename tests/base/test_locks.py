"""elasticface.base.locks: one process at a time writes to a folder, and a killed one leaves no lock."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from elasticface.base import files
from elasticface.base.errors import InputError
from elasticface.base.locks import locked, new_folder

HOLD = """
import sys, pathlib
from elasticface.base.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(folder: Path, program: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_second_process_is_refused_at_once_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as process:
        with pytest.raises(
            InputError, match=rf"^.*: another process \(pid {process.pid} on .+\) is writing to it; wait"
        ):
            locked(tmp_path).__enter__()
        assert not files.holds_something(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_who_waits_has_the_lock_when_the_other_process_is_done_and_is_refused_when_it_is_not(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as process:
        with pytest.raises(InputError, match=rf"another process \(pid {process.pid} on "):
            locked(tmp_path, wait=0.2).__enter__()
        assert process.stdin is not None
        threading.Timer(0.2, process.stdin.close).start()  # it ends with its input
        with locked(tmp_path, wait=60):
            assert str(os.getpid()) in (tmp_path / files.LOCK).read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(tmp_path):
            assert str(os.getpid()) in (tmp_path / files.LOCK).read_text()
    assert list(tmp_path.iterdir()) == []


FORKED_CHILD = """
    import multiprocessing, os, signal
    def child():
        print(os.getpid(), flush=True)
        signal.pause()
    multiprocessing.get_context("fork").Process(target=child).start()
"""


def test_a_child_that_outlives_a_killed_process_does_not_hold_its_lock(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path, HOLD.replace("    sys.stdin", f"{FORKED_CHILD}    sys.stdin")) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        with locked(tmp_path):
            pass
        os.kill(child, signal.SIGKILL)


def test_a_folder_is_held_against_other_calls_in_the_same_process(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match=rf"another process \(pid {os.getpid()} on "):
        locked(tmp_path).__enter__()


def test_a_folder_that_was_made_for_the_lock_goes_with_it_unless_something_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "a" / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert os.listdir(tmp_path / "a" / "b") == ["file"]


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with locked(tmp_path / "there"):
        pass
    assert os.listdir(tmp_path) == ["there"]


def test_a_new_folder_is_held_while_it_is_made_and_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "above" / "out"
    with pytest.raises(RuntimeError), new_folder(out):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_folder(out) as temporary:
        temporary.mkdir()
        (temporary / "file").touch()
        with pytest.raises(InputError, match="another process"):
            new_folder(out).__enter__()
    assert [str(path.relative_to(out)) for path in tmp_path.rglob("*") if path.is_file()] == ["file"]
    with pytest.raises(InputError, match="out: holds something already; give a new folder"):
        new_folder(out).__enter__()


def test_what_came_into_a_new_folder_meanwhile_is_kept(tmp_path: Path) -> None:
    made = new_folder(tmp_path / "out")
    made.__enter__().mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="out: holds something already"):
        made.__exit__(None, None, None)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_file_system_without_locks_gives_a_warning_and_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock._unix, "lock_fd_nonblocking", no_locks)
    said = re.escape(f"{tmp_path}: its file system has no locks (No locks available)")
    with pytest.warns(UserWarning, match=said), locked(tmp_path):
        (tmp_path / "file").touch()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["file", "dangling", "file/below"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    with pytest.raises(InputError, match=f"{name}: cannot be written: .*; give another"):
        locked(tmp_path / name).__enter__()
