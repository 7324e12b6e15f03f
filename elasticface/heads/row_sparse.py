"""Gradients that have a few rows of a weight and are 0 elsewhere, without the memory or the time of the zeros.

On one process such a gradient is a sparse COO tensor, as `torch.nn.Embedding(sparse=True)` makes it, and autograd adds
it up. Over several processes it is a :class:`RowSparse`: a ``DTensor`` has no sparse form that autograd can add up, so
:func:`local_rows` does it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def row_sparse(rows: Tensor, values: Tensor, length: int) -> Tensor:
    """The sparse COO tensor [length, D] with these [K] distinct sorted rows, [K, D], and 0 elsewhere."""
    shape = (length, values.shape[1])
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)


class RowSparse(DTensor):
    """A gradient like a ``DTensor`` of which this process has a sparse COO tensor, ``to_local()`` under no_grad."""

    @classmethod
    def like(cls, weight: DTensor, local: Tensor) -> "RowSparse":
        """The gradient of ``weight``, of whose rows here ``local`` is that of."""
        gradient: RowSparse = cls(local, weight._spec, requires_grad=False)
        return gradient

    def _values(self) -> Tensor:
        """What `torch.amp.GradScaler` unscales, in place."""
        values: Tensor = self._local_tensor._values()
        return values


def local_rows(weight: Tensor) -> Tensor:
    """The rows of a weight that this process has, [C, D] -> [c, D], differentiable, row-sparse gradients among it.

    Over several processes a row-sparse gradient goes straight to ``weight.grad``, under backward alone:
    `torch.autograd.grad` by such a weight is not there.
    """
    if not isinstance(weight, DTensor):
        return weight
    rows: Tensor = _LocalRows.apply(weight)  # type: ignore[no-untyped-call]
    return rows


def rows_and_values(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """([K] distinct sorted rows, [K, D]) of a row-sparse gradient, of those that this process has."""
    local = local_of(gradient)
    rows = local._indices()[0]
    if not local.is_coalesced() and not bool((rows.diff() > 0).all()):
        local = local.coalesce()  # the sum of several; of a single one autograd forgets that there is nothing to add
    return local._indices()[0], local._values()


def is_row_sparse(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.is_sparse


def local_of(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, without a copy; not differentiable."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


class _LocalRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: DTensor) -> Tensor:
        ctx.weight = weight
        return local_of(weight).detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> DTensor | None:
        weight: DTensor = ctx.weight
        if not gradient.is_sparse:
            return DTensor.from_local(
                gradient,
                weight.device_mesh,
                weight.placements,
                run_check=False,
                shape=weight.shape,
                stride=weight.stride(),
            )
        before = weight.grad
        if before is None:
            weight.grad = RowSparse.like(weight, gradient)
        elif is_row_sparse(before):
            # Coalesced at once: the parts of an accumulated batch have most of their rows in common.
            weight.grad = RowSparse.like(weight, (local_of(before) + gradient).coalesce())
        else:
            local_of(before).add_(gradient)
        return None
