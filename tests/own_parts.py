"""Parts that a user may bring: good ones, and one for every way to be wrong. Tests name them as ``own_parts:NAME``."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elasticface.backbones.tiny import Block
from elasticface.backbones.vit import VisionTransformer

NO_FUNCTION = 3


class Shrunk(nn.Module):
    """The layers of `tiny` on maps of 14 × 14 and less: a step takes a tenth of the time."""

    def __init__(self, embedding_size: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.block = Block(8, 16)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(16 * 7 * 7, embedding_size, bias=False)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.features(self.fc(self.dropout(self.block(self.stem(images)).flatten(1))))
        return embeddings


def shrunk(embedding_size: int = 512, dropout: float = 0.0) -> nn.Module:
    return Shrunk(embedding_size, dropout)


def transformer(embedding_size: int = 512, drop_path: float = 0.0) -> nn.Module:
    """The layers of `vit-t` in two narrow blocks; images may pass by the second."""
    return VisionTransformer(64, 2, embedding_size, drop_path=drop_path)


class Pooled(nn.Module):
    """A net with what a fresh one on the meta device would lose: a buffer that no state dict holds."""

    def __init__(self, embedding_size: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(3 * 16, embedding_size)
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
        embeddings: Tensor = self.linear(self.dropout(pooled)) * self.scale
        return embeddings


def pooled(embedding_size: int = 512, dropout: float = 0.0) -> nn.Module:
    return Pooled(embedding_size, dropout)


def of_ten(embedding_size: int, **_: float) -> nn.Module:
    return Pooled(10, 0.0)


def for_small_images(embedding_size: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, embedding_size))


def that_asserts(embedding_size: int) -> nn.Module:
    class Sized(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[2] == 224, f"height {images.shape[2]}, not 224"
            return images

    return Sized()


def that_is_unknown(embedding_size: int) -> nn.Module:
    makers: dict[str, nn.Module] = {}
    return makers["convnext_tinny"]


def without_parameters(embedding_size: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.AdaptiveAvgPool1d(embedding_size))


def unpooling(embedding_size: int) -> nn.Module:
    """Without a deterministic kernel, in training alone."""

    class Unpooled(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            if self.training:
                pooled, at = nn.functional.max_pool2d(images, 2, return_indices=True)
                images = nn.functional.max_unpool2d(pooled, at, 2)
            embeddings: Tensor = super().forward(images)
            return embeddings

    return Unpooled(embedding_size, 0.0)


def frozen(embedding_size: int) -> nn.Module:
    return Pooled(embedding_size, 0.0).requires_grad_(False)


def several_outputs(embedding_size: int) -> nn.Module:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    return Two()


def no_module(embedding_size: int) -> int:
    return embedding_size


def without_size() -> nn.Module:
    return Pooled(8, 0.0)


def noisy(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    noise = generator.integers(0, 32, image.shape, np.uint8)
    return image // 2 + noise


def halved_in_place(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    image //= 2
    return image


def smaller(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    return image[::2, ::2]


def in_floats(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.float64]:
    return image / 255


def a_list(image: NDArray[np.uint8], generator: np.random.Generator) -> list[int]:
    return [1]


def right_for_noise(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Right for noise, which it is tried on, and wrong for pictures, whose neighbouring pixels are alike."""
    return image if np.abs(np.diff(image.astype(int), axis=1)).mean() > 50 else image[:1]
