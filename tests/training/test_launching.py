"""The command that resumes a run is what a person types: with its launcher, its paths quoted."""

import pytest

from elasticface.training.launching import resume_command

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"}
SLURM = {"SLURM_STEP_NUM_TASKS": "8"}
SEVERAL_NODES = "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m elasticface"


@pytest.mark.parametrize(
    ("environment", "launched"),
    [
        ({}, "elasticface"),
        (TORCHRUN, "torchrun --standalone --nproc-per-node 4 -m elasticface"),
        (TORCHRUN | {"GROUP_WORLD_SIZE": "2"}, SEVERAL_NODES),
        (SLURM, "srun elasticface"),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, "elasticface"),  # the script of a job
    ],
)
def test_a_run_is_resumed_as_it_was_started(
    environment: dict[str, str], launched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = resume_command(["my faces", "staff"], "it's a run")
    assert command == f"""{launched} train 'my faces' staff --out 'it'"'"'s a run' --resume"""
