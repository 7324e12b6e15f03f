"""A million identities in a real training run, from a .rec, on two processes: memory and time beside what plan says.

Run it as ``python benches/million.py``; ``--help`` lists the options. It needs 6 GB of disk and 12 GB of memory.
"""

import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, console, machine, markdown, printed, run, save
from head import multiply_seconds
from processes import trained

from elasticface.config import TrainConfig
from elasticface.data import images
from elasticface.data.recordio_writer import RecordIOWriter
from elasticface.errors import InputError
from elasticface.plan import plan

OUT = RESULTS / "million.json"
RATES = (1.0, 0.1)
WARM_UP = 5  # steps that are not timed


def bench(
    identities: int = 1_000_000,
    processes: int = 2,
    batch: int = 128,
    steps: int = 20,
    out: Path = OUT,
    markdown: bool = False,
) -> None:
    """Train `tiny`, 512-d, for some steps on a set of as many identities, one photo each, exact and sampled.

    Args:
        identities: in the set, which is written to a temporary folder.
        processes: that share the run, one thread each.
        batch: images a step, of all processes together.
        steps: of each run.
        out: JSON file; replaced if it is there.
        markdown: measure nothing, print the table of the JSON file for the docs.
    """
    if markdown:
        if not out.exists():
            raise InputError(f"--out: there is no {out} yet; measure first, without --markdown")
        print(table(json.loads(out.read_text())))
        return
    if steps <= WARM_UP:
        raise InputError(f"--steps must be above {WARM_UP}, the steps that are not timed")
    config = TrainConfig(backbone="tiny", batch_size=batch, max_steps=steps, log_every=1, workers=0, device="cpu")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        with console.status(f"writing {identities:,} photos"):
            write_set(Path(folder), identities)
        for rate in RATES:
            with console.status(f"{steps} steps, sample rate {rate:g}"):
                found.append(measure(Path(folder), replace(config, sample_rate=rate), identities, processes))
    stored = save(out, {"identities": identities, "processes": processes, "batch": batch, "steps": steps, "runs": found})
    console.print(printed(COLUMNS, rows(stored)))


def write_set(folder: Path, identities: int) -> None:
    """A .rec with one plain photo of each: what is in it makes no difference to what the head costs."""
    grey = [images.encode(np.full((112, 112, 3), level, np.uint8), ".jpg") for level in range(256)]
    with RecordIOWriter(folder) as writer:
        for label in range(identities):
            writer.write(grey[label % 256], label)
        writer.finish()
