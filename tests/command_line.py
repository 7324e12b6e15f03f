"""The command line, called in this process."""

import contextlib
import io
import os
import warnings
from pathlib import Path

import pytest

import elasticface
from elasticface.cli import main
from elasticface.data.images.alignment import TEMPLATE
from elasticface.faces.landmarks import COLUMNS

SMALL = "--backbone tiny --embedding-size 8 --batch-size 8 --scale 16 --device cpu --workers 0 --log-every 1".split()

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(elasticface.__file__).parent.parent)}  # of other processes


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """The command line in this process: (exit code, stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),  # main shows them its own way
        pytest.raises(SystemExit) as ended,
    ):
        main.main([str(argument) for argument in arguments])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def done(*arguments: str | Path) -> str:
    """What a command that succeeds prints."""
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(*arguments: str | Path) -> str:
    """The one line of a command that is refused with 2, says nothing else and touches no file in or below `.`."""
    before = content(Path.cwd())
    code, out, err = run(*arguments)
    assert (code, out) == (2, ""), err
    assert content(Path.cwd()) == before
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("elasticface: ")
    assert "Traceback" not in err
    return lines[0]


def words(arguments: str, **places: Path) -> list[str | Path]:
    """The words of a command line, where FACES, say, stands for a path."""
    return [places.get(word, word) for word in arguments.split()]


def write_landmarks(path: Path, names: list[str], columns: int = len(COLUMNS)) -> Path:
    """The template's own points for every photo."""
    rows = [COLUMNS, *([name, "0.99", *map(str, TEMPLATE.ravel())] for name in names)]
    path.write_text("".join(",".join(row[:columns]) + "\n" for row in rows))
    return path
