"""Activation checkpointing: a block keeps only its input, and its activations are recomputed in backward.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174, 2016. torch does the
recomputing; this module keeps running statistics from being updated twice.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.utils.checkpoint import checkpoint

from elasticface.backbones import iresnet, mobilefacenet, tiny, vit
from elasticface.base.errors import InputError

BLOCKS = (iresnet.Block, mobilefacenet.Bottleneck, tiny.Block, vit.Block)


def checkpoint_activations(network: nn.Module) -> nn.Module:
    """``network`` with every block of it recomputed in backward, in place.

    Loss, gradients, running statistics and the names in the state dict are unchanged; a step takes one more forward
    pass of the blocks. Under no_grad nothing changes.

    Args:
        network: of :func:`elasticface.backbones.create`.

    Raises:
        InputError: a network without such blocks.
    """
    if not any(isinstance(module, BLOCKS) for module in network.modules()):
        raise InputError(
            "checkpoint_activations knows the blocks of our own backbones alone; leave it out, and let your network "
            "recompute its blocks itself"
        )
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, BLOCKS):
                parent.register_module(name, checkpoint_wrapper(child, checkpoint_fn=_recomputed))
    return network


def _recomputed(block: nn.Module, images: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return cast(Tensor, block(images))
    contexts = partial(_contexts, block)
    return cast(Tensor, checkpoint(block, images, use_reentrant=False, context_fn=contexts))


def _contexts(block: nn.Module) -> tuple[Any, Any]:
    """Contexts of the first and of the second forward pass."""
    return contextlib.nullcontext(), _on_copies_of_buffers(block)


@contextlib.contextmanager
def _on_copies_of_buffers(block: nn.Module) -> Iterator[None]:
    """Throw-away copies of the buffers while recomputing: running statistics have seen the batch already."""
    # Copies rather than a momentum of 0: 0 times an infinite mean would make a NaN of them, and the count would go up.
    owners = [(m, name, value) for m in block.modules() for name, value in m.named_buffers(recurse=False)]
    try:
        for module, name, value in owners:
            setattr(module, name, value.clone())
        yield
    finally:
        for module, name, value in owners:
            setattr(module, name, value)
