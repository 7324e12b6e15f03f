"""A short run over all readers, and that the harness notices what it is there to notice."""

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


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([PACKAGE, str(FOLDER)])}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd)


def test_nothing_but_input_errors_comes_out_of_any_reader(tmp_path: Path) -> None:
    ended = python(str(FOLDER), "--inputs", "1540", "--keep", str(tmp_path / "found"), cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("1,540 inputs, 0 findings\n")
    assert os.listdir(tmp_path) == []


def test_an_unknown_reader_is_refused(tmp_path: Path) -> None:
    ended = python(str(FOLDER), "--readers", "[nobody]", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("--readers: there is no 'nobody'; there are packs, pairs, ")


BAD = {
    "raise KeyError('x')": "KeyError: 'x'",
    "raise InputError('two' + chr(10) + 'lines')": "no short printable line",
    "raise InputError('x' * 9999)": "no short printable line",
    "time.sleep(60)": "takes more than 0.2 s",
    "bytearray(2**31)": "MemoryError",
    "os.system('true')": "does what no reader does: os.system",
    "subprocess.run(['true'])": "does what no reader does: subprocess.Popen",
    "open('/etc/passwd').close()": "does what no reader does: open '/etc/passwd'",
    "(folder / 'new').write_text('x')": "does what no reader does: open ",
    "sys.exit(0)": "SystemExit: 0",
}
GOOD = "raise InputError('x: no good; mend it')"

PROGRAM = """
import json, os, subprocess, sys, time
from pathlib import Path
from elasticface.base.errors import InputError
from harness import Reader, Watch, bound_memory, fuzz

root = Path(os.path.realpath(sys.argv[1]))
watch = Watch(root)
bound_memory()
valid = b"valid" * 20

def run(number, body, seed):
    def read(folder):
        if (folder / "x").read_bytes() != valid:
            exec(code, {**globals(), "folder": folder})
    code = compile(body, "body", "exec")
    reader = Reader(read, lambda folder: (folder / "x").write_bytes(valid), ["x"], [b"word"])
    keep = root / f"kept{number}"
    outcome = fuzz("bad", reader, root / "bad", watch, inputs=6, seconds=60, seed=seed, limit=0.2, keep=keep)
    kept = {f.number: f.file.read_bytes().hex() for f in outcome.findings}
    return [outcome.inputs, [f.what for f in outcome.findings], kept]

bodies = json.loads(sys.argv[2])
print(json.dumps({body: [run(n, body, seed) for seed in (0, 0, 1)] for n, body in enumerate(bodies)}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Of each reader, for seeds 0, 0 and 1: how many inputs, the findings, and the inputs that made them."""
    folder = tmp_path_factory.mktemp("fuzz")
    ended = python("-c", PROGRAM, str(folder), json.dumps([*BAD, GOOD]), cwd=folder)
    assert ended.returncode == 0, ended.stderr
    outcomes: dict[str, list[Any]] = json.loads(ended.stdout)
    return outcomes


@pytest.mark.parametrize("body", BAD)
def test_a_bad_reader_is_found_out_by_the_same_inputs_each_time(body: str, found: dict[str, list[Any]]) -> None:
    first, again, other = found[body]
    assert first[0] == again[0] == other[0] == 6
    assert len(first[1]) > 3
    assert all(BAD[body] in what for what in first[1] + other[1])
    assert first == again
    assert first[2] != other[2]
    assert len(set(first[2].values())) > 3


def test_a_good_reader_makes_no_finding(found: dict[str, list[Any]]) -> None:
    assert found[GOOD] == [[6, [], {}]] * 3
