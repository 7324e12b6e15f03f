"""A small residual net, to train on a laptop's two cores in minutes.

Dense 3×3 convolutions, not depthwise ones: at equal multiply-adds a CPU trains them three times as fast. Each stage
costs about the same, since the width doubles as the map's area falls to a quarter; the last map is not pooled, because
where on an aligned face a feature lies says whose face it is.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

SIZE = 112  # side of the input in pixels; the FC layer has a weight for every place of the last map
_WIDTHS = (20, 32, 64, 128)  # the stem, then three stages; each halves the map: 112 -> 56 -> 28 -> 14 -> 7
_LAST_MAP = SIZE // 2 ** len(_WIDTHS)


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

    def __init__(self, embedding_size: int = 512, *, dropout: float = 0.0) -> None:
        super().__init__()
        stem, last = _WIDTHS[0], _WIDTHS[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        self.stages = nn.Sequential(*(Block(i, o) for i, o in pairwise(_WIDTHS)))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(last * _LAST_MAP**2, embedding_size, bias=False)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of a batch.

        Raises:
            ValueError: images that are not [B, 3, 112, 112].
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"tiny takes images [B, 3, {SIZE}, {SIZE}], got {list(images.shape)}")
        x = torch.flatten(self.stages(self.stem(images)), 1)
        embeddings: Tensor = self.features(self.fc(self.dropout(x)))
        return embeddings


def tiny(embedding_size: int = 512, *, dropout: float = 0.0) -> Tiny:
    """3.5 M parameters and 39.6 M multiply-adds at 512-d; 1.9 M and 38.0 M at 256-d.

    Args:
        embedding_size: D.
        dropout: share of the last map's features left out in training, before the linear layer.
    """
    return Tiny(embedding_size, dropout=dropout)
