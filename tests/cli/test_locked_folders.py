"""Two commands at once would spoil each other's files: the second one is refused, whatever the command."""

from pathlib import Path

import pytest
from command_line import done, refused
from conftest import write_pairs, write_people

from elasticface.base.locks import locked
from elasticface.faces.landmarks import COLUMNS

COMMANDS = {
    "align faces out --landmarks points.csv": "out",
    "align faces out --landmarks points.csv --resume": "out",
    "convert faces out --to folder": ".out.partial",
    "convert faces out --to folder --resume": ".out.partial",
    "synthesize out --identities 2 --images-per-identity 1": "out",
    "split faces out --people 2 --pairs 20": "out",
    "adapt default faces --out out --aligned": "out",
    "quickstart --small --out out": "out",
    "evaluate run faces --out out": "out/scores",
    "select faces --out out --margins 0.5 --stds 0.05 --seeds 1 --backbone tiny --max-steps 1 --batch-size 8"
    " --validate faces": "out",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_another_process_writes_to_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    faces = write_pairs(write_people(Path("faces"), 4, 5), 4, 5)
    rows = [f"{p.relative_to(faces)},1,38,51,73,51,56,71,41,92,70,92" for p in sorted(faces.rglob("*.png"))]
    Path("points.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    if command.startswith("evaluate"):
        done(*"train faces --out run --backbone tiny --loss arcface --max-steps 1 --batch-size 8".split())
    with locked(Path(COMMANDS[command])):
        assert f"{COMMANDS[command]}: another process (pid " in refused(*command.split())
    if "quickstart" not in command:  # minutes
        done(*command.split())
        assert not list(tmp_path.rglob(".lock"))
