"""Does an elastic margin help, where, and why? Every loss on rendered and real people, with many seeds and intervals.

Stated before the runs:

- **Main contrasts** (``CONTRASTS``), of accuracy by the protocol of LFW on people who were not trained on, mean over
  the four sets: elastic-arc − arcface, elastic-arc+ − arcface, and elastic-arc with expected draws − elastic-arc with
  random ones. A fourth is the paper's argument: elastic-arc − arcface on people of heterogeneity 1, less that on people
  of heterogeneity 0. Their intervals are for 1 − .05/4 (Bonferroni), so that all four hold together with 95 %.
- **What they could detect**: differences between losses in an earlier study (docs/synthetic.md) had standard deviations
  of .05 to .7 points from seed to seed. These runs are shorter, so .8 is assumed: ten seeds on four sets bring it to
  .8/√40 = .13 points; with z = 2.50 for four contrasts and .84 for a power of 80 %, a true effect of **.42 points** is
  detected. Which people a set happens to have is common to both losses, and cancels for the most part.
- All else (other losses, other figures, single sets) is for orientation, with plain 95 % intervals.

Intervals are a hierarchical bootstrap: seeds are resampled, and people, both alike for the two losses of a contrast. A
seed fixes centres, weights, order and augmentation, so that a contrast compares runs that differ in the loss alone;
but for those of two machines, whose rendered photos differ in their last bits ("photos" of a run tells them apart).

Writes `studies/results/elasticity.json`, one entry a run, and resumes where it was stopped. Runs come seed by seed over
all sets and main losses, then likewise over the others, so that whatever is there is balanced. Without --work it fills
the tables and the plot of docs/elasticity.md from that file alone.
"""

import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    DRAWS,
    RESULTS,
    Bootstrap,
    add_run,
    describe_pairs,
    fill,
    fingerprint,
    from_to,
    judge,
    markdown,
    open_results,
    percent,
    points,
    read_results,
    run,
)
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from elasticface import heads
from elasticface.base import keyed, progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.studio import RENDERER_VERSION, Studio
from elasticface.data.synthetic.write import write_faces
from elasticface.heads import expectation, margins
from elasticface.heads.formula import Target
from elasticface.model.encoder import FaceEncoder
from elasticface.quickstart import Size, pair_up
from elasticface.training.config import RECIPES, TrainConfig, read_config
from elasticface.training.loop import train

OUT = RESULTS / "elasticity.json"
PAGE = Path(__file__).parent.parent / "docs" / "elasticity.md"
PLOT = PAGE.parent / "images" / "elasticity.png"
PICTURE = f"![Points of accuracy that elastic margins give, by heterogeneity](images/{PLOT.name})"
SIZE = Size(people=280, photos=14, unseen_people=320, unseen_photos=8, pairs=6000, epochs=5)
SEED = 11  # of the rendered people
HETEROGENEITIES = (0.0, 0.5, 1.0)
LFW = "LFW"
STD = 0.05  # the paper's


class SoftenedArcFace(heads.MarginHead):
    """ArcFace whose sigmoid is as wide as elastic margins make it on average, without their randomness and slopes.

    The target logit gets, at the nodes, the first-order change s·σ·sin(θ + m)·x of a margin's draw; its slope by cos θ
    stays that of the fixed margin.
    """

    def __init__(
        self, num_classes: int, embedding_size: int = 512, *, m: float = 0.5, std: float = STD, **common: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, kind="arc", m=m, **common)
        self.softness = std

    def target(self, cosines: Tensor, lengths: Tensor, margins_: Tensor) -> Target:
        value, slope = margins.arc_margin(cosines, margins_, self.past_pi)
        x, chances = (from_numpy(each).to(cosines) for each in expectation.nodes(self.scale * self.softness))
        shifts = self.softness * (1 - value.square()).clamp_min(0).sqrt()[:, None] * x
        return Target(value[:, None] - shifts, slope[:, None].expand_as(shifts), chances=chances)


heads.LOSSES["softened-arcface"] = (SoftenedArcFace, {})

# What each differs in from the quickstart's recipe: s 32, m .3.
MAIN: dict[str, dict[str, Any]] = {
    "arcface": {"loss": "arcface"},
    "elastic-arc": {"loss": "elastic-arc", "std": STD},
    "elastic-arc+": {"loss": "elastic-arc+", "std": STD},
    "elastic-arc, expected": {"loss": "elastic-arc", "std": STD, "draws": "expected"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "elastic-arc+, expected": {"loss": "elastic-arc+", "std": STD, "draws": "expected"},
    "softened arcface": {"loss": "softened-arcface", "std": STD},
    "elastic-arc+, as released": {"loss": "elastic-arc+", "std": STD, "order": "release"},
    # The recipe's s is half of the paper's, so that the paper's s·σ needs twice its σ.
    "elastic-arc, σ .1": {"loss": "elastic-arc", "std": 2 * STD},
    "elastic-arc, σ .1, expected": {"loss": "elastic-arc", "std": 2 * STD, "draws": "expected"},
    "cosface": {"loss": "cosface"},
    "elastic-cos": {"loss": "elastic-cos", "std": STD},
    "elastic-cos+": {"loss": "elastic-cos+", "std": STD},
    "elastic-cos+, as released": {"loss": "elastic-cos+", "std": STD, "order": "release"},
    "elastic-cos, expected": {"loss": "elastic-cos", "std": STD, "draws": "expected"},
    "elastic-cos+, expected": {"loss": "elastic-cos+", "std": STD, "draws": "expected"},
    "normface": {"loss": "normface", "margin": None},
    "adaface": {"loss": "adaface"},
    "curricularface": {"loss": "curricularface"},
    "magface": {"loss": "magface", "margin": None},
}
LOSSES = MAIN | OTHERS
CONTRASTS = (("elastic-arc", "arcface"), ("elastic-arc+", "arcface"), ("elastic-arc, expected", "elastic-arc"))
FURTHER = (
    ("elastic-arc+, expected", "elastic-arc+"),
    ("softened arcface", "arcface"),
    ("softened arcface", "elastic-arc, expected"),
    ("elastic-arc+, as released", "elastic-arc+"),
    ("elastic-arc, σ .1", "arcface"),
    ("elastic-arc, σ .1, expected", "elastic-arc, σ .1"),
    ("elastic-cos", "cosface"),
    ("elastic-cos+", "cosface"),
    ("elastic-cos, expected", "elastic-cos"),
    ("arcface", "normface"),
)
TARS = ("tar", "tar_at_1e-3")
CHANCE = 0.05 / (len(CONTRASTS) + 1)  # of an interval that misses, of the main ones


def main(
    work: str | None = None,
    lfw: str | None = None,
    seeds: int = 10,
    seeds_of_others: int = 5,
    workers: int = 1,
    stop_after: float = float("inf"),
    part: int = 0,
    parts: int = 1,
) -> None:
    """Train every loss on every set of people, judge it on others.

    Args:
        work: folder for the rendered people, where what is missing is rendered; without it, the stored results are
            written to docs/elasticity.md.
        lfw: folder that `elasticface split FACES lfw --people 320` made of LFW's training people; without it, their
            runs wait.
        seeds: runs of each main loss.
        seeds_of_others: runs of each other loss.
        workers: processes that render.
        stop_after: minutes after which no further run is begun.
        part: of the runs, this process's: 0 to parts − 1.
        parts: processes that share the runs.
    """
    if work is None:
        write_page(read_results(OUT))
        return
    folders = render(Path(work), workers)
    if lfw:
        folders[LFW] = (Path(lfw) / "train", Path(lfw) / "heldout")
    people = {"seed of the people": SEED, "renderer": RENDERER_VERSION}
    results = open_results(OUT, {"recipe": "quickstart", "epochs": SIZE.epochs, **people})
    photos = {name: fingerprint(of_set) for name, of_set in folders.items()}
    for name, of_set in folders.items():
        described = describe_pairs(open_pairs(of_set[1]).pairs)
        if results.setdefault("sets", {}).setdefault(name, described) != described:
            raise InputError(f"{of_set[0].parent}: other pairs than those of the stored runs on {name}")
    done = {(entry["set"], entry["loss"], entry["seed"]) for entry in results.pop("runs", [])}
    own = itertools.islice(order(list(folders), seeds, seeds_of_others), part, None, parts)
    waiting = [each for each in own if each not in done]
    until = time.monotonic() + 60 * stop_after
    for number, (name, loss, seed) in enumerate(waiting):
        if time.monotonic() > until:
            break
        progress.say(f"run {number + 1} of {len(waiting)}: {loss} on {name}, seed {seed}")
        began = time.monotonic()
        judged = judge(trained(folders[name][0], loss, seed), open_pairs(folders[name][1]))
        entry = {"set": name, "loss": loss, "seed": seed, "photos": photos[name]}
        add_run(OUT, results, {**entry, "seconds": round(time.monotonic() - began), **judged})
        progress.say(f"{judged['accuracy']:.2%}, EER {judged['eer']:.2%}")


def order(sets: list[str], seeds: int, seeds_of_others: int) -> Iterator[tuple[str, str, int]]:
    """(set, loss, seed) of all runs: main losses first, seed by seed."""
    for losses, count in ((MAIN, seeds), (OTHERS, seeds_of_others)):
        for seed, name, loss in itertools.product(range(count), sets, losses):
            yield name, loss, seed


def render(work: Path, workers: int) -> dict[str, tuple[Path, Path]]:
    """For each heterogeneity the people to train on and those to judge on, with their pairs."""
    folders = {}
    for heterogeneity in HETEROGENEITIES:
        name = name_of(heterogeneity)
        training, unseen = (work / f"{kind}-{heterogeneity:g}" for kind in ("training", "unseen"))
        for folder, first, people, photos in (
            (training, 0, SIZE.people, SIZE.photos),
            (unseen, SIZE.people, SIZE.unseen_people, SIZE.unseen_photos),
        ):
            write_faces(
                folder,
                identities=people,
                images_per_identity=photos,
                seed=SEED,
                variation=Variation(heterogeneity),
                first=first,
                workers=workers,
            )
        pair_up(unseen, SIZE, SEED)
        folders[name] = (training, unseen)
    return folders


def name_of(heterogeneity: float) -> str:
    return f"rendered, heterogeneity {heterogeneity:g}"


def recipe(loss: str) -> TrainConfig:
    """The quickstart's, with another loss."""
    config = TrainConfig(**{**read_config(RECIPES / "quickstart.yaml"), "std": None})
    return replace(config, **{"epochs": SIZE.epochs, "compile": True, "workers": 0, **LOSSES[loss]})


def trained(faces: Path, loss: str, seed: int) -> FaceEncoder:
    """The quickstart's network after a run with a loss."""
    with tempfile.TemporaryDirectory() as folder:
        return train(faces, Path(folder) / "run", replace(recipe(loss), seed=seed))


# ---------------------------------------------------------------------------------------------- tables


class Resampled:
    """Accuracies in bootstrap resamples of seeds and people, of the stored runs."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.people = {name: Bootstrap(described) for name, described in results["sets"].items()}
        self.sets = list(self.people)
        self.runs: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        for entry in results["runs"]:
            self.runs.setdefault((entry["set"], entry["loss"]), {})[entry["seed"]] = entry
        self._accuracies: dict[tuple[str, str, int], NDArray[np.float64]] = {}

    def seeds(self, name: str, *losses: str) -> list[int]:
        """Seeds that all of these losses have on a set."""
        return sorted(set.intersection(*(set(self.runs.get((name, loss), {})) for loss in losses)))

    def difference(self, name: str, one: str, other: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """([S] of each seed, [R] means in resamples) of accuracy of ``one`` less that of ``other``."""
        seeds = self.seeds(name, one, other)
        runs = [[self.runs[name, loss][seed]["accuracy"] for seed in seeds] for loss in (one, other)]
        resampled = [np.array([self._accuracy(name, loss, seed) for seed in seeds]) for loss in (one, other)]
        return np.subtract(*runs), self._over_seeds(resampled[0] - resampled[1])

    def interval(self, name: str, loss: str) -> tuple[float, float]:
        seeds = self.seeds(name, loss)
        return interval(self._over_seeds(np.array([self._accuracy(name, loss, seed) for seed in seeds])))

    def _accuracy(self, name: str, loss: str, seed: int) -> NDArray[np.float64]:
        """[R], by people."""
        key = (name, loss, seed)
        if key not in self._accuracies:
            self._accuracies[key] = self.people[name].accuracies([self.runs[name, loss][seed]])
        return self._accuracies[key]

    def correct(self, name: str, loss: str, seed: int) -> NDArray[np.bool_]:
        """[P], which pairs of a set a run judged right."""
        return self.people[name].correct([self.runs[name, loss][seed]]) > 0

    def right(self, name: str, one: str, other: str, kind: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
        """How many more of some pairs [P] ``one`` judges right than ``other``: the mean, and [R] in resamples."""
        seeds = self.seeds(name, one, other)
        more = [self.correct(name, one, s).astype(int) - self.correct(name, other, s) for s in seeds]
        of_kind = np.array(more)[:, kind]
        weights = self.people[name].weights[:, kind].astype(np.float64)
        return float(of_kind.mean()), self._over_seeds(of_kind @ weights.T / weights.sum(1))

    @staticmethod
    def _over_seeds(of_seeds: NDArray[np.float64]) -> NDArray[np.float64]:
        """[S, R] -> [R] means over seeds drawn with replacement: the same ones in every set and loss."""
        count = len(of_seeds)
        drawn = keyed.generator(SEED, "seeds of resamples", count).integers(0, count, (count, DRAWS))
        means: NDArray[np.float64] = np.take_along_axis(of_seeds, drawn, 0).mean(0)
        return means


def interval(resampled: NDArray[np.float64], chance: float = 0.05) -> tuple[float, float]:
    low, high = np.percentile(resampled, [50 * chance, 100 - 50 * chance])
    return float(low), float(high)


def write_page(results: dict[str, Any]) -> None:
    """The tables and the plot of docs/elasticity.md."""
    resampled = Resampled(results)
    for marker, text in (
        ("main contrasts", f"{main_table(resampled)}\n\n{PICTURE}"),
        ("contrasts by set", contrasts_table(resampled)),
        ("losses", losses_table(resampled)),
        ("pairs", pairs_table(resampled)),
        ("people", people_table(resampled)),
    ):
        fill(PAGE, marker, text)
        print(text, end="\n\n")
    plot(resampled)


def main_table(resampled: Resampled) -> str:
    rows = []
    for one, other in CONTRASTS:
        each = [resampled.difference(name, one, other) for name in resampled.sets if resampled.seeds(name, one, other)]
        by_seed, means = [of_set[0] for of_set in each], np.mean([of_set[1] for of_set in each], 0)
        rows.append(main_row(f"{one} − {other}", float(np.mean([d.mean() for d in by_seed])), means, by_seed))
    one, other = CONTRASTS[0]
    unequal, equal = (resampled.difference(name_of(h), one, other) for h in (HETEROGENEITIES[-1], HETEROGENEITIES[0]))
    rows.append(
        main_row(
            f"{one} − {other}: heterogeneity 1 less 0",
            float(unequal[0].mean() - equal[0].mean()),
            unequal[1] - equal[1],
            [unequal[0], equal[0]],
        )
    )
    columns = ["contrast, in points of accuracy", "mean", f"{1 - CHANCE:.2%} interval", "sd over seeds", "runs"]
    return markdown(columns, rows)


def main_row(name: str, mean: float, means: NDArray[np.float64], by_seed: list[NDArray[np.float64]]) -> list[str]:
    spread = np.mean([d.std(ddof=1) for d in by_seed]) if min(map(len, by_seed)) > 1 else np.nan
    return [
        name,
        points(mean),
        from_to(interval(means, CHANCE), points),
        f"{100 * spread:.2f}",
        str(2 * sum(map(len, by_seed))),
    ]


def contrasts_table(resampled: Resampled) -> str:
    rows = []
    for one, other in (*CONTRASTS, *FURTHER):
        cells = []
        for name in resampled.sets:
            if not resampled.seeds(name, one, other):
                cells.append("")
                continue
            by_seed, means = resampled.difference(name, one, other)
            cells.append(f"{points(by_seed.mean())} ({from_to(interval(means), points)})")
        if any(cells):
            rows.append([f"{one} − {other}", *cells])
    return markdown(["95 % over seeds and people", *resampled.sets], rows)


def losses_table(resampled: Resampled) -> str:
    rows = []
    for name, loss in itertools.product(resampled.sets, LOSSES):
        runs = resampled.runs.get((name, loss), {}).values()
        if not runs:
            continue
        mean = {figure: float(np.mean([entry[figure] for entry in runs])) for figure in ("accuracy", "eer", *TARS)}
        around = from_to(resampled.interval(name, loss))
        rates = [percent(mean[figure]) for figure in (*TARS, "eer")]
        rows.append([name, loss, percent(mean["accuracy"]), around, *rates, str(len(runs))])
    columns = ["people", "loss", "accuracy", "95 %", "TAR at FAR 1e-2", "TAR at FAR 1e-3", "EER", "seeds"]
    return markdown(columns, rows)


def pairs_table(resampled: Resampled) -> str:
    """How many pairs two runs judge differently: of one loss with two seeds, of two losses with one."""
    rows = []
    for name in resampled.sets:
        base = CONTRASTS[0][1]
        of_base = [resampled.correct(name, base, seed) for seed in resampled.seeds(name, base)]
        if len(of_base) < 2:
            continue
        rows.append([name, f"{base}, two seeds", percent(_mean_difference(itertools.combinations(of_base, 2)))])
        for loss in (loss for loss in MAIN if loss != base):
            both = [
                (resampled.correct(name, loss, seed), resampled.correct(name, base, seed))
                for seed in resampled.seeds(name, loss, base)
            ]
            if both:
                rows.append([name, f"{loss} and {base}, one seed", percent(_mean_difference(both))])
    return markdown(["people", "two runs", "pairs that one gets right and the other wrong"], rows)


def _mean_difference(pairs: Iterable[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> float:
    return float(np.mean([(one != other).mean() for one, other in pairs]))


def people_table(resampled: Resampled) -> str:
    """The main contrasts on the pairs of the most unequal set: genuine ones by thirds of the people's heterogeneity."""
    name = name_of(HETEROGENEITIES[-1])
    studio = Studio(SEED, Variation(HETEROGENEITIES[-1]))
    people = range(SIZE.people, SIZE.people + SIZE.unseen_people)  # in the order of their names
    varied = np.array([studio.person(number).heterogeneity for number in people])
    thirds = np.searchsorted(np.quantile(varied, [1 / 3, 2 / 3]), varied)
    genuine, of_pair = resampled.people[name].same, thirds[resampled.people[name].first]
    kinds = [*(genuine & (of_pair == third) for third in range(3)), ~genuine]
    rows = []
    for one, other in CONTRASTS:
        if seeds := resampled.seeds(name, one, other):
            apart = [resampled.right(name, one, other, kind) for kind in kinds]
            cells = [f"{points(mean)} ({from_to(interval(means), points)})" for mean, means in apart]
            rows.append([f"{one} − {other}", *cells, str(len(seeds))])
    columns = ["pairs judged right, in points; 95 %", "genuine, of people who look alike in all photos", "middling"]
    return markdown([*columns, "of people who don't", "impostor", "seeds"], rows)


def plot(resampled: Resampled) -> None:
    """The main contrasts by heterogeneity, and on LFW, with 95 % intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 3.6), dpi=200)
    places = {name_of(h): h for h in HETEROGENEITIES} | {LFW: HETEROGENEITIES[-1] + 0.5}
    for number, (one, other) in enumerate(CONTRASTS):
        names = [name for name in places if name in resampled.sets and resampled.seeds(name, one, other)]
        found = [resampled.difference(name, one, other) for name in names]
        means = 100 * np.array([by_seed.mean() for by_seed, _ in found])
        ends = 100 * np.array([interval(resamples) for _, resamples in found]).T
        at = np.array([places[name] for name in names]) + 0.03 * (number - 1)
        style = {"color": f"C{number}", "capsize": 3, "label": f"{one} − {other}"}
        axes.errorbar(at, means, [means - ends[0], ends[1] - means], fmt="o", **style)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_xticks(list(places.values()), ["0", "0.5", "1", "LFW"])
    axes.set_xlabel("heterogeneity of rendered people, and real ones")
    axes.set_ylabel("points of accuracy more")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    run(main)
