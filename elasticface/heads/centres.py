"""Class centres: their initial values, the rows that each process has, and the classes that are sampled for a step.

Over several processes, those of a mesh, each holds its own rows as a plain parameter. They become a ``DTensor`` of all
[C, D] in a state dict alone, so that a checkpoint of N processes loads in M.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Shard

from elasticface.base import keyed
from elasticface.distributed.communication import Group, share_of

# torch's normal_ fills blocks of 16 numbers, and the last 16 together: pieces whose length is a multiple of 16 are
# those of one long draw.
_DRAWN_AT_ONCE = 1 << 20


def group_of(mesh: DeviceMesh | None) -> Group:
    """The processes of a mesh.

    Raises:
        ValueError: a mesh of more than one dimension.
    """
    if mesh is None or mesh.size() == 1:
        return Group()
    if mesh.ndim != 1:
        raise ValueError(f"mesh must have one dimension, got {mesh.ndim}")
    return Group(mesh.get_group())


def initial(num_classes: int, embedding_size: int, std: float, mesh: DeviceMesh | None) -> nn.Parameter:
    """This process's rows of [C, D] centres from N(0, std²): together the same bits on any number of processes.

    They are drawn by torch's global generator, which must be in the same state in all processes.
    """
    if mesh is None:
        return nn.Parameter(nn.init.normal_(torch.empty(num_classes, embedding_size), std=std))
    own = share_of(num_classes, group_of(mesh))
    numbers = slice(own.start * embedding_size, own.stop * embedding_size)
    local = _normal(num_classes * embedding_size, std, numbers).view(-1, embedding_size)
    return nn.Parameter(local.to(mesh.device_type))


def sharded(rows: Tensor, mesh: DeviceMesh | None, num_classes: int) -> Tensor:
    """This process's rows as its part of a ``DTensor`` of all [C, D], which shares their memory; the rows if alone."""
    if mesh is None:
        return rows
    shape = torch.Size([num_classes, rows.shape[1]])
    return DTensor.from_local(rows, mesh, [Shard(0)], run_check=False, shape=shape, stride=(rows.shape[1], 1))


def own_rows(weight: Tensor, own: slice) -> Tensor:
    """This process's rows of a ``DTensor``, or of a plain tensor of all centres."""
    if isinstance(weight, DTensor):
        return weight.to_local()
    return weight[own] if len(weight) > own.stop - own.start else weight


def all_rows(rows: Tensor, mesh: DeviceMesh | None, num_classes: int) -> Tensor:
    """[C, D] centres of all processes, differentiable: its backward sums the gradients of all of them. Collective."""
    whole = sharded(rows, mesh, num_classes)
    if isinstance(whole, DTensor):
        gathered: Tensor = whole.full_tensor(grad_placements=[Partial()])
        return gathered
    return whole


def sampled(labels: Tensor, own: slice, rate: float, position: tuple[int, ...], seed: int) -> Tensor:
    """The classes of a step's softmax: those of the batch, and a keyed random share of the rest (Partial FC).

    Args:
        labels: [B] of the whole batch; they are read, so that a device must be waited for on which they lie.
        own: the classes that this process has.
        rate: share of the others, in (0, 1].
        position: (step,) or (step, process): what the draw is keyed by, with ``seed``.

    Returns:
        [K] sorted rows among ``own``, counted from its start, on the host.
    """
    length = own.stop - own.start
    positives = labels.cpu().numpy() - own.start
    positives = positives[(positives >= 0) & (positives < length)]
    marked = np.zeros(length, bool)
    marked[positives] = True
    others = length - np.count_nonzero(marked)
    wanted = math.ceil(rate * others)
    generator = keyed.generator(seed, "negatives", *position)
    if 2 * wanted <= others:
        _mark(marked, wanted, others, generator)
        return torch.from_numpy(np.flatnonzero(marked))
    _mark(marked, others - wanted, others, generator)  # those that are left out
    marked[positives] = False
    return torch.from_numpy(np.flatnonzero(~marked))


def _mark(marked: NDArray[np.bool_], count: int, others: int, generator: np.random.Generator) -> None:
    """Mark ``count`` of the ``others`` that are not marked yet, every set of so many as likely as any other.

    Numbers are drawn with replacement until so many have come up that were not marked. No draw is one too many, as each
    round draws what is missing. For at most half of the others that is 1.4 times as many draws as are wanted, and
    more only by what of the classes is in the batch. Beside them there is a byte a class, no number and no draw.
    """
    if 2 * others < len(marked):  # of few classes most are in the batch: too many draws would be in vain
        marked[generator.permutation(np.flatnonzero(~marked))[:count]] = True
        return
    wanted = len(marked) - others + count
    while missing := wanted - np.count_nonzero(marked):
        marked[generator.integers(len(marked), size=missing)] = True


def _normal(total: int, std: float, own: slice) -> Tensor:
    """Numbers ``own`` of the ``total`` that ``torch.empty(total).normal_(std=std)`` would draw on the CPU."""
    kept = torch.empty(own.stop - own.start, device="cpu")
    at = 0
    while at < total:
        count = _DRAWN_AT_ONCE if total - at >= 2 * _DRAWN_AT_ONCE else total - at
        drawn = torch.empty(count, device="cpu").normal_(std=std)
        start, stop = max(at, own.start), min(at + count, own.stop)
        if start < stop:
            kept[start - own.start : stop - own.start] = drawn[start - at : stop - at]
        at += count
    return kept
