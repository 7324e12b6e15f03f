"""Image -> embedding. Every backbone takes [B, 3, 112, 112] float in [-1, 1] and gives [B, embedding_size].

All of them run in either memory format; ``backbone.to(memory_format=torch.channels_last)`` is the faster one as a rule.
"""

import inspect
import reprlib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from elasticface.backbones import iresnet, mobilefacenet, tiny, vit
from elasticface.backbones.count import multiply_adds
from elasticface.backbones.own import create_own
from elasticface.backbones.recompute import checkpoint_activations
from elasticface.base import own_parts
from elasticface.base.errors import InputError
from elasticface.base.files import printable
from elasticface.base.limits import LONGEST_EMBEDDING

__all__ = ["checkpoint_activations", "create", "create_own", "find", "multiply_adds", "names", "parameter_groups"]

_BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "iresnet18": iresnet.iresnet18,
    "iresnet34": iresnet.iresnet34,
    "iresnet50": iresnet.iresnet50,
    "iresnet100": iresnet.iresnet100,
    "iresnet200": iresnet.iresnet200,
    "mobilefacenet": mobilefacenet.mobilefacenet,
    "tiny": tiny.tiny,
    "small": tiny.small,
    "vit-t": vit.vit_t,
    "vit-s": vit.vit_s,
    "vit-b": vit.vit_b,
    "vit-l": vit.vit_l,
}


def names() -> list[str]:
    """What `create` knows."""
    return list(_BACKBONES)


def create(name: str, embedding_size: int = 512, **options: Any) -> nn.Module:
    """A backbone with fresh weights, drawn from torch's global generator.

    Args:
        name: one of `names()`.
        embedding_size: D, the length of an embedding, 1 to 65,536.
        options: the backbone's own, e.g. ``dropout`` of the iresnets.

    Raises:
        InputError: an unknown name, an embedding size out of range, an option that the backbone does not take or a
            value that it cannot use.
    """
    if name not in _BACKBONES:
        raise InputError(f"unknown backbone {reprlib.repr(name)}; choose one of: {', '.join(_BACKBONES)}")
    if not 1 <= embedding_size <= LONGEST_EMBEDDING:
        raise InputError(f"embedding_size must be 1 to {LONGEST_EMBEDDING:,}, got {reprlib.repr(embedding_size)}")
    backbone = _BACKBONES[name]
    accepted = [option for option in inspect.signature(backbone).parameters if option != "embedding_size"]
    unknown = [option for option in options if option not in accepted]
    if unknown:
        named, takes = printable(", ".join(unknown), 120), ", ".join(accepted) or "no options"
        raise InputError(f"backbone {name} has no option {named}; it takes: {takes}")
    return backbone(embedding_size, **options)


def find(name: str) -> Callable[..., nn.Module]:
    """What makes the backbone ``name``: :func:`create` one of ours, :func:`create_own` one of the user's.

    Args:
        name: one of :func:`names`, or ``package.module:function``, whose module is imported. Only what the user gives
            belongs here, never what a model says of itself: importing runs code.

    Returns:
        ``(embedding_size, **options)`` -> module.

    Raises:
        InputError: no such function.
    """
    if own_parts.is_reference(name):
        return partial(create_own, own_parts.find(name, "--backbone"))
    return partial(create, name)


def parameter_groups(
    module: nn.Module, weight_decay: float, decay_norm_and_bias: bool = True
) -> list[dict[str, list[nn.Parameter] | float]]:
    """The trainable parameters of `module` as groups for a ``torch.optim`` optimizer.

    Args:
        module: whose parameters; frozen ones are left out.
        weight_decay: the decay, ≥ 0; 5e-4 in the paper.
        decay_norm_and_bias: whether it also applies to the one-dimensional parameters: scales and shifts of batch
            norms, biases, PReLU slopes. The paper decays them all.

    Returns:
        One group, or two where some are spared: those that decay, then those that do not.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trainable if decay_norm_and_bias or p.ndim > 1]
    spared = [p for p in trainable if not decay_norm_and_bias and p.ndim <= 1]
    groups: list[dict[str, list[nn.Parameter] | float]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
