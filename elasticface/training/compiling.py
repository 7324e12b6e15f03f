"""The backbone through `torch.compile`: fused kernels for the shapes that a run has at every step."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch._inductor import config as inductor

from elasticface.base import progress
from elasticface.base.errors import InputError, first_line

_LONG = 2.0  # seconds of a first call that are worth a line; kernels in torch's cache on the disk take less


class CompiledNetwork:
    """``network``, compiled for every shape that it is called with.

    A shape has kernels of its own, whatever came before: so a resumed run computes as an unbroken one. torch compiles
    eight at most: what is rare, such as a batch without its damaged images, is for the network itself.

    Args:
        network: [B, 3, H, W] -> [B, D]; its parameters and its state dict stay as they are.
        deterministic: no kernel is chosen by what is faster at the moment.
    """

    def __init__(self, network: nn.Module, deterministic: bool) -> None:
        self._known: set[tuple[Any, ...]] = set()
        options = {"deterministic": deterministic} if hasattr(inductor, "deterministic") else {}
        self._compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False, options=dict(options))

    def __call__(self, images: Tensor) -> Tensor:
        """[B, D] embeddings.

        Raises:
            InputError: this machine cannot compile: there is no C++ compiler, say.
        """
        kind = (images.shape, torch.is_grad_enabled())
        if kind in self._known:
            return self._compiled(images)
        self._known.add(kind)
        began = time.perf_counter()
        try:
            with progress.status("compiling the backbone"):
                embeddings = self._compiled(images)
        except TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            raise InputError(
                f"--compile: the backbone cannot be compiled here ({first_line(cause)}); on a CPU it takes a C++ "
                "compiler such as g++, on a GPU Triton; without --compile the run computes the same but for rounding"
            ) from error
        if (seconds := time.perf_counter() - began) > _LONG:
            progress.say(f"compiled the backbone for {len(images)} images in {seconds:.0f} s")
        return embeddings
