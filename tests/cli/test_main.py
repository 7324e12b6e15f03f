"""The command line as a whole: help, start-up, and the one line with which it refuses places and reports failures."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from command_line import ENVIRONMENT, SMALL, done, refused, run, write_landmarks

import elasticface
from elasticface.base import files
from elasticface.cli import main

COMMANDS = (
    "quickstart",
    "synthesize",
    "align",
    "convert",
    "split",
    "pack",
    "train",
    "select",
    "evaluate",
    "compare",
    "adapt",
    "export",
    "plan",
)


def test_without_arguments_it_helps() -> None:
    out = done()
    assert out == done("--help")
    assert all(command in out for command in COMMANDS)


def test_version_is_the_packages() -> None:
    assert done("--version") == f"elasticface {elasticface.__version__}\n"


CONTRACT = {
    "quickstart": "--out --small --seed --workers",
    "synthesize": "out --identities --images-per-identity --heterogeneity --seed --first --appearance --preview",
    "align": "photos out --landmarks",
    "convert": "src dst --to --size --per-shard --seed --resume",
    "split": "faces out --people --pairs --seed",
    "pack": "dir out --pairs --landmarks --size --overwrite",
    "train": "data --out --config --loss --backbone --epochs --seed --resume --batch-size --max-steps --lr --workers"
    " --validate --sync-batchnorm --sample-rate --log-every --device --precision",
    "select": "data --out --margins --stds --seeds --keep --config --loss --validate --backbone --epochs --device",
    "evaluate": "model benchmarks --out --pairs --landmarks --mean --std --features",
    "compare": "results --out --draws --seed",
    "adapt": "model photos --out --half --aligned --faces --workers --detector --smallest --checkpoint --backbone",
    "export": "model out --int8 --opset --overwrite --backbone --output --size --channels --scale --mean --std",
    "plan": "--identities --gpus --gpus-per-node --batch --batch-size --sample-rate --precision --images --json",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option_that_scripts_rely_on(command: str) -> None:
    out = done(command, "--help")
    for option in CONTRACT[command].split():
        assert re.search(rf"^  {option}\b", out, re.MULTILINE), option


PARSE = "from elasticface.cli import main; given = {}.split(); main._parser(given).parse_args(given)"


@pytest.mark.parametrize(
    "program",
    [
        "import elasticface",
        PARSE.format("'train FACES --out RUN --config quickstart --epochs 3'"),
        PARSE.format("'select FACES --out CHOICE --margins 0.5 --stds 0.05 --config quickstart --validate FACES'"),
        PARSE.format("'evaluate MODEL FACES --mean 0.5,0.5,0.5'"),
    ],
)
def test_importing_and_parsing_do_without_torch(program: str) -> None:
    checks = f"{program}; import sys; print({{'torch', 'cv2', 'numpy', 'numba', 'matplotlib'}} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", checks], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert ended.stdout == "set()\n"


def test_helping_as_a_module_does_without_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "elasticface", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "jsonargparse" in imported
    assert not {"torch", "cv2", "numba"} & imported
    assert "evaluate" in ended.stdout


@pytest.mark.parametrize(("arguments", "message"), [("trian", "invalid choice: 'trian'"), ("--nope", "--nope")])
def test_what_is_no_command_is_refused_in_one_line(arguments: str, message: str) -> None:
    assert message in refused(arguments)


def test_an_output_folder_in_use_is_refused(people: Path, here: Path) -> None:
    (here / "used").mkdir()
    (here / "used" / "notes.txt").write_text("mine")
    write_landmarks(here / "five.csv", ["person_00/person_00_0001.png"])
    assert "no run to resume; give another folder" in refused("train", people, "--out", "used", *SMALL)
    assert "holds something already" in refused("align", people, "used", "--landmarks", "five.csv")
    assert "holds something already" in refused("split", people, "used", "--people", "2", "--pairs", "20")


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
def test_an_output_in_a_files_place_is_refused(place: str, people: Path, model: Path, here: Path) -> None:
    (here / "file").write_text("mine")
    write_landmarks(here / "five.csv", ["person_00/person_00_0001.png"])
    assert place in refused("quickstart", "--out", place)
    assert place in refused("train", people, "--out", place, *SMALL)
    assert place in refused("evaluate", model, people, "--out", place)
    assert place in refused("align", people, place, "--landmarks", "five.csv")
    assert place in refused("synthesize", place, "--identities", "2", "--images-per-identity", "2")
    assert place in refused("split", people, place, "--people", "2", "--pairs", "20")


def test_a_folder_that_may_not_be_written_is_refused(
    people: Path, model: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, mkdir = here / "locked", Path.mkdir
    locked.mkdir()

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if path.is_relative_to(locked):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, so the answer is made up
    assert "locked/run: cannot be written: Permission denied" in refused("train", people, "--out", "locked/run", *SMALL)
    assert "locked: cannot be written: Permission denied" in refused("evaluate", model, people, "--out", "locked")


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            f"{command} --out {out}"
            for command in ("evaluate MODEL FACES", "train FACES", "compare RESULTS", "quickstart")
            for out in ("dangling", "loop", "/proc/x", LONG)
        ),
        "evaluate MODEL FACES --out dangling/below",
        "evaluate MODEL FACES --features dangling",
        f"evaluate MODEL {LONG}",
        f"evaluate {LONG} FACES",
        f"evaluate MODEL FACES --pairs={LONG}",
        f"evaluate MODEL FACES --landmarks {LONG}",
        f"evaluate MODEL FACES --baseline {LONG}",
        "evaluate MODEL loop",
        f"pack FACES {LONG}.bin",
        f"pack FACES {LONG}/out.bin",
        "pack FACES dangling/out.bin",
        f"pack {LONG} out.bin",
        f"convert FACES {LONG}",
        f"convert FACES {LONG}/set",
        "convert FACES dangling/set",
        f"convert {LONG} set",
        f"split FACES {LONG} --people 2 --pairs 20",
        "split FACES dangling --people 2 --pairs 20",
        "split FACES /proc/x --people 2 --pairs 20",
        f"split {LONG} out --people 2",
        f"align FACES {LONG} --landmarks five.csv",
        "align FACES dangling --landmarks five.csv",
        f"align {LONG} out --landmarks five.csv",
        f"align FACES out --landmarks {LONG}",
        f"train {LONG} --out run",
        f"train FACES --out run --validate {LONG}",
        f"train FACES --out run --config {LONG}",
        f"train FACES --out {LONG} --resume",
        f"select FACES --out {LONG} --margins 0.5 --stds 0.05 --validate FACES",
        f"select {LONG} --out choice --margins 0.5 --stds 0.05 --validate FACES",
        f"select FACES --out choice --margins 0.5 --stds 0.05 --validate {LONG}",
        f"compare {LONG}",
        f"adapt MODEL {LONG} --out adapted",
        f"adapt MODEL FACES --aligned --out {LONG}",
        f"adapt {LONG} FACES --out adapted",
        "adapt MODEL FACES --aligned --out dangling",
        f"plan 1000 --json {LONG}",
        f"synthesize {LONG} --identities 2 --images-per-identity 2",
        "synthesize dangling --identities 2 --images-per-identity 2",
        f"synthesize --preview {LONG}.png",
    ],
    ids=lambda arguments: arguments.replace(LONG, "LONG"),
)
def test_a_path_that_cannot_be_is_refused_in_one_line(arguments: str, people: Path, model: Path, here: Path) -> None:
    (here / "dangling").symlink_to("/nonexistent/folder")
    (here / "loop").symlink_to("loop")
    write_landmarks(here / "five.csv", ["person_00/person_00_0001.png"])
    (here / "results").mkdir()
    places = {"FACES": people, "MODEL": model, "RESULTS": here / "results"}
    message = refused(*(places.get(word, word) for word in arguments.split()))
    assert len(message) < 1000


def test_an_error_of_the_system_that_no_given_path_has_is_not_taken_for_wrong_input(
    people: Path, model: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: OSError) -> None:
        def broken(*_: object) -> NoReturn:
            raise error

        monkeypatch.setattr("elasticface.cli.evaluate.run", broken)

    for error in (
        FileNotFoundError(errno.ENOENT, "No such file", "/usr/lib/ours.html"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        OSError(errno.EIO, "Input/output error", str(people)),
        OSError("of no kind"),
    ):
        fail(error)
        with pytest.raises(OSError, match=str(error.args[-1])):
            main.main(["evaluate", str(model), str(people)])
    fail(FileNotFoundError(errno.ENOENT, "No such file", str(people / "x.png")))
    assert f"{people / 'x.png'}: No such file; give another path" in refused("evaluate", model, people)


def test_a_full_disk_is_one_line_and_no_traceback(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = files.write_bytes

    def full(path: Path, data: bytes, sync: bool = True) -> None:
        if path.name == "environment.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_bytes(path, data, sync)

    monkeypatch.setattr(files, "write_bytes", full)
    code, out, err = run("train", people, "--out", "run", *SMALL)
    assert (code, out) == (1, "")
    wanted = "No space left on device; make room and start it again, with --resume if it takes that"
    assert err.splitlines()[-1] == f"elasticface: run/environment.json: {wanted}"


_PRINTING = """
from elasticface.cli import main, quickstart
quickstart.run = lambda options: print({})
main.main(["quickstart"])
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_one_line_and_no_traceback(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(
        [sys.executable, "-c", _PRINTING.format("'x' * 100")],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    os.close(writing)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
    assert ended.stderr.startswith("elasticface: stdout was closed before all of it was written")


def test_a_name_that_stdout_has_no_letters_for_is_spelled_out() -> None:
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii:strict"}
    program = [sys.executable, "-c", _PRINTING.format(r"'Zo\u00eb \udcff'")]
    ended = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Zo\\xeb \\udcff\n", "")
