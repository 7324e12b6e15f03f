"""The outcome of a step, and the snapshot of running statistics that undoes a skipped one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_NAMED_LABELS = 5


@dataclass(frozen=True)
class Outcome:
    """What the forward and backward pass of a step produced in one process.

    Attributes:
        loss: of the global batch; NaN where a process had too few images to train on.
        target_cosine: mean cos θ_y of the global batch.
        labels: int64 [b].
        lengths: float32 [b], L2 norms of this process's embeddings.
        images: number of images of the global batch that could be read; 0 where there was no forward pass.
    """

    loss: float
    target_cosine: float
    labels: Tensor
    lengths: Tensor
    images: int

    @property
    def has_gradients(self) -> bool:
        """Whether there was a backward pass."""
        return self.images > 0

    def worst_labels(self) -> list[int]:
        """Labels of embeddings that are not finite first, then of the longest."""
        lengths = torch.where(torch.isfinite(self.lengths), self.lengths, torch.inf)
        return self.labels[lengths.argsort(descending=True)[:_NAMED_LABELS]].tolist()


TOO_FEW_IMAGES = Outcome(math.nan, math.nan, torch.zeros(0, dtype=torch.int64), torch.zeros(0), 0)
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


def norm_of(gradients: Sequence[Tensor]) -> float:
    """The Euclidean norm of all gradients of one process together, including row-sparse ones."""
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    values = [value for value in values if value.numel()]
    return math.sqrt(sum(float(norm) ** 2 for norm in torch._foreach_norm(values))) if values else 0.0
