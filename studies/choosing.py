"""The paper's choice of m and σ (section 4.1) by `elasticface select`, on rendered people.

The quickstart's network and recipe with elastic-arc+, on the people of heterogeneity .5 of `elasticity.py`; the
benchmarks are the pairs of its unseen people, as they look at heterogeneity 0, .5 and 1.

Writes `studies/results/choosing.json` and resumes where it was stopped; without --work it fills docs/selection.md from
that file.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, RESULTS, fill, markdown, open_results, percent, read_results, run
from elasticity import HETEROGENEITIES, SEED, SIZE, name_of, recipe, render
from numpy.typing import NDArray

from elasticface.base import files
from elasticface.data.synthetic.studio import RENDERER_VERSION
from elasticface.selection import Grid, select, shown
from elasticface.selection.choice import Stage, choose

OUT = RESULTS / "choosing.json"
PAGE = DOCS / "selection.md"
PLOT = PAGE.parent / "images" / "selection.png"
PICTURE = f"![Accuracy by m, and by σ with the chosen m, on three benchmarks](images/{PLOT.name})"
LOSS = "elastic-arc+"
TRAINED_ON = name_of(0.5)
GRID = Grid(margins=[0.1, 0.2, 0.3, 0.4, 0.5], stds=[0.0125, 0.025, 0.05, 0.1], seeds=3)


def main(work: str | None = None, out: Path | None = None, workers: int = 1) -> None:
    """Choose, and store what each run reached.

    Args:
        work: folder for the rendered people, that of `elasticity.py`; without it, the stored results are written to
            docs/selection.md.
        out: folder of the selection; by default WORK/choice.
        workers: processes that render.
    """
    if work is None:
        write_page(read_results(OUT))
        return
    people = {"seed of the people": SEED, "renderer": RENDERER_VERSION}
    stored = open_results(OUT, {"recipe": "quickstart", "epochs": SIZE.epochs, **people})
    folders = render(Path(work), workers)
    benchmarks = {unseen.name: name for name, (_, unseen) in folders.items()}
    config = replace(recipe(LOSS), validate=[str(unseen) for _, unseen in folders.values()])
    selection = select(folders[TRAINED_ON][0], out or Path(work) / "choice", config, GRID, keep="figures")
    runs = [
        {
            "margin": each.margin,
            "std": each.std,
            "seed": each.seed,
            "accuracy": {benchmarks[name]: accuracy for name, accuracy in each.accuracy.items()},
        }
        for each in selection.runs
    ]
    files.write_json(OUT, stored | {"grid": asdict(GRID), "runs": runs})


# ---------------------------------------------------------------------------------------------- tables and plot


def write_page(stored: dict[str, Any]) -> None:
    """Both tables, what is said of them, and the plot."""
    names = [name_of(heterogeneity) for heterogeneity in HETEROGENEITIES]
    grid = Grid(**stored["grid"])
    fixed = {m: accuracies(stored, names, m, None) for m in grid.margins}
    of_margin = choose("margin", grid.margins, list(fixed.values()), names)
    m = of_margin.chosen
    elastic = {std: accuracies(stored, names, m, std) for std in grid.stds}
    of_std = choose("std", grid.stds, list(elastic.values()), names, reference=fixed[m])
    parts = []
    for stage in (of_margin, of_std):
        parts += [table(stage), " ".join(shown.remarks(stage))]
    text = "\n\n".join([*parts, PICTURE])
    fill(PAGE, "example", text)
    print(text)
    plot(names, [(of_margin, fixed), (of_std, {0.0: fixed[m], **elastic})])


def accuracies(stored: dict[str, Any], names: list[str], margin: float, std: float | None) -> NDArray[np.float64]:
    """[S, B], of the seeds of a candidate on the benchmarks."""
    runs = [each for each in stored["runs"] if (each["margin"], each["std"]) == (margin, std)]
    return np.array([[each["accuracy"][name] for name in names] for each in sorted(runs, key=lambda r: r["seed"])])


def table(stage: Stage) -> str:
    rows = [
        [
            shown.label(stage, one),
            *map(percent, [*one.accuracy.values(), one.mean]),
            shown.spread(one) or "",
            shown.borda(one) or "–",
        ]
        for one in shown.rows_of(stage)
    ]
    return markdown([shown.NAMES[stage.parameter], *stage.winner.accuracy, "mean", "± seeds", "Borda count"], rows)


def plot(names: list[str], stages: list[tuple[Stage, dict[float, NDArray[np.float64]]]]) -> None:
    """A panel a parameter: a line a benchmark, a dot a seed, the mean in black."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(stages), figsize=(8.4, 3.6), dpi=200, sharey=True)
    for axes, (stage, of_value) in zip(panels, stages, strict=True):
        runs = 100 * np.stack(list(of_value.values()))  # [N, S, B]
        at = np.arange(len(of_value))
        for number, name in enumerate(names):
            color = f"C{number}"
            axes.plot(at, runs[:, :, number].mean(1), color=color, label=name, linewidth=1.2)
            axes.scatter(np.repeat(at, runs.shape[1]), runs[:, :, number].ravel(), color=color, s=6, alpha=0.5)
        axes.plot(at, runs.mean((1, 2)), color="black", label="mean", linewidth=2)
        axes.axvline(list(of_value).index(stage.chosen), color="0.8", linewidth=6, zorder=0)
        axes.set_xticks(at, [f"{value:g}" if value else "0 (fixed)" for value in of_value])
        axes.set_xlabel(shown.NAMES[stage.parameter])
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper center", ncols=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(PLOT, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    run(main)
