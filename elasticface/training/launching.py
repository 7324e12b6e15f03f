"""How the command line is started over several processes: commands to be printed, for a person to copy."""

import os
import shlex
from collections.abc import Mapping, Sequence


def torchrun(per_node: int, nodes: int) -> list[str]:
    """The command that starts elasticface in ``per_node`` processes on each of ``nodes``; to be given on every node."""
    where, meeting = ["--standalone"], []
    if nodes > 1:
        where, meeting = ["--nnodes", str(nodes)], ["--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST:29500"]
    return ["torchrun", *where, "--nproc-per-node", str(per_node), *meeting, "-m", "elasticface"]


def launch_command(environment: Mapping[str, str]) -> list[str]:
    """The command that has started this process, as torchrun and SLURM say in the environment."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return torchrun(int(environment["LOCAL_WORLD_SIZE"]), int(environment["GROUP_WORLD_SIZE"]))
    several = int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    return ["srun", "elasticface"] if several else ["elasticface"]


def resume_command(sets: Sequence[str], out: str) -> str:
    """The command that resumes a run, started as this process was, to be typed into a shell."""
    return shlex.join([*launch_command(os.environ), "train", *sets, "--out", out, "--resume"])
