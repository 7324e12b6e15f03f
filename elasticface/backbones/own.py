"""Backbones that are not ours: a function of the user's makes the network, and it is checked once before it is used."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from elasticface.base.errors import InputError, first_line

_IMAGES = (2, 3, 112, 112)


def create_own(function: Callable[..., nn.Module], embedding_size: int = 512, **options: Any) -> nn.Module:
    """What ``function(embedding_size=…, **options)`` makes, if it is a backbone.

    Args:
        function: makes a module, [B, 3, 112, 112] float in [-1, 1] -> [B, embedding_size].
        embedding_size: D, the length of an embedding.
        options: handed on.

    Raises:
        InputError: a function that does not take these, or what it makes is no such module.
    """
    name = name_of(function)
    given = {"embedding_size": embedding_size, **options}
    try:
        inspect.signature(function).bind(**given)
    except (TypeError, ValueError) as error:  # a ValueError where there is no signature
        call = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise InputError(f"backbone {name}: cannot be called with ({call}): {first_line(error)}") from error
    try:
        network = function(**given)
    except Exception as error:  # whatever a function of the user's raises
        raise InputError(f"backbone {name}: cannot be made: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"backbone {name}: makes a {type(network).__name__} where a torch.nn.Module is needed")
    _check_output(network, name, embedding_size)
    return network


def name_of(function: Callable[..., Any]) -> str:
    """``package.module:function``, as an option names it."""
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', type(function).__name__)}"


def _check_output(network: nn.Module, name: str, embedding_size: int) -> None:
    needed = f"[{_IMAGES[0]}, {embedding_size}] for images {list(_IMAGES)}"
    was_training = network.training
    try:
        with torch.no_grad():  # in eval mode, so that no running statistics see the images
            found: Any = network.eval()(torch.zeros(_IMAGES))
    except Exception as error:  # of shapes that do not fit, for one
        told = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"backbone {name}: fails on images {list(_IMAGES)}: {told}") from error
    network.train(was_training)
    if not isinstance(found, Tensor) or found.shape != (_IMAGES[0], embedding_size):
        given = list(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise InputError(f"backbone {name}: gives {given} where {needed} are needed")
