"""The losses that ElasticFace is compared with, against their papers' formulas written out in float64."""

import io
import math
from typing import Any
from unittest import mock

import longhand_compared
import pytest
import torch
from created import Created
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from longhand_compared import DEFAULTS, START
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import elasticface
from elasticface import heads
from elasticface.base.errors import InputError
from elasticface.heads import chunks, margins
from elasticface.heads.margin_head import MarginHead
from elasticface.heads.row_sparse import rows_and_values

NAMES = {
    "adaface": "AdaFace",
    "magface": "MagFace",
    "curricularface": "CurricularFace",
    "subcenter-arcface": "SubCenterArcFace",
}
COMPARED = list(NAMES)
BATCH, CLASSES, SIZE = 6, 11, 8


def head_of(loss: str, classes: int = CLASSES, size: int = SIZE, **options: Any) -> MarginHead:
    torch.manual_seed(0)
    return heads.create(loss, classes, size, **options)


def batch_of(
    seed: int = 0, batch: int = BATCH, classes: int = CLASSES, size: int = SIZE, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Embeddings of lengths from 3 to 300, and labels."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, size, generator=generator, dtype=torch.float64)
    lengths = 3 * 100 ** torch.rand(batch, 1, generator=generator, dtype=torch.float64)
    embeddings *= lengths / embeddings.norm(dim=1, keepdim=True)
    return embeddings.to(dtype).requires_grad_(), torch.randint(classes, (batch,), generator=generator)


def away_from_kinks(loss: str, head: MarginHead, embeddings: Tensor, labels: Tensor, drawn: Tensor) -> bool:
    """Whether rounding decides nothing: which side of a kink is meant, or which sub-centre is the nearest."""
    wide, options = embeddings.detach().double(), DEFAULTS[loss] | {"centres_per_class": head.centres_per_class}
    cosines = longhand_compared.cosines(loss, wide, head.weight.detach().double(), options)
    target, lengths = cosines[range(len(labels)), labels], wide.norm(dim=1)
    if target.abs().max() > 0.95:  # acos loses its digits towards ±1, in the longhand formula as well
        return False
    angles = target.acos()
    if loss == "adaface":
        quality = (lengths.clamp(0.001, 100) - head.batch_mean) / (head.batch_std + 0.001) * head.h
        angles = angles - drawn * quality.clamp(-1, 1)
        return bool((angles.abs().min() > 1e-4) and ((angles - math.pi).abs().min() > 1e-4))
    if loss == "magface":
        added = (head.u_margin - head.l_margin) / (head.u_a - head.l_a) * (lengths.clamp(head.l_a, head.u_a) - head.l_a)
        # Next to u_a the slope of the penalty, 1/u_a² − 1/a², goes to 0.
        bounds = torch.stack([lengths / head.l_a - 1, lengths / head.u_a - 1]).abs().min()
        return bool((angles + drawn + added - math.pi).abs().min() > 1e-4 and bounds > 0.02)
    if (angles + drawn - math.pi).abs().min() < 1e-4:
        return False
    if loss == "curricularface":
        value = (angles + drawn).cos() if head.past_pi == "paper" else None
        value = margins.arc_margin(target, drawn, head.past_pi)[0] if value is None else value
        return bool((cosines - value[:, None]).abs().min() > 1e-5)
    each = head.weight.detach().double().unflatten(1, (head.centres_per_class, -1)).flatten(0, 1)
    all_cosines = longhand_compared.longhand.cosine(wide, each).unflatten(1, (-1, head.centres_per_class))
    best = all_cosines.topk(min(2, head.centres_per_class), dim=2).values
    return head.centres_per_class == 1 or bool((best[..., 0] - best[..., 1]).min() > 1e-5)


def assert_same(actual: tuple[Tensor | None, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    for mine, theirs in zip(actual, expected, strict=True):
        assert mine is not None
        assert (mine - theirs).norm() <= tolerance * theirs.norm()


def options_of(loss: str, data: st.DataObject) -> dict[str, Any]:
    """Drawn settings of a loss's own."""
    number = st.floats
    if loss == "adaface":
        return {
            "m": data.draw(number(0, 1.5)),
            "h": data.draw(number(0.05, 3)),
            "t_alpha": data.draw(number(0.01, 1)),
        }
    if loss == "magface":
        l_a = data.draw(number(2, 40))
        return {
            "l_a": l_a,
            "u_a": l_a + data.draw(number(10, 100)),
            "l_margin": data.draw(number(0, 0.7)),
            "u_margin": data.draw(number(0.7, 1.5)),
            "lambda_g": data.draw(number(0.1, 50) | st.just(0.0)),
        }
    if loss == "curricularface":
        return {"m": data.draw(number(0, 1.5)), "t_alpha": data.draw(number(0.01, 1))}
    return {"m": data.draw(number(0, 1.5)), "centres_per_class": data.draw(st.integers(1, 4))}


# The formulas.


@pytest.mark.parametrize("loss", COMPARED)
def test_defaults_are_those_of_the_paper(loss):
    head = heads.create(loss, CLASSES)
    for name, value in DEFAULTS[loss].items():
        assert getattr(head, name) == value
    assert (head.scale, head.past_pi, head.sample_rate, head.std) == (64, "monotone", 1, 0)
    assert head.weight.shape == (CLASSES, DEFAULTS[loss].get("centres_per_class", 1) * 512)
    assert {name: buffer.item() for name, buffer in head.named_buffers()} == START[loss]


@pytest.mark.parametrize("loss", COMPARED)
def test_heads_are_names_of_the_package(loss):
    assert getattr(elasticface, NAMES[loss]) is getattr(heads, NAMES[loss]) is heads.LOSSES[loss][0]


@pytest.mark.parametrize("loss", COMPARED)
@settings(max_examples=50)
@given(dtype=st.sampled_from([torch.float32, torch.float64]), data=st.data())
def test_loss_and_gradients_equal_longhand(loss, dtype, data):
    batch, classes, size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(4, 16)))
    own = options_of(loss, data)
    logits_bytes = batch * classes * own.get("centres_per_class", 1) * dtype.itemsize
    options = own | {
        "scale": data.draw(st.floats(1, 64)),
        "past_pi": data.draw(st.sampled_from(["monotone", "paper"])),
        "max_logits_bytes": data.draw(st.integers(1, 2 * logits_bytes) | st.just(1 << 30)),
    }
    chunk = data.draw(st.integers(1, logits_bytes))
    head, state = head_of(loss, classes, size, **options).to(dtype), dict(START[loss])
    for _ in range(2):  # statistics of the first batch are in the second's
        embeddings, labels = batch_of(data.draw(st.integers(0, 2**32)), batch, classes, size, dtype)
        drawn = torch.full((batch,), head.m, dtype=torch.float64)
        head.zero_grad()
        with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": chunk}):
            actual = head(embeddings, labels)
            actual.backward()
        assume(away_from_kinks(loss, head, embeddings, labels, drawn))
        expected = longhand_compared.loss_and_gradients(
            loss, embeddings, head.weight, labels, drawn, options["scale"], options["past_pi"], state, own
        )
        tolerance = 1e-12 if dtype == torch.float64 else 2e-5
        assert_same((actual.detach(), embeddings.grad, head.weight.grad), expected, tolerance)
        found = {name: buffer.item() for name, buffer in head.named_buffers()}
        assert found == pytest.approx(state, rel=tolerance, abs=tolerance / 10)  # t is a mean around 0


@pytest.mark.parametrize("budget", [1, 80, 1 << 30])
@pytest.mark.parametrize("loss", COMPARED)
def test_gradcheck(loss, budget):
    batch, classes, size = 3, 5, 4
    head = head_of(loss, classes, size, scale=4.0, max_logits_bytes=budget).double().eval()  # statistics stay
    for name, buffer in head.named_buffers():
        buffer.fill_({"batch_mean": 40.0, "batch_std": 20.0, "t": 0.3}[name])
    embeddings, labels = batch_of(0, batch, classes, size, torch.float64)
    detached_quality = loss == "adaface"  # a finite difference along the length would see ẑ change
    if detached_quality:
        head.h = 1e-9

    def of(inputs: Tensor, weight: Tensor) -> Tensor:
        with mock.patch.dict(head._parameters, {"weight": weight}):
            value: Tensor = head(inputs, labels)
            return value

    assert torch.autograd.gradcheck(of, (embeddings, head.weight))


@settings(max_examples=300)
@given(st.floats(-0.999, 0.999), st.floats(-0.3, 1.5), st.floats(-1, 1), st.sampled_from(["monotone", "paper"]))
def test_adaptive_margin_and_its_slope_are_those_of_the_acos_form(c, m, quality, past_pi):
    cosine, m, quality = (torch.tensor([v], dtype=torch.float64) for v in (c, m, quality))
    assume((cosine.acos() - m * quality).abs() > 1e-6)  # at the kinks rounding decides which side is meant
    assume((cosine.acos() - m * quality - math.pi).abs() > 1e-6)
    leaf = cosine.clone().requires_grad_()
    angle = leaf.acos() - m * quality
    expected = angle.cos()
    if past_pi == "monotone":
        expected = torch.where(angle > math.pi, leaf + (m * quality).cos() - 1, expected)
        expected = torch.where((angle < 0) & (m * quality > 0), 1, expected)
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    value, mine = margins.adaptive_margin(cosine, m, quality, past_pi)
    torch.testing.assert_close(value, (expected - m * quality - m).detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(mine, slope, rtol=1e-9, atol=1e-9)


@settings(max_examples=300)
@given(st.floats(-0.999, 0.999), st.floats(0, 3), st.sampled_from(["monotone", "paper"]))
def test_the_slope_by_the_margin_is_the_gradient_of_the_acos_form(c, m, past_pi):
    assume(abs(math.acos(c) + m - math.pi) > 1e-6)
    cosine, leaf = torch.tensor([c], dtype=torch.float64), torch.tensor([m], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(longhand_compared.longhand.arc(cosine, leaf, past_pi).sum(), leaf)
    torch.testing.assert_close(margins.arc_by_margin(cosine, leaf.detach(), past_pi), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("loss", COMPARED)
def test_a_head_says_what_it_is(loss):
    own = {"adaface": "m=0.4, scale=64, h=0.333", "magface": "u_a=110", "curricularface": "t_alpha=0.01"}
    assert own.get(loss, "m=0.5, scale=64, centres_per_class=3") in repr(head_of(loss))


# Running statistics.

STATISTICS = [loss for loss in COMPARED if START[loss]]


def statistics(head: MarginHead) -> dict[str, float]:
    return {name: buffer.item() for name, buffer in head.named_buffers()}


@pytest.mark.parametrize("loss", STATISTICS)
def test_evaluation_uses_the_statistics_and_leaves_them(loss):
    head, batch = head_of(loss, t_alpha=0.5), batch_of()
    trained = head(*batch)
    before = statistics(head)
    assert before != START[loss]
    head.eval()
    assert torch.equal(head(*batch), trained)
    assert statistics(head) == before


@pytest.mark.parametrize("loss", STATISTICS)
def test_a_loaded_head_goes_on_with_the_statistics_of_the_saved_one(loss):
    unbroken = head_of(loss, t_alpha=0.3)
    for seed in range(3):
        unbroken(*batch_of(seed))
    file = io.BytesIO()
    torch.save(unbroken.state_dict(), file)
    file.seek(0)
    resumed = head_of(loss, t_alpha=0.3)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 6):
        assert torch.equal(resumed(*batch_of(seed)), unbroken(*batch_of(seed)))
    assert statistics(resumed) == statistics(unbroken)


@pytest.mark.parametrize("loss", STATISTICS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_is_not_finite_leaves_the_statistics_and_is_not_hidden(loss, bad):
    head, (embeddings, labels) = head_of(loss), batch_of()
    embeddings.data[2, 3] = bad
    assert not head(embeddings, labels).isfinite()
    assert statistics(head) == pytest.approx(START[loss])


@pytest.mark.parametrize("loss", STATISTICS)
@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_backward_uses_the_statistics_of_its_own_forward(loss, budget):
    alone, later = (head_of(loss, t_alpha=0.5, max_logits_bytes=budget) for _ in range(2))
    (a, labels), (b, _) = batch_of(), batch_of()
    alone(a, labels).backward()
    first = later(b, labels)
    later(*batch_of(1))  # moves the statistics before the backward of the first
    first.backward()
    assert torch.equal(a.grad, b.grad)
    assert torch.equal(alone.weight.grad, later.weight.grad)


@pytest.mark.parametrize("loss", STATISTICS)
@pytest.mark.parametrize("reentrant", [True, False])
def test_statistics_that_would_move_again_in_a_recomputed_part_are_refused(loss, reentrant):
    head, (embeddings, labels) = head_of(loss), batch_of()
    value = checkpoint(head, embeddings, labels, use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match="moves its running statistics again"):
        value.backward()


# As any other head.


@pytest.mark.parametrize("loss", COMPARED)
def test_given_margins_replace_those_of_the_head_and_leave_the_counter(loss):
    head, (embeddings, labels) = head_of(loss).double(), batch_of(dtype=torch.float64)
    given_margins = torch.linspace(0, 1, BATCH).double()
    expected = longhand_compared.loss_and_gradients(
        loss, embeddings, head.weight, labels, given_margins, 64.0, "monotone", dict(START[loss]), DEFAULTS[loss]
    )
    actual = head(embeddings, labels, given_margins)
    actual.backward()
    assert_same((actual.detach(), embeddings.grad, head.weight.grad), expected, 1e-11)
    assert head.step == 0


@pytest.mark.parametrize("loss", COMPARED)
def test_sigma_and_plus_draw_the_margin_as_they_do_for_elastic_losses(loss):
    head, (embeddings, labels) = head_of(loss, std=0.1, plus=True).double(), batch_of(dtype=torch.float64)
    cosines = head.cosine(embeddings)[range(BATCH), labels]
    drawn = margins.assign_by_proximity(margins.draw(head.m, 0.1, BATCH, 0, 0), cosines)
    expected = longhand_compared.loss_and_gradients(
        loss, embeddings, head.weight, labels, drawn, 64.0, "monotone", dict(START[loss]), DEFAULTS[loss]
    )
    assert head(embeddings, labels).item() == pytest.approx(expected[0].item(), rel=1e-11)


@pytest.mark.parametrize("loss", COMPARED)
@pytest.mark.parametrize("budget", [1, 300, 1 << 30])
def test_sampled_loss_is_the_longhand_loss_over_the_sampled_classes(loss, budget):
    classes = 50
    head = head_of(loss, classes, scale=8.0, sample_rate=0.1, max_logits_bytes=budget).double()
    embeddings, labels = batch_of(classes=classes, dtype=torch.float64)
    value = head(embeddings, labels)
    value.backward()
    assert head.weight.grad is not None
    sampled, by_centres = rows_and_values(head.weight.grad)
    assert len(labels.unique()) < len(sampled) < classes
    drawn = torch.full((BATCH,), head.m, dtype=torch.float64)
    places = torch.searchsorted(sampled, labels)
    expected = longhand_compared.loss_and_gradients(
        loss, embeddings, head.weight[sampled], places, drawn, 8.0, "monotone", dict(START[loss]), DEFAULTS[loss]
    )
    assert_same((value.detach(), embeddings.grad, by_centres), expected, 1e-12)


@pytest.mark.parametrize("loss", COMPARED)
def test_second_backward_through_a_retained_graph_gives_the_same_bits(loss):
    head, (embeddings, labels) = head_of(loss), batch_of()
    for budget in (1, 150, 1 << 30):
        head.max_logits_bytes = budget
        value = head(embeddings, labels)
        first = torch.autograd.grad(value, (embeddings, head.weight), retain_graph=True)
        second = torch.autograd.grad(value, (embeddings, head.weight))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("loss", COMPARED)
@pytest.mark.parametrize("end", [1, -1])
@pytest.mark.parametrize("past_pi", ["monotone", "paper"])
def test_an_embedding_on_its_centre_or_opposite_or_zero_has_finite_loss_and_gradients(loss, end, past_pi):
    head, (embeddings, labels) = head_of(loss, past_pi=past_pi), batch_of()
    embeddings.data = end * 30 * head.weight.data[labels, :SIZE] / head.weight.data[labels, :SIZE].norm(dim=1)[:, None]
    embeddings.data[3] = 0
    value = head(embeddings, labels)
    value.backward()
    assert embeddings.grad is not None
    assert head.weight.grad is not None
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()
    assert (embeddings.grad[3] == 0).all()


@pytest.mark.parametrize("loss", COMPARED)
def test_one_class_has_no_loss_but_the_penalty(loss):
    head, (embeddings, labels) = head_of(loss, 1), batch_of(classes=1)
    value = head(embeddings, labels)
    value.backward()
    penalty = head.penalty(embeddings.norm(dim=1)).mean().item() if head.penalty else 0
    assert value.item() == pytest.approx(penalty)
    assert (head.weight.grad == 0).all()


@pytest.mark.parametrize("loss", COMPARED)
def test_autocast_to_bfloat16_changes_no_bit_of_float32(loss):
    plain, cast = head_of(loss), head_of(loss)
    (a, labels), (b, _) = batch_of(), batch_of()
    expected = plain(a, labels)
    expected.backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = cast(b, labels)
    actual.backward()
    assert torch.equal(actual, expected)
    assert torch.equal(a.grad, b.grad)
    assert torch.equal(plain.weight.grad, cast.weight.grad)


# Memory: as many numbers as logits, times the sub-centres; a D below B, so that a gradient of the centres is no B×C.


def created(loss: str, budget: int, chunk: int) -> tuple[Created, int]:
    """What a step makes, and the bytes of all its cosines."""
    head, (embeddings, labels) = head_of(loss, 500, 4, max_logits_bytes=budget), batch_of(0, 32, 500, 4)
    with mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": chunk}), Created() as memory:
        head(embeddings, labels).backward()
    return memory, 32 * 500 * 4 * head.centres_per_class


@pytest.mark.parametrize("loss", COMPARED)
def test_within_a_small_budget_nothing_of_the_size_of_the_cosines_is_made(loss):
    memory, cosines = created(loss, 6000, 6000)
    assert memory.of_at_least(cosines // 5) == []


@pytest.mark.parametrize("loss", COMPARED)
def test_one_matrix_is_all_that_is_ever_kept(loss):
    memory, cosines = created(loss, 1 << 30, 6000)
    assert memory.of_at_least(cosines // 3) == [cosines]


@pytest.mark.parametrize("share", [0.35, 0.5, 0.99])
@pytest.mark.parametrize("loss", COMPARED)
def test_kept_cosines_and_the_working_chunk_stay_within_the_budget_together(loss, share):
    _, cosines = created(loss, 6000, 6000)
    chunk, budget = cosines // 10, int(share * cosines)
    memory, _ = created(loss, budget, chunk)
    largest = max(memory.of_at_least(2 * chunk))
    assert budget - 3 * chunk < largest <= budget - chunk // 2


@pytest.mark.parametrize("option", ["momentum", "l_b"])
@pytest.mark.parametrize("loss", COMPARED)
def test_an_option_that_a_loss_does_not_have_is_named(loss, option):
    with pytest.raises(InputError, match=rf"^loss '{loss}' has no option {option}; there is .*\bscale\b"):
        heads.create(loss, CLASSES, **{option: 0.9})


WRONG = {
    "adaface": [{"h": 0.0}, {"t_alpha": 0.0}, {"t_alpha": 1.5}, {"m": -0.1}],
    "magface": [{"l_a": 0.0}, {"u_a": 9.0}, {"l_margin": -0.1}, {"u_margin": 0.4}, {"lambda_g": -1.0}],
    "curricularface": [{"t_alpha": 0.0}, {"m": 4.0}],
    "subcenter-arcface": [{"centres_per_class": 0}, {"m": -1.0}],
}


@pytest.mark.parametrize(("loss", "options"), [(loss, wrong) for loss in COMPARED for wrong in WRONG[loss]], ids=str)
def test_an_argument_out_of_its_range_is_named(loss, options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        head_of(loss, **options)
