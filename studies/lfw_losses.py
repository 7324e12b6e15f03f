"""All seven losses on a few thousand real photos: same data, same net, same seeds, beside whitened PCA.

Writes `studies/results/lfw_losses.json`, one entry a run, and goes on where it was stopped; `--markdown` prints the table
of docs/training.md from it. The data are what `elasticface split` makes of LFW's training people (docs/training.md).
"""

import dataclasses
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

from elasticface import environment, files
from elasticface.benchmarks.baseline import whitened_pca
from elasticface.benchmarks.pairs import PairResult, evaluate_pairs, open_pairs
from elasticface.config import RECIPES, TrainConfig
from elasticface.data import open_dataset
from elasticface.heads import LOSSES
from elasticface.rundir import read_config, read_metrics
from elasticface.training import train

RESULTS = Path(__file__).parent / "results" / "lfw_losses.json"
# The paper's own setting, which few data make hard, beside the recipe's.
SETTINGS = {"recipe": {}, "paper's s and m": {"scale": 64.0, "m": None}}


def main(faces: str | None = None, epochs: int = 8, seeds: int = 1, markdown: bool = False) -> None:
    """Train every loss on FACES/train, judge it on FACES/heldout.

    Args:
        faces: the folder that `elasticface split` made.
        epochs: of each run; fewer than the recipe's, so that all of them are affordable.
        seeds: runs of each loss and setting.
        markdown: print the table of the stored results and measure nothing.
    """
    if markdown or faces is None:
        print(table(json.loads(RESULTS.read_text("utf-8"))))
        return
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"runs": []}
    done = {(run["loss"], run["setting"], run["seed"], run["epochs"]) for run in results["runs"]}
    heldout = open_pairs(Path(faces) / "heldout")
    if "pca" not in results:
        baseline = whitened_pca(open_dataset(Path(faces) / "train"))
        results |= {"environment": environment.describe(), "pca": figures(evaluate_pairs(baseline, heldout))}
        files.write_json(RESULTS, results)
    for seed, setting, loss in itertools.product(range(seeds), SETTINGS, LOSSES):
        if (loss, setting, seed, epochs) in done:
            continue
        changes = {"loss": loss, "epochs": epochs, "seed": seed, "validate": None, **SETTINGS[setting]}
        if loss == "normface":
            changes["m"] = None
        if "std" in changes and not loss.startswith("elastic"):
            changes["std"] = None
        config = dataclasses.replace(TrainConfig(**read_config(RECIPES / "lfw-tiny.yaml")), **changes)
        with tempfile.TemporaryDirectory() as folder:
            encoder = train(Path(faces) / "train", Path(folder) / loss, config)
            lines = read_metrics(Path(folder) / loss)
        result = evaluate_pairs(encoder, heldout)
        run = {"loss": loss, "setting": setting, "seed": seed, "epochs": epochs, **figures(result)}
        run |= {"scale": config.scale, "m": config.m, "losses": [round(line["loss"], 3) for line in lines[::20]]}
        results["runs"].append(run)
        files.write_json(RESULTS, results)
        print(table(results))


def figures(result: PairResult) -> dict[str, float]:
    return {
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "eer": result.eer,
        "tar_at_far_0.01": result.tar_at_far["at-most"]["0.01"],
    }


def table(results: dict) -> str:
    """Markdown of the stored runs: mean over seeds, and their standard deviation where there are several."""
    rows = ["| loss | s, m | accuracy | TAR at FAR 1e-2 | EER | seeds |", "|---|---|---|---|---|---|"]
    pca = results["pca"]
    rows.append(
        f"| whitened PCA | – | {pca['accuracy']:.1%} | {pca['tar_at_far_0.01']:.1%} | {pca['eer']:.1%} | – |"
    )
    for setting, loss in itertools.product(SETTINGS, LOSSES):
        runs = [run for run in results["runs"] if (run["loss"], run["setting"]) == (loss, setting)]
        if runs:
            mean = {name: np.mean([run[name] for run in runs]) for name in ("accuracy", "tar_at_far_0.01", "eer")}
            spread = f" ± {np.std([run['accuracy'] for run in runs], ddof=1):.1%}" if len(runs) > 1 else ""
            rows.append(
                f"| {loss} | {setting} | {mean['accuracy']:.1%}{spread} | {mean['tar_at_far_0.01']:.1%} "
                f"| {mean['eer']:.1%} | {len(runs)} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    auto_cli(main)
