"""What autograd keeps of a forward pass until backward."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Kept = dict[int, tuple[int, Tensor]]  # where a storage lies -> its bytes, and a tensor that holds on to it


@contextmanager
def kept_storages(net: nn.Module) -> Iterator[tuple[Kept, Callable[[Tensor], Tensor]]]:
    """The storages that the body's forward passes leave, those of ``net`` itself aside; and what adds another one."""
    own = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    kept: Kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept, keep
