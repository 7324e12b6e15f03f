"""Multiply-adds."""

import pytest
import torch
from torch import nn

from elasticface import backbones
from elasticface.backbones.count import multiply_adds


def test_counts_convolutions_by_group_and_stride_and_linear_layers() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 5·5·8 outputs of 27
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 5, groups=8),  # 1·1·8 outputs of 25
        nn.Flatten(),
        nn.Linear(8, 6),  # 6 outputs of 8
    )
    assert multiply_adds(net, size=10) == 25 * 8 * 27 + 8 * 25 + 6 * 8


def test_a_layer_used_twice_counts_twice() -> None:
    shared = nn.Conv2d(3, 3, 1)
    assert multiply_adds(nn.Sequential(shared, shared), size=4) == 2 * 16 * 9


def test_iresnet100_costs_what_its_formula_says() -> None:
    with torch.device("meta"):
        net = backbones.create("iresnet100")
    expected, inputs, side = 112**2 * 27 * 64, 64, 112
    for width, depth in zip((64, 128, 256, 512), (3, 13, 30, 3), strict=True):
        half = side // 2
        expected += side**2 * 9 * inputs * width + half**2 * (9 * width * width + inputs * width)
        expected += (depth - 1) * half**2 * 2 * 9 * width * width
        inputs, side = width, half
    assert multiply_adds(net) == expected + 25088 * 512


@pytest.mark.parametrize("training", [False, True])
def test_leaves_the_module_as_it_was(training: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train(training)
    net[1].eval()  # a frozen norm stays frozen
    before = {key: value.clone() for key, value in net.state_dict().items()}
    parameters = list(net.parameters())
    multiply_adds(net, size=8)
    assert [module.training for module in net] == [training, False, training]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert not any(module._forward_hooks for module in net.modules())


def test_leaves_the_module_as_it_was_when_the_size_does_not_fit() -> None:
    net = backbones.create("mobilefacenet")
    with pytest.raises(ValueError, match=r"\[B, 3, 112, 112\]"):
        multiply_adds(net, size=96)
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
