"""With labels on the host nothing is read from the device: a host that reads waits until the device has caught up."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from unittest import mock

import on_processes
import pytest
import sharded_heads
import torch
from sharded_heads import Case
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elasticface import heads
from elasticface.base import transfer

aten = torch.ops.aten
# What makes a host wait for a GPU, as the operations are called below autograd. Indexing by a mask is a nonzero.
READING = {
    *(
        aten._local_scalar_dense,
        aten.is_nonzero,
        aten.equal,
        aten.nonzero,
        aten.masked_select,
        aten._unique,
        aten._unique2,
    ),
    *(aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.repeat_interleave, aten._assert_async, aten.histc),
    *(aten._coalesce, aten.argwhere, aten.allclose),
}
METHODS = "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"


class Reads(TorchDispatchMode):
    """Operations that read from the device ``meta``, which stands for a GPU: it has no numbers that could be read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if any(t.is_meta for t in given):
            by_mask = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
                t.dtype in (torch.bool, torch.uint8) for t in given[1:]
            )
            device = (kwargs or {}).get("device")
            if func.overloadpacket in READING or by_mask or (device is not None and device.type != "meta"):
                self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def reads() -> Iterator[list[str]]:
    """What the body reads from ``meta``; the methods of tensors that read are counted, too."""

    def counted(name: str) -> Any:
        method = getattr(Tensor, name)

        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if tensor.is_meta:
                found.found.append(name)
            return method(tensor, *args, **kwargs)

        return read

    with Reads() as found, mock.patch.multiple(Tensor, **{name: counted(name) for name in METHODS}):
        yield found.found


def step(head: heads.MarginHead, labels: Tensor, **given: Any) -> None:
    embeddings = torch.empty(len(labels), 8, device="meta", requires_grad=True)
    with mock.patch.object(torch, "autocast", return_value=nullcontext()):  # which meta has none of
        head(embeddings, labels, **given).backward()
    assert embeddings.grad is not None
    assert head.weight.grad is not None


@pytest.mark.parametrize("options", [{}, {"sample_rate": 0.3}, {"max_logits_bytes": 300}], ids=str)
@pytest.mark.parametrize("loss", heads.LOSSES)
def test_a_step_reads_nothing_from_the_device(loss, options):
    head = heads.create(loss, 50, 8, **options).to("meta")
    with reads() as found:
        for _ in range(2):
            step(head, torch.tensor([0, 49, 7, 7]))
        step(head, torch.tensor([1, 2]), margins=torch.tensor([0.1, 0.2]))
    assert found == []
    assert head.step == 2


@pytest.mark.parametrize(
    "read",
    [
        *(lambda t, name=name: getattr(t, name)() for name in (*METHODS, "nonzero", "unique", "argwhere")),
        lambda t: t[t > 0],
        lambda t: t.masked_select(t > 0),
        lambda t: t.to("cpu"),
        lambda t: torch.equal(t, t),
        lambda t: torch.zeros(3, device="meta").copy_(t)[t > 0],
    ],
)
def test_a_read_in_a_head_is_found(read):
    head = heads.ArcFace(9, 8).to("meta")
    statistics = mock.patch.object(head, "update_statistics", lambda cosines, lengths: read(cosines.sum()))
    with statistics, reads() as found, suppress(RuntimeError, TypeError):  # meta itself refuses most of them
        step(head, torch.tensor([0, 1]))
    assert found


@pytest.mark.parametrize(("label", "told"), [(9, "label 9"), (-2, "label -2")])
def test_labels_on_the_host_are_checked_there(label, told):
    head = heads.ArcFace(9, 8).to("meta")
    with pytest.raises(ValueError, match=rf"{told} is outside 0\.\.8"):
        head(torch.empty(2, 8, device="meta"), torch.tensor([0, label]))


@pytest.mark.parametrize(("device", "pinned"), [("cuda", 1), ("cpu", 0), ("mps", 0)])
def test_numbers_are_pinned_for_a_gpu_alone(device, pinned):
    numbers = mock.Mock(device=torch.device("cpu"))
    numbers.pin_memory.return_value = numbers
    transfer.to_device(numbers, torch.device(device))
    assert numbers.pin_memory.call_count == pinned
    assert numbers.to.call_args == mock.call(torch.device(device), **({"non_blocking": True} if pinned else {}))


# Over several processes, with the numbers of rows of all of them given.

SHARES = {2: (3, 6), 3: (4, 0, 3)}
REFUSED = {
    "one too few": ((3,), "counts must be 2, one a process, got 1"),
    "negative": ((-1, 3), r"counts must be of a batch of 1 or more, got \[-1, 3\]"),
    "nobody": ((0, 0), r"counts must be of a batch of 1 or more, got \[0, 0\]"),
    "others": ((4, 4), r"counts say 4 rows of process [01], got 2"),
}


def with_counts(mesh: DeviceMesh, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A step of each head with ``counts`` and without; whether the first compares anything."""
    results = []
    for case in (Case(**case) for case in cases):
        embeddings, labels, _ = case.inputs(0)
        own = case.own(mesh)
        found: dict[str, Any] = {}
        for name, given in (("known", {"counts": case.shares}), ("compared", {})):
            head = case.head(mesh)
            part = embeddings[own].clone().requires_grad_()
            with mock.patch.object(
                type(head._group), "gather_numbers", autospec=True, side_effect=type(head._group).gather_numbers
            ) as gather:
                loss = head(part, labels[own], **given)
                loss.backward()
            assert head.weight.grad is not None
            found[name] = [loss.detach(), part.grad, head.weight.grad.to_dense()]
            found[f"{name} gathers"] = gather.call_count
        results.append(found)
    return results


def refused(mesh: DeviceMesh) -> dict[str, str]:
    head = Case("arcface", (2, 2)).head(mesh)
    good = torch.ones(2, 8).double(), torch.zeros(2, dtype=torch.int64)
    messages = {
        name: sharded_heads.refusal(lambda c=counts: head(*good, counts=c))  # type: ignore[misc]
        for name, (counts, _) in REFUSED.items()
    }
    messages["label"] = sharded_heads.refusal(lambda: head(good[0], torch.tensor([0, 23]), counts=(2, 2)))
    on_device = good[0].to("meta"), good[1].to("meta")
    messages["place"] = sharded_heads.refusal(lambda: head(*on_device, counts=(2, 2)))
    return messages


@pytest.mark.parametrize("size", [2, 3])
def test_counts_that_are_known_are_not_gathered_and_change_no_bit(size):
    cases = [
        Case(loss, SHARES[size], options={"sample_rate": rate})
        for loss in ("elastic-arc+", "curricularface")
        for rate in (1.0, 0.5)
    ]
    for process in on_processes.run(with_counts, size, sharded_heads.as_plain(cases)):
        for found in process:
            assert (found["known gathers"], found["compared gathers"]) == (0, 1)
            assert all(torch.equal(a, b) for a, b in zip(found["known"], found["compared"], strict=True))


def test_counts_that_do_not_fit_are_refused():
    for messages in on_processes.run(refused, 2):
        for name, (_, message) in REFUSED.items():
            assert re.fullmatch(message, messages[name])
        assert messages["label"] == "label 23 is outside 0..22"
        assert messages["place"] == "labels must be on the CPU with counts, not on meta"
