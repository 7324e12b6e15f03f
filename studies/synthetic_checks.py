"""What a model has learned from people who never lived: a face, or a shortcut? And does it carry over to real faces?

With ``--faces FOLDER`` it renders people there as quickstart does, trains, and writes `studies/results/
synthetic_checks.json`; stopped, it goes on where it was. Without, it makes the tables of docs/synthetic.md of that file
alone. Real faces are used with ``--lfw`` only, and for nothing but to judge on and, with ``--lfw_train``, for one PCA.
"""

import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from common import (
    COMPONENTS,
    PAGE,
    RESULTS,
    SEED,
    Bootstrap,
    describe_pairs,
    fill,
    fingerprint,
    from_to,
    judge,
    made_on,
    markdown,
    of_result,
    open_results,
    pack,
    pca_lda,
    percent,
    points,
    read_results,
    recipe,
    render,
    render_unseen,
    require_same,
    run,
    settings,
    unpack,
)
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import files, keyed
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise import pairs as protocol
from elasticface.benchmarks.pairwise.baseline import whitened_pca
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, PairBenchmark, open_pairs
from elasticface.data import open_dataset
from elasticface.data.images.photos import identity_of
from elasticface.data.synthetic.look import Appearance
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.studio import Studio
from elasticface.metrics import resampling
from elasticface.metrics.resampling import interval
from elasticface.model.encoder import FaceEncoder
from elasticface.model.loading import load
from elasticface.quickstart import FULL, UNSEEN, Size
from elasticface.training.config import TrainConfig
from elasticface.training.loop import train
from elasticface.training.run_files import MODEL

SIMILAR = 0.1  # melanin of two people, which is 0.05 to 2.2
KEPT = 0.85  # of the lead over chance, at least, when hair, glasses and make-up are drawn anew for each photo
_STEPS = 32767  # of a cosine from 0 to 1, as it is stored


def study(
    faces: Path | None = None,
    people: int = FULL.people,
    photos: int = FULL.photos,
    epochs: int = FULL.epochs,
    seeds: int = 3,
    unseen_people: int = FULL.unseen_people,
    unseen_photos: int = FULL.unseen_photos,
    pairs: int = FULL.pairs,
    lfw: Path | None = None,
    lfw_pairs: Path | None = None,
    lfw_train: Path | None = None,
    workers: int = 2,
    out: Path = RESULTS / "synthetic_checks.json",
    page: Path = PAGE,
) -> None:
    """Judge models of the quickstart's recipe on other people, then on other people in other looks, then on real ones.

    Args:
        faces: folder for the people and models, where what is missing is made; without it, the tables of the stored
            results are printed and written to the page.
        people: to train on.
        photos: of each.
        epochs: of each run.
        seeds: trainings.
        unseen_people: to judge on.
        unseen_photos: of each.
        pairs: of their photos, half of them genuine.
        lfw: LFW, for the carry-over: a folder or tar of photos, aligned or with landmarks5.csv.
        lfw_pairs: its list of pairs, where it is not `pairs.txt` beside the photos.
        lfw_train: folder of aligned real faces that a PCA is fitted on, to be shown beside the models.
        workers: processes that render.
        out: JSON file of the results.
        page: where the tables go.
    """
    if faces is None:
        results = read_results(out)
        for marker, text in (("checks", checks_table(results)), ("carry-over", carry_over_table(results))):
            fill(page, marker, text)
            print(text, end="\n\n")
        return
    size = Size(people, photos, unseen_people, unseen_photos, pairs, epochs)
    training, unseen = render(faces, size, workers)
    benchmarks = {"varying": open_pairs(unseen)}
    for appearance in get_args(Appearance)[1:]:
        folder = faces / f"{UNSEEN}-{appearance}"
        render_unseen(folder, size, Variation(appearance=appearance), workers)
        benchmarks[appearance] = open_pairs(folder, unseen / PAIRS_FILE)
    benchmark = benchmarks["varying"]
    results = open_results(out, settings(size, (training, *(faces / b.name for b in benchmarks.values()))))
    if "pairs" not in results:
        results["pairs"] = describe_pairs(benchmark.pairs)
        results |= traits(people_of(benchmark))
        results |= {"appearance": [], "scores": [], "real": []}
    similar = similar_impostors(benchmark, results)

    for seed in range(seeds):
        encoder = model(faces, training, replace(recipe(epochs), seed=seed))
        for appearance, judged_on in benchmarks.items():
            if any((e["appearance"], e["seed"]) == (appearance, seed) for e in results["appearance"]):
                continue
            entry = {"appearance": appearance, "seed": seed}
            if appearance == "varying":
                figures, scores = judge_with_scores(encoder, judged_on, similar)
                results["scores"].append({"seed": seed, **scores})
            else:
                figures = judge(encoder, judged_on)
            results["appearance"].append(entry | figures)
            files.write_json(out, results)
    print(checks_table(results), end="\n\n")

    if lfw is not None:
        first = model(faces, training, recipe(epochs))
        carry_over(results, out, training, first, open_pairs(lfw, lfw_pairs), lfw_train)
        print(carry_over_table(results))


def model(faces: Path, training: Path, config: TrainConfig) -> FaceEncoder:
    """The model of these settings and photos, trained (on) if it is not there; a run folder in ``faces/models``."""
    made_of = json.dumps([asdict(config), fingerprint([training])], sort_keys=True)
    folder = faces / "models" / hashlib.sha256(made_of.encode()).hexdigest()[:16]
    if not (folder / MODEL).is_dir():
        train(training, folder, config, resume=True, resume_command="the same command")
    return load(folder)


# ---------------------------------------------------------------------------------------------- people and scores


def people_of(benchmark: PairBenchmark) -> list[str]:
    """Names [N], sorted, so that the numbers of stored pairs are places in it."""
    return sorted({identity_of(name) for name in (*benchmark.pairs.first, *benchmark.pairs.second)})


def traits(names: list[str]) -> dict[str, list[float]]:
    """What the renderer knows of each person: how much their photos vary, and how dark their skin is."""
    people = [Studio(SEED).person(int(name.removeprefix("person-"))) for name in names]
    return {
        "heterogeneity": [round(person.heterogeneity, 4) for person in people],
        "melanin": [round(person.melanin, 4) for person in people],
    }


def similar_impostors(benchmark: PairBenchmark, results: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of photos of two people whose skin is nearly equally dark, as many as the benchmark has impostor pairs."""
    photos: dict[str, list[str]] = {}
    for name in sorted({*benchmark.pairs.first, *benchmark.pairs.second}):
        photos.setdefault(identity_of(name), []).append(name)
    names, melanin = sorted(photos), np.array(results["melanin"])
    near = np.argwhere(np.triu(np.abs(melanin[:, None] - melanin) < SIMILAR, 1))
    if not len(near):
        raise InputError(f"no two of {len(names)} people have a similar skin; give more --unseen_people")
    generator = keyed.generator(SEED, "similar impostors")
    wanted = int((~benchmark.pairs.same).sum())
    return [
        (str(generator.choice(photos[names[a]])), str(generator.choice(photos[names[b]])))
        for a, b in near[generator.integers(len(near), size=wanted)]
    ]


def judge_with_scores(
    encoder: FaceEncoder, benchmark: PairBenchmark, similar: list[tuple[str, str]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures of the protocol; and all scores, also those of ``similar`` and who is in them."""
    pairs = benchmark.pairs
    listed = sorted({*pairs.first, *pairs.second})
    embeddings = encoder.embed(benchmark.face(name) for name in listed)
    place = {name: number for number, name in enumerate(listed)}
    a, b = (embeddings[[place[name] for name in side]] for side in (pairs.first, pairs.second))
    result = protocol.figures(encoder.card.name, benchmark, a, b, pairs)
    c, d = (embeddings[[place[pair[side]] for pair in similar]] for side in range(2))
    names = people_of(benchmark)
    number = {name: place for place, name in enumerate(names)}
    who = np.array([[number[identity_of(name)] for name in pair] for pair in similar], np.uint16)
    scores = {"all": _stored(result.scores), "similar": _stored(np.einsum("pd,pd->p", c, d))}
    return of_result(result), scores | {"similar_first": pack(who[:, 0]), "similar_second": pack(who[:, 1])}


def _stored(scores: NDArray[np.float32]) -> str:
    return pack(np.round(scores.astype(np.float64) * _STEPS).clip(-_STEPS, _STEPS).astype(np.int16))


def _scores(text: str) -> NDArray[np.float64]:
    return unpack(text, np.int16) / _STEPS


# ---------------------------------------------------------------------------------------------- shortcuts


def checks_table(results: dict[str, Any]) -> str:
    """Markdown: looks that change, heterogeneity, skin."""
    samples = Bootstrap(results["pairs"])
    of = {a: [e for e in results["appearance"] if e["appearance"] == a] for a in get_args(Appearance)}
    rows = []
    for appearance, runs in of.items():
        if runs:
            rows.append(
                [
                    f"accuracy, looks {appearance}",
                    percent(float(np.mean([e["accuracy"] for e in runs]))),
                    from_to(interval(samples.accuracies(runs))),
                    *(percent(e["accuracy"]) for e in runs),
                ]
            )
    rows += [
        lead_kept(appearance, of[appearance], of["varying"], samples)
        for appearance in ("frozen", "redrawn")
        if of["varying"] and len(of[appearance]) == len(of["varying"])
    ]
    if results["scores"]:
        rows += [*heterogeneity_rows(results, samples), *skin_rows(results, samples)]
    seeds = [f"seed {entry['seed']}" for entry in of["varying"]]
    cells = [row + [""] * (3 + len(seeds) - len(row)) for row in rows]
    return "\n\n".join(
        [
            markdown(["figure", "mean over seeds", "95 % over people", *seeds], cells),
            f"Intervals: bootstrap over the {samples.people} people judged, for these trained nets; they don't cover "
            f"other seeds of the training. {made_on(results)}",
        ]
    )


def lead_kept(
    appearance: str, runs: list[dict[str, Any]], usual: list[dict[str, Any]], samples: Bootstrap
) -> list[str]:
    """What share of the lead over chance is left with other looks on the same people and pairs."""

    def share(a: Any, b: Any) -> Any:
        return (a - 0.5) / (b - 0.5)

    by_seed = [share(e["accuracy"], u["accuracy"]) for e, u in zip(runs, usual, strict=True)]
    mean = share(*(np.mean([e["accuracy"] for e in group]) for group in (runs, usual)))
    around = interval(share(samples.accuracies(runs), samples.accuracies(usual)))
    wanted = f" (wanted: at least {KEPT:.0%})" if appearance == "redrawn" else ""
    return [
        f"lead over chance kept, looks {appearance}{wanted}",
        percent(mean),
        from_to(around),
        *map(percent, by_seed),
    ]


def heterogeneity_rows(results: dict[str, Any], samples: Bootstrap) -> list[list[str]]:
    """Pearson's r of a person's heterogeneity with the scores of their genuine pairs."""
    of_person = np.array(results["heterogeneity"])
    x = of_person[samples.first[samples.same]]
    weights = samples.weights[:, samples.same].astype(np.float64)
    by_seed, drawn = [], []
    for entry in results["scores"]:
        y = _scores(entry["all"])[samples.same]
        by_seed.append(float(correlation(x, y, np.ones((1, len(x))))[0]))
        drawn.append(correlation(x, y, weights))
    return [
        [
            "correlation of heterogeneity with the score of genuine pairs",
            _signed(float(np.mean(by_seed))),
            from_to(interval(np.mean(drawn, axis=0)), _signed),
            *map(_signed, by_seed),
        ]
    ]


def correlation(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r of x and y [P] under each row of weights [R, P]: [R]."""
    shares = weights / weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = shares @ x, shares @ y
    covariance = shares @ (x * y) - mean_x * mean_y
    variances = (shares @ x**2 - mean_x**2) * (shares @ y**2 - mean_y**2)
    result: NDArray[np.float64] = covariance / np.sqrt(variances)
    return result


def skin_rows(results: dict[str, Any], samples: Bootstrap) -> list[list[str]]:
    """Equal error rates with the usual impostors and with those of a similar skin, and by how much they differ."""
    usual, similar, drawn = [], [], []
    for entry in results["scores"]:
        first, second = (unpack(entry[f"similar_{side}"], np.uint16) for side in ("first", "second"))
        scores, near = _scores(entry["all"]), _scores(entry["similar"])
        genuine = samples.weights[:, samples.same]
        weights = samples.weights[:, ~samples.same], resampling.pair_weights(samples.counts, first, second)
        of = scores[samples.same], scores[~samples.same], near
        usual.append(eer(of[0], of[1]))
        similar.append(eer(of[0], of[2]))
        drawn.append(
            [
                [eer(np.repeat(of[0], g), np.repeat(of[kind + 1], w[kind])) for kind in range(2)]
                for g, *w in zip(genuine, *weights, strict=True)
            ]
        )
    sampled = np.mean(drawn, axis=0)  # [R, 2]
    more = [b - a for a, b in zip(usual, similar, strict=True)]
    return [
        ["EER", percent(float(np.mean(usual))), from_to(interval(sampled[:, 0])), *map(percent, usual)],
        [
            f"EER, impostors of similar skin (melanin within {SIMILAR:g})",
            percent(float(np.mean(similar))),
            from_to(interval(sampled[:, 1])),
            *map(percent, similar),
        ],
        [
            "the same, difference in percentage points",
            points(float(np.mean(more))),
            from_to(interval(sampled[:, 1] - sampled[:, 0]), points),
            *map(points, more),
        ],
    ]


def eer(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> float:
    """NaN where one of them is empty."""
    if not len(genuine) or not len(impostor):
        return math.nan
    same = np.arange(len(genuine) + len(impostor)) < len(genuine)
    return metrics.equal_error_rate(np.concatenate([genuine, impostor]), same).rate


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


# ---------------------------------------------------------------------------------------------- real faces


def carry_over(
    results: dict[str, Any],
    out: Path,
    training: Path,
    first: FaceEncoder,
    lfw: PairBenchmark,
    lfw_train: Path | None,
) -> None:
    """Models that never saw a real face on LFW's pairs, beside PCA; one entry each in ``results["real"]``."""
    made_with = {"bytes": fingerprint([training]), "benchmark": lfw.name}
    described = describe_pairs(lfw.pairs)
    require_same(out, results.get("real_settings", made_with), made_with)
    require_same(out, results.get("real_pairs", described), described)
    results |= {"real_settings": made_with, "real_pairs": described}

    def judged(name: str, encoder: FaceEncoder, **more: Any) -> None:
        results["real"].append({"model": name, **more, **judge(encoder, lfw)})
        files.write_json(out, results)

    done = {entry["model"] for entry in results["real"]}
    source = open_dataset(training)
    if lfw_train is not None and "PCA of real faces" not in done:
        real = open_dataset(lfw_train)
        shared = len({*real.class_names} & {*people_of(lfw)})
        judged("PCA of real faces", whitened_pca(real, COMPONENTS), people=real.num_classes, shared_people=shared)
    if "PCA" not in done:
        judged("PCA", whitened_pca(source, COMPONENTS))
    if "PCA + LDA" not in done:
        judged("PCA + LDA", pca_lda(source))
    if "quickstart" not in done:
        judged("quickstart", first)


def carry_over_table(results: dict[str, Any]) -> str:
    """Markdown: what was fitted on what, and how it does on real faces."""
    if not results["real"]:
        return "Not measured: give `--lfw`."
    samples = Bootstrap(results["real_pairs"])
    size = results["settings"]["size"]
    rendered = f"{size['people']:,} rendered people × {size['photos']}"
    rows, shared = [], ""
    for entry in results["real"]:
        trained_on = {
            "PCA of real faces": ("whitened PCA", f"{entry.get('people', 0):,} real people"),
            "PCA": ("whitened PCA", rendered),
            "PCA + LDA": ("PCA + LDA", rendered),
            "quickstart": ("net of the quickstart", f"{rendered}, {size['epochs']} epochs"),
        }[entry["model"]]
        around = from_to(interval(samples.accuracies([entry])))
        rows.append([*trained_on, percent(entry["accuracy"]), around, percent(entry["tar"]), percent(entry["eer"])])
        if entry.get("shared_people"):
            shared = (
                f" Of the real people that its PCA was fitted on, {entry['shared_people']:,} are in the pairs too, "
                "which helps it if anything."
            )
    columns = ["model", "fitted on", "accuracy", "95 % over people", "TAR at FAR 1e-2", "EER"]
    return "\n\n".join(
        [
            markdown(columns, rows),
            f"{samples.pairs:,} pairs of {samples.people:,} real people; one run each. PCA has {COMPONENTS} components."
            f"{shared} Intervals: bootstrap over the people in the pairs.",
        ]
    )


if __name__ == "__main__":
    run(study)
