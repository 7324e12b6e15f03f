"""MobileFaceNet: the one-million-parameter net for phones (Chen et al., arXiv 1804.07573, 2018, table 1).

MobileNetV2's inverted bottlenecks with two changes made for faces: PReLU for ReLU6, and a global depthwise convolution
where a global average would give the rim of the 7×7 map the same say as its middle.
"""

import torch
from torch import Tensor, nn

SIZE = 112  # side of the input in pixels; the global depthwise convolution is as large as the map that is left of it

# Table 1: expansion t, output channels c, repeats n, stride s of the first repeat.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
_STEM = 64
_LAST = 512
_LAST_MAP = 7


class Unit(nn.Sequential):
    """Convolution without bias, batch norm, and PReLU unless `linear`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        # He's spread for the PReLU's starting slope, by fan-in: the fan-out rule counts a depthwise layer's wrongly.
        nn.init.kaiming_normal_(conv.weight, a=0.25, mode="fan_in", nonlinearity="leaky_relu")
        activation = () if linear else (nn.PReLU(outputs),)
        super().__init__(conv, nn.BatchNorm2d(outputs), *activation)


class Bottleneck(nn.Module):
    """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]: expand, filter each channel, project linearly.

    The input is added where its shape allows (Sandler et al., "MobileNetV2", 2018, section 3.3).
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Unit(inputs, inner)
        self.depthwise = Unit(inner, inner, 3, stride=stride, padding=1, groups=inner)
        self.project = Unit(inner, outputs, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.residual else out


class MobileFaceNet(nn.Module):
    """[B, 3, 112, 112] float in [-1, 1] -> [B, embedding_size], not normalised to unit length.

    Args:
        embedding_size: D, the length of an embedding; 128 in the paper.
    """

    def __init__(self, embedding_size: int = 512) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Unit(3, _STEM, 3, stride=2, padding=1),
            Unit(_STEM, _STEM, 3, padding=1, groups=_STEM),
        )  # (B, 64, 56, 56)
        bottlenecks: list[Bottleneck] = []
        inputs = _STEM
        for expansion, outputs, repeats, stride in _BOTTLENECKS:
            bottlenecks.append(Bottleneck(inputs, outputs, expansion, stride))
            bottlenecks += (Bottleneck(outputs, outputs, expansion) for _ in range(repeats - 1))
            inputs = outputs
        self.bottlenecks = nn.Sequential(*bottlenecks)  # (B, 128, 7, 7)
        self.widen = Unit(inputs, _LAST)
        self.pool = Unit(_LAST, _LAST, _LAST_MAP, groups=_LAST, linear=True)  # (B, 512, 1, 1)
        # The paper's linear 1×1 convolution on a 1×1 map, written as what it is.
        self.fc = nn.Linear(_LAST, embedding_size, bias=False)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings of a batch.

        Raises:
            ValueError: images that are not [B, 3, 112, 112].
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"mobilefacenet takes images [B, 3, {SIZE}, {SIZE}], got {list(images.shape)}")
        x = self.pool(self.widen(self.bottlenecks(self.stem(images))))
        embeddings: Tensor = self.features(self.fc(torch.flatten(x, 1)))
        return embeddings


def mobilefacenet(embedding_size: int = 512) -> MobileFaceNet:
    """1.0 M parameters and 221 M multiply-adds at the paper's 128-d; 1.2 M parameters at 512-d."""
    return MobileFaceNet(embedding_size)
