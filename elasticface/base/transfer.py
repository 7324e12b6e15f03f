"""Numbers made on the host, moved to the device that needs them."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` of the host on ``device``, without waiting for what the device is doing."""
    if device.type == "cuda":
        # From other memory than this, CUDA first waits until all work before the copy is done.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
