"""What settings of a training are worth on a few thousand real photos, seed by seed beside the same run without them.

Writes `studies/results/lfw_settings.json`, one entry a run, and resumes where it was stopped; without FACES it fills
the table of docs/fine-tuning.md from it. The data are what `elasticface split` makes of LFW's training people.
"""

import dataclasses
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from common import DOCS, RESULTS, add_run, fill, markdown, open_results, percent, points, read_results, run, runs_in
from lfw_losses import RECIPE, SHORT, figures, means

from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.training.config import RECIPES, TrainConfig, read_config
from elasticface.training.loop import train

OUT = RESULTS / "lfw_settings.json"
PAGE = DOCS / "fine-tuning.md"
SCRATCH = "from scratch"
SMALL = "small, from scratch"
START = "{start}"  # in a setting: the model to start from
SETTINGS: dict[str, dict[str, Any]] = {
    SCRATCH: {},
    "from quickstart's model": {"init": START},
    "from scratch, head products in bfloat16": {"head_products": "bfloat16"},
    SMALL: {"backbone": "small"},
    "from the model that comes with the package": {"backbone": "small", "init": "default"},
    "from the model that comes with the package, backbone-lr .3": {
        "backbone": "small",
        "init": "default",
        "backbone_lr": 0.3,
    },
}


def main(faces: str | None = None, start: str | None = None, epochs: int = 3, seeds: int = 3) -> None:
    """Train with each setting on FACES/train, judge it on FACES/heldout.

    Args:
        faces: the folder that `elasticface split` made; without it, the table of the stored results is put on the page.
        start: the model of rendered faces: quickstart's run.
        epochs: of each run: fewer than the recipe's, so that all of them are affordable.
        seeds: runs of each setting.
    """
    if faces is None:
        fill(PAGE, "settings", table(read_results(OUT)))
        return
    recipe = TrainConfig(**read_config(RECIPES / f"{RECIPE}.yaml"))
    about = open_results(OUT, {"recipe": RECIPE, "epochs": epochs, **SHORT})
    about.pop("runs", None)
    done = {(each["setting"], each["seed"]) for each in runs_in(OUT)}
    heldout = open_pairs(Path(faces) / "heldout")
    for seed, (setting, changes) in itertools.product(range(seeds), SETTINGS.items()):
        if (setting, seed) in done or (START in changes.values() and start is None):
            continue
        changes = {name: start if value == START else value for name, value in changes.items()}
        config = dataclasses.replace(recipe, compile=True, seed=seed, epochs=epochs, **SHORT, **changes)
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            encoder = train(Path(faces) / "train", Path(folder) / "run", config)
            seconds = time.monotonic() - began
        result = figures(evaluate_pairs(encoder, heldout))
        add_run(OUT, about, {"setting": setting, "seed": seed, "seconds": seconds, **result})
        print(table(read_results(OUT)))


def table(results: dict[str, Any]) -> str:
    """Markdown of the stored runs: means over the seeds, and differences to the run from scratch of the same seed.

    The run from scratch is of the same backbone.
    """
    rows = []
    by_setting = {
        setting: {each["seed"]: each for each in results["runs"] if each["setting"] == setting} for setting in SETTINGS
    }
    for setting, runs in by_setting.items():
        if not runs:
            continue
        accuracy, tar, eer = means(runs.values())
        each_seed = ", ".join(percent(each["accuracy"]) for _, each in sorted(runs.items()))
        scratch = by_setting[SMALL if SETTINGS[setting].get("backbone") == "small" else SCRATCH]
        more = [points(runs[seed]["accuracy"] - scratch[seed]["accuracy"]) for seed in sorted(runs.keys() & scratch)]
        rows.append([setting, accuracy, each_seed, "–" if runs is scratch else ", ".join(more), tar, eer])
    return markdown(
        ["setting", "accuracy", "of each seed", "points more than from scratch", "TAR at FAR 1e-2", "EER"], rows
    )


if __name__ == "__main__":
    run(main)
