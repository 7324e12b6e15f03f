"""All losses on a few thousand real photos: same data, same net, same seeds, beside whitened PCA.

Writes `studies/results/lfw_losses.json`, one entry a run, and goes on where it was stopped; without FACES it fills the
table of docs/training.md from it. The data are what `elasticface split` makes of LFW's training people.
"""

import dataclasses
import itertools
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, RESULTS, add_run, fill, markdown, open_results, percent, read_results, run, runs_in

from elasticface.benchmarks.pairwise.baseline import whitened_pca
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.pairs import PairResult, evaluate_pairs
from elasticface.data import open_dataset
from elasticface.heads.head import LOSSES
from elasticface.training.config import RECIPES, TrainConfig, read_config
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics

OUT = RESULTS / "lfw_losses.json"
PAGE = DOCS / "training.md"
RECIPE = "lfw-tiny"
# Too short for the recipe's warm-up and augmentation, which only pay in longer runs.
SHORT: dict[str, Any] = {"warmup_epochs": 0.5, "augment": 0.0, "validate": None}
# The paper's own scale and margins beside the recipe's; and the field's short class centres.
SETTINGS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "s 64, m of the paper": {"scale": 64.0, "margin": None},
    "recipe, centres of N(0, 0.01²)": {"centre_std": 0.01},
}
ONLY = {
    "s 64, m of the paper": ("arcface", "cosface", "elastic-arc+"),
    "recipe, centres of N(0, 0.01²)": ("arcface", "elastic-arc+"),
}


def main(faces: str | None = None, epochs: int = 3, seeds: int = 1) -> None:
    """Train every loss on FACES/train, judge it on FACES/heldout.

    Args:
        faces: the folder that `elasticface split` made; without it, the table of the stored results is put on the page.
        epochs: of each run; fewer than the recipe's, so that all of them are affordable.
        seeds: runs of each loss and setting.
    """
    if faces is None:
        fill(PAGE, "losses", table(read_results(OUT)))
        return
    about = open_results(OUT, {"recipe": RECIPE, "epochs": epochs, **SHORT})
    about.pop("runs", None)
    done = {(each["loss"], each["setting"], each["seed"]) for each in runs_in(OUT)}
    heldout = open_pairs(Path(faces) / "heldout")
    if "pca" not in about:
        baseline = whitened_pca(open_dataset(Path(faces) / "train"))
        about["pca"] = figures(evaluate_pairs(baseline, heldout))
    for seed, setting, loss in itertools.product(range(seeds), SETTINGS, LOSSES):
        if (loss, setting, seed) in done or loss not in ONLY.get(setting, LOSSES):
            continue
        changes = {"loss": loss, "epochs": epochs, "seed": seed, **SHORT, **SETTINGS[setting]}
        if loss in ("normface", "magface"):  # which have no m
            changes["margin"] = None
        config = dataclasses.replace(TrainConfig(**read_config(RECIPES / f"{RECIPE}.yaml")), **changes)
        with tempfile.TemporaryDirectory() as folder:
            encoder = train(Path(faces) / "train", Path(folder) / loss, config)
            lines = read_metrics(Path(folder) / loss)
        result = evaluate_pairs(encoder, heldout)
        entry = {"loss": loss, "setting": setting, "seed": seed, **figures(result), "scale": config.scale}
        losses = [line["loss"] and round(line["loss"], 3) for line in lines[::20]]  # None: all steps were skipped
        entry |= {"m": config.margin, "losses": losses}
        add_run(OUT, about, entry)
        print(table(read_results(OUT)))


def figures(result: PairResult) -> dict[str, float]:
    return {
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "eer": result.eer,
        "tar_at_far_0.01": result.tar_at_far["at-most"]["0.01"],
    }


def table(results: dict[str, Any]) -> str:
    """Markdown of the stored runs: mean over seeds, and their standard deviation where there are several."""
    rows = [["whitened PCA", "–", *means([results["pca"]]), "–"]]
    for setting, loss in itertools.product(SETTINGS, LOSSES):
        runs = [each for each in results["runs"] if (each["loss"], each["setting"]) == (loss, setting)]
        if runs:
            accuracy, tar, eer = means(runs)
            spread = f" ± {percent(np.std([each['accuracy'] for each in runs], ddof=1))}" if len(runs) > 1 else ""
            rows.append([loss, setting, accuracy + spread, tar, eer, str(len(runs))])
    return markdown(["loss", "setting", "accuracy", "TAR at FAR 1e-2", "EER", "seeds"], rows)


def means(runs: Collection[dict[str, Any]]) -> tuple[str, ...]:
    """Accuracy, TAR and EER of some runs, for a table."""
    return tuple(percent(np.mean([each[name] for each in runs])) for name in ("accuracy", "tar_at_far_0.01", "eer"))


if __name__ == "__main__":
    run(main)
