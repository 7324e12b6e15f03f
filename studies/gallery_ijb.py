"""IJB-C's 1:N protocol through the gallery's search, beside the protocol's own figures from the same templates.

Templates are synthetic, in IJB-C's numbers: two galleries of 1,772 and 1,759 people, and 19,593 probes, whose mates are
in one of the two. Similarities of a gallery are of embeddings whose numbers are rounded to 11 bits, as the database
keeps them. Writes `studies/results/gallery_ijb.json` and fills the table of docs/gallery.md from it; without --database
it only fills the table.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, RESULTS, fill, markdown, read_results, run
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.base import environment, files, progress
from elasticface.benchmarks.ijb.protocol import FPIRS, RANKS
from elasticface.gallery import collection as collections
from elasticface.gallery.database import Database
from elasticface.gallery.search import search
from elasticface.gallery.storing import NewFace, store
from elasticface.model.encoder import Preprocessing

OUT = RESULTS / "gallery_ijb.json"
PAGE = DOCS / "gallery.md"
MARKER = "gallery_ijb"
GALLERIES = {"G1": 1_772, "G2": 1_759}
PROBES = 19_593
DIMENSIONS = 512
LEAST_NOISE, MOST_NOISE = 0.5, 7.0  # of a probe, beside its person's centre of length 1: from clear to hopeless
AT_ONCE = 256  # probes
Floats = NDArray[np.float32]


def main(database: Path | None = None) -> None:
    """Search for all probes in both galleries, with the gallery and without.

    Args:
        database: a folder for the embedded database, which is made; without it, the stored table is filled in.
    """
    if database is not None:
        files.write_json(OUT, measured(database))
    text = table(read_results(OUT))
    fill(PAGE, MARKER, text)
    print(text)


def measured(folder: Path) -> dict[str, Any]:
    """Figures of both galleries, by the protocol and by the gallery's search."""
    rng = np.random.default_rng(0)
    people = sum(GALLERIES.values())
    centres = _unit(rng.standard_normal((people, DIMENSIONS), np.float32))
    subjects = rng.integers(0, people, PROBES)
    noise = rng.uniform(LEAST_NOISE, MOST_NOISE, (PROBES, 1)).astype(np.float32)
    probes = _unit(centres[subjects] + noise * _unit(rng.standard_normal((PROBES, DIMENSIONS), np.float32)))
    templates = _unit(centres + LEAST_NOISE * _unit(rng.standard_normal((people, DIMENSIONS), np.float32)))
    figures: dict[str, Any] = {"environment": environment.describe(), "galleries": {}}
    database = Database(folder)
    try:
        first = 0
        for name, size in GALLERIES.items():
            those = np.arange(first, first + size)
            first += size
            exact = metrics.search_templates(probes, templates[those], subjects, those)
            scores = searched(database, name, templates[those], those, probes)
            through = metrics.searches(scores, subjects, those)
            figures["galleries"][name] = {
                "protocol": rates(exact),
                "gallery": rates(through),
                "similarity_differs": float(np.abs(through.other - exact.other).max()),
                "other_outcomes": int(
                    (np.minimum(through.rank, max(RANKS) + 1) != np.minimum(exact.rank, max(RANKS) + 1)).sum()
                ),
            }
    finally:
        database.close()
    return figures


def searched(database: Database, name: str, templates: Floats, subjects: NDArray[np.int64], probes: Floats) -> Floats:
    """[Q, G] similarities of the ten most similar people of each probe; -1 of all others, who are below rank 10."""
    enrolled = collections.insert(
        database,
        name,
        model="made up",
        print_of_model=bytes(32),
        dimensions=DIMENSIONS,
        preprocessing=asdict(Preprocessing()),
        detector="none",
        aggregation="best",
    )
    store(database, enrolled, [NewFace(str(one), row, "") for one, row in zip(subjects, templates, strict=True)])
    column = {str(subject): place for place, subject in enumerate(subjects)}
    scores = np.full((len(probes), len(subjects)), -1, np.float32)
    starts = range(0, len(probes), AT_ONCE)
    for start in progress.track(starts, f"searching in {name}", len(starts)):
        for row, found in enumerate(search(database, name, probes[start : start + AT_ONCE], most=max(RANKS)), start):
            for one in found.candidates:
                scores[row, column[one.person]] = one.similarity
    return scores


def rates(outcome: metrics.Searches) -> dict[str, Any]:
    """The protocol's figures of one gallery."""
    mated = outcome.mated
    closed = metrics.Searches(outcome.mate[mated], outcome.other[mated], outcome.rank[mated])
    return {
        "rank": metrics.rank_rates(closed, RANKS).tolist(),
        "tpir": metrics.open_set_rates(outcome, FPIRS).tolist(),
        "mated": int(mated.sum()),
    }


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def table(stored: dict[str, Any]) -> str:
    """Markdown: both ways, in percent."""
    rows = [
        [f"{name}, {way}", *(f"{100 * rate:.3f}" for rate in (*figures[key]["rank"], *figures[key]["tpir"]))]
        for name, figures in stored["galleries"].items()
        for way, key in (("by the protocol", "protocol"), ("through the gallery", "gallery"))
    ]
    columns = ["%", *(f"rank {rank}" for rank in RANKS), *(f"TPIR at FPIR {fpir:g}" for fpir in FPIRS)]
    differ = max(figures["similarity_differs"] for figures in stored["galleries"].values())
    others = sum(figures["other_outcomes"] for figures in stored["galleries"].values())
    return (
        f"{markdown(columns, rows)}\n\nSimilarities differ by {differ:.1g} at most, and the rank of {others:,} of the "
        f"{2 * PROBES:,} searches, as far as rank {max(RANKS)}."
    )


if __name__ == "__main__":
    run(main)
