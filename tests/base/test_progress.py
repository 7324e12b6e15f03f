"""elasticface.base.progress: a bar on a terminal, plain lines in a file or a pipe."""

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import command_line
import pytest

from elasticface.base import progress
from elasticface.faces.landmarks import COLUMNS

WORK = """
from elasticface.base import progress
from elasticface.faces.landmarks import COLUMNS
with progress.bar("loss {task.fields[loss]}") as bar:
    task = bar.add_task("training [red]", total=4000, loss="–")
    bar.update(task, completed=1200, loss="3.214")
    bar.update(task, completed=4000, loss="2.5")
list(progress.track(range(3), "embedding", 3))
"""
LINES = [
    "training [red] 0/4,000",
    "training [red] 4,000/4,000  loss 2.5  done in 0:00:00",
    "embedding 0/3",
    "embedding 3/3  done in 0:00:00",
]


def written_to(terminal: bool, **environment: str) -> str:
    """What the work writes on stderr, which is a terminal or a pipe."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE", "RANK")}
    environment = kept | {"TERM": "xterm", "COLUMNS": "100"} | environment
    subprocess.run([sys.executable, "-c", WORK], stderr=writing, env=environment, check=True, timeout=60)
    os.close(writing)
    content = b""
    while part := _read(reading):
        content += part
    os.close(reading)
    return content.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # how Linux ends a terminal
        return b""


def test_a_pipe_gets_plain_lines() -> None:
    assert written_to(terminal=False).splitlines() == LINES


def test_a_terminal_gets_a_bar_with_the_same_texts() -> None:
    shown = written_to(terminal=True)
    assert "\x1b[" in shown
    for text in ("training [red]", "4000/4000", "loss 2.5", "embedding", "3/3"):
        assert text in re.sub(r"\x1b\[[\d;]*m", "", shown)


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TTY_COMPATIBLE": "0"}])
def test_what_rich_takes_for_no_terminal_gets_lines(variables: dict[str, str]) -> None:
    assert written_to(terminal=True, **variables).splitlines() == LINES


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_what_rich_takes_for_a_terminal_gets_a_bar(variables: dict[str, str]) -> None:
    assert "\x1b[" in written_to(terminal=False, **variables)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("variables", [{"RANK": "1"}, {"SLURM_PROCID": "3"}])
def test_of_several_processes_only_the_first_says_anything(terminal: bool, variables: dict[str, str]) -> None:
    assert written_to(terminal, **variables) == ""
    assert written_to(terminal, **dict.fromkeys(variables, "0")) != ""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """What was said since the last call."""
    for name in ("RANK", "SLURM_PROCID", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return lambda: capsys.readouterr().err.splitlines()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set."""
    time = [0.0]
    monkeypatch.setattr(progress, "clock", lambda: time[0])
    return time


def test_a_line_is_due_every_ten_seconds_at_most(lines: Callable[[], list[str]], now: list[float]) -> None:
    with progress.bar("{task.fields[speed]} images/s") as bar:
        task = bar.add_task("rendering", total=1000, speed="–")
        assert lines() == ["rendering 0/1,000"]
        for second in range(1, 101):
            now[0] = float(second)
            bar.update(task, completed=10 * second, speed=f"{second}")
        bar.update(task, speed="0")  # nothing is said after the end
        told = lines()
    assert len(told) == 10
    assert told[0] == "rendering 100/1,000  10 images/s  after 0:00:10, 0:01:30 left"
    assert told[-1] == "rendering 1,000/1,000  100 images/s  done in 0:01:40"
    assert lines() == []


def test_work_that_is_resumed_counts_its_own_time(lines: Callable[[], list[str]], now: list[float]) -> None:
    with progress.bar() as bar:
        task = bar.add_task("converting", total=3000, completed=2000)
        assert lines() == ["converting 2,000/3,000"]
        for second in range(1, 11):
            now[0] = float(second)
            bar.advance(task, 10)
        assert lines() == ["converting 2,100/3,000  after 0:00:10, 0:01:30 left"]


def test_an_end_that_is_not_known_is_not_told(lines: Callable[[], list[str]], now: list[float]) -> None:
    with progress.bar() as bar:
        task = bar.add_task("reading", total=None)
        now[0] = 12.0
        bar.advance(task, 5000)
    assert lines() == ["reading", "reading 5,000  after 0:00:12"]


def test_work_that_fails_is_not_said_to_be_done(lines: Callable[[], list[str]]) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError

    with pytest.raises(KeyError):
        list(progress.track(failing(), "reading", 10))
    assert lines() == ["reading 0/10"]


def test_a_name_from_outside_cannot_break_the_line(lines: Callable[[], list[str]]) -> None:
    list(progress.track([1], "a\nb\x1b[2J", 1))
    assert lines() == [r"a\nb\x1b[2J 0/1", r"a\nb\x1b[2J 1/1  done in 0:00:00"]


def test_what_is_not_shown_says_nothing(lines: Callable[[], list[str]]) -> None:
    assert list(progress.track(range(3), "reading", 3, shown=False)) == [0, 1, 2]
    assert lines() == []


def test_work_without_a_count_is_worth_a_line_only_if_it_takes_long(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.status("drawing"):
        pass
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    said: list[str] = []
    with progress.status("drawing"):
        while not said:
            time.sleep(0.001)
            said += lines()
    assert said == ["drawing"]


def test_no_command_is_silent_where_stderr_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest of each command's work is told at its start."""
    monkeypatch.chdir(tmp_path)
    points = "1,38,51,73,51,56,71,41,92,70,92"
    photos = [f"person-{person:06}/{photo:04}.jpg" for person in range(6) for photo in range(6)]
    (tmp_path / "points.csv").write_text("\n".join([",".join(COLUMNS), *(f"{name},{points}" for name in photos)]))
    commands = {
        "synthesize faces --identities 6 --images-per-identity 6": ["rendering 0/36", "describing 0/6"],
        "align faces aligned --landmarks points.csv": ["aligning 0/36"],
        "convert faces recordio --to recordio": ["converting 0/36", "verifying 0/36"],
        "split faces people --people 3 --pairs 60": ["linking 0/36"],
        "train people/train --out run --backbone tiny --loss arcface --epochs 1 --batch-size 9": ["training 0/2"],
        "evaluate run people/heldout": ["heldout: embedding 0/"],
        "pack people/heldout heldout.bin": ["heldout: packing 0/"],
    }
    for command, starts in commands.items():
        code, _, told = command_line.run(*command.split())
        assert code == 0, told
        assert "\x1b" not in told
        for start in starts:
            assert any(line.startswith(start) for line in told.splitlines()), told
