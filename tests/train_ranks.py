"""Whole runs in one of several processes, which have been connected before."""

import os
from dataclasses import replace
from typing import Any

from torch.distributed.device_mesh import DeviceMesh

from elasticface.training.config import TrainConfig
from elasticface.training.loop import train


def whole_and_resumed(mesh: DeviceMesh, faces: str, folder: str, stop: int, cases: dict[str, dict[str, Any]]) -> None:
    """Of each case a run in ``folder/NAME-whole``, and one in ``folder/NAME-resumed`` after ``stop`` steps."""
    rank, size = str(mesh.get_rank()), str(mesh.size())
    os.environ |= {"TORCHELASTIC_RUN_ID": "tests", "RANK": rank, "LOCAL_RANK": rank}
    os.environ |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_WORLD_SIZE": "1"}
    for name, settings in cases.items():
        config = TrainConfig(**settings)
        train(faces, f"{folder}/{name}-whole", config)
        train(faces, f"{folder}/{name}-resumed", replace(config, max_steps=stop))
        train(faces, f"{folder}/{name}-resumed", config, resume=True)
