"""Kill trainings at random moments: ``python tests/faults --kills 30 --processes 1``; ``--help`` lists the options.

Each run is killed once to three times, sometimes with its newest checkpoint damaged after that, and goes on with
--resume until it is done. It must then be the run that nobody stopped, to the bit: model, logged losses, newest
checkpoint. It ends with 1 where one is not. Each kill is a line in ``--log``: when, what was on the disk, where the run
went on.
"""

import json
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from runs import DAMAGES, POINTS, Ended, Process, Runs, content, damage_newest, grow, no_room, on_disk, small_disk

from elasticface.base import keyed
from elasticface.base.errors import InputError
from elasticface.model.checkpoint_folder import newest_first

_MOST_KILLS = 3  # of one run
_DAMAGED = 0.25  # share of kills after which the newest checkpoint is damaged
_TERMINATED = 0.2  # share of signals that are SIGTERM


def main(
    kills: int = 30,
    processes: int = 1,
    points: int = len(POINTS),
    disk: bool = True,
    seed: int = 0,
    log: Path | None = None,
    keep: Path | None = None,
) -> None:
    """Training runs that are killed and go on.

    Args:
        kills: signals at random moments; those at the points come on top.
        processes: that a run is trained in; more than one are started by torch.distributed.run.
        points: also kill at each of the first so many lines where a kill could do harm; with one process.
        disk: also run out of room on it; with one process.
        seed: of the moments.
        log: JSON lines, one a kill and one a finished run.
        keep: folder for the runs that are not as the unbroken one.
    """
    if kills < 0 or processes < 1 or seed < 0:
        raise InputError("--kills and --seed must be at least 0, --processes at least 1")
    findings: list[str] = []
    table = Table("signal", "kills", "during a save", "checkpoint damaged", "anew", "ended by itself")
    with tempfile.TemporaryDirectory() as temporary:
        runs = Runs(Path(temporary), processes)
        story = _Story(runs, log, keep, findings)
        Console(stderr=True).print(f"the unbroken run takes {runs.seconds:.1f} s")
        if points and processes == 1:
            story.points(points)
        if disk and processes == 1:
            story.disk_full()
        number = 0
        while story.kills < kills:
            story.random(number, seed, kills - story.kills)
            number += 1
        for name, row in story.counts.items():
            table.add_row(name, *(str(count) for count in row.values()))
    Console().print(table)
    for finding in findings[:20]:
        print(finding)
    total = sum(row["kills"] for row in story.counts.values())
    print(f"{total} kills, {story.finished} runs, {len(findings)} findings")
    if findings:
        sys.exit(1)


class _Story:
    """What happened so far."""

    def __init__(self, runs: Runs, log: Path | None, keep: Path | None, findings: list[str]) -> None:
        self.runs, self.keep, self.findings = runs, keep, findings
        self.kills = self.finished = 0  # random kills
        self.counts: dict[str, dict[str, int]] = {}
        self._log = log.open("w") if log else None

    def random(self, number: int, seed: int, most: int) -> None:
        """A run that is killed at moments of its own, and finished."""
        rng = keyed.generator(seed, "faults", number)
        run, damaged = self.runs.folder / f"run{number}", None
        for attempt in range(int(min(most, rng.integers(1, _MOST_KILLS + 1)))):
            several = self.runs.processes > 1
            before = content(run / "environment.json")
            process = self.runs.start(run, resume=attempt > 0)
            begun = process.wait_until_open(before) if several else process.started
            moment = float(rng.uniform(0, self.runs.seconds * self._left(run)))
            terminated = not several and rng.random() < _TERMINATED
            to = "one" if several and rng.random() < 0.5 else "all"
            _sleep_until(process, begun + moment)
            sent = process.send(signal.SIGTERM if terminated else signal.SIGKILL, to)
            ended = process.wait()
            name = "SIGTERM" if terminated else f"SIGKILL to {to}" if several else "SIGKILL"
            self._check(run, attempt, damaged, ended, name if sent else "none")
            damage = DAMAGES[rng.integers(len(DAMAGES))] if rng.random() < _DAMAGED else None
            there = on_disk(run)
            damaged = damage_newest(run, damage, float(rng.random())) if damage else None
            self._note(name, run, moment, there, damaged, ended, sent)
            self.kills += 1
        self._finish(run, damaged)

    def _left(self, run: Path) -> float:
        """What share of a run is still to be made."""
        steps = [
            int(path.name.removeprefix("step-"))
            for folder in (run, self.runs.unbroken)
            for path in newest_first(folder / "checkpoints")[:1]
        ]
        return 1.0 if len(steps) < 2 else max(0.1, 1 - steps[0] / steps[1])

    def points(self, most: int) -> None:
        """One run that is killed at every point, one after the other, and finished."""
        run = self.runs.folder / "points"
        for attempt, (point, prepare) in enumerate(list(POINTS.items())[:most]):
            ended = self.runs.start(run, resume=attempt > 0, prepare=prepare).wait()
            self._check(run, attempt, None, ended, "SIGKILL")
            if ended.code != -signal.SIGKILL:
                self.findings.append(f"{run.name}: not killed {point}: ended with {ended.code}")
            self._note("at a point", run, point, on_disk(run), None, ended, True)
        self._finish(run, None)

    def disk_full(self) -> None:
        """Runs whose disk is full: they stop with one line, keep what there was, and go on once there is room."""
        size = sum(file.stat().st_size for file in newest_first(self.runs.unbroken / "checkpoints")[0].iterdir())
        run = self.runs.folder / "limited"
        self.runs.start(run, prepare=POINTS["after a checkpoint, before its validation"]).wait()
        self._stops("no room for a shard", run, self.runs.start(run, resume=True, prepare=no_room(size // 2)))
        self._finish(run, None)

        with small_disk(self.runs.folder / "disk", 5 * size // 2) as there:
            if there:
                run = self.runs.folder / "disk" / "run"
                self._stops("a full disk", run, self.runs.start(run))
                (run.parent / "filler").write_bytes(bytes(shutil.disk_usage(run).free))
                self._stops("a disk without one free byte", run, self.runs.start(run, resume=True))
                grow(run.parent)
                self._finish(run, None)

    def _stops(self, name: str, run: Path, process: Process) -> None:
        before, ended = on_disk(run), process.wait()
        there = on_disk(run)
        last = ended.error.strip().splitlines()[-1:]
        clear = any("make room" in line or "--resume" in line for line in last)
        if ended.code != 1 or not clear or "Traceback" in ended.error or "Exception" in ended.error:
            self._find(run, f"ended with {ended.code} for {name}: {ended.error[-500:]}")
        if there["temporaries"] or not set(before["checkpoints"]) <= set(there["checkpoints"]):
            self._find(run, f"{name} left {there}")
        self._note(name, run, "disk full", there, None, ended, True)

    def _finish(self, run: Path, damaged: str | None) -> None:
        ended = self.runs.start(run, resume=True).wait()
        self._check(run, 1, damaged, ended, "none")
        wrong = self.runs.differences(run)
        self.finished += 1
        went_on = re.findall(r"resuming after step (\d+)", ended.error)
        self._write({"run": run.name, "ended": ended.code, "after": went_on, "differences": wrong})
        if wrong:
            self._find(run, f"differs in {', '.join(wrong)}")
        elif not self.keep or not (self.keep / run.name).exists():
            shutil.rmtree(run)

    def _check(self, run: Path, attempt: int, damaged: str | None, ended: Ended, sent: str) -> None:
        """An ended process: by what, and did it name what was damaged?"""
        good = {
            "none": ended.code == 0,
            # One that comes before the run has begun ends it at once; one that comes at its end, nothing.
            "SIGTERM": ended.code == -signal.SIGTERM
            or (ended.code == 0 and ("--resume" in ended.error or "the model is in" in ended.error)),
        }.get(sent, True)
        if not good or (self.runs.processes == 1 and "Traceback" in ended.error):
            self._find(run, f"ended with {ended.code} after {sent}: {ended.error[-500:]}")
        if attempt and damaged and "resuming" in ended.error and f"{damaged.partition('/')[0]}: " not in ended.error:
            self._find(run, f"{damaged} was damaged, and not named")

    def _find(self, run: Path, what: str) -> None:
        self.findings.append(f"{run.name}: {what}")
        if self.keep and not (self.keep / run.name).exists():
            shutil.copytree(run, self.keep / run.name)

    def _note(
        self, name: str, run: Path, moment: float | str, there: Any, damaged: str | None, ended: Ended, sent: bool
    ) -> None:
        columns = ("kills", "during a save", "damaged", "anew", "ended")
        row = self.counts.setdefault(name, dict.fromkeys(columns, 0))
        row["kills"] += 1
        row["during a save"] += bool(there["temporaries"])
        row["damaged"] += damaged is not None
        row["anew"] += not there["checkpoints"]
        row["ended"] += not sent
        went_on = re.findall(r"resuming after step (\d+)", ended.error)
        self._write(
            {"run": run.name, "signal": name if sent else None, "moment": moment, "on_disk": there}
            | {"damaged": damaged, "went_on_after": int(went_on[0]) if went_on else None, "code": ended.code}
        )

    def _write(self, line: dict[str, Any]) -> None:
        if self._log:
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()


def _sleep_until(process: Process, moment: float) -> None:
    while process.alive() and (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, 0.02))


if __name__ == "__main__":
    try:
        auto_cli(main)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
