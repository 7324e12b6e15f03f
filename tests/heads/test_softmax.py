"""The margin softmax: loss and both gradients against the longhand formula, whatever the memory, dtype or length."""

import math
from typing import Any
from unittest import mock

import longhand
import pytest
import torch
from created import Created
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from elasticface.heads import chunks
from elasticface.heads.margins import arc_margin, cosine_margin
from elasticface.heads.softmax import margin_softmax_loss

KINDS = ["arc", "cos"]
DTYPES = [torch.float32, torch.float64]
PLENTY = 1 << 30
seeds = st.integers(0, 2**32 - 1)


def problem(batch: int, classes: int, size: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, weight and labels, lengths all different."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, size, generator=generator, dtype=torch.float64)
    weight = 0.1 * torch.randn(classes, size, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (batch,), generator=generator)
    return embeddings.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), labels


def loss_of(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    m: float = 0.5,
    kind: str = "arc",
    scale: float = 64.0,
    past_pi: str = "monotone",
    budget: int = PLENTY,
    classes: Tensor | None = None,
) -> Tensor:
    def margin(cosines: Tensor) -> tuple[Tensor, Tensor]:
        margins = torch.full_like(cosines, m)
        return arc_margin(cosines, margins, past_pi) if kind == "arc" else cosine_margin(cosines, margins)

    return margin_softmax_loss(embeddings, weight, labels, margin, scale, budget, classes)


def with_gradients(embeddings: Tensor, weight: Tensor, labels: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    loss = loss_of(embeddings, weight, labels, **options)
    return (loss.detach(), *torch.autograd.grad(loss, (embeddings, weight)))


def expected_of(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    m: float = 0.5,
    kind: str = "arc",
    scale: float = 64.0,
    **rest: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    margins = torch.full((len(labels),), m, dtype=torch.float64)
    return longhand.loss_and_gradients(embeddings, weight, labels, margins, kind, scale, **rest)


def assert_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    """Loss and gradients alike, each to ``tolerance`` relative to its own length."""
    for mine, theirs in zip(actual, expected, strict=True):
        assert (mine.double() - theirs).norm() <= tolerance * theirs.norm()


@st.composite
def budgets(draw: st.DrawFn, logits_bytes: int) -> tuple[int, int]:
    """(max_logits_bytes, bytes of a chunk): none, some or all of the probabilities kept, in one chunk or in many."""
    return draw(st.integers(1, 2 * logits_bytes) | st.just(PLENTY)), draw(st.integers(1, logits_bytes))


# The formula.


def check_against_longhand(data: st.DataObject, dtype: torch.dtype, smallest: int, furthest: float) -> tuple[Any, Any]:
    batch, classes, size = (data.draw(st.integers(low, high)) for low, high in ((1, 9), (1, 40), (smallest, 16)))
    embeddings, weight, labels = problem(batch, classes, size, data.draw(seeds), dtype)
    kind, past_pi = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(["monotone", "paper"]))
    m, scale = data.draw(st.floats(0, 1.5)), data.draw(st.floats(1, 64))
    budget, chunk = data.draw(budgets(batch * classes * dtype.itemsize))

    cosines = longhand.target_cosine(embeddings, weight, labels).detach()
    assume(cosines.abs().max() < furthest)  # acos loses its digits towards ±1, in the longhand formula as well
    if kind == "arc" and past_pi == "monotone":  # at the kink itself rounding decides which side is meant
        assume((cosines.acos() + m - math.pi).abs().min() > 1e-4)
    options = {"m": m, "kind": kind, "scale": scale, "past_pi": past_pi}
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": chunk}):
        actual = with_gradients(embeddings, weight, labels, budget=budget, **options)
    assert [a.dtype for a in actual] == [dtype] * 3
    return actual, expected_of(embeddings, weight, labels, **options)


@settings(max_examples=150)
@given(st.data())
def test_float64_equals_longhand(data):
    assert_same(*check_against_longhand(data, torch.float64, smallest=2, furthest=0.999), 1e-12)


@settings(max_examples=150)
@given(st.data())
def test_float32_equals_longhand_in_float64(data):
    assert_same(*check_against_longhand(data, torch.float32, smallest=4, furthest=0.95), 1e-5)


@pytest.mark.parametrize("budget", [1 << 20, 6 << 20, PLENTY])
def test_many_chunks_of_their_real_size_equal_longhand(budget):
    embeddings, weight, labels = problem(64, 20_001, 4, 0, torch.float64)  # 10 MB of logits
    labels[:3] = torch.tensor([0, 10_000, 20_000])
    assert_same(
        with_gradients(embeddings, weight, labels, budget=budget), expected_of(embeddings, weight, labels), 1e-12
    )


@settings(max_examples=50)
@given(st.data(), st.integers(1, 9), st.integers(2, 40), st.sampled_from(DTYPES))
def test_kept_and_recomputed_probabilities_agree(data, batch, classes, dtype):
    embeddings, weight, labels = problem(batch, classes, 8, data.draw(seeds), dtype)
    budget, chunk = data.draw(budgets(batch * classes * dtype.itemsize))
    kept = with_gradients(embeddings, weight, labels)
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": chunk}):
        recomputed = with_gradients(embeddings, weight, labels, budget=budget)
    # a logit is as large as s = 64, so its rounding is 64 times that of a number next to 1
    assert_same(recomputed, tuple(k.double() for k in kept), 64 * 4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("budget", [1, 400, PLENTY])
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind, budget):
    embeddings, weight, labels = problem(5, 11, 4, 3, torch.float64)
    assert torch.autograd.gradcheck(
        lambda e, w: loss_of(e, w, labels, kind=kind, scale=4.0, budget=budget), (embeddings, weight)
    )


# Where formulas break: ends of the cosine, zeros, extremes, what is not finite.


@pytest.mark.parametrize(
    ("end", "kind", "past_pi", "target"),
    [
        (1, "arc", "monotone", math.cos(0.5)),
        (1, "cos", "monotone", 0.5),
        (-1, "arc", "monotone", -1 + math.cos(0.5) - 1),
        (-1, "arc", "paper", math.cos(math.pi + 0.5)),
        (-1, "cos", "monotone", -1.5),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_on_its_centre_or_opposite_is_finite_and_right(dtype, end, kind, past_pi, target):
    embeddings, weight, labels = problem(6, 9, 8, 1, dtype)
    embeddings.data = end * 3 * weight.data[labels]
    loss, by_embeddings, by_weight = with_gradients(embeddings, weight, labels, kind=kind, past_pi=past_pi)
    cosines = longhand.cosine(embeddings, weight)
    expected = longhand.cross_entropy(cosines, labels, torch.full((6,), target), 64.0)
    # cos θ is 1 but for its rounding, so θ is 0 but for the root of that
    assert abs((loss.double() / expected).log()) <= 64 * math.sqrt(8 * torch.finfo(dtype).eps)
    assert (by_embeddings.norm(dim=1) <= 2 * 64 / 6 / embeddings.norm(dim=1)).all()
    assert by_weight.isfinite().all()


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-7, 1e-5, 3e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_close_to_the_centre_stays_that_of_the_angle(dtype, angle):
    # The slope by cos θ grows without bound as θ goes to 0; dL/dθ = s·(1 − p)·sin(θ + m) does not.
    embeddings, weight, labels = problem(1, 2, 8, 2, dtype)
    labels[:] = 0
    centre = weight.data[0] / weight.data[0].norm()
    weight.data[1] = -centre  # no slope of its own to speak of
    aside = embeddings.data[0] - centre * (centre @ embeddings.data[0])
    embeddings.data[0] = math.cos(angle) * centre + math.sin(angle) * aside / aside.norm()
    _, by_embeddings, _ = with_gradients(embeddings, weight, labels, m=3.0, scale=2.0)
    assert by_embeddings.norm() <= 2 * math.sin(3 + angle) * 1.1 + 2 * angle


@pytest.mark.parametrize("budget", [1, PLENTY])
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_embedding_sees_every_class_at_a_right_angle_and_gets_no_gradient(dtype, budget):
    embeddings, weight, labels = problem(2, 7, 8, 0, dtype)
    embeddings.data.zero_()
    loss, by_embeddings, by_weight = with_gradients(embeddings, weight, labels, budget=budget)
    expected = math.log1p(6 * math.exp(64 * math.sin(0.5)))
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert (by_embeddings == 0).all()
    assert (by_weight == 0).all()


@pytest.mark.parametrize("budget", [1, PLENTY])
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_centre_gets_no_gradient_and_harms_nobody(dtype, budget):
    embeddings, weight, labels = problem(3, 7, 8, 0, dtype)
    labels[0] = 4
    weight.data[4] = 0  # a target's, and everybody else's impostor
    loss, by_embeddings, by_weight = with_gradients(embeddings, weight, labels, budget=budget)
    assert loss.isfinite()
    assert by_embeddings.isfinite().all()
    assert (by_weight[4] == 0).all()
    assert (by_weight.isfinite() & (by_weight.norm(dim=1) > 0)[:, None])[[0, 1, 2, 3, 5, 6]].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_samples_wrong_at_full_scale(dtype, kind):
    embeddings, weight, labels = problem(8, 30, 8, 4, dtype)
    embeddings.data = -weight.data[labels] + 0.2 * weight.data[(labels + 1) % 30]
    assert longhand.target_cosine(embeddings, weight, labels).max() < math.cos(math.pi - 0.5)  # all past π for arc
    actual = with_gradients(embeddings, weight, labels, kind=kind)
    assert_same(actual, expected_of(embeddings, weight, labels, kind=kind), 1e-5 if dtype == torch.float32 else 1e-12)
    assert actual[0] > 64


@pytest.mark.parametrize("length", [1e-18, 1e-10, 1e10, 1e18])
@pytest.mark.parametrize("who", ["embeddings", "weight", "both"])
def test_float32_length_does_not_matter(who, length):
    embeddings, weight, labels = problem(4, 9, 32, 0, torch.float32)
    for name, rows in (("embeddings", embeddings), ("weight", weight)):
        if who in (name, "both"):
            rows.data *= length / rows.data.norm(dim=1, keepdim=True)
    assert_same(with_gradients(embeddings, weight, labels), expected_of(embeddings, weight, labels), 1e-5)


def test_float32_is_finite_where_squares_leave_its_range():
    embeddings, weight, labels = problem(4, 9, 32, 0, torch.float32)
    embeddings.data *= 1e-20 / embeddings.data.norm(dim=1, keepdim=True)
    weight.data *= 1e-20 / weight.data.norm(dim=1, keepdim=True)
    assert all(t.isfinite().all() for t in with_gradients(embeddings, weight, labels))


@pytest.mark.parametrize("budget", [1, PLENTY])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_hidden(bad, budget):
    embeddings, weight, labels = problem(4, 9, 8, 0, torch.float32)
    embeddings.data[2, 3] = bad
    assert not loss_of(embeddings, weight, labels, budget=budget).isfinite()
    embeddings, weight, labels = problem(4, 9, 8, 0, torch.float32)
    weight.data[5, 3] = bad  # whether a target's centre or not
    assert not loss_of(embeddings, weight, labels, budget=budget).isfinite()


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_class_has_no_loss_and_no_gradient(dtype):
    embeddings, weight, labels = problem(1, 1, 4, 0, dtype)
    for tensor in with_gradients(embeddings, weight, labels):
        assert (tensor == 0).all()


def test_embeddings_of_size_one_have_only_signs_and_no_gradient():
    embeddings, weight, labels = problem(5, 6, 1, 0, torch.float64)
    loss, by_embeddings, by_weight = with_gradients(embeddings, weight, labels, kind="cos", m=0.35)
    assert_same((loss,), expected_of(embeddings, weight, labels, kind="cos", m=0.35)[:1], 1e-12)
    assert (by_embeddings * embeddings).abs().max() < 1e-12
    assert (by_weight * weight).abs().max() < 1e-12


# Layouts, dtypes, autograd.


@pytest.mark.parametrize(
    "laid_out",
    [
        lambda t: t.T.contiguous().T,
        lambda t: torch.stack([t, 0 * t], 2)[:, :, 0],
        lambda t: torch.cat([0 * t, t], 1)[:, t.shape[1] :],
        lambda t: torch.stack([t, 0 * t], 1)[:, 0],
    ],
    ids=["transposed", "every other column", "right half", "every other row"],
)
def test_layout_of_the_inputs_does_not_matter(laid_out):
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float64)
    apart = [laid_out(t.detach()).requires_grad_() for t in (embeddings, weight)]
    assert not any(t.is_contiguous() for t in apart)
    labels_apart = torch.stack([labels, labels + 1], 1)[:, 0]
    assert_same(with_gradients(*apart, labels_apart), with_gradients(embeddings, weight, labels), 1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_gets_gradients_in_its_own(dtype):
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float32)
    half = embeddings.detach().to(dtype).requires_grad_()
    actual = with_gradients(half, weight, labels)
    expected = with_gradients(half.detach().float().requires_grad_(), weight, labels)
    assert [t.dtype for t in actual] == [torch.float32, dtype, torch.float32]
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1], expected[1].to(dtype))
    assert torch.equal(actual[2], expected[2])


@pytest.mark.parametrize("which", [0, 1])
def test_one_float64_input_makes_the_loss_float64(which):
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float32)
    inputs = [embeddings, weight]
    inputs[which] = inputs[which].detach().double().requires_grad_()
    actual = with_gradients(*inputs, labels)
    assert [t.dtype for t in actual] == [torch.float64, inputs[0].dtype, inputs[1].dtype]
    assert_same(actual[:1], expected_of(*inputs, labels)[:1], 1e-12)


@pytest.mark.parametrize("budget", [1, PLENTY])
def test_autocast_changes_no_bit(budget):
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float32)
    expected = with_gradients(embeddings, weight, labels, budget=budget)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = with_gradients(embeddings, weight, labels, budget=budget)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("budget", [1, 150, PLENTY])
def test_second_backward_through_a_retained_graph_gives_the_same_bits(budget):
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float32)
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": 50}):
        loss = loss_of(embeddings, weight, labels, budget=budget)
        first = torch.autograd.grad(loss, (embeddings, weight), retain_graph=True)
        second = torch.autograd.grad(loss, (embeddings, weight))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_gradient_follows_what_is_done_to_the_loss():
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float64)
    _, by_embeddings, by_weight = with_gradients(embeddings, weight, labels)
    (-3 * loss_of(embeddings, weight, labels)).backward()
    assert_same((embeddings.grad, weight.grad), (-3 * by_embeddings, -3 * by_weight), 1e-14)


def test_gradient_of_one_input_does_not_need_the_other():
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float64)
    _, by_embeddings, by_weight = with_gradients(embeddings, weight, labels)
    (alone,) = torch.autograd.grad(loss_of(embeddings, weight.detach(), labels), embeddings)
    assert torch.equal(alone, by_embeddings)
    (alone,) = torch.autograd.grad(loss_of(embeddings.detach(), weight, labels), weight)
    assert torch.equal(alone, by_weight)


def test_second_derivative_is_refused_in_plain_words():
    embeddings, weight, labels = problem(6, 9, 8, 0, torch.float32)
    loss = loss_of(embeddings, weight, labels)
    with pytest.raises(RuntimeError, match=r"no second derivative: call backward or .* without create_graph"):
        torch.autograd.grad(loss, embeddings, create_graph=True)


# A subset of the classes.


@pytest.mark.parametrize("budget", [1, 200, PLENTY])
def test_subset_of_classes_is_the_loss_over_these_alone(budget):
    embeddings, weight, labels = problem(6, 20, 8, 0, torch.float64)
    classes = torch.tensor([1, 2, 5, 7, 11, 12, 19])
    labels = classes[torch.tensor([0, 3, 3, 6, 5, 1])]
    loss, by_embeddings, by_weight = with_gradients(embeddings, weight, labels, budget=budget, classes=classes)
    expected = expected_of(embeddings, weight[classes], torch.tensor([0, 3, 3, 6, 5, 1]))
    assert by_weight.is_sparse
    assert torch.equal(by_weight.indices()[0], classes)
    assert_same((loss, by_embeddings, by_weight.values()), expected, 1e-12)


# Memory.


BATCH, CLASSES, SIZE = 32, 500, 4  # a D below B, so that a gradient of the centres is no B×C
LOGITS = BATCH * CLASSES * 4


def created(budget: int, *, gradients: bool = True) -> Created:
    embeddings, weight, labels = problem(BATCH, CLASSES, SIZE, 0, torch.float32)
    with Created() as memory, torch.set_grad_enabled(gradients):
        loss = loss_of(embeddings, weight, labels, budget=budget)
        if gradients:
            loss.backward()
    return memory


def test_within_a_small_budget_nothing_of_the_size_of_the_logits_is_made():
    memory = created(LOGITS // 10)
    assert memory.of_at_least(LOGITS) == []
    assert memory.of_at_least(LOGITS // 5) == []
    assert memory.of_at_least(CLASSES * SIZE * 4) != []  # it does see buffers: the gradient of the centres is one


def test_one_matrix_of_probabilities_is_all_that_is_ever_kept():
    assert created(PLENTY).of_at_least(LOGITS) == [LOGITS]


@pytest.mark.parametrize("share", [0.2, 0.35, 0.5, 0.99])
def test_kept_probabilities_and_the_working_chunk_stay_within_the_budget_together(share):
    budget, chunk = int(share * LOGITS), LOGITS // 10
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": chunk}):
        embeddings, weight, labels = problem(BATCH, CLASSES, SIZE, 0, torch.float32)
        with Created() as memory:
            loss_of(embeddings, weight, labels, budget=budget)
    assert budget - 2 * chunk < sum(memory.of_at_least(chunk)) <= budget


def test_gradient_of_a_subset_of_classes_has_no_memory_for_the_others():
    embeddings, weight, labels = problem(BATCH, 50 * CLASSES, SIZE, 0, torch.float32)
    classes = torch.arange(0, 50 * CLASSES, 50)
    labels = classes[labels // 50]
    with Created() as memory:
        loss_of(embeddings, weight, labels, classes=classes, budget=LOGITS // 10).backward()
    assert memory.of_at_least(2 * CLASSES * SIZE * 4) == []
    assert memory.of_at_least(CLASSES * SIZE * 4) != []


def test_without_gradients_nothing_is_kept():
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": LOGITS // 10}):
        assert created(PLENTY, gradients=False).of_at_least(LOGITS // 5) == []
