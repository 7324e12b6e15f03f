"""Do intervals hold what they say? TAR of made-up people whose truth is known, by the bootstrap and by the binomial.

Every world is one more benchmark: N people drawn from the same population, their genuine and impostor pairs, a score
each. How often is the truth of the population inside the 95 % interval that the world gives? Raw counts go to
`studies/results/interval_coverage.json`, shares to docs/evaluation.md; worlds that are there are not made again.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, RESULTS, fill, markdown, run
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import environment, files, keyed
from elasticface.base.progress import track
from elasticface.metrics.resampled_roc import tars_at_fars
from elasticface.metrics.resampling import draw_people, interval

OUT = RESULTS / "interval_coverage.json"
PAGE = DOCS / "evaluation.md"
PEOPLE, GENUINE, IMPOSTORS = 300, 2_000, 50_000
ROOMS = (5, 15, 50, 500)  # impostors that the FARs let in
SPREADS = (0.0, 0.5, 1.0)  # standard deviation of how well a person is recognised; that of a score is 1
DRAWS = 500
POPULATION = 40  # as many worlds' pairs, of seven times the people each, stand for the truth
BATCH = 10  # worlds between two writes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def main(worlds: int = 300, out: Path = OUT, page: Path = PAGE) -> None:
    """Count how often the truth is inside.

    Args:
        worlds: of each spread; 0 makes the table of what is stored.
        out: JSON file for the counts.
        page: where the table goes.
    """
    stored = json.loads(out.read_text("utf-8")) if out.exists() else {"spreads": {}}
    for spread in SPREADS if worlds else ():
        found = stored["spreads"].setdefault(f"{spread:g}", {"truth": truth(spread).tolist(), "inside": []})
        done = len(found["inside"])
        for world in track(range(done, worlds), f"spread {spread:g}", max(worlds - done, 0)):
            found["inside"].append(inside(spread, world, np.array(found["truth"])))
            if len(found["inside"]) % BATCH == 0 or len(found["inside"]) == worlds:
                files.write_json(out, {**stored, "environment": environment.describe()})
    text = table(stored)
    fill(page, "coverage", text)
    print(text)


def made_up(spread: float, world: int, people: int, more: int) -> tuple[Floats, Ints, Ints]:
    """Scores of genuine, then of impostor pairs, and who is on either side."""
    rng = keyed.generator(0, "interval coverage", int(10 * spread), people, world)
    ease = rng.normal(0, spread, people)
    mates, first = rng.integers(0, people, GENUINE * more), rng.integers(0, people, IMPOSTORS * more)
    second = (first + rng.integers(1, people, IMPOSTORS * more)) % people
    # Who is hard to recognise is not who is hard to tell apart: the impostors' scores vary by other traits.
    alike = rng.normal(0, spread, people)
    genuine = 3 + ease[mates] + rng.normal(size=len(mates))
    impostors = (alike[first] + alike[second]) / 3 + rng.normal(size=len(first))
    return np.append(genuine, impostors), np.append(mates, first), np.append(mates, second)


def truth(spread: float) -> Floats:
    """TAR at each FAR of the population."""
    tars = []
    for world in range(POPULATION):
        scores, first, second = made_up(spread, world, 7 * PEOPLE, 7)
        tars.append(metrics.tar_at_far(scores, first == second, [room / IMPOSTORS for room in ROOMS]))
    return np.asarray(np.mean(tars, axis=0))


def inside(spread: float, world: int, truth: Floats) -> dict[str, list[bool]]:
    """Whether each truth is inside the interval of one world, by either way."""
    scores, first, second = made_up(spread, world, PEOPLE, 1)
    fars = [room / IMPOSTORS for room in ROOMS]
    drawn = tars_at_fars(scores, first, second, fars, draw_people(PEOPLE, DRAWS, world))["at-most"]
    told = metrics.tar_at_far(scores, first == second, fars)
    ways = {
        "bootstrap": [interval(column) for column in drawn.T],
        "binomial": [metrics.binomial_interval(round(float(tar) * GENUINE), GENUINE) for tar in told],
    }
    return {
        way: [bool(low <= tar <= high) for (low, high), tar in zip(ends, truth, strict=True)]
        for way, ends in ways.items()
    }


def table(stored: dict[str, Any]) -> str:
    """Markdown: how often the truth was inside, in %."""
    rows = [
        [f"{way}, people differ by {spread}", *(f"{100 * share:.0f}" for share in shares)]
        for spread, found in stored["spreads"].items()
        for way in ("bootstrap", "binomial")
        for shares in [np.mean([world[way] for world in found["inside"]], axis=0)]
    ]
    worlds = {len(found["inside"]) for found in stored["spreads"].values()}
    counted = " or ".join(map(str, sorted(worlds)))
    return f"{markdown(['impostors let in', *map(str, ROOMS)], rows)}\n\nIn % of {counted} worlds each."


if __name__ == "__main__":
    run(main)
