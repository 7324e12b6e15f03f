"""Every option of every command: what it says of a wrong value, and that a launcher leaves it to the command."""

import argparse
import re
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from command_line import refused
from torch.distributed.run import get_args_parser

from elasticface.base.values import placeholder, wanted
from elasticface.cli import main
from elasticface.training.config import TrainConfig

PARSERS = main.parsers()
OPTIONS = [
    (command, action)
    for command, parser in PARSERS.items()
    for action in parser._actions
    if action.option_strings and action.dest != "help"
]
HELP = {command: parser.format_help() for command, parser in PARSERS.items()}
TORCHRUN = get_args_parser()
READ = [(command, action) for command, action in OPTIONS if isinstance(action.type, partial)]
TEXT = (str, str | None, list[str] | None)
# Parts of Python and of jsonargparse that no message may have.
PYTHON = re.compile(
    r"<class|Literal|Union|Optional|None|typing|functools|Parser key|Expected|\b(int|float|str|bool|True|False)\b"
)


def name(of: Any) -> str:
    return of.option_strings[0] if isinstance(of, argparse.Action) else str(of)


def hint(action: argparse.Action) -> Any:
    assert isinstance(action.type, partial)
    return action.type.keywords["hint"]


def test_a_parser_is_used_again() -> None:
    options = [PARSERS["plan"].parse_args(["--identities", number]).identities for number in ("10", "20")]
    assert options == [10, 20]


def test_commands_of_options_that_are_checked_here_are_all() -> None:
    assert len(PARSERS) == 28
    assert {command for command, _ in READ} == PARSERS.keys()
    assert len([action for _, action in READ if hint(action) not in TEXT]) > 70


@pytest.mark.parametrize(("command", "action"), [(c, a) for c, a in READ if hint(a) not in TEXT], ids=name)
def test_a_wrong_value_is_answered_with_those_that_there_are(command: str, action: argparse.Action) -> None:
    option = action.option_strings[0]
    line = refused(*command.split(), f"{option}=wr ong")
    assert line == f"elasticface: {option} must be {wanted(hint(action)).removesuffix(' or null')}, got 'wr ong'"
    assert not PYTHON.search(line)


@pytest.mark.parametrize("setting", get_type_hints(TrainConfig).items(), ids=lambda setting: setting[0])
def test_a_wrong_setting_of_a_yaml_is_answered_with_those_that_there_are(setting: tuple[str, Any], here: Path) -> None:
    name, hint = setting
    for written in ("{wr: [ong]}", "2020-01-01"):
        (here / "some.yaml").write_text(f"{name}: {written}\n")
        line = refused("train", "some", "--out", "run", "--config", "some.yaml")
        assert line == f"elasticface: some.yaml: {name} must be {wanted(hint)}, got {written}"
        assert not PYTHON.search(line)


@pytest.mark.parametrize(("command", "action"), [(c, a) for c, a in READ if hint(a) in (str, str | None)], ids=name)
def test_null_is_a_word_where_it_resets_no_setting(command: str, action: argparse.Action) -> None:
    assert isinstance(action.type, partial)
    resets = get_type_hints(TrainConfig).get(action.dest) == str | None
    assert action.type("null") == (None if resets else "null")


@pytest.mark.parametrize(("command", "action"), [(c, a) for c, a in OPTIONS if a.nargs == 0], ids=name)
def test_a_switch_takes_no_value(command: str, action: argparse.Action) -> None:
    line = refused(*command.split(), f"{action.option_strings[0]}=true")
    assert "takes no value, got 'true'" in line


@pytest.mark.parametrize("command", PARSERS)
def test_help_has_no_type_of_python(command: str) -> None:
    assert not PYTHON.search(HELP[command])


@pytest.mark.parametrize(("command", "action"), OPTIONS, ids=name)
def test_help_says_what_an_option_is(command: str, action: argparse.Action) -> None:
    assert action.help
    told = HELP[command]
    for option in action.option_strings:
        assert option in told
        assert "_" not in option
    if isinstance(action.type, partial):
        assert action.metavar in (placeholder(hint(action)), "{best,last,STEP}")


@pytest.mark.parametrize(("command", "action"), OPTIONS, ids=name)
def test_torchrun_leaves_every_option_to_the_command(command: str, action: argparse.Action) -> None:
    for option in action.option_strings:
        words = [*command.split(), "DATA", option, *(["value"] if action.nargs != 0 else [])]
        found = TORCHRUN.parse_args(["-m", "elasticface", *words])
        assert (found.training_script, found.training_script_args) == ("elasticface", words)


@pytest.mark.parametrize(
    ("typed", "missing"),
    [("verify a.jpg", "second"), ("train faces", "--out"), ("split faces", "out, --people")],
)
def test_what_is_missing_is_named_as_one_types_it(typed: str, missing: str) -> None:
    assert f"the following arguments are required: {missing} (see" in refused(*typed.split())
