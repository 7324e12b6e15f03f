"""Steps of float16 over several processes, one of which overflows; in a module of its own, which processes import."""

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from elasticface import heads
from elasticface.training.config import TrainConfig
from elasticface.training.processes import World
from elasticface.training.state import TrainState
from elasticface.training.step import Batch, clip_gradients, forward_backward

CONFIG = TrainConfig(loss="arcface", embedding_size=8, precision="fp16", device="cpu", lr=0.1)


def steps(mesh: DeviceMesh) -> dict[str, Any]:
    """Four steps; the gradient of the last process's own class centres overflows in the third."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 8))
    world = World(torch.device("cpu"), mesh.get_rank(), mesh.size(), mesh)
    state = TrainState(CONFIG, world, backbone, heads.ArcFace(10, 8, mesh=mesh), per_epoch=10)
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 1024.0})
    found: dict[str, Any] = {"skipped": [], "scales": []}
    for number in range(4):
        generator = torch.Generator().manual_seed(10 * number + world.rank)
        images = torch.rand(4, 3, 2, 2, generator=generator)
        labels = torch.randint(10, (4,), generator=generator)
        outcome = forward_backward(state, Batch(images, labels, torch.arange(4), 8, (4, 4)), CONFIG)
        if number == 2 and world.rank == world.size - 1:
            assert state.head.weight.grad is not None
            state.head.weight.grad[0, 0] = torch.inf
        before = [p.detach().clone() for p in state.model.parameters()]
        state.update(outcome, clip_gradients(state, outcome, CONFIG))
        if number == 2:
            found["kept"] = all(torch.equal(*pair) for pair in zip(before, state.model.parameters(), strict=True))
        found["skipped"].append(state.skipped_steps)
        found["scales"].append(state.scaler.get_scale())
    return found | {"backbone": backbone[1].weight.detach()}
