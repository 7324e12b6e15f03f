"""A selection that was never trained: accuracies drawn for three benchmarks."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from elasticface.selection.choice import choose
from elasticface.selection.record import Grid, Record, Run, Selection
from elasticface.training.config import TrainConfig

LEVELS = {"lfw": 0.995, "agedb_30": 0.94, "<b>&cplfw": 0.88}


def made_selection(
    out: Path = Path("choice"), margins: int = 3, stds: int = 5, seeds: int = 3, noise: float = 0.002
) -> tuple[Selection, Record]:
    """Runs whose accuracies are a level of the benchmark's, a little more with m = 0.5, and noise."""
    random, runs = np.random.default_rng(5), []
    grid = Grid([0.45, 0.5, 0.55, 0.6][:margins], [0.0125, 0.015, 0.0175, 0.025, 0.05][:stds], seeds)

    def accuracies(loss: str, margin: float, std: float | None) -> list[list[float]]:
        rows = []
        for seed in range(seeds):
            own = [level + 0.003 * (margin == 0.5) + float(random.normal(0, noise)) for level in LEVELS.values()]
            name = f"runs/{loss}-m{margin}{f'-std{std}' if std else ''}-seed{seed}"
            runs.append(Run(name, loss, margin, std, seed, dict(zip(LEVELS, own, strict=True)), 60.0))
            rows.append(own)
        return rows

    fixed = [accuracies("arcface", margin, None) for margin in grid.margins]
    of_margin = choose("margin", grid.margins, fixed, [*LEVELS])
    elastic = [accuracies("elastic-arc+", of_margin.chosen, std) for std in grid.stds]
    reference = fixed[grid.margins.index(of_margin.chosen)]
    of_std = choose("std", grid.stds, elastic, [*LEVELS], reference=reference)
    config = TrainConfig(loss="elastic-arc+", margin=of_margin.chosen, std=of_std.chosen, validate=["lfw.bin"])
    selection = Selection(out, ["faces & more"], config, grid, of_margin, of_std, runs)
    settings = {"identities": 10_572, "images": 490_623, "pairs": dict.fromkeys(LEVELS, 6000), **asdict(config)}
    return selection, Record(settings, grid, runs, [of_margin, of_std])
