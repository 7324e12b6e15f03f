"""What processes that hold a head together tell each other: a few collectives, each the identity for one process.

A global batch lies on the processes in rank order. How many of its rows each has may differ, and be none, so rows
travel padded to the largest share. The backend is what the process group has for the tensors' device: gloo, NCCL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.nn.functional import pad

# Renamed in torch 2.13, where the first name of each warns.
_all_gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
_reduce_scatter = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor


@dataclass(frozen=True)
class Group:
    """The processes that hold one head together; ``Group()`` is one process alone.

    Its methods are collective: all processes call them, in the same order.
    """

    process_group: ProcessGroup | None = None

    @property
    def size(self) -> int:
        return 1 if self.process_group is None else self.process_group.size()

    @property
    def rank(self) -> int:
        return 0 if self.process_group is None else self.process_group.rank()

    def gather_numbers(self, own: Tensor) -> list[list[Any]]:
        """[k] numbers of each process, in rank order, on the host: the one call here that waits for the device."""
        if self.process_group is None:
            return [own.tolist()]
        everyone = own.new_empty(self.size * len(own))
        _all_gather(everyone, own, group=self.process_group)
        numbers: list[list[Any]] = everyone.view(self.size, -1).tolist()
        return numbers

    def gather_rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """[b, …] of each process -> [B, …], in rank order; ``counts`` are the b of all."""
        if self.process_group is None:
            return own
        most = max(counts)
        everyone = own.new_empty(self.size * most, *own.shape[1:])
        _all_gather(everyone, _padded(own, most).contiguous(), group=self.process_group)
        if min(counts) == most:
            return everyone
        return torch.cat([part[:count] for part, count in zip(torch.split(everyone, most), counts, strict=True)])

    def sum_to_owners(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """[B, …] of each process, summed over the processes -> this one's own [b, …]: what gathering is backwards."""
        if self.process_group is None:
            return rows
        most = max(counts)
        if min(counts) < most:
            rows = torch.cat([_padded(part, most) for part in torch.split(rows, list(counts))])
        own = rows.new_empty(most, *rows.shape[1:])
        _reduce_scatter(own, rows.contiguous(), group=self.process_group)
        return own[: counts[self.rank]]

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place, with the same bits in all."""
        if self.process_group is not None:
            distributed.all_reduce(tensor, group=self.process_group)
        return tensor


@dataclass(frozen=True)
class Part:
    """What this process has of a batch and of the classes.

    Attributes:
        group: the processes that have the rest.
        counts: rows of the batch in each process, in rank order; they sum up to B.
        first_class: the class of this process's first centre.
        num_classes: C, of all processes together.
    """

    group: Group
    counts: tuple[int, ...]
    first_class: int
    num_classes: int

    @property
    def own_rows(self) -> slice:
        """Which rows of the global batch are this process's."""
        start = sum(self.counts[: self.group.rank])
        return slice(start, start + self.counts[self.group.rank])


def share_of(total: int, group: Group) -> slice:
    """Which of ``total`` rows this process has, as `torch.chunk` and DTensor share them out; may be empty."""
    width = -(-total // group.size)
    return slice(min(group.rank * width, total), min((group.rank + 1) * width, total))


def _padded(rows: Tensor, length: int) -> Tensor:
    return rows if len(rows) == length else pad(rows, [0, 0] * (rows.ndim - 1) + [0, length - len(rows)])
