"""Heads over two and three processes: the loss and the gradients of one process, and of the longhand."""

import itertools
import math
from typing import Any

import longhand
import on_processes
import pytest
import sharded_heads
import torch
from heads.test_head import ELASTIC, PAPER
from sharded_heads import Case
from torch import Tensor

UNEVEN = {2: (3, 6), 3: (4, 1, 3)}
SOME_EMPTY = {2: (0, 7), 3: (5, 0, 0)}


def cases_of(size: int) -> dict[str, Case]:
    """By what they show. In float32 sums are long enough for their rounding to be that of a real head."""
    cases = {
        f"{loss} {order} {dtype}": Case(
            loss,
            UNEVEN[size],
            dtype,
            **({"classes": 200, "size": 128} if dtype == "float32" else {}),  # type: ignore[arg-type]
            options={"order": order} if loss in ELASTIC else {},
        )
        for loss, order, dtype in itertools.product(PAPER, ("paper", "release"), ("float32", "float64"))
        if loss in ELASTIC or order == "paper"
    }
    return cases | {
        "parts of the batch that are empty": Case("elastic-arc+", SOME_EMPTY[size]),
        "expected draws": Case("elastic-arc+", UNEVEN[size], options={"draws": "expected"}),
        "expected draws, parts that are empty": Case("elastic-cos+", SOME_EMPTY[size], options={"draws": "expected"}),
        "expected draws, float32": Case(
            "elastic-arc", UNEVEN[size], "float32", classes=200, size=128, options={"draws": "expected"}
        ),
        "fewer classes than processes": Case("elastic-cos+", UNEVEN[size], classes=size - 1),
        "processes without a class": Case("arcface", UNEVEN[size], classes=4 if size == 3 else 1),
        "margins given": Case("elastic-arc", UNEVEN[size], given=True),
        **{f"{loss} weighted": Case(loss, UNEVEN[size], weighted=True) for loss in PAPER},
        "weighted, parts that are empty": Case("elastic-arc+", SOME_EMPTY[size], weighted=True, given=True),
        "weighted, computed again": Case("arcface", UNEVEN[size], weighted=True, options={"max_logits_bytes": 200}),
        "weighted, float32": Case("cosface", UNEVEN[size], "float32", classes=200, size=128, weighted=True),
        "probabilities computed again": Case("elastic-arc", UNEVEN[size], options={"max_logits_bytes": 200}),
        "a scale beyond float32": Case("cosface", UNEVEN[size], "float32", size=128, options={"scale": 200.0}),
        "margin past π": Case("arcface", UNEVEN[size], options={"m": 2.5, "past_pi": "paper"}),
    }


@pytest.fixture(scope="module", params=[2, 3])
def size(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def found(size: int) -> list[dict[str, Any]]:
    """What each of the processes found."""
    return on_processes.run(sharded_heads.everything, size, sharded_heads.as_plain(list(cases_of(size).values())))


def steps_of(found: list[dict[str, Any]], size: int, name: str) -> list[list[dict[str, Any]]]:
    """By step, what each process found."""
    number = list(cases_of(size)).index(name)
    return [list(parts) for parts in zip(*(own["cases"][number] for own in found), strict=True)]


def assert_same(actual: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    for key in ("loss", "embeddings", "weight"):
        mine, theirs = actual[key].double(), expected[key].double()
        assert (mine - theirs).norm() <= tolerance * theirs.norm(), key


# Gradients of a single class are 0, as is its loss: nothing to be relative to.


@pytest.mark.parametrize("name", cases_of(2))
def test_loss_and_gradients_are_those_of_one_process(found, size, name):
    case = cases_of(size)[name]
    for parts, expected in zip(steps_of(found, size, name), sharded_heads.on_one(case), strict=True):
        actual = sharded_heads.joined(parts)
        assert actual["weight"].dtype == expected["weight"].dtype
        assert actual["step"] == expected["step"]
        assert_same(actual, expected, 1e-6 if case.dtype == "float32" else 1e-12)


# test_expectation.py compares expected draws with theirs.
@pytest.mark.parametrize("name", [name for name in cases_of(2) if not name.startswith("expected")])
def test_loss_and_gradients_are_those_of_the_longhand(found, size, name):
    case = cases_of(size)[name]
    for parts, expected in zip(steps_of(found, size, name), sharded_heads.by_longhand(case), strict=True):
        assert_same(sharded_heads.joined(parts), expected, 1e-5 if case.dtype == "float32" else 1e-12)


@pytest.mark.parametrize("name", cases_of(2))
def test_all_processes_have_the_same_loss_to_the_bit(found, size, name):
    for parts in steps_of(found, size, name):
        assert len({part["loss"].item() for part in parts}) == 1


@pytest.mark.parametrize("number", range(len(sharded_heads.STARTS)), ids=[str(s) for s in sharded_heads.STARTS])
def test_centres_start_with_the_bits_of_one_process(found, number):
    weight, after, shape = sharded_heads.starts(None)[number]
    parts = [own["starts"][number] for own in found]
    assert torch.equal(torch.cat([part[0] for part in parts]), weight)
    assert [len(part[0]) for part in parts] == [len(c) for c in shares(weight, len(found))]
    for part in parts:
        assert torch.equal(part[1], after)  # what is drawn next is what it would have been
        assert torch.equal(part[2], shape)


def shares(weight: Tensor, size: int) -> list[Tensor]:
    """As `torch.chunk`, with empty ones where it gives fewer."""
    chunks = list(weight.chunk(size))
    return chunks + [weight[:0]] * (size - len(chunks))


def test_a_mesh_of_one_is_a_plain_head_and_a_mesh_of_two_dimensions_is_refused(found):
    for own in found:
        assert not own["meshes"]["alone"]
        assert "mesh must have one dimension, got 2" in own["meshes"]["square"]


@pytest.mark.parametrize(
    ("wrong", "own_message", "message"),
    [
        ("label", "label 23 is outside 0..22", None),
        ("negative label", "label -4 is outside 0..22", None),
        ("size", "embeddings must be [2, 8] for these labels, got [2, 7]", "process {last} was given what doesn't fit"),
        ("rows", "embeddings must be [2, 8] for these labels, got [3, 8]", "process {last} was given what doesn't fit"),
        ("type of labels", "labels must be integers, got torch.float32", "process {last} was given what doesn't fit"),
        ("type of embeddings", "embeddings must be of one type in all processes", None),
        ("margins", "and margins be given in all or in none", None),
        ("weights", "so must weights", None),
        ("number of weights", "weights must be [2], one per label", "process {last} was given what doesn't fit"),
        ("nothing at all", "labels must be [B] with B >= 1, got [0]", None),
    ],
)
def test_what_is_wrong_in_one_process_is_refused_in_all(found, size, wrong, own_message, message):
    *others, last = [own["refusals"][wrong] for own in found]
    assert own_message in last
    assert all((message or own_message).format(last=size - 1) in other for other in others)


def test_after_a_refusal_the_head_goes_on(found):
    for own in found:
        assert own["refusals"]["afterwards"] == "none"
        assert own["refusals"]["step"] == "1"


def test_cosine_and_draws_are_those_of_one_process(found, size):
    case = Case("elastic-arc+", (4 * size,))
    head, (embeddings, _, _) = case.head(), case.inputs(0)
    embeddings.requires_grad_()
    expected = head.cosine(embeddings)
    expected.square().sum().backward()
    margins = head.draw_margins(torch.linspace(-1, 1, 4 * size).double())
    parts = [own["cosines"] for own in found]
    for key, theirs in (("cosines", expected), ("embeddings", embeddings.grad), ("weight", head.weight.grad)):
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), theirs, rtol=1e-12, atol=1e-15)
    assert all(torch.equal(part["margins"], margins) for part in parts)


def test_a_loaded_head_goes_on_where_the_saved_one_was(found):
    for own in found:
        assert own["saved"]["sharded"]
        assert own["saved"]["step"] == 3
        assert torch.equal(*own["saved"]["ends"])


@pytest.mark.parametrize(("kind", "component"), [("float32", 4), ("bfloat16", 2), ("s", 4)])
def test_traffic_of_a_step_is_what_the_docstring_says(found, size, kind, component):
    b, d = 5, 8
    for own in found:
        assert own["traffic"][kind] == {
            "_allgather_base_": size * b * d * component + size * b * 8 + size * 6 * 8,
            "allreduce_": size * b * 4 * 2,
            "_reduce_scatter_base_": size * b * d * 4,
        }


def test_a_process_makes_no_more_than_the_gradient_of_its_own_centres(found, size):
    for own in found:
        *rest, largest = own["memory"]["1.0"]
        assert largest == 6000 // size * 16 * 4
        assert max(rest) < largest / 2


# Sampled negatives.


def test_a_sampled_step_makes_nothing_for_the_classes_that_are_not_in_it(found, size):
    for own in found:
        # The rows' gradient, and what the optimizer copies of them in pieces; no [c, D] among it.
        assert max(own["memory"]["0.1"]) <= 1.1 * 0.1 * 6000 / size * 16 * 4


def test_a_sharded_sample_is_all_positives_and_a_share_of_the_negatives_of_each_process(found, size):
    case = sharded_heads.sampled_case(None, steps=3)  # type: ignore[arg-type]
    case = Case(**{**vars(case), "shares": (4,) * size})
    head, width = case.head(), -(-case.classes // size)
    for number in range(case.steps):
        embeddings, labels, _ = case.inputs(number)
        parts = [own["sampled"][number] for own in found]
        for rank, part in enumerate(parts):
            positives = {int(label) - rank * width for label in labels if int(label) // width == rank}
            rows = part["rows"].tolist()
            here = min(width, case.classes - rank * width)
            assert positives <= set(rows) <= set(range(here))
            assert rows == sorted(set(rows))
            assert len(rows) == len(positives) + math.ceil(0.3 * (here - len(positives)))
        classes = torch.cat([part["rows"] + rank * width for rank, part in enumerate(parts)])
        expected = longhand.loss_and_gradients(
            embeddings,
            head.weight[classes],
            torch.searchsorted(classes, labels),
            torch.full((len(labels),), 0.5),
            "arc",
            8.0,
        )
        assert_same(
            sharded_heads.joined(parts), dict(zip(("loss", "embeddings", "weight"), expected, strict=True)), 1e-12
        )


def test_a_sharded_sample_changes_from_step_to_step_and_from_process_to_process(found):
    rows = [tuple(result["rows"].tolist()) for own in found for result in own["sampled"]]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("how", ["exact", "all sampled"])
def test_trained_centres_are_those_of_one_process(found, size, how):
    one = Case("elastic-arc+", (4 * size,), classes=31, options={"centre_std": 0.1})
    head = one.head()
    sgd = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for number in range(4):
        sharded_heads.step(one, None, head, number)
        sgd.step()
    torch.testing.assert_close(
        torch.cat([own["trained"][how] for own in found]), head.weight.detach(), rtol=1e-10, atol=1e-13
    )


def test_row_sparse_gradients_of_several_backwards_add_up(found):
    for own in found:
        torch.testing.assert_close(
            own["accumulated"]["together"], sum(own["accumulated"]["alone"]), rtol=1e-12, atol=1e-15
        )


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_gradients_pass_a_gradient_scaler_to_the_bit(found, rate):
    for own in found:
        assert torch.equal(own["scaled"][f"scaled {rate}"], own["scaled"][f"plain {rate}"])


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_all_processes_scale_less_after_an_overflow_in_one(found, rate):
    assert [own["scaled"][f"scale {rate}"] for own in found] == [512.0] * len(found)


def test_rows_that_were_not_sampled_keep_weight_and_momentum(found):
    for own in found:
        result = own["optimizer"]
        for before, after in zip(result["before"], result["after"], strict=True):
            changed = (before != after).any(dim=1).nonzero()[:, 0]
            assert changed.tolist() == result["rows"].tolist()
            assert len(changed) < len(before)
        assert result["gradient bytes"] == len(result["rows"]) * (8 + 8 * 8)


def test_momentum_is_saved_as_rows_of_all_without_a_copy(found):
    for own in found:
        assert own["optimizer"]["sharded"]
        assert own["optimizer"]["shared memory"]
