"""Does an elastic margin help, where, and why? Every loss on rendered and real people, with many seeds and intervals.

Stated before the runs:

- **Main contrasts** (``CONTRASTS``), of accuracy by the protocol of LFW on people who were not trained on, mean over
  the four sets: elastic-arc − arcface, elastic-arc+ − arcface, and elastic-arc with expected draws − elastic-arc with
  random ones. A fourth is the paper's argument: elastic-arc − arcface on people of heterogeneity 1, less that on people
  of heterogeneity 0. Their intervals are for 1 − .05/4 (Bonferroni), so that all four hold together with 95 %.
- **What they could detect**: differences between losses in an earlier study, of three seeds each, had standard
  deviations of .05 to .7 points from seed to seed. These runs are shorter, so .8 is assumed: ten seeds on four sets
  bring it to .8/√40 = .13 points; with z = 2.50 for four contrasts and .84 for a power of 80 %, a true effect of **.42
  points** is detected. Which people a set happens to have is common to both losses, and cancels for the most part.
  (Added after the runs: for the fourth contrast, of two sets, the same assumption gives .8·√2/√10 = .36 and 1.2 points.
  The earlier study's results are in the history, `synthetic_losses.json`.)
- All else (other losses, other figures, single sets) is for orientation, with plain 95 % intervals.

A seed fixes centres, weights, order and augmentation, so that a contrast compares runs that differ in the loss alone;
but for those of two machines, whose rendered photos differ in their last bits ("photos" of a run tells them apart).

Writes `studies/results/elasticity.json`, one entry a run, and resumes where it was stopped. Runs come seed by seed over
all sets and main losses, then likewise over the others, so that whatever is there is balanced. `elasticity_page.py`
makes docs/elasticity.md of it.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import RESULTS, add_run, describe_pairs, fingerprint, judge, open_results, run
from torch import Tensor, from_numpy

from elasticface import heads
from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.studio import RENDERER_VERSION
from elasticface.data.synthetic.write import write_faces
from elasticface.heads import expectation, margins
from elasticface.heads.formula import Target
from elasticface.model.encoder import FaceEncoder
from elasticface.quickstart import Size, pair_up
from elasticface.training.config import RECIPES, TrainConfig, read_config
from elasticface.training.loop import train

OUT = RESULTS / "elasticity.json"
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
    ("adaface", "arcface"),
    ("curricularface", "arcface"),
    ("magface", "arcface"),
)
CHANCE = 0.05 / (len(CONTRASTS) + 1)  # of an interval that misses, of the main ones


def main(
    work: Path,
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
        work: folder for the rendered people, where what is missing is rendered.
        lfw: folder that `elasticface split FACES lfw --people 320` made of LFW's training people; without it, their
            runs wait.
        seeds: runs of each main loss.
        seeds_of_others: runs of each other loss.
        workers: processes that render.
        stop_after: minutes after which no further run is begun.
        part: of the runs, this process's: 0 to parts − 1.
        parts: processes that share the runs.
    """
    people = {"seed of the people": SEED, "renderer": RENDERER_VERSION}
    results = open_results(OUT, {"recipe": "quickstart", "epochs": SIZE.epochs, **people})
    folders = render(work, workers)
    if lfw:
        folders[LFW] = (Path(lfw) / "train", Path(lfw) / "heldout")
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


if __name__ == "__main__":
    run(main)
