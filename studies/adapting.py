"""What adapting a model to photos without labels is worth: by how many photos, of how many people, and of what.

The model in the package, trained on rendered faces alone, is adapted to photos of the people in the first five folds of
LFW's `pairs.txt` and judged on the pairs of the last five, whose people are others; each fold's threshold is chosen on
the other four. Writes `studies/results/adapting.json` and fills the table of docs/fine-tuning.md from it; without --lfw
it only fills the table.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import DOCS, RESULTS, Bootstrap, describe_pairs, fill, from_to, markdown, percent, points, read_results, run
from numpy.typing import NDArray

from elasticface import metrics
from elasticface.backbones.tiny import Tiny
from elasticface.base import environment, files, keyed, progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.listed_faces import LANDMARKS_FILE
from elasticface.benchmarks.pairwise.lists import PairBenchmark, Pairs, open_pairs
from elasticface.data.images.photos import identity_of
from elasticface.faces.landmarks import read_landmarks
from elasticface.metrics.resampled_roc import equal_error_rates
from elasticface.model.loading import load

OUT = RESULTS / "adapting.json"
PAGE = DOCS / "fine-tuning.md"
MARKER = "adapting"
COUNTS = (10, 20, 50, 200)
DRAWS = 5  # of the photos, for each number of them
OF_ONE = 50  # photos of a single person
MEAN, VARIANCE = "mean", "mean and variance"
AS_IS, ONE_PERSON = "as it is", f"{OF_ONE}, all of one person"
SAME = 1e-5  # in any value of a unit-length embedding: rounding
Floats = NDArray[np.float64]


def main(lfw: str | None = None) -> None:
    """Adapt the model in the package to more and more photos, and judge it on others.

    Args:
        lfw: the folder with LFW's tar, `pairs.txt` and `landmarks5.csv`; without it, the stored table is filled in.
    """
    if lfw is not None:
        benchmark = open_pairs(lfw)
        if benchmark.landmarks is not None:  # those of photos that no pair names are needed, too
            benchmark = replace(benchmark, landmarks=read_landmarks(Path(lfw) / LANDMARKS_FILE))
        files.write_json(OUT, measured(benchmark))
    text = table(read_results(OUT))
    fill(PAGE, MARKER, text)
    print(text)


def measured(benchmark: PairBenchmark) -> dict[str, Any]:
    """The figures with each choice of photos."""
    first, last = (part(benchmark.pairs, half) for half in (0, 1))
    names = sorted({*first.first, *first.second})
    people = sorted(set(map(identity_of, names)))
    judged = sorted({*last.first, *last.second})
    if common := set(people) & set(map(identity_of, judged)):
        raise InputError(f"{benchmark.name}: {len(common)} people are in the first folds and in the last ones")
    of: dict[str, list[str]] = {}
    for name in sorted(benchmark.photos.names):
        of.setdefault(identity_of(name), []).append(name)
    often = [of[person] for person in people if len(of[person]) >= OF_ONE]
    often = [often[place] for place in keyed.generator(0, "people").permutation(len(often))[:DRAWS]]
    features = Features(benchmark, [*names, *judged, *(name for photos in often for name in photos[:OF_ONE])])

    runs, resampled = [], Resampled(last)
    for photos, draw, what, chosen in choices(names, [photos[:OF_ONE] for photos in often]):
        rows = features.adapted(chosen, what)
        found = judge(rows, last, features.places)
        resampled.add((photos, what), found.pop("scores"))
        runs.append({"photos": photos, "draw": draw, "what": what, **found})
        progress.say(f"{photos}, draw {draw}, {what}: {found['accuracy']:.2%}, EER {found['eer']:.2%}")
    return {
        "model": features.encoder.card.name,
        "benchmark": benchmark.name,
        "adapted_to": {"photos": len(names), "people": len(people)},
        "judged_on": {"pairs": len(last.same), "folds": last.folds, "people": resampled.people},
        "runs": runs,
        "eer_less": resampled.eer_less(),
        "environment": environment.describe(),
    }


def part(pairs: Pairs, half: int) -> Pairs:
    """The pairs of the first folds (0) or the last ones (1)."""
    start, middle = half * len(pairs.same) // 2, len(pairs.same) // 2
    of_half = slice(start, start + middle)
    return Pairs(pairs.first[of_half], pairs.second[of_half], pairs.same[of_half], pairs.folds // 2)


def choices(names: list[str], often: list[list[str]]) -> Iterator[tuple[str, int, str, list[str]]]:
    """What photos, which draw of them, what is estimated from them, and their names."""
    yield AS_IS, 0, MEAN, []
    for count in COUNTS:
        for draw in range(DRAWS):
            drawn = keyed.generator(draw, "photos", count).choice(names, count, replace=False)
            yield f"{count}", draw, MEAN, [str(name) for name in drawn]
            yield f"{count}", draw, VARIANCE, [str(name) for name in drawn]
    yield f"{len(names):,}", 0, MEAN, names
    yield f"{len(names):,}", 0, VARIANCE, names
    for draw, photos in enumerate(often):
        yield ONE_PERSON, draw, MEAN, photos


class Features:
    """What goes into the last batch norm for each photo and its mirror image: all that adapting needs, embedded once.

    Args:
        benchmark: whose photos.
        names: of these photos; one that is named twice is embedded once.
    """

    def __init__(self, benchmark: PairBenchmark, names: list[str]) -> None:
        self.encoder = load("default")
        self.places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        self._faces = benchmark
        faces = (benchmark.face(name) for name in progress.track(self.places, "embedding", len(self.places)))
        network = self.encoder.network
        assert isinstance(network, Tiny)
        norm = network.features
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self._bias, gain = (each.detach().double().numpy() for each in (norm.bias, norm.weight))
        self._mean, self._variance = (each.double().numpy() for each in (norm.running_mean, norm.running_var))
        self._gain, self._eps = gain, norm.eps
        both = (image for face in faces for image in (face, face[:, ::-1]))
        outputs = self.encoder.embed(both, flip=False, normalize=False).astype(np.float64)
        scale = np.sqrt(self._variance + self._eps) / gain
        self._rows: Floats = ((outputs - self._bias) * scale + self._mean).reshape(len(self.places), 2, -1)

    def adapted(self, chosen: list[str], what: str) -> Floats:
        """The unit-length embeddings of all photos, [N, D], by the model adapted to some; to none is as it is."""
        mean, variance = self._mean, self._variance
        if chosen:
            rows = self._rows[[self.places[name] for name in chosen]].reshape(2 * len(chosen), -1)
            mean = rows.mean(0)
            variance = rows.var(0) if what == VARIANCE else variance
        outputs = (self._rows - mean) / np.sqrt(variance + self._eps) * self._gain + self._bias
        found = _unit(outputs.sum(1))
        if chosen and what == MEAN and len(chosen) == COUNTS[0]:
            self._check(chosen, found)
        return found

    def _check(self, chosen: list[str], found: Floats) -> None:
        """That this is what `FaceEncoder.adapted_to` gives."""
        faces = [self._faces.face(name) for name in chosen]
        rows = self.encoder.adapted_to(faces).embed(faces)
        if (difference := np.abs(rows - found[[self.places[name] for name in chosen]]).max()) > SAME:
            raise InputError(f"the study's embeddings differ from adapted_to's by {difference:.1g}")


def judge(rows: Floats, pairs: Pairs, places: dict[str, int]) -> dict[str, Any]:
    """The figures on pairs, the scores, and the length of the photos' mean embedding: 1 where all lie to one side."""
    first, second = (rows[[places[name] for name in side]] for side in (pairs.first, pairs.second))
    scores = (first * second).sum(1)
    photos = rows[[places[name] for name in sorted({*pairs.first, *pairs.second})]]
    return {
        "accuracy": metrics.verification_accuracy(first, second, pairs.same, pairs.folds).accuracy,
        "eer": metrics.equal_error_rate(scores, pairs.same).rate,
        "tar": float(metrics.tar_at_far(scores, pairs.same, 1e-2)),
        "mean_length": float(np.linalg.norm(photos.mean(0))),
        "scores": scores,
    }


class Resampled:
    """Equal error rates in bootstrap resamples of the people in pairs, the same ones for every model."""

    def __init__(self, pairs: Pairs) -> None:
        self._samples = Bootstrap(describe_pairs(pairs))
        self.people = self._samples.people
        self._rates: dict[tuple[str, str], list[Floats]] = {}

    def add(self, kind: tuple[str, str], scores: Floats) -> None:
        """One more model of a kind."""
        rates = equal_error_rates(scores, self._samples.first, self._samples.second, self._samples.counts)
        self._rates.setdefault(kind, []).append(rates)

    def eer_less(self) -> list[dict[str, Any]]:
        """How much less the mean rate of each kind is than as it is: the 95 % interval over people."""
        before = self._rates[AS_IS, MEAN][0]
        found = []
        for (photos, what), rates in self._rates.items():
            ends = np.percentile(before - np.mean(rates, axis=0), [2.5, 97.5])
            found.append({"photos": photos, "what": what, "interval": [float(end) for end in ends]})
        return found


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def table(stored: dict[str, Any]) -> str:
    """Markdown: means over the draws, and the least and the most of them."""
    by: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in stored["runs"]:
        by.setdefault((each["photos"], each["what"]), []).append(each)
    intervals = {(each["photos"], each["what"]): tuple(each["interval"]) for each in stored["eer_less"]}
    before = by[AS_IS, MEAN][0]["eer"]
    rows = []
    for (photos, what), runs in sorted(by.items(), key=lambda item: item[0][1] != MEAN):
        cells = [_over_draws(runs, figure) for figure in ("accuracy", "eer", "tar")]
        less = before - float(np.mean([each["eer"] for each in runs]))
        told = "–" if photos == AS_IS else f"{points(less)} ({from_to(intervals[photos, what], points)})"
        length = f"{np.mean([each['mean_length'] for each in runs]):.2f}"
        rows.append([photos if what == MEAN else f"{photos}, variance too", *cells, told, length])
    columns = [
        "photos",
        "accuracy",
        "EER",
        "TAR at FAR 1e-2",
        "EER, points less (95 % over people)",
        "length of the mean embedding",
    ]
    return markdown(columns, rows)


def _over_draws(runs: list[dict[str, Any]], figure: str) -> str:
    values = [each[figure] for each in runs]
    spread = f" ({from_to((min(values), max(values)))})" if len(values) > 1 else ""
    return f"{percent(float(np.mean(values)))}{spread}"


if __name__ == "__main__":
    run(main)
