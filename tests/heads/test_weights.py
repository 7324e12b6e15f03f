"""The weighted mean loss Σ w·L / Σ w, for every head; over several processes it is in the tests of sharded heads."""

from dataclasses import replace

import pytest
import sharded_heads
import torch
from heads.test_sharded import assert_same
from sharded_heads import Case

from elasticface import heads

# Statistics that move by half, so that they would show it if they were weighted.
QUICK = {"adaface": {"t_alpha": 0.5}, "curricularface": {"t_alpha": 0.5}}


def case_of(loss: str, **options: float) -> Case:
    return Case(loss, (9,), weighted=True, options=QUICK.get(loss, {}) | options)


@pytest.mark.parametrize("budget", [1 << 30, 500])  # all kept, and most computed again
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", heads.LOSSES)
def test_loss_and_gradients_equal_longhand(loss, dtype, budget):
    case = replace(case_of(loss, max_logits_bytes=budget), dtype=dtype)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for found, expected in zip(sharded_heads.on_one(case), sharded_heads.by_longhand(case), strict=True):
        assert_same(found, expected, tolerance)
        assert found["statistics"] == pytest.approx(expected["statistics"], rel=tolerance)


@pytest.mark.parametrize("loss", heads.LOSSES)
def test_sampled_classes_are_weighted_as_all_are(loss):
    sample = {"sample_rate": 0.999, "scale": 8.0}  # all classes: ⌈0.999·n⌉ is n
    found = sharded_heads.on_one(case_of(loss, **sample))
    for one, expected in zip(found, sharded_heads.on_one(case_of(loss, scale=8.0)), strict=True):
        assert_same(one | {"weight": one["weight"].to_dense()}, expected, 1e-12)


def results(head, embeddings, labels, weights):
    part = embeddings.clone().requires_grad_()
    head.zero_grad()
    loss = head(part, labels, torch.full(labels.shape, 0.3), weights)
    loss.backward()
    return {"loss": loss.detach(), "embeddings": part.grad, "weight": head.weight.grad}


@pytest.fixture
def made():
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    return Case("arcface", (6,), options={"scale": 16.0}).head(), embeddings, torch.tensor([0, 4, 4, 1, 2, 22])


def test_equal_weights_of_any_size_are_the_mean(made):
    expected = results(*made, None)
    for size in (1e-6, 1.0, 1e6):
        assert_same(results(*made, torch.full((6,), size)), expected, 1e-12)


def test_a_whole_weight_is_so_many_samples(made):
    head, embeddings, labels = made
    times = torch.tensor([1, 3, 1, 2, 1, 1])
    found = results(head, embeddings, labels, times)
    repeated = results(head, embeddings.repeat_interleave(times, 0), labels.repeat_interleave(times), None)
    parts = repeated["embeddings"].split(times.tolist())
    summed = torch.stack([part.sum(0) for part in parts])
    assert_same(found, repeated | {"embeddings": summed}, 1e-12)


def test_a_sample_of_weight_nought_is_left_out(made):
    head, embeddings, labels = made
    found = results(head, embeddings, labels, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]))
    rest = torch.tensor([0, 1, 3, 4, 5])
    expected = results(head, embeddings[rest], labels[rest], None)
    assert not found["embeddings"][2].any()
    assert_same(found | {"embeddings": found["embeddings"][rest]}, expected, 1e-12)


def test_no_gradient_goes_to_weights(made):
    head, embeddings, labels = made
    weights = torch.ones(6, requires_grad=True)
    head(embeddings, labels, None, weights).backward()
    assert weights.grad is None


def test_weights_that_are_not_one_a_sample_are_refused(made):
    head, embeddings, labels = made
    with pytest.raises(ValueError, match=r"weights must be \[6\], one per label"):
        head(embeddings, labels, weights=torch.ones(5))
