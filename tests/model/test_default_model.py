"""tools/default_model.py: how the model that comes with the package is levelled."""

import importlib.util
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from elasticface.backbones.tiny import Tiny, tiny
from elasticface.base.errors import InputError
from elasticface.model.encoder import Card, FaceEncoder

TOOL = Path(__file__).parents[2] / "tools" / "default_model.py"
D = 8


class People:
    """Noise about a picture of each person; people of unequally many photos, not in order."""

    def __init__(self, photos: list[int]) -> None:
        self.num_classes = len(photos)
        rng = np.random.default_rng(0)
        self.labels = rng.permutation(np.repeat(np.arange(len(photos)), photos))
        own = rng.uniform(60, 190, (len(photos), 14, 14, 3))
        coarse = own[self.labels] + rng.normal(0, 40, (len(self.labels), 14, 14, 3))
        self._images = coarse.clip(0, 255).astype(np.uint8).repeat(8, 1).repeat(8, 2)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return self._images[index], int(self.labels[index])


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The program as a module: `tools` is no package."""
    spec = importlib.util.spec_from_file_location("default_model", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    torch.manual_seed(0)
    network = tiny(D)
    norm = network.features
    with torch.no_grad():  # a batch norm that has been trained
        for value, low, high in (
            (norm.weight, 0.5, 2),
            (norm.bias, -1, 1),
            (norm.running_mean, -0.1, 0.1),
            (norm.running_var, 0.02, 0.2),
        ):
            value.uniform_(low, high)
    return FaceEncoder(network, Card("untrained", backbone="tiny", embedding_size=D))


def covariance_within(rows: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for label in set(labels):
        own = rows[labels == label]
        total += (own - own.mean(0)).T @ (own - own.mean(0))
    return total / (len(rows) - len(set(labels)))


def test_a_levelled_network_is_the_old_one_times_the_smoothed_inverse_root_of_what_differs_within_people(
    tool: ModuleType, encoder: FaceEncoder
) -> None:
    people = People([3, 4, 9, 5, 7])
    images = [people[i][0] for i in range(len(people))]
    raw = encoder.embed(images, normalize=False).astype(np.float64)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    within = covariance_within(raw / lengths, people.labels)

    levelled = FaceEncoder(deepcopy(encoder.network), encoder.card)
    tool.level(levelled, people)

    found = levelled.embed(images, normalize=False)
    smoothed = np.eye(D) + within / (np.trace(within) / D)
    wanted = raw @ scipy.linalg.inv(scipy.linalg.sqrtm(smoothed))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    spreads = [np.linalg.eigvalsh(each) for each in (within, covariance_within(found / lengths, people.labels))]
    before, after = (spread[-1] / spread[0] for spread in spreads)
    assert after < 0.5 * before


def test_a_levelled_network_is_the_same_in_training_where_batches_have_their_own_statistics(
    tool: ModuleType, encoder: FaceEncoder
) -> None:
    people = People([4, 4, 9, 5, 8])
    levelled = FaceEncoder(deepcopy(encoder.network), encoder.card)
    tool.level(levelled, people)
    network = levelled.network
    assert isinstance(network, Tiny)
    pixels = torch.from_numpy(np.stack([people[i][0] for i in range(len(people))]))
    maps = torch.flatten(network.stages(network.stem(levelled.card.preprocessing(pixels))), 1)
    products = network.fc(maps)
    in_use = network.features(products).detach()
    in_training = network.features.train()(products).detach()
    torch.testing.assert_close(in_training, in_use, rtol=0, atol=1e-3 * float(in_use.abs().max()))


def test_too_few_photos_and_other_networks_are_refused(tool: ModuleType, encoder: FaceEncoder) -> None:
    with pytest.raises(InputError, match="levelling 8 numbers needs as many photos more than people, not 7"):
        tool.level(encoder, People([5, 4]))
    pooled = FaceEncoder(torch.nn.Identity(), Card("mine"))
    with pytest.raises(InputError, match="mine: only tiny and small"):
        tool.level(pooled, People([9, 9]))
