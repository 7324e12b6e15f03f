"""SGD for class centres of which a step sees a few: the others are left alone, and cost nothing. And a scaler for them.

Partial FC (An et al., CVPR 2022, arXiv 2203.15565): "All class centers are still maintained throughout the whole
training process, but only a subset is selected and updated in each iteration." Taken at its word, a centre that is not
selected keeps its place and its momentum: neither decays.
"""

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.optim.optimizer import ParamsT

from elasticface.heads.row_sparse import is_row_sparse, local_of, rows_and_values

# Rows are worked on in pieces, so that copies stay small beside the gradient, and on a CPU in the core's own cache.
_PIECE_BYTES = {"cpu": 1 << 20}
_PIECE_BYTES_ELSEWHERE = 16 << 20


def piece_bytes(device: str) -> int:
    """Bytes of rows of a weight that a step works on at a time, where its gradient is row-sparse."""
    return _PIECE_BYTES.get(device, _PIECE_BYTES_ELSEWHERE)


class SGD(torch.optim.SGD):
    """`torch.optim.SGD` for parameters with gradients of all kinds, some of them row-sparse.

    With g the gradient and w the weight,

        g ← g + weight_decay·w        v ← momentum·v + g        w ← w − lr·v

    With a dense gradient it is torch's own, but that the decay is added to the gradient in its place, of which torch
    makes a copy: as large as all class centres. Of a row-sparse one (`heads/row_sparse.py`) only its rows of weight
    and momentum are read and written. v starts at 0, so that a row which is met for the first time starts as
    torch's SGD does. The momentum is one dense tensor per parameter, a ``DTensor`` for one that is, made in the first
    step; `torch.distributed.checkpoint` saves it like any other.

    Args:
        params: parameters or groups of them.
        lr: ≥ 0.
        momentum: ≥ 0; 0 has no v.
        weight_decay: ≥ 0.
    """

    def __init__(self, params: ParamsT, lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; the gradients that it was given are changed by it."""
        decays = [group["weight_decay"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if is_row_sparse(parameter.grad):
                        self._step_rows(parameter, group)
                    elif parameter.grad is not None and group["weight_decay"]:
                        parameter.grad.add_(parameter, alpha=group["weight_decay"])
                group["weight_decay"] = 0  # there is none left for torch's to add
            super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay

    def _init_group(self, group: dict[str, Any], *collected: list[Any]) -> Any:
        """Where torch collects what a step updates: not the parameters whose few rows are done."""
        others = [parameter for parameter in group["params"] if not is_row_sparse(parameter.grad)]
        return super()._init_group({**group, "params": others}, *collected)  # type: ignore[no-untyped-call]

    def _step_rows(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if group["momentum"] and state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
        weight, gradient = local_of(parameter), parameter.grad
        assert gradient is not None
        rows, values = rows_and_values(gradient)
        length = max(piece_bytes(weight.device.type) // (weight.shape[1] * weight.itemsize), 1)
        for at, change in zip(torch.split(rows, length), torch.split(values, length), strict=True):
            before = weight.index_select(0, at)
            change = change.add(before, alpha=group["weight_decay"])
            if group["momentum"]:
                momentum = local_of(state["momentum_buffer"])
                change = momentum.index_select(0, at).mul_(group["momentum"]).add_(change)
                momentum.index_copy_(0, at, change)
            weight.index_copy_(0, at, before.add_(change, alpha=-group["lr"]))


class GradScaler(ShardedGradScaler):
    """Gradient scaling for float16 over several processes, some gradients whole in each of them and some shared out.

    All processes skip a step that has overflowed in one. torch's own scaler takes plain gradients or those of a
    ``DTensor``, and not both together; this one unscales what the process has of each, in place.
    """

    def _unscale_grads_(self, optimizer: torch.optim.Optimizer, *scale: Any) -> dict[torch.device, Tensor]:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        own = [SimpleNamespace(grad=local_of(gradient)) for gradient in gradients]
        local = cast(torch.optim.Optimizer, SimpleNamespace(param_groups=[{"params": own}]))
        return super()._unscale_grads_(local, *scale)
