"""Memory, traffic and work of a run, beside the tensors that a real one has and the formulas longhand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elasticface import backbones, heads
from elasticface.base.errors import InputError
from elasticface.heads.chunks import Chunks
from elasticface.planning import counts, plan
from elasticface.planning.counts import Item, Moment, Sizes, total
from elasticface.planning.memory import Footprint, footprint
from elasticface.training.config import TrainConfig
from elasticface.training.guard import norm_of
from elasticface.training.optim import RowSparseSGD


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"backbone": "tiny", "batch_size": 64} | settings)


def item(items: tuple[Item, ...], start: str) -> int:
    """The bytes of the one item of this name."""
    (found,) = (i.bytes for i in items if i.what.startswith(start))
    return found


def moment(made: plan.Plan, what: str) -> Moment:
    return next(m for m in made.moments if m.what == what)


KNOWN: dict[tuple[int, str, bool, int], Footprint] = {}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net's activations are counted once for all tests; all of these are `tiny`."""

    def once(make: Any, batch: int, precision: str) -> Footprint:
        with torch.device("meta"):
            network = make()
        recomputing = any(type(m).__name__ == "CheckpointWrapper" for m in network.modules())
        key = batch, precision, recomputing, sum(p.numel() for p in network.parameters())
        return KNOWN.get(key) or KNOWN.setdefault(key, footprint(make, batch, precision))

    monkeypatch.setattr(counts, "footprint", once)


def test_adamw_keeps_two_tensors_where_sgd_keeps_its_momentum() -> None:
    sgd, adamw = (plan.plan(config(optimizer=name), 1000, device="cpu") for name in ("sgd", "adamw"))
    for name in ("their momentum", "backbone: momentum"):
        assert item(adamw.always, name) == 2 * item(sgd.always, name) > 0
    without = plan.plan(config(momentum=0.0), 1000, device="cpu")
    assert adamw.checkpoint - sgd.checkpoint == sgd.checkpoint - without.checkpoint > 0


def test_an_average_is_one_backbone_more() -> None:
    plain, averaged = (plan.plan(config(ema=ema), 1000, device="cpu") for ema in (None, 0.99))
    net = backbones.create("tiny")
    size = sum(t.numel() * t.element_size() for t in [*net.parameters(), *net.buffers()])
    assert item(averaged.always, "backbone: moving average") == size
    assert averaged.checkpoint - plain.checkpoint == size


def test_what_is_always_there_is_what_a_run_has() -> None:
    made = plan.plan(config(embedding_size=32), 1001, device="cpu")
    net, head = backbones.create("tiny", 32), heads.create("arcface", 1001, 32)
    weight = head.weight.numel() * 4
    trained = sum(p.numel() * 4 for p in net.parameters() if p.requires_grad)
    assert item(made.always, "class centres") == item(made.always, "their momentum") == weight
    assert item(made.always, "backbone: parameters") == sum(p.numel() * 4 for p in net.parameters())
    assert item(made.always, "backbone: gradients") == item(made.always, "backbone: momentum") == trained
    buffers = sum(b.numel() * b.element_size() for b in net.buffers())
    assert item(made.always, "backbone: running") == 2 * buffers
    assert item(made.always, "images") == 64 * 3 * 112 * 112 * 9
    assert made.parameters == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("given", "each"), [(None, 3), (5, 5)])
def test_sub_centres_are_counted_each(given: int | None, each: int) -> None:
    settings_ = config(loss="subcenter-arcface", centres_per_class=given, embedding_size=32, max_logits_bytes=1 << 20)
    made, one = (plan.plan(c, 5000, device="cpu") for c in (settings_, config(embedding_size=32)))
    head = heads.create("subcenter-arcface", 5000, 32, **settings_.head_options())
    assert item(made.always, "class centres") == head.weight.numel() * 4 == each * item(one.always, "class centres")
    chunks = Chunks(head.weight, None, 64, torch.float32, 1 << 20, each)
    assert made.kept * each == chunks.kept
    assert item(moment(made, "head").items, "probabilities") == 64 * chunks.kept * 4
    assert item(moment(made, "optimizer").items, "gradient") == head.weight.numel() * 4
    assert made.checkpoint - one.checkpoint == 2 * (each - 1) * 5000 * 32 * 4
    assert made.work.head == 2 * 64 * 32 * each * (3 * 5000 + (5000 - made.kept))


def test_sub_centres_of_a_loss_that_has_none_are_refused() -> None:
    with pytest.raises(InputError, match="loss 'arcface' has no option centres_per_class"):
        plan.plan(config(loss="arcface", centres_per_class=3), 100)


def test_without_momentum_there_is_none() -> None:
    made = plan.plan(config(momentum=0.0), 1001)
    assert item(made.always, "their momentum") == item(made.always, "backbone: momentum") == 0


@settings(max_examples=25)
@given(st.integers(1, 10**7), st.integers(1, 32), st.sampled_from([1.0, 0.1, 0.003]), st.integers(1, 1 << 31))
def test_the_head_is_shared_out_and_sampled_as_the_formulas_say(
    identities: int, processes: int, rate: float, budget: int
) -> None:
    settings_ = config(batch_size=4 * processes, sample_rate=rate, max_logits_bytes=budget)
    sizes = Sizes.of(settings_, identities, processes, "cuda")
    assert sizes.centres == math.ceil(identities / processes)
    positives = min(4, sizes.centres)
    assert sizes.sampled == positives + math.ceil(rate * (sizes.centres - positives))
    assert 0 <= sizes.kept <= sizes.sampled
    if sizes.kept:
        spare = 0 if sizes.kept == sizes.sampled else sizes.chunk
        assert sizes.embeddings * (sizes.kept + spare) * sizes.itemsize <= budget


@pytest.mark.parametrize(("classes", "budget"), [(5000, 1 << 30), (5000, 1 << 20), (7, 1)])
def test_kept_probabilities_are_those_that_the_head_keeps(classes: int, budget: int) -> None:
    made = plan.plan(config(embedding_size=16, max_logits_bytes=budget), classes, device="cpu")
    chunks = Chunks(torch.empty(classes, 16), None, 64, torch.float32, budget)
    assert made.kept == chunks.kept
    assert item(moment(made, "head").items, "probabilities") == 64 * chunks.kept * 4


def test_gradient_of_sampled_centres_is_of_their_rows_alone() -> None:
    exact, sampled = (plan.plan(config(sample_rate=rate), 100_000, 4) for rate in (1.0, 0.1))
    assert item(moment(exact, "optimizer").items, "gradient") == 25_000 * 512 * 4
    rows = 16 + math.ceil(0.1 * (25_000 - 16))
    assert item(moment(sampled, "optimizer").items, "gradient") == rows * (512 * 4 + 8)


def test_peak_is_the_worst_moment_and_moves_from_the_backbone_to_the_centres() -> None:
    small, large = plan.plan(config(), 1000), plan.plan(config(), 10_000_000, per_node=1)
    for made in (small, large):
        assert made.peak == total(made.always) + max(m.bytes for m in made.moments)
    most = [max(made.worst.items, key=lambda item: item.bytes).what for made in (small, large)]
    assert most == ["activations at the worst moment", "gradient of the class centres"]


def test_traffic_is_that_of_rings() -> None:
    made = plan.plan(config(batch_size=256, embedding_size=32), 1001, 8)
    net = backbones.create("tiny", 32)
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    whole = 256 * 32 * 4
    assert item(made.traffic, "backbone") == 2 * 7 * trained * 4 // 8
    assert item(made.traffic, "embeddings") == item(made.traffic, "their gradients") == 7 * whole // 8
    assert item(made.traffic, "labels") == 7 * 256 * 8 // 8
    assert item(made.traffic, "target cosines") == item(made.traffic, "sums") == 2 * 7 * 256 * 4 // 8


def test_one_process_sends_nothing() -> None:
    assert total(plan.plan(config(sync_batchnorm=True), 1001).traffic) == 0


def test_traffic_of_the_head_does_not_depend_on_the_classes() -> None:
    few, many = plan.plan(config(), 1000, 4), plan.plan(config(), 10_000_000, 4)
    assert few.traffic == many.traffic


def test_statistics_over_all_processes_are_sent_and_again_where_blocks_are_computed_again() -> None:
    channels = [m.num_features for m in backbones.create("tiny").modules() if hasattr(m, "running_mean")]
    once, twice = (
        plan.plan(config(sync_batchnorm=True, checkpoint_activations=again), 1000, 4) for again in (False, True)
    )
    gathered, reduced = 3 * sum(2 * c + 1 for c in channels) * 4, 2 * 3 * 2 * sum(channels) * 4 // 4
    assert item(once.traffic, "statistics") == gathered + reduced
    assert item(twice.traffic, "statistics") == 2 * gathered + reduced


def test_a_batch_in_parts_needs_less_for_activations_and_sends_as_much() -> None:
    whole, parts = plan.plan(config(), 1000, 4), plan.plan(config(accumulate=4), 1000, 4)
    assert item(moment(parts, "head").items, "activations") < item(moment(whole, "head").items, "activations") / 3
    assert item(moment(parts, "head").items, "the same of one part") == 250 * 512 * 4
    assert total(parts.traffic) == total(whole.traffic)


def test_recomputed_blocks_trade_memory_for_work() -> None:
    plain, recomputed = plan.plan(config(), 1000), plan.plan(config(checkpoint_activations=True), 1000)
    assert recomputed.peak < plain.peak
    assert recomputed.work.backbone * 6 == plain.work.backbone * 8


def test_work_is_three_products_and_six_multiply_adds_an_image() -> None:
    made = plan.plan(config(), 1000, 4)
    net = backbones.create("tiny")
    assert made.work.backbone == 6 * backbones.multiply_adds(net) * 16
    assert made.work.head == 6 * 64 * 250 * 512
    tight = plan.plan(config(max_logits_bytes=1), 1000, 4)
    assert (tight.kept, tight.work.head) == (0, 8 * 64 * 250 * 512)


class Moved(TorchDispatchMode):
    """Counts bytes that operations read and write, but for products, views, and what touches a few numbers alone."""

    LEFT_OUT = (
        "mm",
        "addmm_",
        "empty",
        "new_empty",
        "gather",
        "scatter_",
        "index_add_",
        "detach",
        "_sparse_coo_tensor",
    )

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if func.is_view or name.startswith(self.LEFT_OUT):
            return out
        if name == "index_select":
            self.bytes += 2 * out.nbytes
        elif name == "index_copy_":
            self.bytes += 2 * args[3].nbytes
        elif name == "_fused_sgd_":  # reads weights, gradients and momentum, writes weights and momentum
            weights, gradients, momentum = args[:3]
            self.bytes += sum(t.nbytes for t in (*weights, *weights, *gradients, *momentum, *momentum))
        else:
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor) and not t.is_sparse]
            self.bytes += sum(t.nbytes for t in tensors)
        return out


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rate", [1.0, 0.1])
@pytest.mark.parametrize("budget", [1 << 30, 1 << 19])
def test_what_is_moved_is_what_head_and_optimizer_read_and_write(rate: float, momentum: float, budget: int) -> None:
    classes, size, batch = 16_000, 256, 16
    settings_ = {"embedding_size": size, "batch_size": batch, "sample_rate": rate, "max_logits_bytes": budget}
    made, none = (plan.plan(config(momentum=momentum, **settings_), c, device="cpu") for c in (classes, 1))
    head = heads.create("arcface", classes, size, sample_rate=rate, max_logits_bytes=budget)
    optimizer = RowSparseSGD(head.parameters(), lr=0.1, momentum=momentum, weight_decay=5e-4)
    optimizer.found_inf = torch.zeros(())  # as in a run
    for _ in range(2):
        embeddings = torch.randn(batch, size, requires_grad=True)
        with Moved() as moved:
            head(embeddings, torch.arange(batch)).backward()
            norm_of([p.grad for p in head.parameters()], torch.device("cpu"))
            optimizer.step()
        optimizer.zero_grad()
    assert moved.bytes == pytest.approx(made.work.moved - none.work.moved, rel=0.03)


def test_checkpoint_is_that_of_the_state_whatever_the_number_of_processes() -> None:
    net = backbones.create("tiny")
    trained = sum(p.numel() * 4 for p in net.parameters() if p.requires_grad)
    state = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    for processes in (1, 4, 32):
        made = plan.plan(config(), 1001, processes)
        assert made.checkpoint == state + trained + 2 * 1001 * 512 * 4


def test_times_are_given_where_the_speeds_are() -> None:
    made = plan.plan(config(), 1000, 16, tflops=2.0, bandwidth_gbyte=3.0, network_gbit=10.0)
    assert made.seconds.backbone == made.work.backbone / 2e12
    assert made.seconds.head == made.work.head / 2e12
    assert made.seconds.network == total(made.traffic) * 8 / 1e10
    low, high = made.seconds.step or (0, 0)
    assert made.seconds.memory == made.work.moved / 3e9
    computing = made.seconds.backbone + made.seconds.head + made.seconds.memory
    assert (low, high) == (max(computing, made.seconds.network), computing + made.seconds.network)
    nothing = plan.plan(config(), 1000, 16)
    assert (nothing.seconds.backbone, nothing.seconds.network, nothing.seconds.step) == (None, None, None)


def test_the_head_has_no_time_where_its_speed_is_not_that_of_the_backbone() -> None:
    half = plan.plan(config(precision="bf16"), 1000, tflops=2.0)
    assert half.seconds.head is None
    assert half.seconds.step is None


def test_one_node_has_no_time_on_the_network() -> None:
    assert plan.plan(config(), 1000, 8, network_gbit=10.0).seconds.network is None
    assert plan.plan(config(), 1000, 8, per_node=4, network_gbit=10.0).seconds.network is not None


def test_many_classes_at_a_large_scale_are_counted_in_float64() -> None:
    below, above = plan.plan(config(), 18_000_000, 8), plan.plan(config(), 19_000_000, 8)
    assert (below.head_dtype, above.head_dtype) == ("float32", "float64")
    assert item(above.traffic, "sums") == 2 * item(below.traffic, "sums")


def test_steps_are_those_of_training() -> None:
    assert plan.plan(config(epochs=3), 1000, images=6_400).steps == (100, 300)
    assert plan.plan(config(), 1000).steps is None


@pytest.mark.parametrize(
    ("message", "arguments", "options"),
    [
        ("identities must be 1 to", (0,), {}),
        ("identities must be 1 to", (10**11,), {}),
        ("processes must be 1 to", (10, 0), {}),
        ("6 processes cannot be 4 on every node; .* divides 6, such as 3", (10, 6), {"per_node": 4}),
        ("12 processes cannot be 8 on every node; .* divides 12, such as 6", (10, 12), {}),
        ("7 processes cannot be 0 on every node; .* divides 7, such as 1", (10, 7), {"per_node": 0}),
        ("4 processes cannot be 9 on every node; .* divides 4, such as 4", (10, 4), {"per_node": 9}),
        ("tflops must be above 0", (10,), {"tflops": 0.0}),
        ("network_gbit must be above 0", (10,), {"network_gbit": math.nan}),
        ("images must be at least 1", (10,), {"images": 0}),
        ("fewer than 2 images per part", (10, 64), {"per_node": 8}),
    ],
)
def test_numbers_out_of_their_range_are_refused(message: str, arguments: tuple[int, ...], options: Any) -> None:
    with pytest.raises(InputError, match=message):
        plan.plan(config(), *arguments, **options)


def test_unknown_names_and_what_is_not_counted_are_refused() -> None:
    with pytest.raises(InputError, match=r"loss must be one of arcface, .*got 'triplet'"):
        plan.plan(config(loss="triplet"), 10)
    with pytest.raises(InputError, match=r"backbone must be one of iresnet18, .*got 'vit'"):
        plan.plan(config(backbone="vit"), 10)
    with pytest.raises(InputError, match="precision 64"):
        plan.plan(config(precision="64"), 10)
    with pytest.raises(InputError, match="images of a process"):
        plan.plan(config(batch_size=10**6), 10)
