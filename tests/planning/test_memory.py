"""The memory of a net's training step, counted on shapes alone."""

from collections.abc import Callable

import pytest
import torch
from saved_tensors import kept_storages
from torch import nn

from elasticface import backbones
from elasticface.base.errors import InputError
from elasticface.planning.memory import footprint


def saved_bytes(net: nn.Module, batch: int) -> int:
    """What autograd keeps of a real forward pass, parameters, buffers and images aside, and what the net gives."""
    images = torch.rand(batch, 3, 112, 112)
    with kept_storages(net) as (kept, _):
        embeddings = net(images)
    kept.pop(images.untyped_storage().data_ptr(), None)
    return sum(size for size, _ in kept.values()) + embeddings.untyped_storage().nbytes()


def made(name: str, recomputing: bool = False) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = backbones.create(name, 16)
        return backbones.checkpoint_activations(net) if recomputing else net

    return make


@pytest.mark.parametrize("name", ["tiny", "mobilefacenet", "iresnet18", "vit-t"])
def test_held_is_what_autograd_keeps(name: str) -> None:
    assert footprint(made(name), 3).held == saved_bytes(made(name)(), 3)


def test_a_chain_takes_what_its_formula_says() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5, bias=False)
        )

    map_, embeddings = 4 * 2 * 4 * 8 * 8, 4 * 2 * 5  # float32, two images
    counted = footprint(make, 2, size=8)
    # The ReLU keeps what it gives, so that of the convolution is freed; both are there while it is computed.
    assert counted.held == map_ + embeddings
    linear = 4 * 5 * 4 * 64
    assert counted.peak == map_ + embeddings + embeddings + linear + map_  # its gradients, the map's and the weight's


def test_memory_grows_with_the_batch() -> None:
    two, four = footprint(made("tiny"), 2), footprint(made("tiny"), 4)
    norms = 2 * two.held - four.held  # means and deviations, a number a channel whatever the batch
    assert 0 < norms < 10_000
    assert two.peak < four.peak


def test_half_precision_keeps_half_the_activations_and_a_half_copy_of_the_weights() -> None:
    weights = sum(p.numel() for p in made("tiny")().parameters() if p.ndim > 1)
    full, half = footprint(made("tiny"), 16), footprint(made("tiny"), 16, "bf16")
    images = 16 * 3 * 112 * 112
    assert half.held == pytest.approx(full.held / 2 + 2 * weights + 2 * images, rel=0.01)
    assert footprint(made("tiny"), 16, "fp16") == half


@pytest.mark.parametrize("name", ["tiny", "mobilefacenet", "iresnet18", "vit-t"])
def test_recomputed_blocks_hold_and_need_less(name: str) -> None:
    plain, recomputed = footprint(made(name), 16), footprint(made(name, recomputing=True), 16)
    assert recomputed.held < 0.6 * plain.held
    assert recomputed.peak < plain.peak


def test_nothing_is_drawn_or_allocated() -> None:
    before = torch.random.get_rng_state()
    counted = footprint(made("iresnet18"), 50_000)
    assert counted.held > 1 << 40
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_single_image_is_refused() -> None:
    with pytest.raises(InputError, match="two images a part"):
        footprint(made("tiny"), 1)
