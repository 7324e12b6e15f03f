"""SGD for class centres of which a step sees a few: the others are left alone, and cost nothing.

Partial FC (An et al., CVPR 2022, arXiv 2203.15565): "All class centers are still maintained throughout the whole
training process, but only a subset is selected and updated in each iteration." Taken at its word, a centre that is not
selected keeps its place and its momentum: neither decays.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from elasticface.heads.row_sparse import rows_and_values

# Rows are worked on in pieces, so that copies stay small beside the gradient, and on a CPU in the core's own cache.
_PIECE_BYTES = {"cpu": 1 << 20}
_PIECE_BYTES_ELSEWHERE = 16 << 20


def piece_bytes(device: str) -> int:
    """Bytes of rows of a weight that a step works on at a time, where its gradient is row-sparse."""
    return _PIECE_BYTES.get(device, _PIECE_BYTES_ELSEWHERE)


class RowSparseSGD(torch.optim.SGD):
    """`torch.optim.SGD`, fused, for parameters with gradients of all kinds, some of them row-sparse.

    With g the gradient and w the weight,

        g ← g + weight_decay·w        v ← momentum·v + g        w ← w − lr·v

    Of a row-sparse gradient (`heads/row_sparse.py`) only its rows of weight and momentum are read and written. v starts
    at 0, as tensors that are there from the beginning: a checkpoint of any step has the same names.

    Args:
        params: parameters or groups of them.
        lr: ≥ 0.
        momentum: ≥ 0; 0 has no v.
        weight_decay: ≥ 0.
    """

    def __init__(self, params: ParamsT, lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
        for group in self.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                # Laid out like the parameter and its gradient, so that the fused step goes through all in one order.
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update. Row-sparse gradients are used up by it: they are ``None`` afterwards."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    parameter.grad = None
        super().step(closure)

    def _step_rows(self, weight: Tensor, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        momentum = self.state[weight]["momentum_buffer"] if group["momentum"] else None
        all_rows, values = rows_and_values(weight.grad)
        length = max(piece_bytes(weight.device.type) // (weight.shape[1] * weight.itemsize), 1)
        for rows, g in zip(torch.split(all_rows, length), torch.split(values, length), strict=True):
            w = weight.index_select(0, rows)
            v = g.add(w, alpha=group["weight_decay"])
            if momentum is not None:
                v = momentum.index_select(0, rows).mul_(group["momentum"]).add_(v)
                momentum.index_copy_(0, rows, v)
            weight.index_copy_(0, rows, w.add_(v, alpha=-group["lr"]))
