"""What several processes do with a class-sharded head, for the tests to look at; with no mesh, one process does it."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from elasticface import heads
from elasticface.heads import MarginHead

SIZE = 8


@dataclass(frozen=True)
class Case:
    """A head and a batch: ``shares`` rows of it on each process, that many steps one after the other."""

    loss: str
    dtype: str = "float64"
    classes: int = 23
    shares: tuple[int, ...] = (3, 4)
    steps: int = 2
    given: bool = False  # margins given, not drawn
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        return sum(self.shares)

    def head(self, mesh: DeviceMesh | None = None) -> MarginHead:
        torch.manual_seed(5)
        return heads.create(self.loss, self.classes, SIZE, mesh=mesh, **self.options).to(getattr(torch, self.dtype))

    def inputs(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """[B, D], [B] and, where they are given, [B], of the whole batch."""
        generator = torch.Generator().manual_seed(100 + step)
        embeddings = torch.randn(self.batch, SIZE, generator=generator, dtype=torch.float64)
        labels = torch.randint(self.classes, (self.batch,), generator=generator)
        margins = torch.rand(self.batch, generator=generator, dtype=torch.float64) if self.given else None
        return embeddings.to(getattr(torch, self.dtype)), labels, margins

    def own(self, mesh: DeviceMesh | None) -> slice:
        """The rows of the batch that this process has."""
        if mesh is None:
            return slice(None)
        start = sum(self.shares[: mesh.get_local_rank()])
        return slice(start, start + self.shares[mesh.get_local_rank()])


def local(tensor: Tensor | None) -> Tensor | None:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def step(case: Case, mesh: DeviceMesh | None, head: MarginHead, number: int) -> dict[str, Any]:
    """One forward and backward of a process: its loss, and its gradients."""
    embeddings, labels, margins = case.inputs(number)
    own = case.own(mesh)
    part = embeddings[own].clone().requires_grad_()
    head.zero_grad()
    loss = head(part, labels[own], None if margins is None else margins[own])
    loss.backward()
    with torch.no_grad():
        return {"loss": loss.detach(), "embeddings": part.grad, "weight": local(head.weight.grad), "step": head.step}


def steps(mesh: DeviceMesh | None, case: Case) -> list[dict[str, Any]]:
    head = case.head(mesh)
    return [step(case, mesh, head, number) for number in range(case.steps)]


def every_case(mesh: DeviceMesh, cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [steps(mesh, Case(**case)) for case in cases]


def as_plain(cases: list[Case]) -> list[dict[str, Any]]:
    return [asdict(case) for case in cases]
