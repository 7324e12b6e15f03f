"""Do thresholds hold their false match rate on other people? Made-up people whose truth is known, and LFW in parts.

Made up: similarities of people who differ in how much they look like others; the true rate of a threshold is known.
Real: thresholds from a random part of LFW's people, the rate measured on all the others; the public MobileFaceNet,
aligned by RetinaFace's landmarks. The others are people drawn as well: their rate varies too, so that of halves an
interval that is right holds it in 83 % of the splits, and of a tenth in 94 %.

Raw results go to `studies/results/calibration.json`, tables to docs/recognition.md; what is there is not made again.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from common import DOCS, RESULTS, fill, markdown, run
from numpy.typing import NDArray

from elasticface.base import environment, files, keyed
from elasticface.base.errors import InputError
from elasticface.base.progress import track
from elasticface.benchmarks.samples import DRAWS
from elasticface.data.images import decoding
from elasticface.data.images.alignment import align
from elasticface.data.images.photos import Photos, identity_of
from elasticface.faces.landmarks import read_landmarks
from elasticface.metrics.resampling import draw_people
from elasticface.model.loading import load
from elasticface.recognition.calibration import likelihood_ratio, operating_points
from elasticface.recognition.comparable import MOST_PHOTOS, some_of_each
from elasticface.recognition.comparisons import Compared, compare_embeddings
from elasticface.recognition.likelihood import PRIOR
from elasticface.recognition.pool import Pool

OUT = RESULTS / "calibration.json"
PAGE = DOCS / "recognition.md"
PEOPLE = (200, 1000)
SPREADS = (0.0, 0.3, 0.7)  # of how much a person looks like others; that of two people's similarity without it is 1
SHARES = {"half": 0.5, "tenth": 0.1}  # of LFW's people that are calibrated on
RATIO_PEOPLE = (40, 150, 600, 2400)  # of LFW whose likelihood ratio is fitted on one half and judged on the other
FMRS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
BATCH = 10  # worlds or splits between two writes

Floats = NDArray[np.float32]


def main(
    lfw: Path | None = None,
    model: Path | None = None,
    embeddings: Path = Path("lfw-mobilefacenet.npz"),
    worlds: int = 0,
    splits: int = 100,
    out: Path = OUT,
    page: Path = PAGE,
) -> None:
    """Calibrate, and count how often the truth is inside.

    Args:
        lfw: folder with LFW's tar and `landmarks5.csv`; without it and ``embeddings`` nothing is done with LFW.
        model: mobilefacenet-foamliu as .onnx.
        embeddings: file that keeps its embeddings of LFW.
        worlds: made-up sets of each kind, those that are stored included.
        splits: of LFW of each kind.
        out: JSON file for the raw results.
        page: where the tables go.
    """
    stored = json.loads(out.read_text("utf-8")) if out.exists() else {"made up": {}, "lfw": {}, "ratios": {}}

    def extend(found: list[Any], count: int, told: str, make: Callable[[int], Any]) -> None:
        for number in track(range(len(found), count), told, max(count - len(found), 0)):
            found.append(make(number))
            if len(found) % BATCH == 0 or len(found) == count:
                stored["environment"] = environment.describe()
                files.write_json(out, stored)

    for people in PEOPLE if worlds else ():
        for spread in SPREADS:
            found = stored["made up"].setdefault(f"{people} people, spread {spread:g}", [])
            extend(found, worlds, f"{people} people, spread {spread:g}", partial(made_up, people, spread))
    if embeddings.exists() or (lfw and model):
        rows, names = embedded(lfw, model, embeddings)
        kept = set(some_of_each(names, MOST_PHOTOS))
        some = np.array([name in kept for name in names])
        for name, share in SHARES.items():
            told = f"a {name}, {MOST_PHOTOS} photos a person"
            found = stored["lfw"].setdefault(told, [])
            extend(found, splits // 2, told, partial(split, rows[some], np.array(names)[some].tolist(), share))
            found = stored["lfw"].setdefault(f"a {name}, all photos", [])
            extend(found, splits, f"a {name}, all photos", partial(split, rows, names, share))
        for people in RATIO_PEOPLE:
            found = stored["ratios"].setdefault(str(people), [])
            extend(found, splits // 4, f"LFW, ratios of {people}", partial(ratios, rows, names, people))
    fill(page, "calibration-ratios", ratio_table(stored["ratios"]))
    fill(page, "calibration-made-up", made_up_table(stored["made up"]))
    fill(page, "calibration-lfw", lfw_table(stored["lfw"]))


# ---------------------------------------------------------------------------------------------- made up


def made_up(people: int, spread: float, world: int) -> list[list[float] | None]:
    """For each FMR: the lower and upper end of its interval, and the true rate; None of those that are refused."""
    generator = keyed.generator(world, "made-up people", people, round(10 * spread))
    alike = generator.normal(0, spread, people)
    pairs = np.stack(np.triu_indices(people, 1), axis=1).astype(np.int32)
    scores = (alike[pairs].sum(axis=1) + generator.normal(size=len(pairs))).astype(np.float32) / 10
    themselves = np.stack([np.arange(people, dtype=np.int32)] * 2, axis=1)
    genuine = (generator.normal(size=people).astype(np.float32) + np.float32(6)) / np.float32(10)
    part = Compared(
        name="made up",
        kind="people",
        photos=(),
        genuine=genuine,
        genuine_photos=themselves,
        genuine_units=themselves,
        impostors=scores,
        impostor_photos=pairs,
        impostor_units=pairs,
        units=people,
        unit_of=None,
        histogram=np.zeros((2, 0), np.int64),
    )
    population = NormalDist(0, float(np.sqrt(1 + 2 * spread**2)) / 10)
    found = {point.fmr: point for point in allowed(part, draw_people(people, 500, world))}
    return [
        [*found[fmr].fmr_interval, 1 - population.cdf(found[fmr].threshold)] if fmr in found else None for fmr in FMRS
    ]


def allowed(part: Compared, counts: NDArray[np.int32]) -> Sequence[Any]:
    """The operating points of those FMRs that the data allow."""
    try:
        return operating_points(Pool((part,)), FMRS, counts, strict=False)
    except InputError:  # it allows none of them
        return ()


def made_up_table(stored: dict[str, list[Any]]) -> str:
    """Markdown: in how many worlds a rate was calibrated, and how often the truth was inside then, in %."""
    rows = []
    for name, worlds in stored.items():
        cells = [name]
        for place in range(4):
            there = [world[place] for world in worlds if world[place] is not None]
            inside = np.mean([low <= truth <= high for low, high, truth in there]) if there else 0
            cells.append(f"{100 * inside:.0f} ({100 * len(there) / len(worlds):.0f})" if there else "– (0)")
        rows.append(cells)
    counted = " or ".join(map(str, sorted({len(worlds) for worlds in stored.values()})))
    headings = ["FMR", *(f"{fmr:.0e}".replace("e-0", "e-") for fmr in FMRS[:4])]
    return f"{markdown(headings, rows)}\n\nIn % of those of {counted} simulated sets that allow the rate (these in %)."


# ---------------------------------------------------------------------------------------------- LFW


def embedded(lfw: Path | None, model: Path | None, kept: Path) -> tuple[Floats, list[str]]:
    """Embeddings [N, D] of LFW's photos, and their names [N]; made once."""
    if not kept.exists():
        assert lfw is not None
        assert model is not None
        photos, points = Photos(lfw / "lfw-deepfunneled-250.tar"), read_landmarks(lfw / "landmarks5.csv")
        encoder = load(model, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
        faces = (align(decoding.decode(photos.read(name), name), points[name]) for name in photos.names)
        rows = encoder.embed(track(faces, "LFW: embedding", len(photos)))
        with files.replacing(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, rows=rows, names=np.array(photos.names))
    with np.load(kept) as found:
        return found["rows"], found["names"].tolist()


def split(rows: Floats, names: Sequence[str], share: float, number: int) -> dict[str, Any]:
    """A random part of the people calibrated, and what became of it on the others."""
    person = np.unique([identity_of(name) for name in names], return_inverse=True)[1]
    people = int(person.max()) + 1
    chosen = np.zeros(people, np.bool_)
    generator = keyed.generator(number, "split of LFW", round(100 * share))
    chosen[generator.permutation(people)[: round(share * people)]] = True
    inside = chosen[person]
    part = compare_embeddings(
        "LFW",
        rows[inside],
        [name for name, in_ in zip(names, inside, strict=True) if in_],
        wanted=int(FMRS[0] * inside.sum() ** 2 / 2) + 1,
    )
    points = allowed(part, draw_people(part.units, DRAWS, 0))
    ratio, _ = likelihood_ratio(Pool((part,)))
    fmrs, acceptances = rates(rows[~inside], person[~inside], [point.threshold for point in points])
    return {
        "likelihood": None if ratio is None else [ratio.slope, ratio.offset, ratio.cllr],
        "points": [
            [point.fmr, *point.fmr_interval, fmr, *point.acceptance_interval, acceptance, point.independent]
            for point, fmr, acceptance in zip(points, fmrs, acceptances, strict=True)
        ],
    }


def ratios(rows: Floats, names: Sequence[str], people: int, number: int) -> list[list[float]]:
    """Slope, offset and Cllr on people it was not fitted on, of some random people: with the prior and without."""
    person = np.unique([identity_of(name) for name in names], return_inverse=True)[1]
    chosen = keyed.generator(number, "ratios of LFW", people).permutation(int(person.max()) + 1)[:people]
    inside = np.isin(person, chosen)
    part = compare_embeddings("LFW", rows[inside], [name for name, in_ in zip(names, inside, strict=True) if in_], 1)
    found = [likelihood_ratio(Pool((part,)), prior)[0] for prior in (PRIOR, np.inf)]
    return [[] if ratio is None else [ratio.slope, ratio.offset, ratio.cllr] for ratio in found]


def ratio_table(stored: dict[str, list[list[list[float]]]]) -> str:
    """Markdown: slopes and costs by the number of people."""
    rows = []
    for people, draws in ((people, draws) for people, draws in stored.items() if draws):
        cells = [f"{int(people):,}"]
        for place in (0, 1):
            slopes, _, costs = np.array([found[place] for found in draws if found[place]]).T
            cells += [f"{np.median(slopes):.0f}", f"{np.median(costs):.3f}", f"{np.quantile(costs, 0.95):.3f}"]
        rows.append(cells)
    headings = ["people", "slope", "Cllr", "19 of 20 below", "slope without prior", "Cllr", "19 of 20 below"]
    counted = " or ".join(map(str, sorted({len(draws) for draws in stored.values()})))
    return f"{markdown(headings, rows)}\n\nMedians of {counted} random draws of people."


def rates(rows: Floats, person: NDArray[np.int64], thresholds: Sequence[float]) -> tuple[list[float], list[float]]:
    """False match rate and genuine acceptance of all comparisons of some photos at each threshold."""
    accepted, counted = np.zeros((2, len(thresholds))), np.zeros(2)
    for start in range(0, len(rows), 1024):
        scores = rows[start : start + 1024] @ rows[start:].T
        later = np.arange(scores.shape[1]) > np.arange(scores.shape[0])[:, None]
        same = person[start : start + 1024, None] == person[start:]
        for kind, of_kind in enumerate((later & ~same, later & same)):
            values = scores[of_kind]
            counted[kind] += len(values)
            accepted[kind] += [np.count_nonzero(values >= np.float32(threshold)) for threshold in thresholds]
    fmrs, acceptances = accepted / counted[:, None]
    return fmrs.tolist(), acceptances.tolist()


def lfw_table(stored: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: of each rate, how often it was calibrated, and how often what the others had was inside."""
    rows = []
    for name, splits in stored.items():
        for fmr in FMRS:
            there = [point for found in splits for point in found["points"] if point[0] == fmr]
            if not there:
                continue
            low, high, others, low_accepted, high_accepted, accepted = np.array(there)[:, 1:7].T
            rows.append(
                [
                    f"{name}: {fmr:.0e}".replace("e-0", "e-"),
                    f"{100 * len(there) / len(splits):.0f}",
                    f"{np.median(low):.1e} – {np.median(high):.1e}".replace("e-0", "e-"),
                    f"{np.median(others):.1e}".replace("e-0", "e-"),
                    f"{100 * np.mean((low <= others) & (others <= high)):.0f}",
                    f"{100 * np.mean(others <= high):.0f}",
                    f"{100 * np.mean((low_accepted <= accepted) & (accepted <= high_accepted)):.0f}",
                ]
            )
    headings = [
        *("calibrated on, FMR", "allowed, %", "interval", "FMR of the others", "inside, %", "not above it, %"),
        "acceptance inside, %",
    ]
    counted = " or ".join(map(str, sorted({len(splits) for splits in stored.values()})))
    return f"{markdown(headings, rows)}\n\nMedians and shares of {counted} random splits."


if __name__ == "__main__":
    run(main)
