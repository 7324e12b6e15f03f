"""All losses on people who never lived: same photos, same net, several seeds, beside what needs no net.

With ``--faces FOLDER`` it renders people there as quickstart does, trains, and writes `studies/results/
synthetic_losses.json`, one entry a run; stopped, it goes on where it was. Without, it makes the tables of
docs/synthetic.md of that file alone.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    COMPONENTS,
    DISCRIMINANTS,
    DRAWS,
    PAGE,
    RESULTS,
    Bootstrap,
    describe_pairs,
    fill,
    from_to,
    judge,
    made_on,
    markdown,
    mean_colour,
    open_results,
    pca_lda,
    percent,
    points,
    read_results,
    recipe,
    render,
    run,
    settings,
)

from elasticface import heads
from elasticface.base import files
from elasticface.benchmarks.pairwise.baseline import whitened_pca
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.data import open_dataset
from elasticface.heads.head import LOSSES
from elasticface.metrics.resampling import interval
from elasticface.quickstart import FULL, Size
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.run_files import read_metrics

BASELINES = ("mean colour", "whitened PCA", "PCA + LDA")
DIFFERENCES = (
    ("elastic-arc", "arcface"),
    ("elastic-arc+", "arcface"),
    ("elastic-arc+", "elastic-arc"),
    ("elastic-cos", "cosface"),
    ("elastic-cos+", "cosface"),
    ("elastic-cos+", "elastic-cos"),
    ("arcface", "normface"),
    ("cosface", "normface"),
    ("arcface", "cosface"),
)


def study(
    faces: Path | None = None,
    people: int = FULL.people,
    photos: int = FULL.photos,
    epochs: int = FULL.epochs,
    seeds: int = 3,
    unseen_people: int = FULL.unseen_people,
    unseen_photos: int = FULL.unseen_photos,
    pairs: int = FULL.pairs,
    workers: int = 2,
    out: Path = RESULTS / "synthetic_losses.json",
    page: Path = PAGE,
) -> None:
    """Train every loss on rendered people, judge it on others.

    All losses of a seed come before the next seed, so that a stopped study is still a fair one.

    Args:
        faces: folder for the people, where what is missing is rendered; without it, the tables of the stored results
            are printed and written to the page.
        people: to train on.
        photos: of each.
        epochs: of each run.
        seeds: trainings of each loss; the photos are the same for all.
        unseen_people: to judge on.
        unseen_photos: of each.
        pairs: of their photos, half of them genuine.
        workers: processes that render.
        out: JSON file of the results.
        page: where the tables go.
    """
    if faces is None:
        text = tables(read_results(out))
        fill(page, "losses", text)
        print(text)
        return
    size = Size(people, photos, unseen_people, unseen_photos, pairs, epochs)
    training, unseen = render(faces, size, workers)
    benchmark, source = open_pairs(unseen), open_dataset(training)
    results = open_results(out, settings(size, (training, unseen)))
    results.setdefault("pairs", describe_pairs(benchmark.pairs))

    def add(entry: dict[str, Any]) -> None:
        results.setdefault("runs", []).append(entry)
        files.write_json(out, results)
        print(tables(results), end="\n\n")

    baselines: dict[str, Callable[[], dict[str, Any]]] = {
        "mean colour": lambda: mean_colour(benchmark),
        "whitened PCA": lambda: judge(whitened_pca(source, COMPONENTS), benchmark),
        "PCA + LDA": lambda: judge(pca_lda(source), benchmark),
    }
    done = {(entry["model"], entry["seed"]) for entry in results.get("runs", [])}
    for name, measure in baselines.items():
        if (name, None) not in done:
            add({"model": name, "seed": None, **measure()})
    for seed, loss in itertools.product(range(seeds), LOSSES):
        if (loss, seed) in done:
            continue
        config = with_loss(recipe(epochs), loss, seed)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            encoder = train(training, Path(folder) / loss, config, resume_command="the same command")
            lines = read_metrics(Path(folder) / loss)
        entry = {"model": loss, "seed": seed, "seconds": round(time.perf_counter() - started)}
        head = heads.create(loss, 2, **config.head_options())
        entry |= {"m": head.m, "std": head.std, "last_loss": round(lines[-1]["loss"], 4)}
        add(entry | judge(encoder, benchmark))


def with_loss(config: TrainConfig, loss: Any, seed: int) -> TrainConfig:
    """The recipe with another loss: its m for all but NormFace and MagFace, which have none, its σ for elastic ones."""
    return replace(
        config,
        loss=loss,
        seed=seed,
        margin=None if loss in ("normface", "magface") else config.margin,
        std=config.std if loss.startswith("elastic") else None,
    )


# ---------------------------------------------------------------------------------------------- tables


def tables(results: dict[str, Any]) -> str:
    """Markdown: every model, and the differences between losses."""
    samples = Bootstrap(results["pairs"])
    of = {
        model: sorted((r for r in results.get("runs", []) if r["model"] == model), key=lambda r: r["seed"] or 0)
        for model in (*BASELINES, *LOSSES)
    }
    given = {model: runs for model, runs in of.items() if runs}
    rows = [["chance", "", "", "50.0%", "", "", "", ""]]
    rows += [row(model, runs, samples) for model, runs in given.items()]
    columns = ["model", "m", "σ", "accuracy", "95 % over people", "TAR at FAR 1e-2", "EER", "seeds"]
    parts = [
        markdown(columns, rows),
        f"Accuracy: mean ± standard deviation over the seeds of the training. PCA has {COMPONENTS} components, LDA "
        f"after it {DISCRIMINANTS}. {made_on(results)}",
    ]
    return "\n\n".join([*parts, *differences(of, samples)])


def row(model: str, runs: list[dict[str, Any]], samples: Bootstrap) -> list[str]:
    accuracies = [entry["accuracy"] for entry in runs]
    spread = f" ± {np.std(accuracies, ddof=1):.1%}" if len(runs) > 1 else ""
    m, std = (f"{runs[0][name]:g}" if runs[0].get(name) else "–" for name in ("m", "std"))
    return [
        model,
        m,
        std,
        f"{np.mean(accuracies):.1%}{spread}",
        from_to(interval(samples.accuracies(runs))),
        *(percent(float(np.mean([entry[name] for entry in runs]))) for name in ("tar", "eer")),
        "–" if runs[0]["seed"] is None else str(len(runs)),
    ]


def differences(of: dict[str, list[dict[str, Any]]], samples: Bootstrap) -> list[str]:
    """The second table and what its intervals mean; nothing before two losses have a seed in common."""
    rows, most = [], 0
    for one, other in DIFFERENCES:
        seeds = sorted({r["seed"] for r in of[one]} & {r["seed"] for r in of[other]})
        if not seeds:
            continue
        these, those = ([r for r in of[model] if r["seed"] in seeds] for model in (one, other))
        by_seed = [a["accuracy"] - b["accuracy"] for a, b in zip(these, those, strict=True)]
        around = interval(samples.accuracies(these) - samples.accuracies(those))
        rows.append(
            [f"{one} − {other}", points(float(np.mean(by_seed))), from_to(around, points), *map(points, by_seed)]
        )
        most = max(most, len(seeds))
    if not rows:
        return []
    columns = ["accuracy, in percentage points", "mean", "95 % over people", *(f"seed {n}" for n in range(most))]
    rows = [cells + [""] * (len(columns) - len(cells)) for cells in rows]
    return [
        markdown(columns, rows),
        f"The intervals are a paired bootstrap: {DRAWS:,} times, as many people as there are ({samples.people}) are "
        "drawn with replacement, the same for both losses; each pair counts as often as its people were drawn, and "
        "whether it was judged right is averaged over the seeds. So they cover which people the test happened to have, "
        "for these trained nets with the thresholds they got. They do not cover how a training with another seed comes "
        "out: that shows in the columns by seed. Impostor pairs make them rather too wide than too narrow.",
    ]


if __name__ == "__main__":
    run(study)
