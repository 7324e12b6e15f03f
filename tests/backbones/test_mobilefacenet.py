"""MobileFaceNet against table 1 of its paper."""

import pytest
import torch
from torch import nn

from elasticface.backbones import multiply_adds
from elasticface.backbones.mobilefacenet import Bottleneck, mobilefacenet

# Table 1, a row a layer: inputs, expansion, outputs, stride and side of the map the layer reads.
BOTTLENECKS = [
    (64, 2, 64, 2, 56),
    *[(64, 2, 64, 1, 28)] * 4,
    (64, 4, 128, 2, 28),
    *[(128, 2, 128, 1, 14)] * 6,
    (128, 4, 128, 2, 14),
    *[(128, 2, 128, 1, 7)] * 2,
]


def longhand_cost(embedding_size: int) -> tuple[int, int]:
    """(parameters, multiply-adds): convolutions without bias, two numbers a channel for a norm, one for a PReLU."""
    parameters = (27 * 64 + 3 * 64) + (9 * 64 + 3 * 64)
    operations = 56 * 56 * (27 * 64 + 9 * 64)
    for inputs, expansion, outputs, stride, side in BOTTLENECKS:
        inner, out_side = inputs * expansion, side // stride
        parameters += (inputs * inner + 3 * inner) + (9 * inner + 3 * inner) + (inner * outputs + 2 * outputs)
        operations += side**2 * inputs * inner + out_side**2 * (9 * inner + inner * outputs)
    parameters += (128 * 512 + 3 * 512) + (49 * 512 + 2 * 512) + (512 * embedding_size + 2 * embedding_size)
    operations += 49 * 128 * 512 + 49 * 512 + 512 * embedding_size
    return parameters, operations


@pytest.mark.parametrize("embedding_size", [128, 512])
def test_costs_what_its_table_says(embedding_size: int) -> None:
    net = mobilefacenet(embedding_size)
    cost = sum(p.numel() for p in net.parameters()), multiply_adds(net)
    assert cost == longhand_cost(embedding_size)


def test_costs_about_what_the_paper_reports() -> None:
    parameters, operations = longhand_cost(128)
    assert parameters == pytest.approx(0.99e6, rel=0.02)
    assert operations == pytest.approx(221e6, rel=0.005)


def test_bottlenecks_are_the_tables() -> None:
    found = [module for module in mobilefacenet(128).modules() if isinstance(module, Bottleneck)]
    assert [(m.expand[0].in_channels, m.project[0].out_channels, m.depthwise[0].stride[0]) for m in found] == [
        (inputs, outputs, stride) for inputs, _, outputs, stride, _ in BOTTLENECKS
    ]
    # Blocks that keep the shape have a shortcut; the first of each row that changes it has none.
    assert [m.residual for m in found] == [inputs == out and stride == 1 for inputs, _, out, stride, _ in BOTTLENECKS]


def test_shortcut_adds_the_input() -> None:
    torch.manual_seed(0)
    block = Bottleneck(6, 6, 2).double().eval()
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x), block.project(block.depthwise(block.expand(x))) + x)


def test_projections_and_the_global_convolution_are_linear() -> None:
    net = mobilefacenet(128)
    for block in net.bottlenecks:
        assert not any(isinstance(module, nn.PReLU) for module in block.project)
    assert not any(isinstance(module, nn.PReLU) for module in net.pool)
    assert sum(isinstance(module, nn.PReLU) for module in net.modules()) == 2 + 2 * len(BOTTLENECKS) + 1
