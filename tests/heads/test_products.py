"""Large products with short operands: loss and gradients within their bounds of the longhand formula in float64."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import longhand
import on_processes
import pytest
import sharded_heads
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sharded_heads import Case
from torch import Tensor

from elasticface import heads
from elasticface.base.errors import InputError
from elasticface.heads import chunks, products, softmax
from elasticface.heads.products import Products
from elasticface.heads.row_sparse import rows_and_values
from elasticface.training.config import TrainConfig
from elasticface.training.processes import Launch, _device

LOSS, GRADIENTS = 1e-5, 5e-3  # what docs/heads.md promises for 512-d
SMALL, OF_SMALL = 0.1, 3e-5  # a loss so small has the rounding of its few hardest logits
SMALL_SUM, OF_ONE_LOGIT = 6.4, 5e-5  # a sum over the batch so small may have that of a single one
seeds = st.integers(0, 2**32 - 1)
# How near an embedding lies to its centre, cos θ_y from where to where, and the share of those that do.
TRAINED = {"new": (0, 0, 0), "half trained": (0.3, 0.7, 0.8), "trained": (0.5, 0.9, 0.95), "converged": (0.8, 0.95, 1)}


class OnGpu(Products):
    """What a GPU makes of them, by operands that are cut to its bits and multiplied in float32."""

    _splits = True  # type: ignore[assignment]

    def product(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        if self.kind == "tf32":  # tensor cores don't read the bits beyond
            a, b = ((t.contiguous().view(torch.int32) & -1 << 13).view(torch.float32) for t in (a, b))
        return torch.mm(a, b, out=out)


PLACES = ["here", "CPU with bfloat16", "GPU with bfloat16", "GPU with TF32"]


@contextmanager
def made_in(place: str) -> Iterator[None]:
    """The products are made as they are in this place."""
    with ExitStack() as stack:
        if place == "CPU with bfloat16":
            stack.enter_context(mock.patch.object(products, "cpu_has_bfloat16", return_value=True))
        if place.startswith("GPU"):
            # What it rounds is float32 for :class:`OnGpu`, also where this CPU has bfloat16.
            stack.enter_context(mock.patch.object(products, "cpu_has_bfloat16", return_value=False))
            stack.enter_context(mock.patch.object(softmax, "Products", OnGpu))
            stack.enter_context(mock.patch.object(softmax, "problem_with", return_value=""))
        yield


def option_of(place: str) -> dict[str, Any]:
    return {"head_products": "tf32" if place.endswith("TF32") else "bfloat16"}


def problem(
    batch: int, classes: int, size: int, seed: int, lowest: float, highest: float, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, centres and labels. A quarter of the classes look like another one each."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, size, generator=generator, dtype=torch.float64)
    weight[: classes // 4] += weight[classes // 4 : classes // 4 * 2] / 2
    labels = torch.randint(classes, (batch,), generator=generator)
    embeddings = torch.randn(batch, size, generator=generator, dtype=torch.float64)
    near = torch.rand(batch, generator=generator) < share
    cosines = torch.empty(int(near.sum()), 1, dtype=torch.float64).uniform_(lowest, highest, generator=generator)
    own, aside = (torch.nn.functional.normalize(t[near]) for t in (weight[labels], embeddings))
    embeddings[near] = cosines * own + (1 - cosines**2).sqrt() * aside
    return embeddings.float(), weight.float(), labels


def found(head: heads.MarginHead, embeddings: Tensor, labels: Tensor, **given: Tensor) -> list[Tensor]:
    embeddings = embeddings.clone().requires_grad_()
    loss = head(embeddings, labels, **given)
    return [loss.detach(), *torch.autograd.grad(loss, (embeddings, head.weight))]


def assert_within(actual: list[Tensor], expected: Any, loss: float = LOSS, gradients: float = GRADIENTS) -> None:
    for mine, theirs, bound in zip(actual, expected, (loss, gradients, gradients), strict=True):
        assert mine.dtype == torch.float32
        assert (mine.double() - theirs).norm() <= bound * theirs.norm()


@cache
def of_real_size(batch: int, classes: int, trained: str) -> tuple[tuple[Tensor, Tensor, Tensor], Any]:
    """A problem, and its loss and gradients by the formula in float64."""
    embeddings, weight, labels = problem(batch, classes, 512, 0, *TRAINED[trained])
    margins = torch.full((batch,), 0.5)
    return (embeddings, weight, labels), longhand.loss_and_gradients(embeddings, weight, labels, margins, "arc", 64.0)


@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("place", PLACES)
def test_loss_and_gradients_of_a_real_size_are_within_their_bounds(place, trained):
    # A CPU without bfloat16 of its own takes seconds for a larger product.
    batch, classes = (64, 2048) if place == "CPU with bfloat16" else (256, 2048)
    (embeddings, weight, labels), expected = of_real_size(batch, classes, trained)
    head = heads.ArcFace(classes, 512, max_logits_bytes=batch * classes * 2, **option_of(place))
    head.weight.data = weight
    with made_in(place):
        actual = found(head, embeddings, labels)
    assert_within(actual, expected, LOSS if expected[0] > SMALL else OF_SMALL)


@settings(max_examples=25)
@given(st.data(), st.integers(8, 64), st.integers(100, 600), st.sampled_from(PLACES), st.sampled_from(list(TRAINED)))
def test_bounds_hold_whatever_the_shape_and_the_memory(data, batch, classes, place, trained):
    embeddings, weight, labels = problem(batch, classes, 128, data.draw(seeds), *TRAINED[trained])
    head = heads.CosFace(
        classes, 128, max_logits_bytes=data.draw(st.integers(1, 4 * batch * classes)), **option_of(place)
    )
    head.weight.data = weight
    with (
        made_in(place),
        mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": data.draw(st.integers(2000, 4 * batch * classes))}),
    ):
        actual = found(head, embeddings, labels)
    expected = longhand.loss_and_gradients(embeddings, weight, labels, torch.full((batch,), 0.35), "cos", 64.0)
    # The rounding of a logit goes with 1/√D, and D is a quarter here.
    assert_within(actual, expected, 2 * (LOSS if batch * expected[0] > SMALL_SUM else OF_ONE_LOGIT))


@pytest.mark.parametrize("loss", heads.LOSSES)
@pytest.mark.parametrize("place", PLACES)
def test_every_head_is_within_the_bounds(place, loss):
    case = Case(loss, (48,), "float32", classes=300, size=128, options=option_of(place))
    with made_in(place):
        steps = sharded_heads.on_one(case)
    for actual, expected in zip(steps, sharded_heads.by_longhand(case), strict=True):
        assert_within(*([result[what] for what in ("loss", "embeddings", "weight")] for result in (actual, expected)))


@pytest.mark.parametrize("loss", ["arcface", "curricularface", "subcenter-arcface"])
@pytest.mark.parametrize("place", PLACES)
def test_sampled_negatives_are_within_the_bounds(place, loss):
    case = Case(loss, (48,), "float32", classes=600, size=128, options=option_of(place) | {"sample_rate": 0.3})
    with made_in(place):
        steps = sharded_heads.on_one(case)
    classes = [rows_and_values(step["weight"])[0] for step in steps]
    for actual, expected in zip(steps, sharded_heads.by_longhand(case, classes), strict=True):
        mine = [actual["loss"], actual["embeddings"], rows_and_values(actual["weight"])[1]]
        assert_within(mine, [expected[what] for what in ("loss", "embeddings", "weight")])


@pytest.mark.parametrize("budget", [1000, 25_000])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loss", ["arcface", "curricularface", "subcenter-arcface"])
def test_what_is_computed_again_in_backward_is_what_forward_had(loss, place, budget):
    embeddings, weight, labels = problem(32, 300, 64, 0, *TRAINED["trained"])
    torch.manual_seed(0)
    head = heads.create(loss, 300, 64, max_logits_bytes=budget, **option_of(place))
    head.weight.data = torch.cat([weight] * head.centres_per_class, 1) + 50 * head.weight.data  # sub-centres apart
    with made_in(place), mock.patch.dict(chunks._CHUNK_BYTES, {"cpu": 20_000}):
        actual = found(head, embeddings, labels)
        head.max_logits_bytes = 1 << 30
        kept = found(head.eval(), embeddings, labels)
    # In chunks of another width a last bit of a logit is another, and with it, here and there, the rounding.
    assert_within(actual, [t.double() for t in kept], 1e-6, 2e-3)


def cases_of(size: int) -> list[Case]:
    """Heads over processes: exact, with negatives that change, with sub-centres, and sampled."""
    big: dict[str, Any] = {"dtype": "float32", "classes": 300, "size": 128}
    losses = "elastic-arc+", "curricularface", "subcenter-arcface"
    option: dict[str, Any] = {"head_products": "bfloat16"}
    shares = {2: (14, 18), 3: (10, 0, 22)}[size]
    exact = [Case(loss, shares, **big, options=option) for loss in losses]
    return exact + [replace(case, options=option | {"sample_rate": 0.4}) for case in exact]


@pytest.mark.parametrize("size", [2, 3])
def test_sharded_heads_are_within_the_bounds(size):
    cases = cases_of(size)
    found = on_processes.run(sharded_heads.compared, size, sharded_heads.as_plain(cases))
    for number, case in enumerate(cases):
        steps = [list(parts) for parts in zip(*(own[number] for own in found), strict=True)]
        width, classes = -(-case.classes // size), None
        if "sample_rate" in case.options:
            classes = [torch.cat([part["rows"] + n * width for n, part in enumerate(parts)]) for parts in steps]
        for parts, expected in zip(steps, sharded_heads.by_longhand(case, classes), strict=True):
            assert len({part["loss"].item() for part in parts}) == 1
            mine = sharded_heads.joined(parts)
            assert_within(*([result[what] for what in ("loss", "embeddings", "weight")] for result in (mine, expected)))


# What there is not.


def test_products_that_the_device_does_not_have_are_refused_in_one_line():
    head = heads.ArcFace(9, 8, head_products="tf32")
    with pytest.raises(ValueError, match='head_products="tf32" needs an NVIDIA GPU, not cpu: use "float32" or "bf'):
        head(torch.ones(2, 8), torch.tensor([0, 1]))
    assert head.step == 0


@pytest.mark.parametrize("capability", [(7, 5), (8, 0)])
@pytest.mark.parametrize("kind", ["bfloat16", "tf32"])
def test_a_gpu_of_before_ampere_has_none(kind, capability):
    with mock.patch.object(torch.cuda, "get_device_capability", return_value=capability):
        refused = products.problem_with(kind, torch.device("cuda"))
    assert ("compute capability 8 or more" in refused) == (capability[0] < 8)


@pytest.mark.parametrize("which", ["embeddings", "weight"])
def test_float64_is_refused(which):
    head = heads.ArcFace(9, 8, head_products="bfloat16")
    embeddings = torch.ones(2, 8, dtype=torch.float64 if which == "embeddings" else torch.float32)
    with pytest.raises(ValueError, match='goes with float32: give no float64, or head_products="float32"'):
        (head.double() if which == "weight" else head)(embeddings, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_products": "bfloat16", "scale": 128.0}, "with a scale of 128, for which the head computes in float64"),
        ({"head_products": "half"}, "head_products must be one of float32, bfloat16, tf32, got 'half'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        heads.ArcFace(9, 8, **options)


def test_training_refuses_what_its_head_would():
    with pytest.raises(InputError, match="head_products must be float32 with precision 64, got 'bfloat16'"):
        TrainConfig(head_products="bfloat16", precision="64")
    with pytest.raises(InputError, match='head_products="tf32" needs an NVIDIA GPU, not cpu'):
        _device(TrainConfig(head_products="tf32", device="cpu"), Launch())


@pytest.mark.parametrize("loss", heads.LOSSES)
def test_every_loss_takes_it_from_the_settings_of_a_training(loss):
    config = TrainConfig(loss=loss, head_products="bfloat16")
    head = heads.create(loss, 9, 8, **config.head_options())
    assert head.head_products == "bfloat16"
    assert "head_products='bfloat16'" in repr(head)


# Torch's setting for TF32.


@pytest.mark.parametrize("before", ["ieee", "tf32"])
def test_torchs_setting_is_back_after_a_product_also_after_an_error(before):
    matmul = torch.backends.cuda.matmul
    at_start, matmul.fp32_precision = matmul.fp32_precision, before
    try:
        with products._matmul_precision("tf32"):
            assert matmul.fp32_precision == "tf32"
            assert torch.backends.mkldnn.matmul.fp32_precision != "tf32"
        assert matmul.fp32_precision == before
        with pytest.raises(RuntimeError):
            Products("tf32", torch.device("cpu")).product(torch.ones(2, 3), torch.ones(2, 3))
        assert matmul.fp32_precision == before
    finally:
        matmul.fp32_precision = at_start


def test_threads_leave_torchs_setting_as_it_was():
    matmul = torch.backends.cuda.matmul
    before, made = matmul.fp32_precision, Products("tf32", torch.device("cpu"))

    def work() -> None:
        for _ in range(300):
            made.product(torch.ones(2, 2), torch.ones(2, 2))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert matmul.fp32_precision == before


@pytest.mark.parametrize("value", [1 + 2**-11, -1 - 2**-11, 1 + 2**-12, 1.0, 0.0, -3e-39, 6e37, torch.inf])
def test_tf32_numbers_are_the_nearest_with_ten_bits_after_the_point(value):
    (rounded,) = products._rounded_to_tf32(torch.tensor([value])).tolist()
    bits = torch.tensor([rounded]).view(torch.int32).item()
    assert bits % (1 << 13) == 0
    assert rounded == value or abs(rounded - value) <= max(abs(value) * 2**-11, 2**-137)
