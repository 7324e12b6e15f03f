"""elasticface.base.processes: what a script without a guard is told."""

import subprocess
import sys
from pathlib import Path


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    call = "print(sorted(processes.run(len, [[1], [1, 2]], 2, 'nothing is lost')))"
    script = tmp_path / "script.py"
    outcomes = []
    for text in (call, f"if __name__ == '__main__':\n    {call}"):
        script.write_text(f"from elasticface.base import processes\n{text}\n")
        outcomes.append(subprocess.run([sys.executable, script], capture_output=True, text=True, check=False))
    unguarded, guarded = outcomes
    assert (guarded.returncode, guarded.stdout) == (0, "[1, 2]\n")
    assert "Stopped: a worker process was killed, before it had done anything: in a script, put" in unguarded.stderr
