"""What a head is given, checked before anything is computed: what is wrong in one process is raised in all."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from elasticface.distributed.communication import Group

_FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]  # processes compare their places in this list


class Given(NamedTuple):
    """The arguments of a head's forward: this process's part of a batch."""

    embeddings: Tensor
    labels: Tensor
    margins: Tensor | None
    weights: Tensor | None

    def check(
        self,
        num_classes: int,
        embedding_size: int,
        owned: tuple[int, int],
        group: Group,
        counts: Sequence[int] | None,
    ) -> tuple[int, ...]:
        """How many rows of the batch each process has.

        Args:
            num_classes: C.
            embedding_size: D.
            owned: class centres that this process has, and that it should have.
            group: the processes.
            counts: what is returned, where the caller knows; then each process checks its own part alone.

        Raises:
            ValueError: what doesn't fit; in all processes if in one, unless ``counts`` are given.
        """
        labels, problem = self.labels, self._problem(num_classes, embedding_size, owned)
        if counts is not None:
            counts = tuple(counts)
            require(not problem, problem)
            self._require_counts(counts, group)
            lowest_own, highest_own = torch.stack(labels.aminmax()).tolist() if len(labels) else (0, 0)
            _require_in_range(lowest_own, highest_own, num_classes)
            return counts
        dtype = _FLOATS.index(self.embeddings.dtype) if self.embeddings.dtype in _FLOATS else -1
        rows = 0 if problem else len(labels)
        given = (self.margins is not None) + 2 * (self.weights is not None)
        own = torch.tensor([rows, bool(problem), dtype, given, num_classes, -1], device=labels.device)
        if rows:
            own[4:] = torch.stack(labels.aminmax())
        if group.size > 1:
            own = own.to(self.embeddings.device)  # where the processes exchange tensors
        # Of each process: rows, whether there is a problem, type, what is given, lowest and highest label.
        counts, problems, dtypes, givens, lowest, highest = zip(*group.gather_numbers(own), strict=True)
        require(not problem, problem)
        if any(problems):
            raise ValueError(f"process {problems.index(1)} was given what doesn't fit; see its own error")
        require(sum(counts) > 0, f"labels must be [B] with B >= 1, got {list(labels.shape)}")
        require(
            len(set(dtypes)) == len(set(givens)) == 1,
            "embeddings must be of one type in all processes, and margins be given in all or in none; so must weights",
        )
        _require_in_range(min(lowest), max(highest), num_classes)
        return counts

    def _require_counts(self, counts: tuple[int, ...], group: Group) -> None:
        size, rank, labels = group.size, group.rank, self.labels
        require(len(counts) == size, f"counts must be {size}, one a process, got {len(counts)}")
        require(min(counts) >= 0 and sum(counts) > 0, f"counts must be of a batch of 1 or more, got {list(counts)}")
        require(counts[rank] == len(labels), f"counts say {counts[rank]} rows of process {rank}, got {len(labels)}")
        require(labels.device.type == "cpu", f"labels must be on the CPU with counts, not on {labels.device}")

    def _problem(self, num_classes: int, embedding_size: int, owned: tuple[int, int]) -> str:
        """What is wrong with the shapes and types of this process's arguments; "" if nothing."""
        labels = self.labels
        if labels.ndim != 1:
            return f"labels must be [B] with B >= 1, got {list(labels.shape)}"
        if labels.is_floating_point():
            return f"labels must be integers, got {labels.dtype}"
        shape, needed = list(self.embeddings.shape), [len(labels), embedding_size]
        if shape != needed:
            return f"embeddings must be {needed} for these labels, got {shape}"
        if self.margins is not None and self.margins.shape != labels.shape:
            return f"margins must be [{len(labels)}], one per label"
        if self.weights is not None and self.weights.shape != labels.shape:
            return f"weights must be [{len(labels)}], one per label"
        if owned[0] != owned[1]:
            return f"weight has {owned[0]} rows where this process has {owned[1]} of the {num_classes} classes"
        return ""


def _require_in_range(lowest: int, highest: int, num_classes: int) -> None:
    for label in (lowest, highest):
        require(0 <= label < num_classes, f"label {label} is outside 0..{num_classes - 1}")


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with ``message`` unless ``condition``."""
    if not condition:
        raise ValueError(message)
