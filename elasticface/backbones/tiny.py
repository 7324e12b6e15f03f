"""A small residual net, to train on a laptop's two cores in minutes."""

from itertools import pairwise

import torch
from torch import Tensor, nn

_WIDTHS = (32, 32, 64, 96)  # the stem, then three stages; each halves the map: 112 -> 56 -> 28 -> 14 -> 7
_LAST_MAP = 7


class Block(nn.Module):
    """[B, inputs, H, W] -> [B, outputs, H / 2, W / 2]: Conv-BN-PReLU-Conv-BN, plus a 1×1 shortcut, then PReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prelu(self.residual(x) + self.shortcut(x))
        return out


class Tiny(nn.Module):
    """[B, 3, 112, 112] float in [-1, 1] -> [B, embedding_size], not normalised to unit length."""

    def __init__(self, embedding_size: int = 512) -> None:
        super().__init__()
        stem, last = _WIDTHS[0], _WIDTHS[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        self.stages = nn.Sequential(*(Block(i, o) for i, o in pairwise(_WIDTHS)))
        self.pool = nn.Sequential(nn.Conv2d(last, last, _LAST_MAP, groups=last, bias=False), nn.BatchNorm2d(last))
        self.fc = nn.Linear(last, embedding_size, bias=False)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of a batch.

        Raises:
            ValueError: images that are not [B, 3, 112, 112].
        """
        if images.shape[1:] != (3, 112, 112):
            raise ValueError(f"tiny takes images [B, 3, 112, 112], got {list(images.shape)}")
        x = torch.flatten(self.pool(self.stages(self.stem(images))), 1)
        embeddings: Tensor = self.features(self.fc(x))
        return embeddings


def tiny(embedding_size: int = 512) -> Tiny:
    """0.3 M parameters and 36 M multiply-adds."""
    return Tiny(embedding_size)
