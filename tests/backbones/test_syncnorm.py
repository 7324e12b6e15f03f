"""Batch norm over processes equals batch norm of the whole batch: values, gradients and running statistics."""

import on_processes
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh

from elasticface import backbones
from elasticface.backbones.syncnorm import SyncBatchNorm, synchronised

SHARES = [4, 1, 2]  # images of each process: of unequal size


def inputs(dimensions: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dimensions)
    shape = [sum(SHARES), 5, 4, 3][:dimensions]
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 100
    return x, torch.randn(shape, generator=generator, dtype=torch.float64)


def norm(dimensions: int) -> nn.Module:
    layer = (nn.BatchNorm2d if dimensions == 4 else nn.BatchNorm1d)(5).double()
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, 5))
        layer.bias.copy_(torch.linspace(-1, 1, 5))
    return layer


def share_of(mesh: DeviceMesh, dimensions: int) -> dict[str, Tensor]:
    """In a process of three: two steps of the norm on this process's share of the batch."""
    x, towards = inputs(dimensions)
    start = sum(SHARES[: distributed.get_rank()])
    own = slice(start, start + SHARES[distributed.get_rank()])
    layer = synchronised(norm(dimensions))
    share = x[own].clone().requires_grad_()
    for _ in range(2):
        result = layer(share)
    (result * towards[own]).sum().backward()
    grads = [layer.weight.grad.clone(), layer.bias.grad.clone()]
    for grad in grads:
        distributed.all_reduce(grad)
    statistics = layer.running_mean, layer.running_var, layer.num_batches_tracked
    return {"y": result.detach(), "x": share.grad, "w": grads[0], "b": grads[1], "s": torch.stack([*statistics[:2]])}


@pytest.mark.parametrize("dimensions", [2, 4])
def test_shares_are_normalised_as_the_whole_batch(dimensions: int) -> None:
    x, towards = inputs(dimensions)
    layer = norm(dimensions)
    x.requires_grad_()
    for _ in range(2):
        result = layer(x)
    (result * towards).sum().backward()
    found = on_processes.run(share_of, 3, dimensions, timeout=90)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(torch.cat([each["y"] for each in found]), result.detach(), **close)
    torch.testing.assert_close(torch.cat([each["x"] for each in found]), x.grad, **close)
    for each in found:
        torch.testing.assert_close(each["w"], layer.weight.grad, **close)
        torch.testing.assert_close(each["b"], layer.bias.grad, **close)
        torch.testing.assert_close(each["s"], torch.stack([layer.running_mean, layer.running_var]), **close)


@pytest.mark.parametrize("name", ["tiny", "mobilefacenet", "iresnet18"])
def test_names_parameters_and_evaluation_stay(name: str) -> None:
    network = backbones.create(name, 16).eval()
    images = torch.linspace(-1, 1, 3 * 112 * 112).view(1, 3, 112, 112)
    with torch.no_grad():
        before = network(images)
    names = list(network.state_dict())
    network = synchronised(network)
    assert any(isinstance(module, SyncBatchNorm) for module in network.modules())
    assert list(network.state_dict()) == names
    with torch.no_grad():
        assert torch.equal(network(images), before)


def half_share(mesh: DeviceMesh, kind: str) -> dict[str, Tensor]:
    x, _ = inputs(4)
    start = sum(SHARES[: distributed.get_rank()])
    own = x[start : start + SHARES[distributed.get_rank()]].to(getattr(torch, kind))
    layer = synchronised(nn.BatchNorm2d(5, momentum=1.0))
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(own)
    return {"y": result.detach(), "mean": layer.running_mean, "var": layer.running_var}


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_is_summed_in_float32(kind: str) -> None:
    x = inputs(4)[0].to(getattr(torch, kind)).double()  # what the processes are given, exactly
    var, mean = torch.var_mean(x, (0, 2, 3))
    for each in on_processes.run(half_share, 3, kind, timeout=90):
        assert each["y"].dtype == getattr(torch, kind)
        torch.testing.assert_close(each["mean"].double(), mean, rtol=1e-6, atol=0)
        torch.testing.assert_close(each["var"].double(), var, rtol=1e-5, atol=0)
