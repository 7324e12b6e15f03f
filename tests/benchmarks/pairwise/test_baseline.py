"""Whitened PCA: on the images it is fitted on its components are uncorrelated and of unit variance."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_people
from numpy.typing import NDArray

from elasticface.base.errors import InputError
from elasticface.benchmarks.pairwise.baseline import whitened_pca
from elasticface.benchmarks.pairwise.lists import open_pairs
from elasticface.benchmarks.pairwise.pairs import evaluate_pairs
from elasticface.data import open_dataset
from elasticface.model.encoder import FaceEncoder


def embedded(encoder: FaceEncoder, folder: Path) -> NDArray[np.float64]:
    source = open_dataset(folder)
    return encoder.embed([source[i][0] for i in range(len(source))], flip=False, normalize=False).astype(np.float64)


@pytest.mark.parametrize("components", [5, 200])
def test_components_are_uncorrelated_and_of_unit_variance(components: int, people: Path) -> None:
    encoder = whitened_pca(open_dataset(people), components)
    found = embedded(encoder, people)
    length = min(components, 29)  # thirty images span no more about their mean
    assert found.shape == (30, encoder.card.embedding_size) == (30, length)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.T @ found / 30, np.eye(length), atol=1e-3)


def test_the_last_component_has_the_largest_variance_of_the_pixels(people: Path) -> None:
    first, more = (embedded(whitened_pca(open_dataset(people), n), people) for n in (1, 10))
    np.testing.assert_allclose(np.abs(more[:, -1]), np.abs(first[:, 0]), atol=1e-4)


def test_the_seed_decides_and_fitting_again_gives_the_same_bits(people: Path) -> None:
    once, again = (embedded(whitened_pca(open_dataset(people), 10, seed=3), people) for _ in range(2))
    assert np.array_equal(once, again)


def test_images_that_are_there_twice_count_as_one(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "faces", 2, 3)
    copy = (folder / "person_00" / "person_00_0001.png").read_bytes()
    for number in range(4, 9):
        (folder / "person_00" / f"person_00_{number:04d}.png").write_bytes(copy)
    assert whitened_pca(open_dataset(folder)).card.embedding_size == 5


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two different images"):
        whitened_pca(open_dataset(write_people(tmp_path / "faces", 1, 1)))


def test_it_is_judged_as_any_other_encoder(people: Path) -> None:
    result = evaluate_pairs(whitened_pca(open_dataset(people)), open_pairs(people))
    assert result.model == "whitened PCA"
    assert result.counts["pairs"] == 48
