"""Steps that would ruin a model: without a finite loss and gradient none is made; too many in a row end the run."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from elasticface.base.errors import Stopped
from elasticface.distributed.agreement import from_all
from elasticface.heads.row_sparse import is_row_sparse, local_of, rows_and_values

_NAMED = 5  # labels


@dataclass
class Evidence:
    """What one process saw of a step, for the message."""

    loss: float
    labels: Tensor  # [b]
    lengths: Tensor  # [b] of the embeddings

    def worst(self) -> list[int]:
        """The labels whose embeddings are not finite, or else the longest."""
        lengths = torch.where(torch.isfinite(self.lengths), self.lengths, torch.inf)
        return self.labels[lengths.argsort(descending=True)[:_NAMED]].tolist()


class Guard:
    """Counts the steps that were skipped, and keeps what such a step would leave behind of itself: running statistics.

    Args:
        network: whose buffers are kept.
        most: steps in a row that may be skipped.
        skipped: steps that were, before the run was interrupted.
        in_row: of them the last ones in a row.
    """

    def __init__(self, network: nn.Module, most: int, skipped: int = 0, in_row: int = 0) -> None:
        self.most, self.skipped, self.in_row = most, skipped, in_row
        self._buffers = [buffer for buffer in network.buffers() if buffer.numel()]
        self._kept = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def before(self) -> None:
        """Keep the buffers as they are before a forward pass."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    @torch.no_grad()
    def skip(self) -> bool:
        """Take the buffers back and count the step; whether those in a row are as many as may be."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)
        self.skipped += 1
        self.in_row += 1
        return self.in_row >= self.most

    def stopped(self, step: int, lr: float, norm: float, own: Evidence, kept: str) -> Stopped:
        """What ends the run: what all processes saw, what is left, what helps. Collective.

        Args:
            step: the last one, from 1.
            lr: its learning rate.
            norm: of this process's gradients.
            own: what this process saw.
            kept: what there is to go on from.
        """
        norms, labels, lengths = zip(*from_all(lambda: (norm, own.labels.cpu(), own.lengths.cpu())), strict=True)
        seen = Evidence(own.loss, torch.cat(labels), torch.cat(lengths))
        return Stopped(
            f"the loss of step {step} is {seen.loss}, the {self.in_row}th in a row without a finite loss or gradient: "
            f"learning rate {lr:g}, gradient norm {max(norms):g}, lengths of embeddings "
            f"{seen.lengths.min():g} to {seen.lengths.max():g}, worst labels {', '.join(map(str, seen.worst()))}; "
            f"{kept}. What helps most often is a lower --lr, a longer --warmup-epochs or --margin-warmup-epochs, "
            "--clip-norm 5, or --precision bf16 instead of fp16"
        )


def norm_of(gradients: list[Tensor]) -> float:
    """The Euclidean norm of all gradients of one process together; those of a DTensor are its own rows."""
    local = [rows_and_values(g)[1] if is_row_sparse(g) else local_of(g) for g in gradients]
    norms = torch._foreach_norm([g for g in local if g.numel()]) if local else []
    return math.sqrt(sum(float(norm) ** 2 for norm in norms)) if norms else 0.0
