"""elasticface.heads.head: the seven losses against the longhand formula, and the state that keys their draws."""

import io
import math
from typing import Any

import longhand
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import elasticface
from elasticface import heads
from elasticface.base.errors import InputError
from elasticface.heads import margins
from elasticface.heads.head import ArcFace, CosFace, ElasticArcFace, ElasticCosFace, MarginHead, NormFace
from elasticface.heads.row_sparse import rows_and_values

# The paper's table: loss -> (kind, m, σ, "+"). Scale is 64 for all.
PAPER = {
    "arcface": ("arc", 0.50, 0.0, False),
    "cosface": ("cos", 0.35, 0.0, False),
    "normface": ("cos", 0.0, 0.0, False),
    "elastic-arc": ("arc", 0.50, 0.05, False),
    "elastic-cos": ("cos", 0.35, 0.05, False),
    "elastic-arc+": ("arc", 0.50, 0.0175, True),
    "elastic-cos+": ("cos", 0.35, 0.025, True),
}
ELASTIC = ["elastic-arc", "elastic-cos", "elastic-arc+", "elastic-cos+"]
FIXED = ["arcface", "cosface", "normface"]
BATCH, CLASSES, SIZE = 6, 11, 8


def head_of(loss: str = "elastic-arc", classes: int = CLASSES, size: int = SIZE, **options: Any) -> MarginHead:
    torch.manual_seed(0)
    return heads.create(loss, classes, size, **options)


def batch_of(
    seed: int = 0, batch: int = BATCH, classes: int = CLASSES, size: int = SIZE, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, size, generator=generator, dtype=torch.float64).to(dtype)
    return embeddings.requires_grad_(), torch.randint(classes, (batch,), generator=generator)


def losses(head: nn.Module, steps: int, first: int = 0) -> list[float]:
    return [head(*batch_of(seed)).item() for seed in range(first, first + steps)]


def same_bits(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


# The losses.


@pytest.mark.parametrize("loss", PAPER)
def test_a_loss_name_has_the_papers_margin_and_sigma(loss):
    head = heads.create(loss, CLASSES)
    assert (head.kind, head.m, head.std, head.plus) == PAPER[loss]
    assert (head.scale, head.order, head.past_pi, head.sample_rate) == (64, "paper", "monotone", 1)
    assert head.weight.shape == (CLASSES, 512)
    assert head.weight.requires_grad


@pytest.mark.parametrize("options", [{}, {"centre_std": 0.01}, {"centre_std": 0.5}], ids=str)
def test_centres_start_normal_with_the_sigma_asked_for(options):
    weight = head_of(classes=1000, size=64, **options).weight
    assert weight.mean().item() == pytest.approx(0, abs=0.02 * options.get("centre_std", 0.01))
    assert weight.std().item() == pytest.approx(options.get("centre_std", 0.01), rel=0.02)


def test_the_names_are_all_there_are():
    assert list(heads.LOSSES)[: len(PAPER)] == list(PAPER)


@settings(max_examples=200)
@given(dtype=st.sampled_from([torch.float32, torch.float64]), data=st.data())
def test_loss_and_gradients_equal_longhand(dtype, data):
    loss = data.draw(st.sampled_from(list(PAPER)))
    batch, classes, size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(4, 16)))
    options = {
        "scale": data.draw(st.floats(1, 64)),
        "seed": data.draw(st.integers(0, 2**63 - 1)),
        "past_pi": data.draw(st.sampled_from(["monotone", "paper"])),
        "max_logits_bytes": data.draw(st.integers(1, 2 * batch * classes * dtype.itemsize) | st.just(1 << 30)),
    }
    kind, m, std, plus = PAPER[loss]
    if loss != "normface":
        options["m"] = m = data.draw(st.floats(0, 1.5))
    if loss in ELASTIC:
        options["std"] = std = data.draw(st.floats(0, 0.2))
        options["order"] = data.draw(st.sampled_from(["paper", "release"]))
    step = data.draw(st.integers(0, 2**40))

    embeddings, labels = batch_of(data.draw(st.integers(0, 2**32)), batch, classes, size, dtype)
    head = head_of(loss, classes, size, **options).to(dtype)
    head.step = step
    target = longhand.target_cosine(embeddings, head.weight, labels).detach()
    drawn = margins.draw(m, std, batch, options["seed"], step)
    if plus:
        drawn = margins.assign_by_proximity(drawn, target, options["order"])
    assume(target.abs().max() < 0.95)  # acos loses its digits towards ±1, in the longhand formula as well
    if kind == "arc":  # and at its kinks rounding decides which side is meant
        assume((target.acos() + drawn - math.pi).abs().min() > 1e-4)

    actual = head(embeddings, labels)
    actual.backward()
    expected = longhand.loss_and_gradients(
        embeddings, head.weight, labels, drawn, kind, options["scale"], options["past_pi"]
    )
    assert head.step == step + 1
    for mine, theirs in zip((actual.detach(), embeddings.grad, head.weight.grad), expected, strict=True):
        assert mine is not None
        assert mine.dtype == dtype
        assert (mine - theirs).norm() <= (1e-12 if dtype == torch.float64 else 1e-5) * theirs.norm()


@pytest.mark.parametrize(("head", "loss"), [(ArcFace, "arcface"), (CosFace, "cosface"), (NormFace, "normface")])
def test_elastic_without_sigma_is_the_fixed_margin(head, loss):
    torch.manual_seed(0)
    fixed = head(CLASSES, SIZE)
    elastic = head_of("elastic-arc" if loss == "arcface" else "elastic-cos", m=PAPER[loss][1], std=0.0)
    assert losses(fixed, 3) == losses(elastic, 3)


def test_heads_are_names_of_the_package():
    assert elasticface.ElasticArcFace is ElasticArcFace
    assert elasticface.ElasticCosFace is ElasticCosFace
    assert elasticface.ArcFace is ArcFace
    assert elasticface.CosFace is CosFace
    assert elasticface.NormFace is NormFace


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_equals_longhand_and_is_differentiable(dtype):
    head = head_of().to(dtype)
    embeddings, _ = batch_of(dtype=dtype)
    upstream = torch.randn(BATCH, CLASSES, dtype=dtype, generator=torch.Generator().manual_seed(5))
    expected = longhand.cosine(embeddings, head.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = head.cosine(embeddings)
    assert actual.dtype == dtype
    inputs = (embeddings, head.weight)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)
    for mine, theirs in zip(
        torch.autograd.grad(actual, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream.double()),
        strict=True,
    ):
        assert (mine - theirs).norm() <= tolerance * theirs.norm()


def test_cosine_with_a_zero_embedding_is_zero():
    embeddings = torch.zeros(1, SIZE, requires_grad=True)
    cosines = head_of().cosine(embeddings)
    assert (cosines == 0).all()
    cosines.sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


# Draws and the counter that keys them.


@pytest.mark.parametrize("order", ["paper", "release"])
@pytest.mark.parametrize("loss", ELASTIC)
def test_draw_margins_are_those_of_the_next_forward(loss, order):
    head, (embeddings, labels) = head_of(loss, order=order), batch_of()
    for _ in range(3):
        given_out = head.draw_margins(head.cosine(embeddings)[range(BATCH), labels])
        expected = head(embeddings, labels, given_out)
        assert torch.equal(head(embeddings, labels), expected)


def test_plus_gives_the_smallest_cosine_the_largest_margin():
    target_cosines = torch.tensor([0.3, -0.2, 0.9, 0.1])
    given_out = head_of("elastic-arc+").draw_margins(target_cosines)
    assert given_out[[1, 3, 0, 2]].diff().max() < 0
    assert torch.equal(given_out.sort().values, margins.draw(0.5, 0.0175, 4, 0, 0).float().sort().values)


@pytest.mark.parametrize("loss", ELASTIC)
def test_every_step_draws_anew_and_a_head_of_the_same_seed_draws_the_same(loss):
    head, (embeddings, labels) = head_of(loss), batch_of()
    values = [head(embeddings, labels).item() for _ in range(5)]
    assert len(set(values)) == 5
    torch.manual_seed(123)
    again = head_of(loss)
    torch.manual_seed(456)
    assert [again(embeddings, labels).item() for _ in range(5)] == values
    assert head_of(loss, seed=1)(embeddings, labels).item() not in values


@pytest.mark.parametrize("loss", PAPER)
def test_given_margins_replace_the_drawn_and_leave_the_counter(loss):
    head, (embeddings, labels) = head_of(loss, scale=16.0), batch_of()
    given_margins = torch.linspace(0, 1, BATCH)
    expected = longhand.loss(embeddings, head.weight, labels, given_margins, PAPER[loss][0], 16.0)
    actual = head(embeddings, labels, given_margins.double().requires_grad_())
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)
    assert head.step == 0


def test_evaluation_leaves_the_counter():
    head, (embeddings, labels) = head_of().eval(), batch_of()
    with torch.no_grad():
        first = head(embeddings, labels)
        assert torch.equal(head(embeddings, labels), first)
    assert head.step == 0
    after = head.train()(embeddings, labels)
    assert torch.equal(after, first)
    after.backward()
    assert embeddings.grad is not None
    assert head.step == 1


def test_margin_factor_takes_the_margin_from_none_to_full():
    head, plain, (embeddings, labels) = head_of("elastic-cos"), head_of("normface"), batch_of()
    full = head.draw_margins(torch.zeros(BATCH))
    head.margin_factor = 0.5
    torch.testing.assert_close(head.draw_margins(torch.zeros(BATCH)), full / 2)
    head.margin_factor = 0.0
    assert torch.equal(head(embeddings, labels), plain(embeddings, labels))


@pytest.mark.parametrize("seed", [0, 7])
def test_a_loaded_head_goes_on_with_the_draws_of_the_saved_one(seed):
    unbroken = head_of(seed=3, sample_rate=0.5)
    losses(unbroken, 4)
    file = io.BytesIO()
    torch.save(unbroken.state_dict(), file)
    file.seek(0)
    resumed = head_of(seed=seed, sample_rate=0.5)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert (resumed.seed, resumed.step) == (3, 4)
    assert losses(resumed, 3, first=4) == losses(unbroken, 3, first=4)


# Under autograd, autocast and the compiler.


def test_accumulated_gradients_are_the_sum():
    head, separate = head_of().double(), []
    for seed in range(3):
        embeddings, labels = batch_of(seed, dtype=torch.float64)
        head.step = seed
        separate.append(torch.autograd.grad(head(embeddings, labels), head.weight)[0])
    head.step = 0
    for seed in range(3):
        head(*batch_of(seed, dtype=torch.float64)).backward()
    torch.testing.assert_close(head.weight.grad, sum(separate), rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", PAPER)
def test_autocast_to_bfloat16_changes_no_bit_of_float32(loss):
    plain, cast = head_of(loss), head_of(loss)
    (a, labels), (b, _) = batch_of(), batch_of()
    expected = plain(a, labels)
    expected.backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = cast(b, labels)
    actual.backward()
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
    assert same_bits(b.grad, a.grad)
    assert same_bits(cast.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_are_computed_in_float32(dtype):
    embeddings, labels = batch_of(dtype=dtype)
    wide = embeddings.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = head_of()(embeddings, labels)
    actual.backward()
    assert torch.equal(actual, head_of()(wide, labels))
    assert embeddings.grad is not None
    assert embeddings.grad.dtype == dtype


def test_float64_embeddings_give_a_float64_loss_and_their_centres_a_float32_gradient():
    head, (embeddings, labels) = head_of(), batch_of(dtype=torch.float64)
    loss = head(embeddings, labels)
    loss.backward()
    assert loss.dtype == torch.float64
    assert head.weight.grad is not None
    assert head.weight.grad.dtype == torch.float32


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(5, 16), nn.PReLU(), nn.Linear(16, SIZE))
        self.head = head_of()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.head(self.backbone(images), labels)
        return loss


@pytest.mark.parametrize("what", ["backbone", "model"])
def test_compiled_gives_what_eager_gives(what):
    eager, compiled = Model(), Model()
    # "eager" runs the captured graph as it is: what is tried is the capture, and it needs no C++ compiler
    if what == "backbone":
        compiled.backbone = torch.compile(compiled.backbone, backend="eager")
        run = compiled
    else:
        run = torch.compile(compiled, backend="eager", fullgraph=False)
    images, labels = torch.randn(BATCH, 5, generator=torch.Generator().manual_seed(1)), batch_of()[1]
    for _ in range(3):
        expected, actual = eager(images, labels), run(images, labels)
        expected.backward()
        actual.backward()
        assert torch.equal(actual, expected)
    assert compiled.head.step == 3
    for mine, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


# Sampled classes.


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_sampled_loss_is_the_longhand_loss_over_the_sampled_classes(rate):
    classes = 50
    head = head_of("arcface", classes, scale=8.0, sample_rate=rate).double()
    embeddings, labels = batch_of(classes=classes, dtype=torch.float64)
    loss = head(embeddings, labels)
    loss.backward()
    assert head.weight.grad is not None
    sampled, by_centres = rows_and_values(head.weight.grad)
    positives = labels.unique()
    assert set(positives.tolist()) <= set(sampled.tolist())
    assert len(sampled) == len(positives) + math.ceil(rate * (classes - len(positives)))
    expected = longhand.loss_and_gradients(
        embeddings, head.weight[sampled], torch.searchsorted(sampled, labels), torch.full((BATCH,), 0.5), "arc", 8.0
    )
    for mine, theirs in zip((loss, embeddings.grad, by_centres), expected, strict=True):
        assert mine is not None
        assert (mine - theirs).norm() <= 1e-12 * theirs.norm()


def sampled_classes(head: MarginHead, *, advance: bool) -> list[int]:
    embeddings, labels = batch_of(classes=head.num_classes)
    loss = head(embeddings, labels) if advance else head(embeddings, labels, torch.zeros(BATCH))
    (gradient,) = torch.autograd.grad(loss, head.weight)
    if head.sample_rate == 1:
        return gradient.norm(dim=1).nonzero()[:, 0].tolist()  # type: ignore[no-any-return]
    classes: list[int] = rows_and_values(gradient)[0].tolist()
    return classes


def test_the_sample_is_keyed_by_seed_and_step():
    head, again, other = (head_of(classes=200, scale=4.0, sample_rate=0.3, seed=seed) for seed in (0, 0, 1))
    first = sampled_classes(head, advance=False)
    assert sampled_classes(head, advance=True) == first
    assert sampled_classes(again, advance=True) == first
    assert sampled_classes(head, advance=True) == sampled_classes(again, advance=True) != first
    assert sampled_classes(other, advance=True) != first


def test_every_class_is_sampled_in_turn():
    head = head_of(classes=40, scale=4.0, sample_rate=0.3)
    seen = [sampled_classes(head, advance=True) for _ in range(40)]
    positives = len(set(batch_of(classes=40)[1].tolist()))
    assert {len(classes) for classes in seen} == {positives + math.ceil(0.3 * (40 - positives))}
    assert set().union(*seen) == set(range(40))


def test_sample_rate_one_is_the_exact_loss_to_the_bit():
    exact, sampled, (embeddings, labels) = head_of(), head_of(sample_rate=1.0), batch_of()
    assert torch.equal(exact(embeddings, labels), sampled(embeddings, labels))
    assert sampled_classes(sampled, advance=True) == list(range(CLASSES))


# What is wrong is refused.


@pytest.mark.parametrize("wrong", [-1, -(2**40), CLASSES, 2**62])
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_a_label_out_of_range_is_named(wrong, rate):
    head, (embeddings, labels) = head_of(sample_rate=rate), batch_of()
    labels[2] = wrong
    with pytest.raises(ValueError, match=rf"label {wrong} is outside 0\.\.10"):
        head(embeddings, labels)
    assert head.step == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_any_integer_type_serves_for_labels(dtype):
    embeddings, labels = batch_of()
    assert torch.equal(head_of()(embeddings, labels.to(dtype)), head_of()(embeddings, labels))


@pytest.mark.parametrize(
    ("embeddings", "labels", "given_margins", "message"),
    [
        ((6, 7), (6,), None, r"embeddings must be \[6, 8\] for these labels, got \[6, 7\]"),
        ((5, 8), (6,), None, r"embeddings must be \[6, 8\] for these labels, got \[5, 8\]"),
        ((8,), (1,), None, r"embeddings must be \[1, 8\] for these labels, got \[8\]"),
        ((6, 8), (6, 1), None, r"labels must be \[B\] with B >= 1, got \[6, 1\]"),
        ((6, 8), (), None, r"labels must be \[B\] with B >= 1, got \[\]"),
        ((0, 8), (0,), None, r"labels must be \[B\] with B >= 1, got \[0\]"),
        ((6, 8), (6,), (5,), r"margins must be \[6\], one per label"),
        ((6, 8), (6,), (6, 1), r"margins must be \[6\], one per label"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(embeddings, labels, given_margins, message):
    with pytest.raises(ValueError, match=message):
        head_of()(
            torch.ones(embeddings),
            torch.zeros(labels, dtype=torch.int64),
            None if given_margins is None else torch.zeros(given_margins),
        )


def test_labels_that_are_no_integers_are_refused():
    embeddings, labels = batch_of()
    with pytest.raises(ValueError, match=r"labels must be integers, got torch\.float32"):
        head_of()(embeddings, labels.float())


@pytest.mark.parametrize(
    "options",
    [
        {"m": -0.1},
        {"m": math.pi},
        {"m": math.nan},
        {"std": -0.1},
        {"std": math.inf},
        {"order": "other"},
        {"scale": 0.0},
        {"scale": math.inf},
        {"seed": -1},
        {"past_pi": "other"},
        {"max_logits_bytes": 0},
        {"sample_rate": 0.0},
        {"sample_rate": 1.1},
        {"centre_std": 0.0},
        {"num_classes": 0},
        {"embedding_size": 0},
    ],
    ids=str,
)
def test_an_argument_out_of_its_range_is_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        ElasticArcFace(**{"num_classes": CLASSES, "embedding_size": SIZE, **options})


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown loss 'softmax'.* arcface, cosface, normface, elastic-arc, "):
        heads.create("softmax", CLASSES)


@pytest.mark.parametrize("loss", PAPER)
def test_an_unknown_option_is_an_input_error(loss):
    with pytest.raises(InputError, match=f"loss '{loss}'.*momentum".replace("+", r"\+")):
        heads.create(loss, CLASSES, momentum=0.9)


@pytest.mark.parametrize("options", [{"std": 0.05}, {"plus": True}, {"order": "release"}], ids=str)
@pytest.mark.parametrize("loss", FIXED)
def test_a_fixed_margin_has_no_sigma_and_no_plus(loss, options):
    with pytest.raises(InputError, match=f"loss '{loss}'"):
        heads.create(loss, CLASSES, **options)


def test_a_head_says_what_it_is():
    assert "11, 8, arc, m=0.5, scale=64, std=0.0175, plus=True, order='paper'" in repr(head_of("elastic-arc+"))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("options", [{"std": 0.05}, {"std": 0.0, "sample_rate": 0.5}])
def test_a_head_that_would_draw_again_in_a_recomputed_part_is_refused(reentrant, options):
    head = heads.ElasticArcFace(20, 4, **options)
    embeddings = torch.randn(6, 4, requires_grad=True)
    loss = checkpoint(head, embeddings, torch.arange(6), use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match="draws other margins when it is computed again"):
        loss.backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_fixed_margin_that_is_recomputed_gives_the_same_gradients_and_counts_one_step(reentrant):
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        head, embeddings = heads.ArcFace(20, 4), torch.randn(6, 4, requires_grad=True)
        inputs = embeddings, torch.arange(6)
        (checkpoint(head, *inputs, use_reentrant=reentrant) if recompute else head(*inputs)).backward()
        assert head.step == 1
        gradients.append(embeddings.grad)
    assert torch.equal(*gradients)


def test_a_weight_of_fewer_rows_than_classes_is_refused():
    head = heads.ArcFace(10, 4)
    head.weight = torch.nn.Parameter(torch.randn(5, 4))
    with pytest.raises(ValueError, match="weight has 5 rows where this process has 10 of the 10 classes"):
        head(torch.randn(3, 4), torch.tensor([0, 1, 7]))


def test_the_mean_target_cosine_is_that_of_the_last_batch():
    head, embeddings, labels = heads.CosFace(10, 4), torch.randn(6, 4), torch.arange(6)
    head(embeddings, labels)
    expected = head.cosine(embeddings)[torch.arange(6), labels].mean()
    torch.testing.assert_close(head.target_cosine, expected)
