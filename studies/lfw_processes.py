"""The whole recipe for LFW from a .rec, on one process with several seeds and on two: are two within the seeds' spread?

Every run leaves `studies/results/lfw_processes/<processes>-<seed>.json`; a run that was stopped goes on, and one that
is there is not made again, so that several can be made at once. Without FACES the table of docs/scaling.md is filled.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import DOCS, fill, markdown, run

from elasticface.base import environment, files
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.model.loading import load
from elasticface.training.run_files import read_metrics

RESULTS = Path(__file__).parent / "results" / "lfw_processes"
PAGE = DOCS / "scaling.md"
PACKAGE = Path(__file__).parents[1]


def main(
    faces: Path | None = None, rec: Path | None = None, folder: Path | None = None, processes: int = 1, seed: int = 0
) -> None:
    """Train one run of `lfw-tiny` and judge it.

    Args:
        faces: the folder that `elasticface split` made of LFW's training people; its `heldout` is judged on.
        rec: its `train` as `elasticface convert --to recordio` made it.
        folder: where the run is kept.
        processes: that share it, of one thread each.
        seed: of everything in it.
    """
    if faces is None or rec is None or folder is None:
        fill(PAGE, "processes", table())
        return
    result = RESULTS / f"{processes}-{seed}.json"
    if not result.exists():
        out = folder / f"{processes}-{seed}"
        launcher = f"-m torch.distributed.run --standalone --nproc-per-node {processes} -m" if processes > 1 else "-m"
        given = f"train {rec} --out {out} --config lfw-tiny --seed {seed} --resume"
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE)}
        command = [sys.executable, *launcher.split(), "elasticface", *given.split()]
        subprocess.run(command, check=True, env=variables)
        found = evaluate_pairs(load(out), open_pairs(faces / "heldout"))
        losses = [line["loss"] for line in read_metrics(out)]
        told: dict[str, Any] = {
            "processes": processes,
            "seed": seed,
            "accuracy": found.accuracy,
            "accuracy_std": found.accuracy_std,
        }
        told |= {"eer": found.eer, "tar_at_far": found.tar_at_far["at-most"], "losses": losses[::50]}
        files.write_json(result, {**told, "environment": environment.describe()})
    print(table())


def table() -> str:
    """Markdown of the stored runs."""
    runs = sorted(
        (json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")),
        key=lambda r: (r["processes"], r["seed"]),
    )
    rows = [
        [
            str(each["processes"]),
            str(each["seed"]),
            f"{each['accuracy']:.2%} ± {each['accuracy_std']:.2%}",
            f"{each['tar_at_far']['0.01']:.2%}",
            f"{each['eer']:.2%}",
        ]
        for each in runs
    ]
    shown = markdown(["processes", "seed", "accuracy", "TAR at FAR 1e-2", "EER"], rows)
    alone = [each["accuracy"] for each in runs if each["processes"] == 1]
    if len(alone) > 1:
        shown += (
            f"\n\nOne process: from {min(alone):.2%} to {max(alone):.2%}, standard deviation over the seeds "
            f"{statistics.stdev(alone):.2%}."
        )
    return shown


if __name__ == "__main__":
    run(main)
