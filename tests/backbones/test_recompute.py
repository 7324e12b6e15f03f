"""Activation checkpointing: less memory, and nothing else that anyone could see."""

import copy

import pytest
import torch
from saved_tensors import kept_storages
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from elasticface import backbones
from elasticface.backbones.syncnorm import synchronised

NETS = {"iresnet18": {"dropout": 0.4}, "mobilefacenet": {}, "tiny": {}, "small": {}, "vit-t": {"drop_path": 0.4}}


def images(batch: int) -> Tensor:
    return torch.rand(batch, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1


def twins(name: str, **options: float) -> tuple[nn.Module, nn.Module]:
    """(plain, recomputing) nets of the same weights."""
    torch.manual_seed(0)
    plain = backbones.create(name, 8, **options)
    return plain, backbones.checkpoint_activations(copy.deepcopy(plain))


def step(net: nn.Module, batch: Tensor, autocast: bool = False) -> Tensor:
    """A forward and backward pass of some loss; the embeddings."""
    torch.manual_seed(2)  # of the dropout
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        embeddings: Tensor = net(batch)
    embeddings.square().mul(torch.arange(8)).cos().sum().backward()
    return embeddings.detach()


def saved_bytes(net: nn.Module, batch: Tensor) -> int:
    """What autograd keeps for backward, parameters aside, and what blocks that recompute keep of their inputs."""
    wrapped = [m for m in net.modules() if type(m).__name__ == "CheckpointWrapper"]
    with kept_storages(net) as (kept, keep):
        hooks = [m.register_forward_pre_hook(lambda _, inputs: (keep(inputs[0]),)) for m in wrapped]
        net(batch)
    for hook in hooks:
        hook.remove()
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("name", NETS)
def test_embeddings_gradients_and_running_statistics_are_the_same_bits(name: str) -> None:
    plain, recomputing = twins(name, **NETS[name])
    assert torch.equal(step(plain, images(2)), step(recomputing, images(2)))
    for a, b in zip(plain.parameters(), recomputing.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad)
    state, recomputed = plain.state_dict(), recomputing.state_dict()
    assert all(torch.equal(state[key], recomputed[key]) for key in state)
    tracked = [key for key in state if key.endswith("num_batches_tracked")]
    assert {int(recomputed[key]) for key in tracked} == {1}


def test_torchs_own_way_would_see_the_batch_twice() -> None:
    """What the above guards against: it can fail."""
    norm = nn.BatchNorm2d(3)
    checkpoint(norm, torch.randn(4, 3, 5, 5, requires_grad=True), use_reentrant=False).sum().backward()
    assert int(norm.num_batches_tracked) == 2


@pytest.mark.parametrize("name", NETS)
def test_names_in_the_state_dict_stay_and_load_both_ways(name: str) -> None:
    plain, recomputing = twins(name)
    assert list(plain.state_dict()) == list(recomputing.state_dict())
    for a, b in ((plain, recomputing), (recomputing, plain)):
        with torch.no_grad():
            for parameter in a.parameters():
                parameter.add_(1)
        b.load_state_dict(a.state_dict())
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("name", NETS)
def test_less_is_kept_for_backward(name: str) -> None:
    plain, recomputing = twins(name)
    before, after = saved_bytes(plain, images(2)), saved_bytes(recomputing, images(2))
    assert after < 0.6 * before


def test_what_is_kept_of_a_block_is_its_input() -> None:
    plain, recomputing = twins("tiny")
    size = 2 * 4 * 56 * 56 * 20  # the stem's map: its convolution and norm, and what the first block gets
    blocks = size + 2 * 4 * (28 * 28 * 32 + 14 * 14 * 64)
    ends = 2 * 4 * (7 * 7 * 128 + 8)  # what the linear layer gets and gives
    image = 2 * 4 * 3 * 112 * 112
    norms = 4 * 2 * (20 + 8)  # the mean and inverse deviation that the stem's and the last norm keep
    assert saved_bytes(recomputing, images(2)) == image + 2 * size + blocks + ends + norms
    assert saved_bytes(plain, images(2)) > image + 2 * size + blocks + ends + norms


def test_half_precision_recomputes_in_half_precision() -> None:
    plain, recomputing = twins("tiny")
    assert torch.equal(step(plain, images(4), autocast=True), step(recomputing, images(4), autocast=True))
    for a, b in zip(plain.parameters(), recomputing.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad)


def test_an_image_that_is_not_finite_leaves_the_same_running_statistics() -> None:
    plain, recomputing = twins("tiny")
    batch = images(2)
    batch[0, 0, 0, 0] = torch.inf
    step(plain, batch), step(recomputing, batch)
    for a, b in zip(plain.buffers(), recomputing.buffers(), strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0, equal_nan=True)


def test_without_gradients_the_net_computes_as_it_did() -> None:
    plain, recomputing = twins("tiny")
    with torch.no_grad():
        assert torch.equal(plain.eval()(images(2)), recomputing.eval()(images(2)))


def test_norms_over_all_processes_are_made_inside_blocks_that_recompute() -> None:
    _, recomputing = twins("tiny")
    assert any(type(module).__name__ == "SyncBatchNorm" for module in synchronised(recomputing).modules())
    step(recomputing, images(2))
    assert {int(b) for name, b in recomputing.named_buffers() if name.endswith("num_batches_tracked")} == {1}


def test_multiply_adds_of_a_net_that_recomputes_are_those_of_the_net() -> None:
    plain, recomputing = twins("tiny")
    assert backbones.multiply_adds(recomputing) == backbones.multiply_adds(plain)
