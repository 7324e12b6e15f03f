"""The residual nets that ArcFace, CosFace and ElasticFace were published with: iresnet18, 34, 50, 100 and 200.

A ResNet with three changes. A block starts with a norm: BN-Conv-BN-PReLU-Conv-BN (Han et al., "Deep Pyramidal Residual
Networks", 2017). The stem keeps the full 112×112. The end is BN-Dropout-FC-BN instead of a global pooling (Deng et al.,
"ArcFace", 2019, section 3.1), so that the net still knows where in the face a feature sits.

The modules are registered in the order, and under the names, of the public PyTorch checkpoints, which therefore load as
they are. Renaming an attribute here breaks that.
"""

import torch
from torch import Tensor, nn

from elasticface.base.errors import InputError

SIZE = 112  # side of the input in pixels; the FC layer has a weight for every place of the last map
_WIDTHS = (64, 128, 256, 512)
_LAST_MAP = SIZE // 2 ** len(_WIDTHS)  # every stage halves: 7


class Conv(nn.Conv2d):
    """A convolution without bias whose weights start from N(0, 0.1²), as in the published training code.

    The spread is far from He's, and harmless: a batch norm follows every convolution before the next one reads it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.1)


class Block(nn.Module):
    """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]: BN-Conv-BN-PReLU-Conv-BN, plus the shortcut.

    Nothing follows the sum, so the identity runs unbroken through a stage. The stride sits in the second convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = Conv(inputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = Conv(outputs, outputs, 3, stride)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(Conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(self.bn1(x))
        x = self.conv2(self.prelu(self.bn2(x)))
        out: Tensor = self.bn3(x) + shortcut
        return out


class IResNet(nn.Module):
    """[B, 3, 112, 112] float in [-1, 1] -> [B, embedding_size], not normalised to unit length.

    Args:
        blocks: how many blocks each of the four stages has; their widths are 64, 128, 256, 512.
        embedding_size: D, the length of an embedding.
        dropout: share of the flattened last map that is zeroed in training, in [0, 1).
        zero_init_residual: start every block as the identity by a zero scale in its last batch norm (Goyal et al.,
            "Accurate, Large Minibatch SGD", 2017, section 5.1).

    Raises:
        InputError: a dropout outside [0, 1).
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        embedding_size: int = 512,
        *,
        dropout: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.conv1 = Conv(3, _WIDTHS[0], 3)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks[0])  # (B, 64, 56, 56)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks[1])  # (B, 128, 28, 28)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks[2])  # (B, 256, 14, 14)
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], blocks[3])  # (B, 512, 7, 7)
        self.bn2 = nn.BatchNorm2d(_WIDTHS[3])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_WIDTHS[3] * _LAST_MAP**2, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        # The published models fix the scale: no dimension of the embedding counts more than another.
        self.features.weight.requires_grad_(False)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.bn3.weight)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of a batch.

        Raises:
            ValueError: images that are not [B, 3, 112, 112].
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"iresnet takes images [B, 3, {SIZE}, {SIZE}], got {list(images.shape)}")
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # flatten, not view: a channels-last map must come out in NCHW order too, the order the FC weights are in.
        x = torch.flatten(self.bn2(x), 1)  # (B, 25088)
        embeddings: Tensor = self.features(self.fc(self.dropout(x)))
        return embeddings


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """The first block halves the map, the others keep it."""
    return nn.Sequential(Block(inputs, outputs, stride=2), *(Block(outputs, outputs) for _ in range(blocks - 1)))


def iresnet18(embedding_size: int = 512, *, dropout: float = 0.0, zero_init_residual: bool = False) -> IResNet:
    """24.0 M parameters at 512-d. Arguments as in `IResNet`."""
    return IResNet((2, 2, 2, 2), embedding_size, dropout=dropout, zero_init_residual=zero_init_residual)


def iresnet34(embedding_size: int = 512, *, dropout: float = 0.0, zero_init_residual: bool = False) -> IResNet:
    """34.1 M parameters at 512-d. Arguments as in `IResNet`."""
    return IResNet((3, 4, 6, 3), embedding_size, dropout=dropout, zero_init_residual=zero_init_residual)


def iresnet50(embedding_size: int = 512, *, dropout: float = 0.0, zero_init_residual: bool = False) -> IResNet:
    """43.6 M parameters at 512-d; the paper selects m and σ with it. Arguments as in `IResNet`."""
    return IResNet((3, 4, 14, 3), embedding_size, dropout=dropout, zero_init_residual=zero_init_residual)


def iresnet100(embedding_size: int = 512, *, dropout: float = 0.0, zero_init_residual: bool = False) -> IResNet:
    """65.2 M parameters at 512-d; the net of the paper's results. Arguments as in `IResNet`."""
    return IResNet((3, 13, 30, 3), embedding_size, dropout=dropout, zero_init_residual=zero_init_residual)


def iresnet200(embedding_size: int = 512, *, dropout: float = 0.0, zero_init_residual: bool = False) -> IResNet:
    """118.8 M parameters at 512-d. Arguments as in `IResNet`."""
    return IResNet((6, 26, 60, 6), embedding_size, dropout=dropout, zero_init_residual=zero_init_residual)
