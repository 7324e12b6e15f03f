"""How a run meets its machine: what the environment says of processes, and what a lost one comes to."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from elasticface.base.errors import InputError, Stopped
from elasticface.training import processes
from elasticface.training.config import TrainConfig

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "GROUP_RANK": "0",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "1",
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    def by(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for name in [
        *TORCHRUN,
        "SLURM_NTASKS",
        "SLURM_NNODES",
        "SLURM_JOB_NAME",
        "LT_PRECISION",
        "LT_DEVICES",
        "LT_CLI_USED",
    ]:
        monkeypatch.delenv(name, raising=False)
    return by


def test_alone_there_is_one_process(started: Any) -> None:
    assert processes._processes() == (1, 1)
    assert processes.start(TrainConfig(device="cpu")).world_size == 1


def test_torchrun_says_how_many_on_how_many_nodes(started: Any) -> None:
    started(**TORCHRUN)
    assert processes._processes() == (2, 2)


def test_slurm_says_how_many_on_how_many_nodes(started: Any) -> None:
    started(SLURM_NTASKS="8", SLURM_NNODES="2", SLURM_JOB_NAME="faces")
    assert processes._processes() == (4, 2)


def test_nodes_with_unlike_numbers_of_processes_are_refused(started: Any) -> None:
    started(**TORCHRUN | {"WORLD_SIZE": "5"})
    with pytest.raises(InputError, match="as many on every node"):
        processes._processes()
    started(**TORCHRUN | {"WORLD_SIZE": "4"})


def test_what_fabric_run_was_given_of_trains_own_is_refused(started: Any) -> None:
    started(**TORCHRUN, LT_PRECISION="bf16-mixed", LT_DEVICES="2")
    with pytest.raises(InputError, match="--precision"):
        processes._processes()


def test_fabric_run_leaves_connecting_to_the_run(started: Any) -> None:
    started(**TORCHRUN, LT_CLI_USED="1", LT_ACCELERATOR="auto")
    assert processes._processes() == (2, 2)
    assert "LT_CLI_USED" not in os.environ  # with it Fabric refuses to launch


@pytest.mark.parametrize(("device", "precision", "told"), [("cuda", "32", "no device"), ("cpu", "fp16", "needs a GPU")])
def test_what_is_not_there_is_said(started: Any, device: str, precision: Any, told: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=told):
        processes.start(TrainConfig(device=device, precision=precision))


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistBackendError("NCCL error: remote process exited"),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"),
    ],
)
def test_a_lost_process_comes_to_one_line_with_the_way_on(error: RuntimeError) -> None:
    with (
        pytest.raises(Stopped, match=r"another process .* has ended .*with: elasticface train x --resume") as e,
        processes.peers("elasticface train x --resume"),
    ):
        raise error
    assert e.value.exit_code == 1


def test_an_error_of_ones_own_stays_as_it_is() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), Stopped("stopped by SIGTERM", 0)):
        with pytest.raises(type(error)) as raised, processes.peers("x"):
            raise error
        assert raised.value is error


def test_the_scale_of_half_precision_survives_a_checkpoint() -> None:
    def fabric_with(scaler: Any) -> Any:
        return SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(scaler=scaler)))

    before, after = (torch.amp.GradScaler("cpu") for _ in range(2))
    before.load_state_dict(before.state_dict() | {"scale": 1024.0, "_growth_tracker": 7})
    done = {"scale": torch.tensor(0.0, dtype=torch.float64), "scale_age": torch.tensor(0)}
    processes.restore_scale(fabric_with(after), done)
    assert after.state_dict()["scale"] == 65536.0  # nothing was noted
    processes.note_scale(fabric_with(before), done)
    processes.restore_scale(fabric_with(after), done)
    assert after.state_dict() == before.state_dict()
    processes.note_scale(fabric_with(None), done)
    assert done["scale"] == 1024
