"""How the command line is started over several processes: words to be printed, for a person to copy."""

import os
import shlex
from collections.abc import Mapping


def torchrun(per_node: int, nodes: int) -> list[str]:
    """What starts elasticface in ``per_node`` processes on each of ``nodes``, given on every one of them."""
    one, many = ["--standalone"], ["--nnodes", str(nodes)]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST:29500"] if nodes > 1 else []
    return ["torchrun", *(many if nodes > 1 else one), "--nproc-per-node", str(per_node), *meeting, "-m", "elasticface"]


def as_now(environment: Mapping[str, str]) -> list[str]:
    """What has started this process, as torchrun and SLURM say in the environment."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return torchrun(int(environment["LOCAL_WORLD_SIZE"]), int(environment["GROUP_WORLD_SIZE"]))
    several = int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    return ["srun", "elasticface"] if several else ["elasticface"]


def resume_command(data: str, out: str) -> str:
    """What resumes a run, started as this process was, to be typed into a shell."""
    return shlex.join([*as_now(os.environ), "train", data, "--out", out, "--resume"])
