"""Batch norm over the batches of all processes, on any device: torch's own knows GPUs alone.

Source: Ioffe and Szegedy, "Batch Normalization" (2015), with mean and variance of the global batch.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn


class _SumOverProcesses(torch.autograd.Function):
    """Σ over the processes, in all of them; the gradient by one's own part is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        distributed.all_reduce(total)
        return total


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of [B, C, …] whose statistics in training are those of the batches of all processes, of any sizes.

    Half precision is computed in float32, as torch's own batch norms do: sums in bfloat16 have two digits.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not distributed.is_initialized():
            return super().forward(input)
        given, input = input.dtype, input.to(torch.promote_types(input.dtype, torch.float32))
        others = [0, *range(2, input.ndim)]
        count = input.new_tensor(input.numel() / input.shape[1], dtype=torch.float64)
        distributed.all_reduce(count)
        share = (1 / count).to(input.dtype)
        shape = [1, -1] + [1] * (input.ndim - 2)
        # The mean first, then squares of what is off it: sums of bare squares lose their digits in float32.
        mean = _sum(input.sum(others)) * share
        centred = input - mean.view(shape)
        variance = _sum(centred.square().sum(others)) * share
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                momentum = 0.1 if self.momentum is None else self.momentum
                unbiased = variance * (count / (count - 1)).to(input.dtype)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        factor = (variance + self.eps).rsqrt()
        if self.weight is not None:
            factor = factor * self.weight
        result = centred * factor.view(shape)
        return (result if self.bias is None else result + self.bias.view(shape)).to(given)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes [B, C, …], got {list(input.shape)}")


def synchronised(network: nn.Module) -> nn.Module:
    """``network`` with every batch norm in it over all processes; parameters, buffers and their names stay.

    On GPUs the batch norms become torch's own :class:`torch.nn.SyncBatchNorm`.
    """
    device = next(network.parameters()).device.type
    if device != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return,no-untyped-call]
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = SyncBatchNorm
    return network


def _sum(own: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(own)  # type: ignore[no-untyped-call]
    return total
