"""What memory a piece of work takes, tensor by tensor."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Created(TorchDispatchMode):
    """Remembers the memory of every tensor that comes to be: a view is none, a buffer counts once.

    What is made of other tensors (sparse ones, a DTensor) is not counted: they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address comes twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in _plain((args, kwargs))}
        for tensor in _plain(result):
            if tensor.untyped_storage().data_ptr() not in given:
                self.storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return result

    def of_at_least(self, size: int) -> list[int]:
        return [storage.nbytes() for storage in self.storages.values() if storage.nbytes() >= size]


def _plain(tree: Any) -> list[Tensor]:
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if not leaf.is_sparse and not isinstance(leaf, DTensor)]
