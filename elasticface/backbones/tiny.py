"""Two small residual nets, to train on a laptop's two cores: one in minutes, one in hours.

Dense 3×3 convolutions, not depthwise ones: at equal multiply-adds a CPU trains them three times as fast. Each stage
costs about the same, since the width doubles as the map's area falls to a quarter; the last map is not pooled, because
where on an aligned face a feature lies says whose face it is.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

SIZE = 112  # side of the input in pixels; the FC layer has a weight for every place of the last map
_WIDTHS = (20, 32, 64, 128)  # the stem, then three stages; each halves the map: 112 -> 56 -> 28 -> 14 -> 7
_TINY, _SMALL = (1, 1, 1), (1, 2, 2)  # blocks a stage
_LAST_MAP = SIZE // 2 ** len(_WIDTHS)


class Block(nn.Module):
    """Conv-BN-PReLU-Conv-BN, plus a shortcut, then PReLU.

    [B, inputs, H, W] -> [B, outputs, H / 2, W / 2] with a 1×1 shortcut; or, without ``inputs``, of one size and width.
    """

    def __init__(self, inputs: int | None, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs is None else 2
        self.residual = nn.Sequential(
            nn.Conv2d(inputs or outputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs is not None:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs))
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prelu(self.residual(x) + self.shortcut(x))
        return out


class Tiny(nn.Module):
    """[B, 3, 112, 112] float in [-1, 1] -> [B, embedding_size], not normalised to unit length."""

    def __init__(self, blocks: tuple[int, ...], embedding_size: int = 512, *, dropout: float = 0.0) -> None:
        super().__init__()
        stem, last = _WIDTHS[0], _WIDTHS[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        widths = zip(pairwise(_WIDTHS), blocks, strict=True)
        self.stages = nn.Sequential(
            *(Block(i if n == 0 else None, o) for (i, o), number in widths for n in range(number))
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(last * _LAST_MAP**2, embedding_size, bias=False)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of a batch.

        Raises:
            ValueError: images that are not [B, 3, 112, 112].
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"tiny and small take images [B, 3, {SIZE}, {SIZE}], got {list(images.shape)}")
        x = torch.flatten(self.stages(self.stem(images)), 1)
        embeddings: Tensor = self.features(self.fc(self.dropout(x)))
        return embeddings


def tiny(embedding_size: int = 512, *, dropout: float = 0.0) -> Tiny:
    """3.5 M parameters and 39.6 M multiply-adds at 512-d; 1.9 M and 38.0 M at 256-d.

    Args:
        embedding_size: D.
        dropout: share of the last map's features left out in training, before the linear layer.
    """
    return Tiny(_TINY, embedding_size, dropout=dropout)


def small(embedding_size: int = 512, *, dropout: float = 0.0) -> Tiny:
    """As tiny with a second block in the last two stages: 3.9 M parameters and 68.5 M multiply-adds at 512-d.

    Args:
        embedding_size: D.
        dropout: share of the last map's features left out in training, before the linear layer.
    """
    return Tiny(_SMALL, embedding_size, dropout=dropout)
