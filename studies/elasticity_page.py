"""The tables and the plot of docs/elasticity.md: the stored results of `elasticity.py` and `elasticity_mechanism.py`.

Intervals are a hierarchical bootstrap: seeds are resampled, and people, both alike for the two losses of a contrast.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import elasticity_mechanism as mechanism
import numpy as np
from common import DOCS, DRAWS, Bootstrap, fill, from_to, markdown, percent, points, read_results, run
from elasticity import CHANCE, CONTRASTS, FURTHER, HETEROGENEITIES, LFW, LOSSES, MAIN, OUT, SEED, SIZE, name_of
from numpy.typing import NDArray

from elasticface.base import keyed
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.studio import Studio

PAGE = DOCS / "elasticity.md"
PLOT = PAGE.parent / "images" / "elasticity.png"
PICTURE = f"![Points of accuracy that elastic margins give, by heterogeneity](images/{PLOT.name})"
TARS = ("tar", "tar_at_1e-3")


def main() -> None:
    """Fill the tables between the page's markers, and draw the plot."""
    resampled, watched = Resampled(read_results(OUT)), read_results(mechanism.OUT)
    for marker, text in (
        ("main contrasts", f"{main_table(resampled)}\n\n{PICTURE}"),
        ("contrasts by set", contrasts_table(resampled)),
        ("losses", losses_table(resampled)),
        ("pairs", pairs_table(resampled)),
        ("people", people_table(resampled)),
        ("angles", angles_table(watched)),
        ("noise", noise_table(watched)),
    ):
        fill(PAGE, marker, text)
        print(text, end="\n\n")
    plot(resampled)


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
        runs = [np.array([self.runs[name, loss][seed]["accuracy"] for seed in seeds]) for loss in (one, other)]
        resampled = [np.array([self._accuracy(name, loss, seed) for seed in seeds]) for loss in (one, other)]
        return runs[0] - runs[1], self._over_seeds(resampled[0] - resampled[1])

    def over_sets(self, loss: str) -> NDArray[np.float64]:
        """[R] means of the accuracy over all sets."""
        of_sets = [
            np.array([self._accuracy(name, loss, seed) for seed in self.seeds(name, loss)]) for name in self.sets
        ]
        means: NDArray[np.float64] = np.mean([self._over_seeds(of_set) for of_set in of_sets], 0)
        return means

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
    """Each loss that has run on every set: means over the sets, and the accuracy on each."""
    rows = []
    for loss in (loss for loss in LOSSES if all((name, loss) in resampled.runs for name in resampled.sets)):
        runs = [resampled.runs[name, loss].values() for name in resampled.sets]
        figures = ("accuracy", *TARS, "eer")
        means = {figure: [float(np.mean([run[figure] for run in of_set])) for of_set in runs] for figure in figures}
        accuracy, *rates = (percent(float(np.mean(means[figure]))) for figure in figures)
        around = from_to(interval(resampled.over_sets(loss)))
        seeds = "–".join(str(count) for count in sorted({min(map(len, runs)), max(map(len, runs))}))
        rows.append([loss, f"{accuracy} ({around})", *rates, *map(percent, means["accuracy"]), seeds])
    columns = ["loss", "accuracy, mean of the four sets (95 %)", "TAR at FAR 1e-2", "TAR at FAR 1e-3", "EER"]
    return markdown([*columns, *resampled.sets, "seeds"], rows)


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


def angles_table(stored: dict[str, Any]) -> str:
    rows = []
    for loss in mechanism.WATCHED:
        last = [entry["epochs"][-1] for entry in stored["runs"] if entry["loss"] == loss]
        if not last:
            continue
        thirds = np.mean([each["to own centre, by third"] for each in last], 0)
        names = ("to the nearest other centre", "within unseen people", "between unseen people")
        own, *others = (np.array([each[name] for each in last]) for name in ("to own centre", *names))
        cells = [f"{own.mean():.1f}", *(f"{third:.1f}" for third in thirds), *(f"{v.mean():.1f}" for v in others)]
        rows.append([loss, *cells, f"{own.std(ddof=1):.1f}" if len(own) > 1 else "", str(len(last))])
    columns = ["degrees, after the last epoch", "to own centre", *mechanism.THIRDS, "centre to the nearest other"]
    columns += ["within unseen people", "between them", "sd of the first over seeds", "seeds"]
    return markdown(columns, rows)


def noise_table(stored: dict[str, Any]) -> str:
    rows = []
    for loss in mechanism.WATCHED:
        entries = [entry for entry in stored["runs"] if entry["loss"] == loss]
        for epoch in range(SIZE.epochs):
            found = [entry["epochs"][epoch] for entry in entries]
            if not found or loss not in ("elastic-arc", "elastic-arc+"):
                continue
            by_batch, by_draw = (np.mean([each[name] for each in found]) for name in ("by batch", "by draw"))
            rows.append([loss, str(epoch + 1), f"{by_draw / by_batch:.4f}"])
    return markdown(["loss", "after epoch", "variance by draw over variance by batch"], rows)


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
        around = [means - ends[0], ends[1] - means]
        axes.errorbar(at, means, around, fmt="o", color=f"C{number}", capsize=3, label=f"{one} − {other}")
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
