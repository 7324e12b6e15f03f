"""What a training step of a net takes in memory: counted, not measured, at any batch and on any machine.

The step is made on tensors that have a shape and no content (torch's `FakeTensorMode`), and every storage is watched
from the operation that makes it until it is freed. So the count knows what autograd keeps, what backward needs at its
worst moment, half precision and recomputation, by running the very code. Workspaces inside kernels are not seen.

torch's own `MemTracker` counts the same bytes, but fails on a frozen parameter, which every iresnet has, and takes up
to four times as long.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elasticface.base.errors import InputError

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Footprint:
    """Bytes of one forward and backward pass, beyond the images, the parameters, the buffers and the gradients.

    Attributes:
        held: from the end of forward to the start of backward: what a loss is computed beside.
        peak: at the worst moment of both.
    """

    held: int
    peak: int


def footprint(make: Callable[[], nn.Module], batch: int, precision: str = "32", size: int = 112) -> Footprint:
    """The memory of a training step of a net, at a batch of one process.

    The gradients lie there beforehand, as in data-parallel training, where they are views of the buckets that are sent
    round.

    Args:
        make: the net, e.g. ``lambda: backbones.create("iresnet100")``; what it makes has no content.
        batch: images, at least 2: a batch norm cannot train on one.
        precision: "32", or "bf16" and "fp16" for autocast to half precision.
        size: side of an image in pixels.

    Raises:
        InputError: a batch below 2.
    """
    if batch < 2:
        raise InputError(f"a process needs two images a part at least to train on, got {batch}")
    with FakeTensorMode():
        net = make().train()
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        images = torch.empty(batch, 3, size, size)
        with _Live() as live:
            # The CPU's autocast treats the operations of these nets as a GPU's does: all in half precision.
            with torch.autocast("cpu", _HALF.get(precision, torch.bfloat16), enabled=precision in _HALF):
                embeddings = net(images)
            held = live.bytes
            if embeddings.requires_grad:  # not of a network that is frozen
                embeddings.backward(torch.empty_like(embeddings))
    return Footprint(held, live.peak)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operations make, for as long as they are there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage(), before)
        return result

    def _add(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        # The object stands for the storage as long as that lives, also where nothing but autograd holds it.
        key = id(storage)
        if key in self._seen or key in before:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.bytes -= size
