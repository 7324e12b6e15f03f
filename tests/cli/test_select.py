"""`elasticface select`: from its words to a page, and what it refuses."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from command_line import SMALL, done, refused, run

from elasticface.cli import main, select
from elasticface.training.config import TrainConfig, read_config

GRID = "--margins 0.2,0.3 --stds 0.05 --seeds 1".split()


def test_it_ends_with_tables_the_page_and_the_command_that_trains_with_the_choice(people: Path, here: Path) -> None:
    (here / "some.yaml").write_text("loss: elastic-cos\nmargin: 0.4\nstd: 0.1\nseed: 7\nlr: 0.05\nvalidate_every: 3\n")
    words = ("select", people, "--out", "choice", *GRID, *SMALL, "--config", "some.yaml", "--max-steps", "1")
    code, out, told = run(*words, "--validate", people)
    assert code == 0, told
    assert re.findall(r"^run \d of 3: (.*?)(?:, \S+ left)?$", told, re.MULTILINE)[:2] == [
        "cosface, m 0.2, seed 0",
        "cosface, m 0.3, seed 0",
    ]
    record = json.loads(Path("choice/select.json").read_text())
    margin = record["stages"][0]["chosen"]
    assert f"elastic-cos, m {margin}, σ 0.05, seed 0, 0:00:" in told
    assert "m, with the margin fixed (cosface), one seed; accuracy in %" in out
    assert f"m = {margin} has the highest Borda count" in out
    page, command = out.splitlines()[-2:]
    assert page == f"The report: {Path('choice/report.html').resolve().as_uri()}"
    assert Path("choice/report.html").is_file()
    given = shlex.split(command.removeprefix("Train with the chosen values: "))
    assert main._parser(given[1:]).parse_args(given[1:]).command == "train"
    done(*given[1:])  # trains
    settings = TrainConfig(**read_config(Path("choice/chosen/config.yaml")))
    assert (settings.loss, settings.margin, settings.std, settings.seed) == ("elastic-cos", margin, 0.05, 0)
    assert (settings.lr, settings.max_steps, settings.validate) == (0.05, 1, [str(people)])


def test_every_setting_that_makes_sense_is_an_option() -> None:
    out = done("select", "--help")
    for setting in fields(TrainConfig):
        option = re.search(rf"^  --{setting.name.replace('_', '-')}(?![-\w])", out, re.MULTILINE)
        assert bool(option) == (setting.name in select.SETTINGS), setting.name
    assert {"loss", "validate", "epochs", "backbone", "augment", "workers", "draws"} <= {*select.SETTINGS}
    assert not {"margin", "std", "seed", "lambda_g"} & {*select.SETTINGS}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--margins= --stds 0.05", "--margins: no value of m; give at least one"),
        ("--margins 0.5 --stds=", "--stds: no value of σ; give at least one"),
        ("--margins 0.5 --stds 0.05,0.05", "--stds: 0.05 is given twice"),
        ("--margins 0.5,0.5 --stds 0.05", "--margins: 0.5 is given twice"),
        ("--margins=-0.5 --stds 0.05", "--margins must be at least 0, got -0.5"),
        ("--margins 0.5 --stds=-1", "--stds must be above 0, got -1"),
        ("--margins 0.5 --stds 0", "σ = 0, the fixed margin, is always compared"),
        ("--margins 0.5,4 --stds 0.05", "loss 'arcface': m is out of range for 'arc': 4.0"),
        ("--margins much --stds 0.05", "--margins must be numbers separated by commas, got 'much'"),
        ("--margins 0.5 --stds 0.05 --seeds 0", "--seeds must be at least 1, got 0"),
        (
            "--margins 0.5 --stds 0.05 --loss adaface",
            "--loss must be one of elastic-arc, elastic-cos, elastic-arc+, elastic-cos+, got 'adaface'",
        ),
        ("--margins 0.5 --stds 0.05 --margin 0.4", "--margin"),
        ("--margins 0.5 --stds 0.05 --keep some", "--keep must be one of model, all, figures, got 'some'"),
        ("--margins 0.5 --stds 0.05 --config absent", "--config absent: no such file, and no recipe"),
        ("--margins 0.5", "arguments are required: --stds"),
        ("--stds 0.05", "arguments are required: --margins"),
    ],
)
def test_bad_input_is_one_line(options: str, message: str, people: Path) -> None:
    told = refused("select", people, "--out", "choice", *SMALL, "--validate", people, *options.split())
    assert message in told


def test_a_recipe_of_another_loss_is_refused(people: Path, here: Path) -> None:
    (here / "some.yaml").write_text("loss: adaface\n")
    words = ("select", people, "--out", "choice", *SMALL, *GRID, "--validate", people, "--config", "some.yaml")
    assert "--loss must be one of elastic-arc, " in refused(*words)


def test_without_a_benchmark_it_is_refused(people: Path) -> None:
    words = ("select", people, "--out", "choice", *SMALL, *GRID)
    assert "no benchmark to judge by; give at least one of pairs with --validate" in refused(*words)
    assert "absent" in refused(*words, "--validate", "absent")
    assert "--validate must be words separated by commas, got ','" in refused(*words, "--validate=,")


def test_a_folder_of_something_else_is_refused(people: Path, here: Path) -> None:
    (here / "used").mkdir()
    (here / "used" / "notes.txt").write_text("mine")
    words = ("select", people, *SMALL, *GRID, "--validate", people)
    assert "used: holds something already; give another folder with --out" in refused(*words, "--out", "used")
    assert "notes.txt" in refused(*words, "--out", "used/notes.txt")
