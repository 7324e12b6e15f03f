"""A few kills of each kind, in a process of its own: it forks, and pytest has threads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import elasticface

FOLDER = Path(__file__).parent
PACKAGE = str(Path(elasticface.__file__).parent.parent)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
Ended = subprocess.CompletedProcess[str]


def faults(*arguments: str, cwd: Path) -> Ended:
    environment = {**os.environ, "PYTHONPATH": PACKAGE, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, list[dict[str, Any]]]:
    """Kills at all points, full disks, and two signals at moments that are other ones on every machine."""
    folder = tmp_path_factory.mktemp("faults")
    ended = faults("--kills", "2", "--log", "log.jsonl", cwd=folder)
    lines = (folder / "log.jsonl").read_text().splitlines() if (folder / "log.jsonl").exists() else []
    return ended, [json.loads(line) for line in lines]


def test_killed_runs_that_go_on_end_in_the_same_bits(ended: tuple[Ended, list[dict[str, Any]]]) -> None:
    process, log = ended
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.endswith(" 0 findings\n")
    finished = [line for line in log if "differences" in line]
    assert len(finished) >= 3
    assert all(line["differences"] == [] and line["ended"] == 0 for line in finished)


def test_a_kill_at_every_line_of_a_save_is_among_them(ended: tuple[Ended, list[dict[str, Any]]]) -> None:
    killed = [line for line in ended[1] if line.get("signal") == "at a point"]
    assert all(line["code"] == -9 for line in killed)
    assert [bool(line["on_disk"]["temporaries"]) for line in killed] == [True] * 4 + [False] * 4 + [True] + [False] * 3
    assert [line["went_on_after"] for line in killed[5:10]] == [2, 3, 3, 3, 4]


def test_a_run_without_room_for_a_shard_keeps_what_there_was(ended: tuple[Ended, list[dict[str, Any]]]) -> None:
    (stopped,) = [line for line in ended[1] if line.get("signal") == "no room for a shard"]
    assert stopped["code"] == 1
    assert stopped["on_disk"]["checkpoints"] == ["step-000000002", "step-000000003"]
    assert stopped["on_disk"]["temporaries"] == []


def test_a_run_that_ends_otherwise_is_a_finding(tmp_path: Path) -> None:
    # The margins of a resumed run are those of another seed: it doesn't end in the same bits.
    (tmp_path / "broken.py").write_text(
        "import runpy, sys\n"
        "from elasticface import heads\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import runs\n"
        "runs.POINTS = dict(list(runs.POINTS.items())[5:6])\n"  # after a checkpoint
        "def forget(head, state):\n"
        "    head.seed, head.step = 1, int(state[1])\n"
        "heads.MarginHead.set_extra_state = forget\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "broken.py", str(FOLDER), "--kills=0", "--points=1", "--disk=false"]
    environment = {**os.environ, "PYTHONPATH": PACKAGE, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert process.returncode == 1
    assert "points: differs in model/model.safetensors, metrics.jsonl" in process.stdout
