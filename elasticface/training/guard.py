"""The outcome of a step, and the snapshot of running statistics that undoes a skipped one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_NAMED_LABELS = 5


@dataclass(frozen=True)
class Outcome:
    """What the forward and backward pass of a step produced in one process; on its device, unless it says otherwise.

    Attributes:
        mean_loss: scalar, of the global batch; NaN where a process had too few images to train on.
        mean_target_cosine: scalar, mean cos θ_y of the global batch.
        labels: int64 [b], on the host.
        lengths: float32 [b], L2 norms of this process's embeddings.
        images: number of images of the global batch that could be read; 0 where there was no forward pass.
    """

    mean_loss: Tensor
    mean_target_cosine: Tensor
    labels: Tensor
    lengths: Tensor
    images: int

    @property
    def loss(self) -> float:
        """The mean loss of the global batch. Waits for the device."""
        return float(self.mean_loss)

    @property
    def target_cosine(self) -> float:
        """The mean cos θ_y of the global batch. Waits for the device."""
        return float(self.mean_target_cosine)

    @property
    def has_gradients(self) -> bool:
        """Whether there was a backward pass."""
        return self.images > 0

    def worst_labels(self) -> list[int]:
        """Labels of embeddings that are not finite first, then of the longest."""
        lengths = torch.where(torch.isfinite(self.lengths), self.lengths, torch.inf).cpu()
        return self.labels[lengths.argsort(descending=True)[:_NAMED_LABELS]].tolist()


TOO_FEW_IMAGES = Outcome(
    torch.tensor(torch.nan), torch.tensor(torch.nan), torch.zeros(0, dtype=torch.int64), torch.zeros(0), 0
)
"""The outcome where some process could not read enough images of its share for a forward pass."""


class RunningStatistics:
    """A network's buffers as they were before a forward pass, to be restored where its step is skipped."""

    def __init__(self, network: nn.Module) -> None:
        self._buffers = [buffer for buffer in network.buffers() if buffer.numel()]
        self._snapshot = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def take_snapshot(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._snapshot, self._buffers)

    @torch.no_grad()
    def restore(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._snapshot)


def norm_of(gradients: Sequence[Tensor], device: torch.device) -> Tensor:
    """The Euclidean norm of all gradients of one process together, row-sparse ones too: a scalar on ``device``."""
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    values = [value for value in values if value.numel()]
    if not values:
        return torch.zeros((), device=device)
    norms = torch.stack(torch._foreach_norm(values))
    norm: Tensor = torch.linalg.vector_norm(norms, dtype=sums_dtype(device))
    return norm


def sums_dtype(device: torch.device) -> torch.dtype:
    """What losses and squares are added up in: float64, but on Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64
