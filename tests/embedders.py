"""Small networks and faces for the tests of models, and what they compute longhand."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.model.encoder import Card, FaceEncoder, Preprocessing
from elasticface.model.loading import load

Faces = NDArray[np.uint8]
NOISE = np.random.default_rng(5).bytes(4096)
HALVES = 6  # length of an embedding of `halves`


def faces(count: int, size: int = 8, seed: int = 0) -> Faces:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def halves(inputs: Tensor) -> Tensor:
    """[B, 3, S, S] -> [B, 6]: each channel's mean over the left and over the right half, so a mirror image differs."""
    return torch.cat(
        [inputs[..., : inputs.shape[3] // 2].mean((2, 3)), inputs[..., inputs.shape[3] // 2 :].mean((2, 3))], 1
    )


def halves_longhand(pictures: Faces, expects: Preprocessing) -> NDArray[np.float64]:
    """The same from pixels, [N, 6], without the mirror image and not normalised."""
    x = prepared_longhand(pictures, expects)
    middle = x.shape[3] // 2
    return np.concatenate([x[..., :middle].mean((2, 3)), x[..., middle:].mean((2, 3))], 1)


def prepared_longhand(pictures: Faces, expects: Preprocessing) -> NDArray[np.float64]:
    """(x / scale − mean) / std in the order of the channels, float64 [N, 3, S, S]."""
    prepared = np.empty((len(pictures), 3, *pictures.shape[1:3]))
    for position, letter in enumerate(expects.channels):
        channel = pictures[..., "RGB".index(letter)].astype(np.float64)
        prepared[:, position] = (channel / expects.scale - expects.mean[position]) / expects.std[position]
    return prepared


def encoder(network: Callable[[Tensor], Tensor] = halves, size: int = 8, **expects: Any) -> FaceEncoder:
    return FaceEncoder(network, Card("made up", embedding_size=HALVES, preprocessing=Preprocessing(size, **expects)))


def refused(path: Path, **options: Any) -> str:
    """The one line with which a file is refused; it names the file."""
    with pytest.raises(InputError) as error:
        load(path, **options)
    message = str(error.value)
    assert message.count(str(path)) >= 1
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


def trained_a_little(name: str = "tiny", embedding_size: int = 16) -> nn.Module:
    """A network whose batch norms have seen something, so that none of its state is as it began."""
    return copy.deepcopy(_trained_a_little(name, embedding_size))


@functools.cache
def _trained_a_little(name: str, embedding_size: int) -> nn.Module:
    torch.manual_seed(1)
    network = backbones.create(name, embedding_size).to(memory_format=torch.channels_last)
    network.train()(torch.randn(3, 3, 112, 112))
    return network.eval()
