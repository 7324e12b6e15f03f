"""Training on two processes: as on one, and never hanging when something happens to one of them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from on_processes import children, command, start_command
from safetensors.torch import load_file

from elasticface.training import classes
from elasticface.training.run_files import read_metrics

OPTIONS = (
    "--loss elastic-arc+ --scale 16 --backbone own_parts:shrunk --embedding-size 16 --batch-size 8 "
    "--epochs 100000 --lr 0.05 --workers 0 --device cpu --log-every 1 --checkpoint-every 4 --augment 1 "
    "--sync-batchnorm --precision 64"
).split()
LAUNCH = "-m torch.distributed.run --standalone --nproc-per-node 2 -m".split()
TESTS = str(Path(__file__).parent.parent)  # where own_parts is

SLOW_END = """
import time
from rich.progress import Progress
end = Progress.__exit__
Progress.__exit__ = lambda *given: (end(*given), time.sleep(0.3))[0]
"""
"""Longer than torchrun takes to see that a process has ended, and to end the others."""


def train(processes: int, data: Path, run: Path, *more: str, code: int = 0) -> str:
    """What is said on stderr. Without torchrun, which takes as long as all the rest."""
    return command(processes, "train", str(data), "--out", str(run), *OPTIONS, *more, code=code, timeout=90)


def start(data: Path, run: Path, *more: str, imports: Path | None = None) -> subprocess.Popen[str]:
    """Two processes, by torchrun, which import from a folder of their own before all others."""
    command = [sys.executable, *LAUNCH, "elasticface", "train", str(data), "--out", str(run), *OPTIONS, *more]
    folders = [str(imports or ""), os.environ.get("PYTHONPATH", ""), TESTS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)


def wait_for_step(runs: Callable[[], bool], run: Path, step: int) -> None:
    while runs() and (not (lines := read_metrics(run)) or lines[-1]["step"] < step):
        time.sleep(0.02)
    assert runs()


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run)]


@pytest.fixture(scope="module")
def alone(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    train(1, people, run, "--max-steps", "12")
    return run


@pytest.fixture(scope="module")
def together(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("together") / "run"
    told = train(2, people, run, "--max-steps", "12")
    assert told.count("the model is in") == 1  # one of them speaks
    return run


def test_two_processes_keep_the_classes_of_one(alone: Path, together: Path) -> None:
    identities, centres = classes.read(together / "classes")
    assert len(list((together / "classes").glob("centres-*"))) == 2
    identities_alone, centres_alone = classes.read(alone / "classes")
    assert identities == identities_alone
    assert torch.allclose(centres, centres_alone, rtol=1e-5)


def test_two_processes_start_from_another_run_as_one_does(alone: Path, people: Path, tmp_path: Path) -> None:
    options = ("--init", str(alone), "--freeze-backbone-epochs", "1", "--backbone-lr", "0.5", "--max-steps", "6")
    runs = tmp_path / "alone", tmp_path / "together"
    for number, run in enumerate(runs, 1):
        told = train(number, people, run, *options)
        assert told.count("6 of 6 class centres by their names") == 1
    one, two = map(losses, runs)
    assert two == pytest.approx(one, rel=1e-6)


def test_two_processes_make_the_losses_of_one(alone: Path, together: Path) -> None:
    assert len(losses(alone)) == 12
    assert losses(together) == pytest.approx(
        losses(alone), rel=1e-6
    )  # in float32 rounding grows to 1e-3 in three steps
    assert json.loads((together / "environment.json").read_text())["processes"] == 2


def test_the_model_is_that_of_one_process(alone: Path, together: Path) -> None:
    one, two = (load_file(run / "model" / "model.safetensors") for run in (alone, together))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


def test_sigterm_saves_and_one_process_resumes_from_two(together: Path, people: Path, tmp_path: Path) -> None:
    process = start(people, tmp_path / "run", "--max-steps", "100000", "--workers", "2")
    wait_for_step(lambda: process.poll() is None, tmp_path / "run", 5)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on, to the workers, too
    told = process.communicate(timeout=60)[1]
    assert re.search(
        r"stopped by SIGTERM; the last good checkpoint is \S+step-\d+; resume with: torchrun --standalone ", told
    ), told
    at = read_metrics(tmp_path / "run")[-1]["step"]
    told = train(1, people, tmp_path / "run", "--max-steps", str(at + 3), "--resume")
    assert f"resuming after step {at}" in told
    found = losses(tmp_path / "run")
    assert len(found) == at + 3
    shared = min(len(found), 12)
    assert found[:shared] == pytest.approx(losses(together)[:shared], rel=1e-6)


def test_the_second_process_that_is_killed_ends_the_first_with_a_line(people: Path, tmp_path: Path) -> None:
    told, run = tmp_path / "told.txt", tmp_path / "run"
    words = ("train", str(people), "--out", str(run), *OPTIONS, "--max-steps", "100000")
    first, second = start_command(2, told, *words)
    wait_for_step(first.is_alive, run, 5)
    second.kill()
    first.join(60)
    assert first.exitcode not in (None, 0)
    assert "another process of the run has ended" in told.read_text()
    assert "--resume" in told.read_text()


def test_the_first_process_that_is_killed_ends_the_second_with_a_line_before_torchrun_does(
    people: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW_END)
    process = start(people, tmp_path / "run", "--max-steps", "100000", imports=tmp_path / "slow")
    wait_for_step(lambda: process.poll() is None, tmp_path / "run", 5)
    workers = children(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    began = time.monotonic()
    told = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert time.monotonic() - began < 60
    assert "another process of the run has ended" in told
    assert "--resume" in told
    told = train(2, people, tmp_path / "run", "--max-steps", "6", "--resume")
    assert "resuming after step" in told


def test_other_data_are_refused_once_and_taken_by_name_over_two_processes(
    together: Path, people: Path, tmp_path: Path
) -> None:
    faces, run = tmp_path / "faces", tmp_path / "run"
    shutil.copytree(people, faces)
    shutil.copytree(together, run)
    (faces / "person_00").rename(faces / "person_99")
    told = train(2, faces, run, "--max-steps", "13", "--resume", code=2)
    assert told.count("identity 0 was person_00, and is person_01") == 1
    told = train(2, faces, run, "--max-steps", "13", "--resume", "--data-changed")
    assert told.count("the data have changed") == 1
    assert len(losses(run)) == 13


def test_what_is_wrong_for_all_is_said_once(people: Path, tmp_path: Path) -> None:
    told = train(2, people, tmp_path / "run", "--batch-size", "3", code=2)
    assert told.count("elasticface: a batch of 3 images") == 1
    assert not (tmp_path / "run").exists()
