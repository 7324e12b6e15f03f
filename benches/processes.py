"""One training run on one process and on several: how far apart their losses are, and what a large head takes.

Run it as ``python benches/processes.py``; ``--help`` lists the options.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import RESULTS, console, machine, markdown, printed, run, save, status_bytes, stored

from elasticface.training.run_files import read_metrics

OUT = RESULTS / "processes.json"
SET = "synthetic:identities=64,images=10"
SMALL = "--backbone tiny --embedding-size 128 --batch-size 64 --scale 32 --workers 0 --device cpu"
STARTS = {"1 × 1": (1, 1), "1 × 2": (1, 2), "2 × 1": (2, 1)}  # processes × threads of each
SETTINGS = tuple(f"--precision {bits} --lr {lr}" for lr in ("0.0001", "0.05") for bits in (32, 64))
POLL = 0.1  # seconds between two looks at the memory


@dataclass
class Trained:
    """What a run left: its metrics, and the peak of memory of each of its processes."""

    metrics: list[dict[str, Any]]
    peak_bytes: list[int]  # by process
    seconds: float


def bench(steps: int = 50, loss: str = "elastic-arc+", out: Path = OUT, markdown: bool = False) -> None:
    """Train the same run on one process, on one of two threads and on two, and compare the losses step by step.

    Args:
        steps: of the runs.
        loss: the name of the loss.
        out: JSON file for every step; replaced if it is there.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        print(table(stored(out)))
        return
    losses: dict[str, dict[str, list[float]]] = {}
    for setting in SETTINGS:
        for name, (processes, threads) in STARTS.items():
            with console.status(f"{setting}, {name}"):
                options = f"{SMALL} {setting} --loss {loss} --max-steps {steps} --epochs {steps} --log-every 1"
                found = trained(SET, f"{options} --sync-batchnorm", processes, threads)
                losses.setdefault(setting, {})[name] = [line["loss"] for line in found.metrics]
    kept = save(out, {"set": SET, "options": SMALL, "loss": loss, "losses": losses})
    console.print(printed(COLUMNS, rows(kept)))


def trained(data: str, options: str, processes: int, threads: int = 1) -> Trained:
    """`elasticface train` with these options in a folder that is thrown away; ``threads`` of each process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        launcher = f"-m torch.distributed.run --standalone --nproc-per-node {processes} -m" if processes > 1 else "-m"
        command = [sys.executable, *launcher.split(), "elasticface", "train", data, "--out", str(out), *options.split()]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(Path(__file__).parents[1])}
        with (Path(folder) / "log").open("w+") as log:
            start = time.perf_counter()
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            peaks: dict[int, int] = {}
            while process.poll() is None:
                for each in [process.pid] if processes == 1 else _children(process.pid):
                    peaks[each] = max(status_bytes("VmHWM", each), peaks.get(each, 0))  # 0 where it has just ended
                time.sleep(POLL)
            seconds = time.perf_counter() - start
            if process.returncode:
                log.seek(0)
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read()}")
        lines = [line for line in read_metrics(out) if "benchmark" not in line]
    return Trained(lines, [peak for _, peak in sorted(peaks.items())], seconds)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


COLUMNS = ["settings", "processes × threads", "first loss", "last loss", "after 5 steps", "20", "all"]


def rows(figures: dict[str, Any]) -> list[list[str]]:
    """The largest relative difference to one process of one thread in the first 5 steps, the first 20, and all."""
    found = []
    for setting, by_start in figures["losses"].items():
        one = by_start["1 × 1"]
        for name, losses in by_start.items():
            apart = [abs(a - b) / abs(a) for a, b in zip(one, losses, strict=True)]
            far = ["–"] * 3 if losses is one else [f"{max(apart[:count]):.0e}" for count in (5, 20, len(apart))]
            found.append([f"`{setting}`", name, f"{losses[0]:.6f}", f"{losses[-1]:.6f}", *far])
    return found


def table(figures: dict[str, Any]) -> str:
    """Markdown of what :func:`bench` has stored."""
    steps = len(next(iter(figures["losses"].values()))["1 × 1"])
    told = (
        f"The largest relative difference to the losses of one process of one thread. {steps} steps of "
        f"{figures['loss']}, `{figures['set']}`, `{figures['options']} --sync-batchnorm`. "
        f"{machine(figures['environment'])}."
    )
    return f"{markdown(COLUMNS, rows(figures), texts=2)}\n\n{told}"


if __name__ == "__main__":
    run(bench)
