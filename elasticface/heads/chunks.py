"""The class centres of a step, chunk by chunk, and where in a chunk the targets of the samples are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from elasticface.heads.vectors import sub_centres, within

# A chunk of logits is worked on several times; on a CPU it should stay in the last-level cache meanwhile, on a GPU it
# must be large enough to fill the device.
_CHUNK_BYTES = {"cpu": 4 << 20}
_CHUNK_BYTES_ELSEWHERE = 64 << 20


def chunking(total: int, batch: int, size: int, itemsize: int, budget: int, device: str) -> tuple[int, int]:
    """The chunks of ``total`` classes: (classes of a chunk, classes whose probabilities are kept).

    Args:
        total: the classes of one process that a step uses.
        batch: B, of all processes.
        size: D.
        itemsize: bytes of a number: 4, or 8 where the head computes in float64.
        budget: ``max_logits_bytes``.
        device: "cpu", "cuda", …
    """
    # A chunk has [batch, width] logits and [width, D] centres; neither may be large.
    chunk_bytes = min(_CHUNK_BYTES.get(device, _CHUNK_BYTES_ELSEWHERE), budget)
    widest = max(chunk_bytes // (max(batch, size) * itemsize), 1)
    width = max(min(widest, total), 1)  # a process may have no class at all
    # Where not all are kept, one chunk of the budget is the working memory of the rest.
    fits = budget // (batch * itemsize)
    return width, total if total <= fits else max(fits - width, 0) // width * width


class Chunks:
    """The class centres, chunk by chunk: the one place that knows how large a chunk is and which rows are meant.

    Sub-centres are rows of their own here. Those of one class are never in two chunks.
    """

    def __init__(
        self, weight: Tensor, classes: Tensor | None, batch: int, dtype: torch.dtype, budget: int, each: int = 1
    ) -> None:
        self.weight, self.classes, self.each, self.dtype, self.batch = weight, classes, each, dtype, batch
        used, size, device = len(weight) if classes is None else len(classes), weight.shape[1], weight.device.type
        width, kept = chunking(used, batch * each, size, dtype.itemsize, budget, device)
        self.total, self.width, self.kept = used * each, width * each, kept * each

    def __iter__(self) -> Iterator[slice]:
        return (slice(start, min(start + self.width, self.total)) for start in range(0, self.total, self.width))

    def rows(self, chunk: slice) -> Tensor:
        """[k, D] centres of one chunk, of any length."""
        of_weight = slice(chunk.start // self.each, chunk.stop // self.each)
        if self.classes is None:
            rows = self.weight[of_weight].to(self.dtype)
        else:  # whole rows, several times as fast as by weight[…]
            rows = self.weight.index_select(0, self.classes[of_weight]).to(self.dtype)
        return sub_centres(rows, self.each)

    def memory(self, chunk: slice, kept: Tensor, spare: Tensor) -> Tensor:
        """Where the [B, k] exponentials or cosines of one chunk are, or go."""
        memory = kept[chunk.start * self.batch :] if chunk.stop <= len(kept) // self.batch else spare
        return memory[: (chunk.stop - chunk.start) * self.batch].view(self.batch, -1)


def columns_of(rows: Tensor, length: int, classes: Tensor | None, each: int) -> Tensor:
    """[B] sub-centres of ``length`` classes -> their places where only ``classes`` are; of one outside, outside."""
    if classes is None:
        return rows
    own, among = rows.div(each, rounding_mode="floor"), rows.remainder(each)
    return torch.where((own >= 0) & (own < length), torch.searchsorted(classes, own) * each + among, -1)


def set_at_targets(matrix: Tensor, columns: Tensor, value: float) -> Tensor:
    """``matrix`` [B, k], in place, with ``value`` in the column of each row, where that is among the k."""
    at, inside = within(columns, matrix.shape[1])
    # Without indexing by a mask: that would make a GPU wait for the host in every chunk.
    return matrix.scatter_(1, at[:, None], matrix.gather(1, at[:, None]).masked_fill(inside[:, None], value))
