"""What the studies on rendered people share: the people, the recipe, the baselines, raw results, tables in the docs."""

import base64
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jsonargparse import auto_cli
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from elasticface import metrics
from elasticface.base import environment, files
from elasticface.base.errors import InputError, Stopped
from elasticface.benchmarks.pairwise.baseline import whitened_pca
from elasticface.benchmarks.pairwise.lists import PAIRS_FILE, PairBenchmark, Pairs
from elasticface.benchmarks.pairwise.pairs import PairResult, evaluate_pairs
from elasticface.data import Source
from elasticface.data.images.decoding import IMAGE_SUFFIXES
from elasticface.data.images.photos import identity_of
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.write import write_faces
from elasticface.metrics import resampling
from elasticface.model.encoder import Card, FaceEncoder
from elasticface.quickstart import TRAINING, UNSEEN, Size, pair_up
from elasticface.training.config import RECIPES, TrainConfig, read_config

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "synthetic.md"
SEED = 0  # of the people and their pairs, as quickstart's
FAR = 0.01  # 30 of 3,000 impostor pairs; rarer ones are too few to count
COMPONENTS, DISCRIMINANTS = 200, 64  # of PCA, and of LDA after it
DRAWS = 2000  # bootstrap samples


def run(study: Callable[..., None]) -> None:
    """Run ``study`` with the options of the command line; what can be mended ends it with one line."""
    try:
        auto_cli(study)
    except (InputError, Stopped) as error:
        print(error, file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 2))


# ---------------------------------------------------------------------------------------------- people and recipe


def render(folder: Path, size: Size, workers: int) -> tuple[Path, Path]:
    """The people to train on and those to judge on, with their pairs, as quickstart makes them; rendered if need be."""
    training, unseen = folder / TRAINING, folder / UNSEEN
    write_faces(training, identities=size.people, images_per_identity=size.photos, seed=SEED, first=0, workers=workers)
    render_unseen(unseen, size, Variation(), workers)
    pair_up(unseen, size, SEED)
    return training, unseen


def render_unseen(out: Path, size: Size, variation: Variation, workers: int) -> None:
    """The people to judge on, of some variation."""
    write_faces(
        out,
        identities=size.unseen_people,
        images_per_identity=size.unseen_photos,
        seed=SEED,
        variation=variation,
        first=size.people,
        workers=workers,
    )


def recipe(epochs: int) -> TrainConfig:
    """What quickstart trains with."""
    return replace(TrainConfig(**read_config(RECIPES / "quickstart.yaml")), epochs=epochs)


def settings(size: Size, folders: Sequence[Path]) -> dict[str, Any]:
    """What all runs of a study must have in common: sizes, recipe, and the very bytes of the photos."""
    return {"size": asdict(size), "recipe": asdict(recipe(size.epochs)), "photos": fingerprint(folders)}


def fingerprint(folders: Sequence[Path]) -> str:
    """The first half of a SHA-256 over the photos and lists of pairs of folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.name == PAIRS_FILE or path.suffix in IMAGE_SUFFIXES:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


# ---------------------------------------------------------------------------------------------- baselines


def pca_lda(source: Source) -> FaceEncoder:
    """Fisherfaces (Belhumeur, Hespanha and Kriegman 1997): whitened PCA, then what tells people apart best linearly.

    Fitted on the sums of image and mirror image, which is what is judged.
    """
    pca = whitened_pca(source, COMPONENTS)
    rows = pca.embed((source[i][0] for i in range(len(source))), normalize=False).astype(np.float64)
    centre = rows.mean(0)
    directions = from_numpy(discriminants(rows - centre, source.labels, DISCRIMINANTS))
    half = from_numpy(centre / 2)  # an image is half of what was fitted on

    def network(images: Tensor) -> Tensor:
        projected: Tensor = (pca.network(images) - half) @ directions
        return projected

    return FaceEncoder(network, Card("PCA + LDA", embedding_size=directions.shape[1]))


def discriminants(rows: NDArray[np.float64], labels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Directions that tell classes apart: those of the widest class means once the spread within classes is 1.

    Args:
        rows: [N, D], of mean 0.
        labels: [N], values 0..C-1, every one of them there.
        count: how many directions; at most C − 1 and D come.

    Returns:
        [D, count]; projected on them, the covariance within classes is the identity.
    """
    counts = np.bincount(labels)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= counts[:, None]
    within = rows - means[labels]
    values, vectors = np.linalg.eigh(within.T @ within / max(len(rows) - len(counts), 1))
    kept = values > 1e-6 * values[-1]  # where photos are fewer than components, the others have no spread to divide by
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    _, _, widest = np.linalg.svd((means * np.sqrt(counts)[:, None]) @ whiten, full_matrices=False)
    result: NDArray[np.float64] = whiten @ widest[: min(count, len(counts) - 1)].T
    return result


# ---------------------------------------------------------------------------------------------- raw results


def judge(encoder: FaceEncoder, benchmark: PairBenchmark) -> dict[str, Any]:
    """The figures of a model on all pairs of a benchmark."""
    return of_result(evaluate_pairs(encoder, benchmark))


def of_result(result: PairResult) -> dict[str, Any]:
    """For JSON: the figures of a result, and for each pair a bit: was it judged right?"""
    if result.counts["skipped_pairs"] or not result.enrolled.all():
        raise InputError(f"{result.benchmark}: photos are damaged or without a face; a study needs all of them")
    scores, same = result.scores, result.same
    return {
        "accuracy": result.accuracy,
        "eer": metrics.equal_error_rate(scores, same).rate,
        "tar": float(metrics.tar_at_far(scores, same, FAR)),
        "tar_at_1e-3": float(metrics.tar_at_far(scores, same, 1e-3)),
        "correct": pack(np.packbits(same == result.accepted)),
    }


def describe_pairs(pairs: Pairs) -> dict[str, Any]:
    """For JSON: how many pairs, and which people are in them, as places in the sorted list of all of their names."""
    people = [[identity_of(name) for name in side] for side in (pairs.first, pairs.second)]
    names, places = np.unique(np.array(people), return_inverse=True)
    first, second = places.reshape(2, -1).astype(np.uint16)
    return {"people": len(names), "pairs": len(first), "first": pack(first), "second": pack(second)}


class Bootstrap:
    """Bootstrap samples of the people in stored pairs.

    Args:
        described: what :func:`describe_pairs` gave.
        seed: of the samples; sets of other people get another one.
    """

    def __init__(self, described: dict[str, Any], seed: int = 0) -> None:
        self.people, self.pairs = int(described["people"]), int(described["pairs"])
        self.first, self.second = (unpack(described[side], np.uint16) for side in ("first", "second"))
        self.same = self.first == self.second  # [P]
        self.counts = resampling.draw_people(self.people, DRAWS, seed)
        self.weights = resampling.pair_weights(self.counts, self.first, self.second)

    def accuracies(self, runs: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
        """[R], in every sample the mean accuracy of some runs."""
        return resampling.accuracies(self.correct(runs), self.same, self.weights)

    def correct(self, runs: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
        """[P], in what share of the runs each pair was judged right."""
        bits = [np.unpackbits(unpack(run["correct"], np.uint8), count=self.pairs) for run in runs]
        shares: NDArray[np.float64] = np.mean(bits, axis=0)
        return shares


def pack(array: NDArray[Any]) -> str:
    """The little-endian bytes of an array, as text."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def unpack(text: str, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype).newbyteorder("<"))


def open_results(path: Path, made_with: dict[str, Any]) -> dict[str, Any]:
    """The stored results to go on with, or new ones.

    Raises:
        InputError: what is stored was made with other settings or photos; together they would make no table.
    """
    if not path.exists():
        return {"environment": environment.describe(), "settings": made_with}
    stored = read_results(path)
    require_same(path, stored["settings"], made_with)
    return stored


def add_run(path: Path, about: dict[str, Any], run: dict[str, Any]) -> None:
    """Store one more run beside those that are stored, other processes' of the same study among them.

    Args:
        path: of the results.
        about: everything but the runs.
        run: what is appended to ``"runs"``.
    """
    with FileLock(f"{path}.lock"):
        files.write_json(path, about | {"runs": [*runs_in(path), run]})


def runs_in(path: Path) -> list[dict[str, Any]]:
    """The stored runs; none where there are no results yet."""
    runs: list[dict[str, Any]] = read_results(path)["runs"] if path.exists() else []
    return runs


def require_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    flat_before, flat_now = _flat(before), _flat(now)
    changed = [
        f"{name} {flat_before.get(name)} -> {flat_now.get(name)}"
        for name in sorted({*flat_before, *flat_now})
        if flat_before.get(name) != flat_now.get(name)
    ]
    if changed:
        raise InputError(f"{path}: made with other settings: {', '.join(changed)}; give the same, or move it away")


def read_results(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path}: no results yet; --help says what it takes to make them")
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return stored


def _flat(nested: dict[str, Any], above: str = "") -> dict[str, Any]:
    parts = [_flat(v, f"{above}{k}.") if isinstance(v, dict) else {f"{above}{k}": v} for k, v in nested.items()]
    return dict(itertools.chain.from_iterable(part.items() for part in parts))


# ---------------------------------------------------------------------------------------------- tables


def fill(page: Path, marker: str, text: str) -> None:
    """Put ``text`` on a page, between `<!-- marker -->` and `<!-- /marker -->`."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    content = page.read_text("utf-8")
    before, found, rest = content.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise InputError(f"{page}: no {start} … {end} to write between")
    files.write_text(page, f"{before}{start}\n{text}\n{end}{after}")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers."""
    rules = [":--", *["--:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rules, *rows))


def percent(value: float) -> str:
    return f"{value:z.1%}".replace("-", "−")


def points(value: float) -> str:
    """A difference of two rates in percentage points, with its sign: +0.31, −0.10."""
    return f"{100 * value:+z.2f}".replace("-", "−")


def from_to(low_high: tuple[float, float], form: Callable[[float], str] = percent) -> str:
    return " to ".join(map(form, low_high))


def made_on(results: dict[str, Any]) -> str:
    """Who was rendered, how it was trained and where, for the foot of a table."""
    size, described = results["settings"]["size"], results["environment"]
    return (
        f"{size['people']:,} people × {size['photos']} photos to train on, {size['epochs']} epochs; judged on "
        f"{size['pairs']:,} pairs of {size['unseen_people']} other people. {described['processor']}, "
        f"{described['threads']} thread{'s'[: described['threads'] != 1]}, torch {described['versions']['torch']}."
    )
