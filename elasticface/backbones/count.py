"""What a net costs: its multiply-adds."""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call


def multiply_adds(module: nn.Module, size: int = 112) -> int:
    """Multiply-adds of one image's forward pass in the convolutions and linear layers; the rest is not counted.

    That is what papers give as "MAdds", and as "FLOPs" where they mean the same.

    Args:
        module: takes [1, 3, size, size]; neither its mode nor its state changes, and nothing is computed.
        size: side of the image in pixels.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            counts.append(output.numel() * layer.weight[0].numel())  # a row of weights makes one number of the output

    modes = {layer: layer.training for layer in module.modules()}
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    # On the meta device only shapes flow, so even the largest net is counted at once.
    state = {k: v.to("meta") for k, v in chain(module.named_parameters(), module.named_buffers())}
    image = torch.zeros(1, 3, size, size, device="meta", dtype=next(module.parameters()).dtype)
    try:
        module.eval()  # a batch norm in training refuses a batch of one
        with torch.no_grad():
            functional_call(module, state, (image,))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, training in modes.items():
            layer.training = training
    return sum(counts)
