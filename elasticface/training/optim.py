"""SGD and AdamW for class centres of which a step sees a few: the others are left alone, and cost nothing.

Partial FC (An et al., CVPR 2022, arXiv 2203.15565): "All class centers are still maintained throughout the whole
training process, but only a subset is selected and updated in each iteration." Taken at its word, a centre that is not
selected keeps its place and its momentum: neither decays.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from elasticface.heads.row_sparse import rows_and_values
from elasticface.training.guard import sums_dtype

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
        nesterov: w ← w − lr·(g + momentum·v) with the new v, as torch has it; needs a momentum.
    """

    def __init__(
        self, params: ParamsT, lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True)
        for group in self.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                # Laid out like the parameter and its gradient, so that the fused step goes through all in one order.
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update. Row-sparse gradients are used up by it: they are ``None`` afterwards."""
        _step_row_sparse(self, self._step_rows)
        super().step(closure)

    def _step_rows(self, weight: Tensor, group: dict[str, Any]) -> None:
        momentum = self.state[weight]["momentum_buffer"] if group["momentum"] else None
        replace = _replacer(self)
        for rows, g in _pieces(weight):
            w = weight.index_select(0, rows)
            v = g = g.add(w, alpha=group["weight_decay"])
            if momentum is not None:
                old = momentum.index_select(0, rows)
                v = old.mul(group["momentum"]).add_(g)
                replace(momentum, rows, old, v)
            if group["nesterov"]:
                v = g.add_(v, alpha=group["momentum"])
            replace(weight, rows, w, w.add(v, alpha=-group["lr"]))


class RowSparseAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`, fused, for parameters with gradients of all kinds, some of them row-sparse.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019). With t counting the steps from 1,

        m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²
        w ← (1 − lr·weight_decay)·w − lr·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    Of a row-sparse gradient only its rows of w, m and v are read and written; t counts all steps, as in
    `torch.optim.SparseAdam`. All are there from the beginning: a checkpoint of any step has the same names.

    Args:
        params: parameters or groups of them.
        lr: ≥ 0.
        weight_decay: ≥ 0; it is multiplied by the learning rate, so usual ones are far above those of SGD.
    """

    def __init__(self, params: ParamsT, lr: float, *, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["step"] = torch.zeros((), device=parameter.device)
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = torch.zeros_like(parameter, requires_grad=False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update. Row-sparse gradients are used up by it: they are ``None`` afterwards."""
        _step_row_sparse(self, self._step_rows)
        super().step(closure)

    def _step_rows(self, weight: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2), lr = self.state[weight], group["betas"], group["lr"]
        replace, is_lost = _replacer(self), getattr(self, "found_inf", None)
        steps = state["step"].to(sums_dtype(weight.device)) + 1
        correction1, correction2 = 1 - beta1**steps, 1 - beta2**steps  # on the device, as the counter is
        for rows, g in _pieces(weight):
            old_m, old_v, old = (t.index_select(0, rows) for t in (state["exp_avg"], state["exp_avg_sq"], weight))
            m = old_m.lerp(g, 1 - beta1)
            v = old_v.mul(beta2).addcmul_(g, g, value=1 - beta2)
            replace(state["exp_avg"], rows, old_m, m)
            replace(state["exp_avg_sq"], rows, old_v, v)
            step = m.div_(correction1).div_(v.div_(correction2).sqrt_().add_(group["eps"]))
            replace(weight, rows, old, old.mul(1 - lr * group["weight_decay"]).sub_(step, alpha=lr))
        state["step"] += 1 if is_lost is None else 1 - is_lost


def _replacer(optimizer: torch.optim.Optimizer) -> Callable[[Tensor, Tensor, Tensor, Tensor], None]:
    """What puts new rows in place of the old ones, unless ``optimizer.found_inf`` says on the device that it may not.

    As in torch's fused steps: an attribute of the optimizer, a scalar that is 0 where all gradients are finite.
    """
    is_lost = getattr(optimizer, "found_inf", None)

    def replace(tensor: Tensor, rows: Tensor, old: Tensor, new: Tensor) -> None:
        tensor.index_copy_(0, rows, new if is_lost is None else torch.where(is_lost.bool(), old, new))

    return replace


def _step_row_sparse(optimizer: torch.optim.Optimizer, step_rows: Callable[[Tensor, dict[str, Any]], None]) -> None:
    """Update the parameters that have a row-sparse gradient, and use that up; the others are left to torch."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.is_sparse:
                step_rows(parameter, group)
                parameter.grad = None


def _pieces(weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of a row-sparse gradient and their values, in pieces of bounded memory."""
    assert weight.grad is not None
    all_rows, values = rows_and_values(weight.grad)
    length = max(piece_bytes(weight.device.type) // (weight.shape[1] * weight.itemsize), 1)
    return zip(torch.split(all_rows, length), torch.split(values, length), strict=True)
