"""Make elasticface/model/default/, the model that comes with the package, from the run that trained it.

    python tools/default_model.py RUN OUT SPEC [--lfw FOLDER] [--people FOLDER]

`make default-model` does all of it from nothing: it renders people who never lived, trains on them alone by the recipe
default-model.yaml (first a network to start from), then calls this. The last layer is levelled by other rendered
people. Real photos only judge the result: LFW's pairs give the figures in the card, people aligned by `elasticface
align` its thresholds. Nothing of them is in the weights.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray

from elasticface.backbones.tiny import Tiny
from elasticface.base import progress
from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.pairs import PairResult, evaluate_pairs
from elasticface.data import Source
from elasticface.data.synthetic.source import SyntheticFaces
from elasticface.data.synthetic.studio import RENDERER_VERSION
from elasticface.data.synthetic.write import write_faces
from elasticface.model.encoder import FaceEncoder
from elasticface.model.loading import load
from elasticface.model.storing import store_calibration
from elasticface.quickstart import FULL, pair_up
from elasticface.recognition.calibration import measure
from elasticface.recognition.comparable import open_comparable
from elasticface.recognition.found_by import detector_of

NAME = "elasticface default"
MOST_BYTES = 8_000_000  # of the weights: they are in every wheel
UNSEEN_SEED = 1_000_000  # of the rendered people to judge on: other people than those of the training's seed
LEVELLING = "synthetic:identities=1000,images=16,seed=1000001"  # the people to level by: others again
ABOUT = {
    "init": "the same network, trained on plain pictures of 1,000 of these people: `make default-model`",  # no path
    "good_for": "trying out, tests, demonstrations, a start for fine-tuning",
    "not_for": "access control, or any decision about a person: too many errors on real faces",
    "faces": "rendered from CC0 geometry; no photo of anyone in training, weights or statistics. `figures` and the "
    "calibration's thresholds were measured on LFW",
    "licence": "Apache-2.0",
}


def make(run: Path, out: Path, data: str, lfw: Path | None = None, people: Path | None = None) -> None:
    """Store what was trained, measure what was stored, and write the figures into its card.

    Args:
        run: of `elasticface train`, finished.
        out: the model folder; one that is there is replaced.
        data: what the run was trained on, for the card.
        lfw: LFW's tar or folder with `pairs.txt`, and `landmarks5.csv` where the photos are not aligned.
        people: a folder or tar of people, aligned by `elasticface align`, for the calibration.
    """
    trained = load(run)
    pairs = None if lfw is None else open_pairs(lfw)
    before = {} if pairs is None else {"LFW, before levelling": _figures(evaluate_pairs(trained, pairs))}
    level(trained, SyntheticFaces.parse(LEVELLING))
    training = {**trained.card.training, "data": data, "renderer": RENDERER_VERSION, **ABOUT}
    card = replace(trained.card, name=NAME, training=training)
    FaceEncoder(trained.network, card).save(out, half=True)
    size = (out / "model.safetensors").stat().st_size
    if size > MOST_BYTES:
        raise InputError(f"{out}: {size:,} bytes of weights, more than the {MOST_BYTES:,} that a wheel should carry")
    stored = load(out)  # the figures are of what ships
    figures = {"rendered people": _figures(_on_rendered(stored))}
    if pairs is not None:
        figures |= {"LFW": _figures(evaluate_pairs(stored, pairs)), **before}
    described = replace(card, training={**training, "figures": figures})
    FaceEncoder(trained.network, described).save(out, half=True)  # the same weights
    if people is not None:
        measured = measure(load(out), open_comparable(people, all_pairs=True), detector=detector_of([people]))
        store_calibration(out, measured.calibration)
    print(f"{out}: {size:,} bytes", *(f"{name}: {rates}" for name, rates in figures.items()), sep="\n")


@torch.no_grad()
def level(encoder: FaceEncoder, people: Source) -> None:
    """Give less weight to the directions in which embeddings of one person differ most.

    Within-class covariance normalisation (Hatch, Kajarekar and Stolcke, Interspeech 2006), smoothed: a network y
    becomes (I + W / w)^(-1/2) y. W is the covariance of embeddings of unit length about their person's mean, w the mean
    of its diagonal. The last linear layer and the batch norm after it take it up. The batch norm's statistics are then
    those of these people, so that the network is nearly the same in training, where fine-tuning starts.

    Args:
        encoder: of a :class:`Tiny`; changed in place.
        people: at least D more photos than people.

    Raises:
        InputError: another network, or so few photos that W has not full rank.
    """
    network = encoder.network
    if not isinstance(network, Tiny):
        raise InputError(f"{encoder.card.name}: only tiny and small can be levelled")
    _, labels, sizes = np.unique(people.labels, return_inverse=True, return_counts=True)
    free = len(labels) - len(sizes)
    if free < encoder.card.embedding_size:
        raise InputError(
            f"levelling {encoder.card.embedding_size} numbers needs as many photos more than people, not {free}"
        )
    rows = _embedded(encoder, people, "what differs within people").astype(np.float64)
    means = np.zeros((len(sizes), rows.shape[1]))
    np.add.at(means, labels, rows)
    apart = rows - (means / sizes[:, None])[labels]
    values, vectors = np.linalg.eigh(apart.T @ apart / free)
    levelling = vectors / np.sqrt(1 + values / values.mean()) @ vectors.T

    outputs = _embedded(encoder, people, "outputs", flip=False, normalize=False) @ levelling
    norm = network.features  # y = gain · (fc(x) − mean) + bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    added = torch.from_numpy(levelling) @ (norm.bias.double() - gain * norm.running_mean.double())  # to fc(x)
    network.fc.weight.copy_(torch.from_numpy(levelling) @ (gain[:, None] * network.fc.weight.double()))
    norm.bias.copy_(torch.from_numpy(outputs.mean(0)))
    norm.running_mean.copy_(torch.from_numpy(outputs.mean(0)) - added)
    norm.running_var.copy_(torch.from_numpy(outputs.var(0)))
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())


def _embedded(encoder: FaceEncoder, people: Source, what: str, **options: bool) -> NDArray[np.float32]:
    count = len(people.labels)
    return encoder.embed((people[i][0] for i in progress.track(range(count), what, count)), **options)


def _on_rendered(encoder: FaceEncoder) -> PairResult:
    """The pairs of people whom quickstart would judge on, of another seed."""
    with tempfile.TemporaryDirectory() as folder:
        people = Path(folder) / "people"
        write_faces(people, identities=FULL.unseen_people, images_per_identity=FULL.unseen_photos, seed=UNSEEN_SEED)
        pair_up(people, FULL, UNSEEN_SEED)
        return evaluate_pairs(encoder, open_pairs(people))


def _figures(result: PairResult) -> dict[str, Any]:
    """Of a benchmark of pairs; rates in 0..1, intervals 95 % over people."""
    return {
        "accuracy": round(result.accuracy, 4),
        "accuracy_std": round(result.accuracy_std, 4),
        "accuracy_interval": [round(end, 4) for end in result.intervals["accuracy"]],
        "eer": round(result.eer, 4),
        "tar_at_far_0.01": round(result.tar_at_far["at-most"]["0.01"], 4),
        "pairs": len(result.same),
    }


if __name__ == "__main__":
    try:
        auto_cli(make)
    except InputError as error:
        sys.exit(str(error))
