"""Numbers made on the host, moved to the device that needs them."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; from the host without waiting for what the device is doing."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # From other memory than this, CUDA first waits until all work before the copy is done.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
