"""Gradients that have a few rows of a weight and are 0 elsewhere, without the memory or the time of the zeros.

Such a gradient is a sparse COO tensor, as `torch.nn.Embedding(sparse=True)` makes it, and autograd adds it up.
"""

import torch
from torch import Tensor


def row_sparse(rows: Tensor, values: Tensor, length: int) -> Tensor:
    """The sparse COO tensor [length, D] with these [K] distinct sorted rows, [K, D], and 0 elsewhere."""
    shape = (length, values.shape[1])
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)


def without_doubles(gradient: Tensor) -> Tensor:
    """A row-sparse gradient known to have each row once and sorted, marked as such: autograd forgets that."""
    return row_sparse(gradient._indices()[0], gradient._values(), len(gradient))


def coalesced(gradient: Tensor) -> Tensor:
    """A row-sparse gradient with each row once, the rows sorted; without a copy where it is so already.

    Waits for the device, unless it is marked as coalesced.
    """
    if gradient.is_coalesced() or bool((gradient._indices()[0].diff() > 0).all()):
        return without_doubles(gradient)
    return gradient.coalesce()


def rows_and_values(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """([K] distinct sorted rows, [K, D]) of a row-sparse gradient."""
    gradient = coalesced(gradient)
    return gradient._indices()[0], gradient._values()
