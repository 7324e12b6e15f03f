"""What an elastic margin does to the embeddings and to the gradient while a network is trained with it.

For the main losses of `elasticity.py`, on its rendered people of heterogeneity 1 and 0, a hook looks at the network at
the end of every epoch:

- **angles** of the training photos: to the own centre, by thirds of the people's heterogeneity; between a centre and
  the nearest other; and on people who are not trained on, within and between them.
- **noise of the gradient** by the backbone, as it is used (running batch norm, no augmentation): how much it varies
  with the batch, and with the draws of the margins of one batch.

Writes `studies/results/elasticity_mechanism.json`, one entry a run, and resumes where it was stopped;
`elasticity_page.py` makes docs/elasticity.md of it.
"""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, fingerprint, open_results, run
from elasticity import SEED, SIZE, name_of, recipe, render
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elasticface.base import files, keyed, progress
from elasticface.data import open_dataset
from elasticface.data.feed.transforms import to_input
from elasticface.data.synthetic.scene import Variation
from elasticface.data.synthetic.studio import RENDERER_VERSION, Studio
from elasticface.heads.margins import assign_by_proximity
from elasticface.training.loop import train
from elasticface.training.run_folder import RunFolder
from elasticface.training.state import TrainState

OUT = RESULTS / "elasticity_mechanism.json"
WATCHED = {
    1.0: ("arcface", "elastic-arc", "elastic-arc+", "elastic-arc, expected", "softened arcface"),
    0.0: ("arcface", "elastic-arc", "elastic-arc+"),
}
"""Heterogeneity of the people -> losses."""

PHOTOS = 4  # of each person, of which angles are measured
BATCHES, DRAWS, BATCH = 12, 12, 64
THIRDS = ("people who vary least", "middling", "people who vary most")


def main(work: Path, seeds: int = 3, workers: int = 1) -> None:
    """Watch runs with the main losses.

    Args:
        work: folder for the rendered people, that of `elasticity.py`.
        seeds: runs of each loss.
        workers: processes that render.
    """
    people = {"seed of the people": SEED, "renderer": RENDERER_VERSION}
    results = open_results(OUT, {"recipe": "quickstart", "epochs": SIZE.epochs, **people})
    folders = render(work, workers)
    runs = results.setdefault("runs", [])
    done = {(entry["heterogeneity"], entry["loss"], entry["seed"]) for entry in runs}
    for heterogeneity, seed in itertools.product(WATCHED, range(seeds)):
        training, unseen = of_set = folders[name_of(heterogeneity)]
        for loss in WATCHED[heterogeneity]:
            if (heterogeneity, loss, seed) in done:
                continue
            progress.say(f"{loss}, heterogeneity {heterogeneity:g}, seed {seed}")
            watch = Watch(training, unseen, heterogeneity)
            with tempfile.TemporaryDirectory() as folder:
                train(training, Path(folder) / "run", replace(recipe(loss), seed=seed), hooks=[watch])
            about = {"heterogeneity": heterogeneity, "loss": loss, "seed": seed, "photos": fingerprint(of_set)}
            runs.append({**about, "epochs": watch.epochs})
            files.write_json(OUT, results)


class Watch:
    """The hook: one entry in ``epochs`` at the end of each.

    Args:
        training: folder of the people who are trained on.
        unseen: folder of others.
        heterogeneity: of all of them.
    """

    def __init__(self, training: Path, unseen: Path, heterogeneity: float) -> None:
        self._source = open_dataset(training)
        self._seen, self._of_seen = some_photos(training, range(PHOTOS))
        self._unseen, self._of_unseen = some_photos(unseen, range(PHOTOS))
        self._third = thirds(heterogeneity, range(SIZE.people)) if heterogeneity else None  # None: all vary alike
        self.epochs: list[dict[str, Any]] = []

    def __call__(self, state: TrainState, folder: RunFolder) -> None:
        if state.ends_epoch:
            state.backbone.eval()
            self.epochs.append({**self._angles(state), **self._noise(state)})
            state.backbone.train()

    @torch.no_grad()
    def _angles(self, state: TrainState) -> dict[str, Any]:
        centres = functional.normalize(state.head.weight)
        between_centres = (centres @ centres.T).fill_diagonal_(-1).amax(1)
        own = (embedded(state, self._seen) * centres[self._of_seen]).sum(1)
        embeddings = embedded(state, self._unseen)
        cosines = embeddings @ embeddings.T
        same = torch.from_numpy(self._of_unseen[:, None] == self._of_unseen)
        genuine = same & ~torch.eye(len(same), dtype=torch.bool)
        by_third = None
        if self._third is not None:
            of_photo = torch.from_numpy(self._third[self._of_seen])
            by_third = [degrees(own[of_photo == third]) for third in range(len(THIRDS))]
        return {
            "to own centre": degrees(own),
            "to own centre, by third": by_third,
            "to the nearest other centre": degrees(between_centres),
            "within unseen people": degrees(cosines[genuine]),
            "between unseen people": degrees(cosines[~same]),
        }

    def _noise(self, state: TrainState) -> dict[str, Any]:
        """Variances of the backbone's gradient by batch and by draw, and the length of its mean."""
        head, drawn = state.head, bool(state.head.std and state.head.draws == "random")
        parameters = [p for p in state.backbone.parameters() if p.requires_grad]
        means, of_draws = [], []
        for number in range(BATCHES):
            generator = keyed.generator(SEED, "batches to look at", number)
            images, labels = batch_of(self._source, generator.choice(len(self._source), BATCH, replace=False))
            embeddings = state.backbone(images)
            with torch.no_grad():
                target = head.cosine(embeddings)[range(BATCH), labels]
            gradients = []
            for _ in range(DRAWS if drawn else 1):
                margins = None
                if drawn:
                    margins = torch.from_numpy(generator.normal(head.m, head.std, BATCH)).float()
                    margins = assign_by_proximity(margins, target, head.order) if head.plus else margins
                head.eval()
                loss = head(embeddings, labels, margins)
                head.train()
                gradient = torch.autograd.grad(loss, parameters, retain_graph=True)
                gradients.append(torch.cat([g.flatten() for g in gradient]))
            stacked = torch.stack(gradients)
            means.append(stacked.mean(0))
            of_draws.append(stacked.var(0).sum().item() if drawn else 0.0)
        batches = torch.stack(means)
        by_draw = float(np.mean(of_draws))
        by_batch = batches.var(0).sum().item() - by_draw / DRAWS  # what is left of the draws in a mean over them
        length = batches.mean(0).square().sum().item() - batches.var(0).sum().item() / BATCHES
        return {"gradient": length**0.5 if length > 0 else None, "by batch": by_batch, "by draw": by_draw}


def thirds(heterogeneity: float, people: range) -> NDArray[np.int64]:
    """In which third each of the rendered people is, by how much they vary from photo to photo: 0 to 2."""
    studio = Studio(SEED, Variation(heterogeneity))
    varied = np.array([studio.person(number).heterogeneity for number in people])
    return np.searchsorted(np.quantile(varied, [1 / 3, 2 / 3]), varied)


def some_photos(folder: Path, which: Sequence[int]) -> tuple[Tensor, NDArray[np.int64]]:
    """(uint8 [N, H, W, 3], [N] labels) of some photos of each person."""
    source = open_dataset(folder)
    labels = np.asarray(source.labels)
    places = np.concatenate([np.flatnonzero(labels == person)[list(which)] for person in range(source.num_classes)])
    return torch.from_numpy(np.stack([source[int(place)][0] for place in places])), labels[places]


def batch_of(source: Any, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*(source[int(place)] for place in places), strict=True)
    pixels = to_input(torch.from_numpy(np.stack(images))).contiguous(memory_format=torch.channels_last)
    return pixels, torch.tensor(labels)


def embedded(state: TrainState, images: Tensor) -> Tensor:
    """[N, D] of unit length."""
    parts = [state.backbone(to_input(images[start : start + 256])) for start in range(0, len(images), 256)]
    return functional.normalize(torch.cat(parts))


def degrees(cosines: Tensor) -> float:
    """The mean angle."""
    return float(cosines.clamp(-1, 1).acos().rad2deg().mean())


if __name__ == "__main__":
    run(main)
