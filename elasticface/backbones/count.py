"""What a net costs: its multiply-adds."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(module: nn.Module, size: int = 112) -> int:
    """Multiply-adds of one image's forward pass in convolutions and products of matrices; the rest is not counted.

    That is what papers give as "MAdds", and as "FLOPs" where they mean the same.

    Args:
        module: takes [1, 3, size, size]; it stays as it is.
        size: side of the image in pixels.
    """
    # On the meta device only shapes flow; and a batch norm in training refuses a batch of one.
    net = copy.deepcopy(module).to("meta").eval()
    image = torch.empty(1, 3, size, size, device="meta", dtype=next((p.dtype for p in net.parameters()), None))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    return int(counter.get_total_flops()) // 2  # it counts a multiplication and an addition as two
