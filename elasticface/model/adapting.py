"""A network fitted to faces of another kind, without labels: the mean of its last batch norm over them.

A network that has been trained on rendered faces, or on those of another camera, maps all faces of a new kind to one
side: the last batch norm subtracts the mean of the faces that it was trained on. Here it is that of the new ones.

Source: Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation" (2016), AdaBN, of the last layer
alone. The variance stays: docs/fine-tuning.md.
"""

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elasticface.base.errors import InputError

LEAST = 10
"""Photos that a mean is taken over, at least."""

ENOUGH = 50
"""Photos beyond which there is little to gain: docs/fine-tuning.md."""


def with_mean_over(
    network: Callable[[Tensor], Tensor], black: Tensor, batches: Iterable[Tensor], name: str
) -> tuple[nn.Module, int]:
    """A copy of a network in which the last batch norm has the mean of what it is given for some images.

    Args:
        network: [B, 3, size, size] -> [B, D], of which the last layer is a batch norm over the embedding.
        black: [2, 3, size, size], images to find that layer by, before there are any others.
        batches: images [B, 3, size, size]; each one and its mirror image count.
        name: of the model, for messages.

    Returns:
        The copy, in eval mode, and how many images there were.

    Raises:
        InputError: a network without such a layer; fewer than ``LEAST`` images; features that are no numbers.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{name}: only a torch network can be adapted, not an .onnx; adapt the model folder, run or weights that "
            "it was exported from, and export the result"
        )
    network = copy.deepcopy(getattr(network, "_orig_mod", network)).eval()  # what torch.compile returns wraps it
    norm = _last_norm(network, black)
    if norm is None:
        raise InputError(
            f"{name}: cannot be adapted: its last layer is not a batch norm over the embedding, whose mean would be "
            "set; take a model of one of our backbones, or fine-tune this one (elasticface train --init)"
        )
    total, count = np.zeros(norm.num_features), 0
    for images in batches:
        total += _sum(network, norm, images)
        count += len(images)
    if count < LEAST:
        raise InputError(
            f"{name}: adapting takes at least {LEAST} faces, and there are {count}; give photos of more people "
            f"({ENOUGH} are enough)"
        )
    mean = torch.from_numpy(total / (2 * count)).to(norm.running_mean)
    if not mean.isfinite().all():
        raise InputError(f"{name}: its features hold NaN or infinity; the model is broken")
    # Assigned, not copied into: a network that was made in torch.inference_mode allows no change of its tensors.
    norm.running_mean = mean
    return network, count


@torch.inference_mode()
def _last_norm(network: nn.Module, images: Tensor) -> nn.modules.batchnorm._BatchNorm | None:
    """The batch norm over [B, D] whose output is the network's."""
    seen: list[tuple[nn.modules.batchnorm._BatchNorm, tuple[Tensor, ...], Tensor]] = []
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_hook(lambda *call: seen.append(call)) for norm in norms]
    try:
        embeddings = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, given, output in seen:
        if output is embeddings and output.ndim == 2 and given and norm.running_mean is not None:
            return norm
    return None


@torch.inference_mode()
def _sum(network: nn.Module, norm: nn.Module, images: Tensor) -> NDArray[np.float64]:
    """[D], of what the layer is given for images and for their mirror images."""
    features: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    try:
        network(images)
        network(images.flip(3))
    finally:
        hook.remove()
    total: NDArray[np.float64] = torch.cat(features).to("cpu", torch.float64).sum(0).numpy()
    return total
