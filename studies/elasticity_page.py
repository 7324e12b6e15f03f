"""The answer, the tables and the plots of docs/elasticity.md: the stored results of `elasticity.py` and
`elasticity_mechanism.py`, with the intervals of `elasticity_resampled.py`.
"""

import itertools
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import elasticity_mechanism as mechanism
import numpy as np
from common import DOCS, fill, from_to, markdown, percent, points, read_results, run
from elasticity import CHANCE, CONTRASTS, FURTHER, HETEROGENEITIES, LFW, LOSSES, MAIN, OUT, SIZE, name_of
from elasticity_resampled import Resampled, Values, interval, over_seeds, t_interval
from numpy.typing import NDArray

PAGE = DOCS / "elasticity.md"
PLOT = PAGE.parent / "images" / "elasticity.png"
PICTURE = f"![Points of accuracy that elastic margins give, by heterogeneity](images/{PLOT.name})"
ANGLES = PLOT.with_name("elasticity-angles.png")
ANGLES_PICTURE = f"![Mean angles less those of ArcFace, epoch by epoch](images/{ANGLES.name})"
FIGURES = {"accuracy": "accuracy", "tar": "TAR at FAR 1e-2", "tar_at_1e-3": "TAR at FAR 1e-3", "eer": "EER"}
WATCHED_ANGLES = ("to own centre", "to the nearest other centre", "within unseen people", "between unseen people")
WIDER = "elastic-arc, σ .1"


def main() -> None:
    """Fill what stands between the page's markers, and draw the plots."""
    resampled, watched = Resampled(read_results(OUT)), read_results(mechanism.OUT)["runs"]
    for marker, text in (
        ("answer", answer(resampled, watched)),
        ("main contrasts", f"{main_table(resampled)}\n\n{PICTURE}"),
        ("contrasts by set", contrasts_table(resampled)),
        ("figures", figures_table(resampled)),
        ("losses", losses_table(resampled)),
        ("pairs", pairs_table(resampled)),
        ("people", people_table(resampled)),
        ("angles", f"{angles_table(watched)}\n\n{ANGLES_PICTURE}"),
        ("noise", noise_table(watched)),
    ):
        fill(PAGE, marker, text)
        print(text, end="\n\n")
    plot(resampled)
    plot_angles(watched)


def answer(resampled: Resampled, watched: list[dict[str, Any]]) -> str:
    """Three sentences to cite."""
    arc, plus, expected = (resampled.difference(resampled.sets, one, other) for one, other in CONTRASTS)
    wider = resampled.difference(resampled.sets, WIDER, CONTRASTS[0][1])
    ends = np.abs([interval(means, CHANCE) for _, means in (arc, plus)])
    furthest = max(abs(value) for value in differences_at_the_end(watched))
    text = f"""On networks that train in a minute, elastic-arc and elastic-arc+ change the accuracy by less than
{np.ceil(1e4 * ends.max()) / 100:.2f} points, as the mean over three sets of rendered people and one of real ones:
elastic-arc less arcface is {told(*arc, CHANCE)} and elastic-arc+ less arcface {told(*plus, CHANCE)} with half the
paper's s·σ, and elastic-arc less arcface {told(*wider)} with all of it, over five seeds instead of ten. Random draws
gain nothing over the loss averaged over all of them, which is {told(*expected, CHANCE)} points better; after the last
epoch no mean angle is more than {np.ceil(10 * furthest) / 10:.1f} degrees from ArcFace's. Whether people who vary more
than others gain more, as the paper argues, stays open: the effect of elastic-arc at heterogeneity 1 less that at 0 is
{told(*of_heterogeneity(resampled), CHANCE)}."""
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False)


def told(of_seeds: Values, means: Values, chance: float = 0.05) -> str:
    return around(float(of_seeds.mean()), interval(means, chance))


def around(mean: float, ends: tuple[float, float]) -> str:
    """A difference in points, and its interval."""
    return f"{points(mean)} ({from_to(ends, points)})"


def of_heterogeneity(resampled: Resampled) -> tuple[Values, Values]:
    """The first contrast on people of heterogeneity 1, less that on people of heterogeneity 0."""
    one, other = CONTRASTS[0]
    unequal, equal = (resampled.difference([name_of(h)], one, other) for h in (HETEROGENEITIES[-1], HETEROGENEITIES[0]))
    return unequal[0] - equal[0], unequal[1] - equal[1]


def main_table(resampled: Resampled) -> str:
    found = [
        (f"{one} − {other}", *resampled.difference(resampled.sets, one, other), len(resampled.sets))
        for one, other in CONTRASTS
    ]
    one, other = CONTRASTS[0]
    found.append((f"{one} − {other}: heterogeneity 1 less 0", *of_heterogeneity(resampled), 2))
    rows = [
        [
            name,
            points(of_seeds.mean()),
            from_to(interval(means, CHANCE), points),
            from_to(t_interval(of_seeds, CHANCE), points),
            f"{100 * of_seeds.std(ddof=1):.2f}",
            str(2 * sets * len(of_seeds)),
        ]
        for name, of_seeds, means, sets in found
    ]
    columns = ["contrast, in points of accuracy", "mean", f"{1 - CHANCE:.2%} interval", "the same over seeds alone"]
    return markdown([*columns, "sd over seeds", "runs"], rows)


def contrasts_table(resampled: Resampled) -> str:
    rows = []
    for one, other in (*CONTRASTS, *FURTHER):
        groups = [resampled.sets] + [[name] for name in resampled.sets]
        if all(resampled.seeds(names, one, other) for names in groups):
            rows.append([f"{one} − {other}", *(told(*resampled.difference(names, one, other)) for names in groups)])
    return markdown(["95 % over seeds and people", "mean of the four sets", *resampled.sets], rows)


def figures_table(resampled: Resampled) -> str:
    """The main contrasts of all figures: means over sets, with intervals over seeds."""
    rows = []
    for one, other in (*CONTRASTS, (WIDER, CONTRASTS[0][1])):
        seeds = resampled.seeds(resampled.sets, one, other)
        of_one, of_other = (
            [resampled.figure(resampled.sets, loss, seeds, figure) for figure in FIGURES] for loss in (one, other)
        )
        apart = [mine - theirs for mine, theirs in zip(of_one, of_other, strict=True)]
        cells = [around(float(of_seeds.mean()), t_interval(of_seeds)) for of_seeds in apart]
        rows.append([f"{one} − {other}", *cells, str(len(seeds))])
    return markdown(["points; 95 % over seeds alone", *FIGURES.values(), "seeds"], rows)


def losses_table(resampled: Resampled) -> str:
    """Each loss that has run on every set: means over the sets, and the accuracy on each."""
    rows = []
    for loss in LOSSES:
        seeds = resampled.seeds(resampled.sets, loss)
        if not seeds:
            continue
        ends = interval(over_seeds(resampled.accuracy(resampled.sets, loss, seeds)))
        means = [percent(float(resampled.figure(resampled.sets, loss, seeds, figure).mean())) for figure in FIGURES]
        on_each = [percent(float(resampled.figure([name], loss, seeds).mean())) for name in resampled.sets]
        rows.append([loss, f"{means[0]} ({from_to(ends)})", *means[1:], *on_each, str(len(seeds))])
    columns = ["loss", "accuracy, mean of the four sets (95 %)", *list(FIGURES.values())[1:]]
    return markdown([*columns, *resampled.sets, "seeds"], rows)


def pairs_table(resampled: Resampled) -> str:
    """How many pairs two runs judge differently: with two seeds, and of two losses with one seed."""
    base, rows = CONTRASTS[0][1], []
    others = [loss for loss in MAIN if loss != base]
    for name in resampled.sets:
        seeds = resampled.seeds([name], *MAIN)
        if len(seeds) < 2:
            continue
        right = {loss: [resampled.correct(name, loss, seed) for seed in seeds] for loss in MAIN}
        cells = [percent(_mean_difference(itertools.combinations(right[base], 2)))]
        for loss in others:
            apart = [(right[loss][s], right[base][t]) for s, t in itertools.permutations(range(len(seeds)), 2)]
            together = zip(right[loss], right[base], strict=True)
            cells.append(f"{percent(_mean_difference(apart))} ({percent(_mean_difference(together))})")
        rows.append([name, *cells])
    return markdown(["two seeds (one seed)", f"{base} twice", *(f"{loss} and {base}" for loss in others)], rows)


def _mean_difference(pairs: Iterable[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> float:
    return float(np.mean([(one != other).mean() for one, other in pairs]))


def people_table(resampled: Resampled) -> str:
    """The main contrasts on the pairs of the most unequal set: genuine ones by thirds of the people's heterogeneity."""
    name = name_of(HETEROGENEITIES[-1])
    people = range(SIZE.people, SIZE.people + SIZE.unseen_people)  # in the order of their names
    thirds = mechanism.thirds(HETEROGENEITIES[-1], people)
    genuine, of_pair = resampled.people[name].same, thirds[resampled.people[name].first]
    kinds = [*(genuine & (of_pair == third) for third in range(3)), ~genuine]
    rows = []
    for one, other in CONTRASTS:
        if seeds := resampled.seeds([name], one, other):
            apart = [resampled.right(name, one, other, kind) for kind in kinds]
            cells = [around(mean, interval(means)) for mean, means in apart]
            rows.append([f"{one} − {other}", *cells, str(len(seeds))])
    columns = [
        "pairs judged right, in points; 95 %",
        *(f"genuine, {third}" for third in mechanism.THIRDS),
        "impostor",
        "seeds",
    ]
    return markdown(columns, rows)


def angles_table(watched: list[dict[str, Any]]) -> str:
    rows = []
    for heterogeneity, loss, entries in by_loss(watched):
        last = [entry["epochs"][-1] for entry in entries]
        thirds = [each["to own centre, by third"] or [np.nan] * len(mechanism.THIRDS) for each in last]
        own, *others = (np.array([each[name] for each in last]) for name in WATCHED_ANGLES)
        cells = [own.mean(), *np.mean(thirds, 0), *(other.mean() for other in others)]
        spread = f"{own.std(ddof=1):.1f}" if len(own) > 1 else ""
        shown = ["" if np.isnan(cell) else f"{cell:.1f}" for cell in cells]
        rows.append([loss, f"{heterogeneity:g}", *shown, spread, str(len(last))])
    columns = ["degrees, after the last epoch", "heterogeneity", "to own centre", *mechanism.THIRDS]
    columns += ["centre to the nearest other", "within unseen people", "between them", "sd of the first over seeds"]
    return markdown([*columns, "seeds"], rows)


def differences_at_the_end(watched: list[dict[str, Any]]) -> list[float]:
    """Mean angles after the last epoch less those of the plain margin, of all losses, people and thirds of them."""
    angles: dict[tuple[float, str], Values] = {}
    for heterogeneity, loss, entries in by_loss(watched):
        last = [entry["epochs"][-1] for entry in entries]
        of_runs = [[each[name] for name in WATCHED_ANGLES] + (each["to own centre, by third"] or []) for each in last]
        angles[heterogeneity, loss] = np.mean(of_runs, 0)
    base = CONTRASTS[0][1]
    return [float(apart) for (h, loss), found in angles.items() for apart in found - angles[h, base]]


def noise_table(watched: list[dict[str, Any]]) -> str:
    rows = []
    for heterogeneity, loss, entries in by_loss(watched):
        by_batch, by_draw = (
            np.mean([[epoch[name] for epoch in entry["epochs"]] for entry in entries], 0)
            for name in ("by batch", "by draw")
        )
        shares = [f"{share:.4f}" if share else "" for share in by_draw / by_batch]
        rows.append([loss, f"{heterogeneity:g}", f"{by_batch[-1]:.1f}", *shares])
    epochs = [f"epoch {number + 1}" for number in range(SIZE.epochs)]
    columns = ["variance of the gradient", "heterogeneity", "from batches, after the last epoch"]
    return markdown([*columns, *(f"from draws ÷ from batches, {epochs[0]}", *epochs[1:])], rows)


def by_loss(watched: list[dict[str, Any]]) -> Iterator[tuple[float, str, list[dict[str, Any]]]]:
    """(heterogeneity, loss, its runs) of what has run."""
    for heterogeneity, losses in mechanism.WATCHED.items():
        for loss in losses:
            found = [run for run in watched if (run["heterogeneity"], run["loss"]) == (heterogeneity, loss)]
            if found:
                yield heterogeneity, loss, found


def plot(resampled: Resampled) -> None:
    """The main contrasts by heterogeneity, and on LFW, with 95 % intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 3.6), dpi=200)
    places = {name_of(h): h for h in HETEROGENEITIES} | {LFW: HETEROGENEITIES[-1] + 0.5}
    for number, (one, other) in enumerate(CONTRASTS):
        names = [name for name in places if name in resampled.sets and resampled.seeds([name], one, other)]
        found = [resampled.difference([name], one, other) for name in names]
        means = 100 * np.array([by_seed.mean() for by_seed, _ in found])
        ends = 100 * np.array([interval(resamples) for _, resamples in found]).T
        at = np.array([places[name] for name in names]) + 0.03 * (number - 1)
        lengths = [means - ends[0], ends[1] - means]
        axes.errorbar(at, means, lengths, fmt="o", color=f"C{number}", capsize=3, label=f"{one} − {other}")
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_xticks(list(places.values()), ["0", "0.5", "1", "LFW"])
    axes.set_xlabel("heterogeneity of rendered people, and real ones")
    axes.set_ylabel("points of accuracy more (95 %)")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Software": None})
    plt.close(figure)


def plot_angles(watched: list[dict[str, Any]]) -> None:
    """Mean angles epoch by epoch, less those of the plain margin; a line a loss, whole or dashed by heterogeneity."""
    import matplotlib.pyplot as plt

    base = CONTRASTS[0][1]
    names = [name for name in WATCHED_ANGLES if name != "to the nearest other centre"]
    figure, panels = plt.subplots(1, len(names), figsize=(9, 3.2), dpi=200, sharey=True)
    found = {(h, loss): entries for h, loss, entries in by_loss(watched)}
    epochs = range(1, SIZE.epochs + 1)
    for panel, name in zip(panels, names, strict=True):
        angles = {
            key: np.mean([[epoch[name] for epoch in run["epochs"]] for run in runs], 0) for key, runs in found.items()
        }
        for (heterogeneity, loss), of_loss in angles.items():
            if loss != base:
                color = f"C{mechanism.WATCHED[HETEROGENEITIES[-1]].index(loss) - 1}"
                style = "-" if heterogeneity == HETEROGENEITIES[-1] else "--"
                label = f"{loss}, heterogeneity {heterogeneity:g}"
                panel.plot(epochs, of_loss - angles[heterogeneity, base], style, color=color, label=label)
        panel.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("epoch")
        panel.set_xticks(epochs)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"degrees more than {base}")
    panels[0].legend(frameon=False, fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(ANGLES, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    run(main)
