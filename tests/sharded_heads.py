"""What several processes do with a class-sharded head, for the tests to look at; with no mesh, one process does it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import longhand
import longhand_compared
import torch
from created import Created
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from elasticface import heads
from elasticface.heads import margins
from elasticface.heads.head import MarginHead
from elasticface.heads.row_sparse import rows_and_values
from elasticface.training.optim import RowSparseSGD


@dataclass(frozen=True)
class Case:
    """A head and a batch: ``shares`` rows of it on each process, that many steps one after the other."""

    loss: str
    shares: tuple[int, ...]
    dtype: str = "float64"
    classes: int = 23
    size: int = 8
    steps: int = 2
    given: bool = False  # margins given, not drawn
    weighted: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        return sum(self.shares)

    def head(self, mesh: DeviceMesh | None = None) -> MarginHead:
        torch.manual_seed(5)
        head = heads.create(self.loss, self.classes, self.size, mesh=mesh, **self.options)
        return head.to(getattr(torch, self.dtype))

    def inputs(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """[B, D], [B] and, where they are given, [B], of the whole batch."""
        generator = torch.Generator().manual_seed(100 + step)
        embeddings = torch.randn(self.batch, self.size, generator=generator, dtype=torch.float64)
        labels = torch.randint(self.classes, (self.batch,), generator=generator)
        given = torch.rand(self.batch, generator=generator, dtype=torch.float64) if self.given else None
        return embeddings.to(getattr(torch, self.dtype)), labels, given

    def weights(self, step: int) -> Tensor | None:
        """[B] of the samples in the mean loss, over three orders of magnitude."""
        generator = torch.Generator().manual_seed(200 + step)
        drawn = 10 ** (3 * torch.rand(self.batch, generator=generator, dtype=torch.float64))
        return drawn if self.weighted else None

    def own(self, mesh: DeviceMesh | None) -> slice:
        """The rows of the batch that this process has."""
        if mesh is None:
            return slice(None)
        start = sum(self.shares[: mesh.get_local_rank()])
        return slice(start, start + self.shares[mesh.get_local_rank()])


def step(case: Case, mesh: DeviceMesh | None, head: MarginHead, number: int) -> dict[str, Any]:
    """One forward and backward of a process: its loss, and its gradients."""
    embeddings, labels, given = case.inputs(number)
    own, weights = case.own(mesh), case.weights(number)
    part = embeddings[own].clone().requires_grad_()
    head.zero_grad()
    loss = head(part, labels[own], *(None if each is None else each[own] for each in (given, weights)))
    loss.backward()
    assert head.weight.grad is not None
    statistics = [buffer.item() for buffer in head.buffers()]
    return {
        "loss": loss.detach(),
        "embeddings": part.grad,
        "weight": head.weight.grad,
        "step": head.step,
        "statistics": statistics,
    }


def steps(mesh: DeviceMesh | None, case: Case) -> list[dict[str, Any]]:
    head = case.head(mesh)
    return [step(case, mesh, head, number) for number in range(case.steps)]


def on_one(case: Case) -> list[dict[str, Any]]:
    return steps(None, case)


def by_longhand(case: Case, classes: list[Tensor] | None = None) -> list[dict[str, Any]]:
    """The same by the formulas as they are printed, in float64; over ``classes`` alone, where a step's are given."""
    head, results = case.head(), []
    state = dict(longhand_compared.START.get(case.loss, {}))
    for number in range(case.steps):
        (embeddings, labels, given), weights = case.inputs(number), case.weights(number)
        if given is None:
            given = margins.draw(head.m, head.std, case.batch, head.seed, number)
            if head.plus:
                cosines = longhand.target_cosine(embeddings, head.weight.detach(), labels)
                given = margins.assign_by_proximity(given, cosines, head.order)
        weight = head.weight if classes is None else head.weight[classes[number]]
        labels = labels if classes is None else torch.searchsorted(classes[number], labels)
        if case.loss in longhand_compared.START:
            own = {name: getattr(head, name) for name in longhand_compared.DEFAULTS[case.loss]}
            found = longhand_compared.loss_and_gradients(
                case.loss, embeddings, weight, labels, given, head.scale, head.past_pi, state, own, weights
            )
        else:
            found = longhand.loss_and_gradients(
                embeddings, weight, labels, given, head.kind, head.scale, head.past_pi, weights
            )
        loss, by_embeddings, by_weight = found
        statistics = list(state.values())
        results.append({"loss": loss, "embeddings": by_embeddings, "weight": by_weight, "statistics": statistics})
    return results


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the processes have of one step, as one process would have it."""
    return parts[0] | {key: torch.cat([part[key] for part in parts]) for key in ("embeddings", "weight")}


# What is asked of the processes.


def some_cases(mesh: DeviceMesh, cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [steps(mesh, Case(**case)) for case in cases]


def compared(mesh: DeviceMesh, cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Steps of each case; a row-sparse gradient as its rows and their values, its rows empty where it is dense."""
    found = some_cases(mesh, cases)
    for result in (result for results in found for result in results):
        result["rows"] = torch.zeros(0)
        if result["weight"].is_sparse:
            result["rows"], result["weight"] = rows_and_values(result["weight"])
    return found


def everything(mesh: DeviceMesh, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """All that the tests look at, of one start of the processes."""
    results: dict[str, Any] = {"cases": some_cases(mesh, cases)}
    for ask in (
        starts,
        meshes,
        refusals,
        cosines,
        saved,
        traffic,
        sampled,
        trained,
        accumulated,
        scaled,
        optimizer,
        memory,
    ):
        results[ask.__name__] = ask(mesh)
    return results


def as_plain(cases: list[Case]) -> list[dict[str, Any]]:
    return [asdict(case) for case in cases]


def even(mesh: DeviceMesh | None, loss: str, each: int = 4, **rest: Any) -> Case:
    """As many rows on each of the processes, 12 together on one."""
    return Case(loss, (each,) * mesh.size() if mesh else (12,), **rest)


STARTS = [(101, 8), (2, 8), (1, 1), (5, 3), (7, 300_000)]  # the last more than is drawn at once


def starts(mesh: DeviceMesh | None) -> list[list[Tensor]]:
    """By shape of the weight: this process's rows, and what the generator gives next."""
    found = []
    for classes, size in STARTS:
        torch.manual_seed(3)
        weight = heads.create("arcface", classes, size, mesh=mesh).weight
        found.append([weight.detach().clone(), torch.rand(3), torch.tensor([classes, size])])
    return found


def meshes(mesh: DeviceMesh) -> dict[str, Any]:
    square = init_device_mesh("cpu", (mesh.size(), 1), mesh_dim_names=("all", "alone"))
    alone = heads.create("arcface", 5, 4, mesh=square["alone"])
    return {
        "alone": isinstance(alone.state_dict()["weight"], DTensor),
        "square": refusal(lambda: heads.create("arcface", 5, 4, mesh=square)),
    }


def refusal(call: Callable[[], Any]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return "none"


def refusals(mesh: DeviceMesh) -> dict[str, str]:
    """The last process is given what is wrong; the message in this one."""
    head, last = even(mesh, "arcface").head(mesh), mesh.get_local_rank() == mesh.size() - 1
    good = torch.ones(2, 8), torch.zeros(2, dtype=torch.int64)
    wrong: dict[str, tuple[Any, ...]] = {
        "label": (torch.ones(2, 8), torch.tensor([0, 23])),
        "negative label": (torch.ones(2, 8), torch.tensor([0, -4])),
        "size": (torch.ones(2, 7), torch.zeros(2, dtype=torch.int64)),
        "rows": (torch.ones(3, 8), torch.zeros(2, dtype=torch.int64)),
        "type of labels": (torch.ones(2, 8), torch.zeros(2)),
        "type of embeddings": (torch.ones(2, 8).double(), torch.zeros(2, dtype=torch.int64)),
        "margins": (*good, torch.zeros(2)),
        "weights": (*good, None, torch.ones(2)),
        "number of weights": (*good, None, torch.ones(3)),
    }
    messages = {name: refusal(lambda w=w: head(*(w if last else good))) for name, w in wrong.items()}  # type: ignore[misc]
    nothing = torch.ones(0, 8), torch.zeros(0, dtype=torch.int64)
    messages["nothing at all"] = refusal(lambda: head(*nothing))
    messages["afterwards"] = refusal(lambda: head(*good))
    return messages | {"step": str(head.step)}


def cosines(mesh: DeviceMesh | None) -> dict[str, Any]:
    case = even(mesh, "elastic-arc+")
    head = case.head(mesh)
    embeddings, labels, _ = case.inputs(0)
    part = embeddings[case.own(mesh)].clone().requires_grad_()
    found = head.cosine(part)
    found.square().sum().backward()
    assert head.weight.grad is not None
    whole = head.draw_margins(torch.linspace(-1, 1, len(labels)).double())
    return {
        "cosines": found.detach(),
        "embeddings": part.grad,
        "weight": head.weight.grad,
        "margins": whole,
    }


def saved(mesh: DeviceMesh) -> dict[str, Any]:
    """A head that goes on from the state of another, and one that does so from the start."""
    case = even(mesh, "elastic-cos+", steps=4)
    unbroken = case.head(mesh)
    for number in range(2):
        step(case, mesh, unbroken, number)
    state = unbroken.state_dict()
    resumed = heads.create(case.loss, case.classes, case.size, mesh=mesh, seed=9).double()
    resumed.load_state_dict(state)
    ends = [step(case, mesh, head, 2)["loss"] for head in (unbroken, resumed)]
    return {"sharded": isinstance(state["weight"], DTensor), "ends": ends, "step": resumed.step}


class Traffic(TorchDispatchMode):
    """Bytes that a process hands to collectives or gets from them, the larger of both, by their name."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func.name().partition("::")[2]
            largest = max(t.nbytes for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))
            self.bytes[name] = self.bytes.get(name, 0) + largest
        return func(*args, **(kwargs or {}))


def traffic(mesh: DeviceMesh) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, dtype, rate in (("float32", torch.float32, 1.0), ("bfloat16", torch.bfloat16, 1.0), ("s", None, 0.1)):
        head = even(mesh, "elastic-arc+", dtype="float32", classes=1000, options={"sample_rate": rate}).head(mesh)
        embeddings = torch.ones(5, 8, dtype=dtype or torch.float32, requires_grad=True)
        with Traffic() as counted:
            head(embeddings, torch.arange(5)).backward()
        found[name] = counted.bytes
    return found


def sampled_case(mesh: DeviceMesh, rate: float = 0.3, **rest: Any) -> Case:
    return even(mesh, "arcface", classes=60, options={"sample_rate": rate, "scale": 8.0}, **rest)


def sampled(mesh: DeviceMesh) -> list[dict[str, Any]]:
    """Some steps with sampled negatives; a row-sparse gradient as its rows and their values."""
    case = sampled_case(mesh, steps=3)
    results = steps(mesh, case)
    for result in results:
        result["rows"], result["weight"] = rows_and_values(result["weight"])
    return results


def training(mesh: DeviceMesh | None, rate: float, optimizer: type[torch.optim.SGD]) -> tuple[MarginHead, Any]:
    case = even(mesh, "elastic-arc+", classes=31, options={"sample_rate": rate, "centre_std": 0.1})
    head = case.head(mesh)
    sgd = optimizer(head.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for number in range(4):
        step(case, mesh, head, number)
        sgd.step()
    return head, sgd


def trained(mesh: DeviceMesh | None) -> dict[str, Any]:
    """Weights after some steps: exact by torch's optimizer, and with so many negatives that all are in the sample."""
    return {
        name: training(mesh, rate, optimizer)[0].weight.detach()
        for name, rate, optimizer in (("exact", 1.0, torch.optim.SGD), ("all sampled", 1 - 1e-9, RowSparseSGD))
    }


def accumulated(mesh: DeviceMesh) -> dict[str, Any]:
    """Two backwards into one gradient, and each alone, dense."""
    case = sampled_case(mesh)
    head, alone = case.head(mesh), []
    for number in range(2):
        head.step = number
        alone.append(step(case, mesh, head, number)["weight"].to_dense())
    head.zero_grad()
    for number in range(2):
        head.step = number
        embeddings, labels, _ = case.inputs(number)
        own = case.own(mesh)
        head(embeddings[own], labels[own]).backward()
    assert head.weight.grad is not None
    return {"alone": alone, "together": head.weight.grad.to_dense()}


def scaled(mesh: DeviceMesh) -> dict[str, Any]:
    """Weights after steps through a gradient scaler, as for float16, and without; and after one that overflowed."""
    found: dict[str, Any] = {}
    for rate in (1.0, 0.3):
        case = sampled_case(mesh, rate, dtype="float32")
        for name in ("plain", "scaled"):
            head, backbone = case.head(mesh), nn.Linear(8, 8)
            nn.init.eye_(backbone.weight)
            nn.init.zeros_(backbone.bias)
            sgd = RowSparseSGD([*backbone.parameters(), *head.parameters()], 0.1, momentum=0.9)
            scaler = ShardedGradScaler("cpu", init_scale=1024.0, enabled=name == "scaled")
            for number in range(4):
                embeddings, labels, _ = case.inputs(number)
                own = case.own(mesh)
                sgd.zero_grad()
                scaler.scale(head(backbone(embeddings[own]), labels[own])).backward()
                if number == 3:
                    break
                scaler.unscale_(sgd)
                scaler.step(sgd)
                scaler.update()
            found[f"{name} {rate}"] = head.weight.detach().clone()
        if mesh.get_local_rank() == 0:
            gradient = head.weight.grad
            assert gradient is not None
            (gradient._values() if gradient.is_sparse else gradient)[0, 0] = torch.inf
        scaler.unscale_(sgd)
        scaler.update()
        found[f"scale {rate}"] = scaler.get_scale()
    return found


def optimizer(mesh: DeviceMesh) -> dict[str, Any]:
    """Before and after a sampled step: rows, weight and momentum; and what of them is in a state dict."""
    head, sgd = training(mesh, 0.2, RowSparseSGD)
    momentum = sgd.state[head.weight]["momentum_buffer"]
    before = [t.detach().clone() for t in (head.weight, momentum)]
    case = even(mesh, "elastic-arc+", classes=31)
    found = step(case, mesh, head, 5)
    sgd.step()
    after = [t.detach().clone() for t in (head.weight, momentum)]
    whole = head.sharded(momentum)
    return {
        "rows": rows_and_values(found["weight"])[0],
        "before": before,
        "after": after,
        "sharded": isinstance(whole, DTensor) and list(whole.shape) == [31, 8],
        "shared memory": whole.to_local().data_ptr() == momentum.data_ptr() or not len(momentum),
        "gradient bytes": sum(t.nbytes for t in rows_and_values(found["weight"])),
    }


def memory(mesh: DeviceMesh) -> dict[str, list[int]]:
    """Bytes of the large tensors that a step of the head and of its optimizer makes, exact and sampled."""
    found = {}
    for rate in (1.0, 0.1):
        options = {"sample_rate": rate, "max_logits_bytes": 4096}
        case = even(mesh, "elastic-arc", dtype="float32", classes=6000, size=16, options=options)
        head = case.head(mesh)
        sgd = RowSparseSGD(head.parameters(), 0.1, momentum=0.9)
        step(case, mesh, head, 0)
        sgd.step()
        with Created() as created:
            step(case, mesh, head, 1)
            sgd.step()
        found[str(rate)] = sorted(created.of_at_least(4000))
    return found
