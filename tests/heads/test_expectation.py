"""draws="expected": the loss and its gradients against a mean over many draws, and against a fine longhand integral."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import longhand
import pytest
import small_run
import torch
from heads.test_head import BATCH, CLASSES, ELASTIC, SIZE
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from elasticface import heads
from elasticface.base.errors import InputError
from elasticface.heads import expectation, margins
from elasticface.heads.margin_head import MarginHead

ORDERS = [(loss, order) for loss in ELASTIC for order in (("paper", "release") if loss.endswith("+") else ("paper",))]


def head_of(loss: str = "elastic-arc", **options: Any) -> MarginHead:
    torch.manual_seed(0)
    return heads.create(loss, CLASSES, SIZE, **{"draws": "expected", **options}).double()


def batch_of(head: MarginHead, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """Embeddings from 20 to 60 degrees off their centres: losses from next to nothing to about 10."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(batch) % CLASSES
    centres = torch.nn.functional.normalize(head.weight.detach()[:, :SIZE])[labels]
    noise = torch.randn(batch, SIZE, generator=generator, dtype=torch.float64)
    return (centres + torch.linspace(0.1, 0.6, batch)[:, None] * noise).requires_grad_(), labels


def with_gradients(head: MarginHead, embeddings: Tensor, labels: Tensor, **given: Any) -> tuple[Tensor, ...]:
    loss = head(embeddings, labels, **given)
    return (loss.detach(), *torch.autograd.grad(loss, (embeddings, head.weight)))


def chances_of(head: MarginHead, x: Tensor, ranks: Tensor) -> Tensor:
    """[B, Q] density at x [Q] of the draw of each sample, of which "+" takes the one of this rank, 0 the smallest."""
    log_density = -(x**2) / 2 - math.log(2 * math.pi) / 2
    if not head.plus:
        return log_density.exp().expand(len(ranks), -1)
    below, above = torch.special.log_ndtr(x), torch.special.log_ndtr(-x)
    count, ranks = len(ranks), ranks.double()[:, None]
    ways = math.lgamma(count + 1) - torch.lgamma(ranks + 1) - torch.lgamma(count - ranks)
    return (ways + ranks * below + (count - 1 - ranks) * above + log_density).exp()


def ranks_of(head: MarginHead, target: Tensor) -> Tensor:
    """The rank among the draws, 0 the smallest, of the margin that each sample gets."""
    falling = target.detach().argsort(descending=True)
    if head.order == "release":
        return falling  # margins = sorted draws[argsort]
    return falling.argsort()


def longhand_expected(head: MarginHead, embeddings: Tensor, labels: Tensor, factor: float = 1.0) -> tuple[Tensor, ...]:
    """Loss and gradients by Riemann's sum over 40,001 margins, with the density of order statistics written out."""
    inputs, weight = (t.detach().double().requires_grad_() for t in (embeddings, head.weight))
    cosines = longhand.cosine(inputs, weight)
    target = cosines[range(len(labels)), labels]
    x = torch.linspace(-10, 10, 40_001, dtype=torch.float64)
    drawn = factor * (head.m + head.std * x).expand(len(labels), -1)
    formula = longhand.arc if head.kind == "arc" else longhand.cos
    values = formula(target[:, None].expand_as(drawn), drawn)
    others = torch.ones_like(cosines)
    others[range(len(labels)), labels] = 0
    r = (head.scale * cosines + others.log()).logsumexp(1)
    losses = torch.logaddexp(r[:, None] - head.scale * values, torch.zeros_like(values))
    expected = (chances_of(head, x, ranks_of(head, target)) * losses).sum(1).mean() * (x[1] - x[0])
    return (expected.detach(), *torch.autograd.grad(expected, (inputs, weight)))


def assert_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    for mine, theirs in zip(actual, expected, strict=True):
        assert (mine.double() - theirs).norm() <= tolerance * theirs.norm()


@pytest.mark.parametrize(("loss", "order"), ORDERS)
def test_the_expected_loss_is_the_integral_over_the_margin(loss, order):
    head = head_of(loss, order=order)
    batch = batch_of(head)
    assert_same(with_gradients(head, *batch), longhand_expected(head, *batch), 1e-10)


@pytest.mark.parametrize("std", [0.001, 0.005, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("loss", ["elastic-cos", "elastic-cos+"])
def test_it_is_with_any_sigma(loss, std):
    head = head_of(loss, std=std)
    batch = batch_of(head)
    assert_same(with_gradients(head, *batch), longhand_expected(head, *batch), 1e-10)


def test_margins_that_warm_up_are_all_smaller():
    head = head_of("elastic-arc+")
    head.margin_factor = 0.3
    batch = batch_of(head)
    assert_same(with_gradients(head, *batch), longhand_expected(head, *batch, factor=0.3), 1e-10)


@pytest.mark.parametrize(("loss", "order"), ORDERS)
def test_loss_and_gradient_are_the_mean_over_a_hundred_thousand_draws(loss, order):
    head = head_of(loss, order=order)
    embeddings, labels = batch_of(head)
    value, gradient, _ = with_gradients(head, embeddings, labels)

    count = 100_000
    drawn = margins.draw(head.m, head.std, count * BATCH, seed=3, step=0).view(BATCH, count)
    cosines = longhand.cosine(embeddings, head.weight.detach())
    target = cosines[range(BATCH), labels]
    if head.plus:
        drawn = margins.assign_by_proximity(drawn, target.detach(), head.order)
    formula = longhand.arc if head.kind == "arc" else longhand.cos
    values = formula(target[:, None], drawn)
    r = (head.scale * cosines).masked_fill(torch.eye(CLASSES, dtype=torch.bool)[labels], -torch.inf).logsumexp(1)
    losses = torch.logaddexp(r[:, None] - head.scale * values, torch.zeros_like(values)).mean(0)  # [draws]
    deviation = losses.std() / count**0.5
    assert abs(losses.mean() - value) < 4 * deviation
    (mean_gradient,) = torch.autograd.grad(losses.mean(), embeddings)
    assert_same((gradient,), (mean_gradient,), 0.02)
    assert deviation < 0.003 * value  # the draws tell something


def test_as_few_nodes_as_docs_heads_md_says_are_enough(monkeypatch):
    head = head_of("elastic-arc")
    batch = batch_of(head)
    exact, spread = longhand_expected(head, *batch)[0], head.scale * head.std
    errors = []
    monkeypatch.setattr(expectation, "_WIDEST", 1.0)  # by itself it takes more than 17
    for count in (17, 33, 65):
        monkeypatch.setattr(expectation, "_ERROR", math.exp(-2 * math.pi**2 / (spread * 16 / (count - 1))))
        assert len(expectation.nodes(spread)[0]) == count
        errors.append(abs(head(*batch) - exact).item())
    assert errors[1] < 1e-5 < errors[0]
    assert errors[2] < 1e-10


def test_an_extreme_of_many_draws_keeps_its_digits():
    x = expectation.draws(0.0, 1.0, 2**14, 0.01, in_order=True)  # a batch as large as any
    assert x.isfinite().all()
    assert (x.diff(dim=0) > 0).all()
    torch.testing.assert_close(x, -x.flip(0, 1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("budget", [1, 300, 1 << 30])
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_a_budget_changes_nothing_and_float32_is_near(budget, rate):
    head = head_of("elastic-arc+", max_logits_bytes=budget, sample_rate=rate)
    embeddings, labels = batch_of(head)
    plenty = head_of("elastic-arc+", sample_rate=rate)
    value, gradient, weight = with_gradients(head, embeddings, labels)
    expected = with_gradients(plenty, embeddings, labels)
    assert_same((value, gradient, weight.to_dense()), (*expected[:2], expected[2].to_dense()), 1e-13)
    narrow = head_of("elastic-arc+", max_logits_bytes=budget, sample_rate=rate).float()
    value, gradient, weight = with_gradients(narrow, embeddings.detach().float().requires_grad_(), labels)
    assert_same((value, gradient, weight.to_dense()), (*expected[:2], expected[2].to_dense()), 1e-5)


@pytest.mark.parametrize("loss", ["adaface", "magface", "subcenter-arcface"])
def test_losses_by_length_and_with_sub_centres_have_their_expectation_too(loss):
    head, drawn = head_of(loss, std=0.05), head_of(loss, std=0.05, draws="random")
    embeddings, labels = batch_of(head)
    embeddings = (30 * embeddings.detach()).requires_grad_()  # lengths that count
    drawn.eval(), head.eval()
    found = with_gradients(head, embeddings, labels)
    x, chances = (torch.from_numpy(v) for v in expectation.nodes(6.4))
    each = [with_gradients(drawn, embeddings, labels, margins=(head.m + 0.05 * v).expand(BATCH)) for v in x]
    mean = [sum(c * t for c, t in zip(chances, of_one, strict=True)) for of_one in zip(*each, strict=True)]
    assert_same(found, tuple(mean), 1e-10)


class Tanh(heads.MarginHead):
    """Without derivatives of its own."""

    def target(self, cosines: Tensor, lengths: Tensor, margins: Tensor) -> Tensor:
        return cosines - margins.tanh() * lengths.tanh()


def test_a_loss_of_one_s_own_has_its_expectation_from_autograd():
    torch.manual_seed(0)
    head = Tanh(CLASSES, SIZE, kind="cos", m=0.35, std=0.1, draws="expected").double()
    embeddings, labels = batch_of(head)
    inputs = embeddings.detach().requires_grad_()
    x, chances = (torch.from_numpy(v) for v in expectation.nodes(12.8))
    cosines = longhand.cosine(inputs, head.weight.detach())
    target = cosines[range(BATCH), labels][None] - (0.35 + 0.1 * x[:, None]).tanh() * inputs.norm(dim=1).tanh()
    expected = sum(c * longhand.cross_entropy(cosines, labels, t, 64.0) for c, t in zip(chances, target, strict=True))
    (gradient,) = torch.autograd.grad(expected, inputs)
    assert_same(with_gradients(head, embeddings, labels)[:2], (expected.detach(), gradient), 1e-10)


def test_losses_beyond_exp_and_next_to_nothing_are_finite_and_have_a_gradient():
    head = head_of("elastic-arc").float()
    centres = head.weight.detach()
    for embeddings in (centres[:BATCH].clone(), -centres[:BATCH].clone()):
        found = with_gradients(head, embeddings.requires_grad_(), torch.arange(BATCH))
        assert all(t.isfinite().all() for t in found)


def test_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(margins, "draw", None)
    head = head_of("elastic-arc+")
    batch = batch_of(head)
    values = {head(*batch).item() for _ in range(3)}
    assert len(values) == 1
    assert head.step == 3
    assert torch.equal(head.eval()(*batch), head.train()(*batch))
    recomputed = checkpoint(head, *batch, use_reentrant=False)
    recomputed.backward()
    assert recomputed.item() in values


def test_without_sigma_it_is_the_fixed_margin_to_the_bit():
    head, fixed = head_of("elastic-arc", std=0.0), head_of("elastic-arc", std=0.0, draws="random")
    batch = batch_of(head)
    assert_same(with_gradients(head, *batch), with_gradients(fixed, *batch), 0)


def test_given_margins_and_weights_are_taken():
    head, drawn = head_of(), head_of(draws="random")
    batch = batch_of(head)
    given = torch.linspace(0.3, 0.6, BATCH)
    assert torch.equal(head(*batch, margins=given), drawn(*batch, margins=given))
    one = torch.eye(BATCH)[2]
    single = head(batch[0][2:3], batch[1][2:3])
    torch.testing.assert_close(head(*batch, weights=one), single, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("arcface", {}, "a fixed margin has no option 'draws'|has no option draws"),
        ("curricularface", {"std": 0.05}, "where the negatives depend on the drawn margin"),
        ("elastic-arc", {"draws": "mean"}, 'draws must be "random" or "expected", got \'mean\''),
        ("elastic-cos", {"std": 1.5}, r"scale·std must be at most 64, got 96"),
    ],
)
def test_what_has_no_expectation_is_refused(loss, options, message):
    with pytest.raises(InputError, match=message):
        heads.create(loss, CLASSES, SIZE, **{"draws": "expected", **options})


def test_a_head_says_that_it_does_not_draw():
    assert "draws='expected'" in repr(head_of())


def test_a_run_resumes_with_the_same_losses(people: Path, tmp_path: Path) -> None:
    config = replace(small_run.SMALL, loss="elastic-arc+", draws="expected", max_steps=12, epochs=100, milestones=[])
    small_run.assert_learns_and_resumes(people, tmp_path, config)
