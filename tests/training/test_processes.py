"""How a run meets its machine: what the environment says of processes, and what a lost one comes to."""

from typing import Any

import pytest
import torch

from elasticface.base.errors import InputError, Stopped
from elasticface.training import processes
from elasticface.training.config import TrainConfig
from elasticface.training.processes import Launch, read_launch

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "WORLD_SIZE": "4",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)


def connected(config: TrainConfig) -> Any:
    with processes.connect(config, "resume") as world:
        return world


def test_alone_there_is_one_process() -> None:
    assert read_launch({}) == Launch(rank=0, size=1, local_rank=0, per_node=1)
    world = connected(TrainConfig(device="cpu"))
    assert (world.rank, world.size, world.mesh, world.is_first) == (0, 1, None, True)
    assert world.gather(2.5, 7) == [[2.5, 7]]


def test_torchrun_says_which_process_of_how_many_this_is() -> None:
    assert read_launch(TORCHRUN) == Launch(rank=3, size=4, local_rank=1, per_node=2)


def test_slurm_says_which_process_of_how_many_this_is() -> None:
    assert read_launch(SLURM) == Launch(rank=5, size=8, local_rank=1, per_node=4)


def test_the_script_of_a_slurm_job_is_one_process_before_any_srun() -> None:
    assert read_launch({"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).size == 1


@pytest.mark.parametrize(("seen", "index"), [(1, 0), (4, 1)])
def test_a_process_of_srun_takes_its_own_gpu(seen: int, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert processes._device(TrainConfig(device="cuda"), read_launch(SLURM)) == torch.device("cuda", index)


def test_more_processes_of_torchrun_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="2 processes on this node and 1 GPUs"):
        processes._device(TrainConfig(device="cuda"), read_launch(TORCHRUN))


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (TORCHRUN | {"WORLD_SIZE": "5"}, "as many on every node"),
        ({"RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "node"}, "WORLD_SIZE is 8, but neither torchrun nor srun"),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "7"}, "--ntasks-per-node"),
    ],
)
def test_nodes_with_unlike_numbers_of_processes_are_refused(environment: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_launch(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu9", "gpu7"),
        ("gpu[007-009,12],cpu1", "gpu007"),
        ("gpu[3,5]-ib", "gpu3-ib"),
        ("a-b-c[10-12]", "a-b-c10"),
    ],
)
def test_the_processes_of_a_slurm_job_meet_at_its_first_node(nodes: str, first: str) -> None:
    assert processes._first_node(nodes) == first


@pytest.mark.parametrize(("device", "precision", "told"), [("cuda", "32", "no device"), ("cpu", "fp16", "needs a GPU")])
def test_what_is_not_there_is_said(device: Any, precision: Any, told: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=told):
        connected(TrainConfig(device=device, precision=precision))


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistBackendError("NCCL error: remote process exited"),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"),
    ],
)
def test_a_lost_process_comes_to_one_line_with_the_command_that_resumes(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "_init_process_group", lambda *_: None)
    monkeypatch.setattr(processes, "init_device_mesh", lambda *_: None)
    monkeypatch.setattr(processes.distributed, "new_group", lambda **_: None)
    with (
        pytest.raises(Stopped, match=r"another process .* has ended .*with: elasticface train x --resume") as e,
        processes.connect(TrainConfig(device="cpu"), "elasticface train x --resume"),
    ):
        raise error
    assert e.value.exit_code == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), Stopped("stopped by SIGTERM", 0)]
)
def test_an_error_of_ones_own_stays_as_it_is(error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "_init_process_group", lambda *_: None)
    monkeypatch.setattr(processes, "init_device_mesh", lambda *_: None)
    monkeypatch.setattr(processes.distributed, "new_group", lambda **_: None)
    with pytest.raises(type(error)) as raised, processes.connect(TrainConfig(device="cpu"), "x"):
        raise error
    assert raised.value is error
